"""Functions on the server that take and settle a hold, each in one statement.

A transaction of several statements keeps the ledger's lock while its results travel to the client
and back. These functions keep it only while the server works, and the server plans them once for
each connection.
"""

from __future__ import annotations

KEY = int.from_bytes(b"aideon")
"""The lock that transactions share; other programs in the database use other numbers."""

CHANNEL = "aideon"
"""Where the call that may be next is named; see `LISTEN`."""

TICKET_LEASE = 5.0
"""Seconds that a ticket counts without being renewed."""

_LOCK = f"""
    PERFORM set_config('lock_timeout', patience, true),
            set_config('plan_cache_mode', 'force_generic_plan', true);
    PERFORM pg_advisory_xact_lock({KEY});
"""

# The limits that apply to a call: those of its own accounts, and the standing ones. Keywords are in
# small letters where a step would translate them.
_LIMITS = """
    SELECT a.account, NULL::text AS scope, a.limit_nanousd AS most, false AS warns,
           a.spent_nanousd AS spent, a.held_nanousd AS held
    FROM accounts a WHERE a.account = ANY (own) AND a.limit_nanousd IS NOT NULL
    UNION ALL
    SELECT s.account, b.scope, b.limit_nanousd, b.warns <> 0, a.spent_nanousd, a.held_nanousd
    FROM budgets b
    CROSS JOIN LATERAL jsonb_array_elements_text(standing -> b.scope) AS s (account)
    LEFT JOIN accounts a ON a.account = s.account
"""

_NEXT = f"""
CREATE OR REPLACE FUNCTION aideon_call_next(of_accounts text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('{CHANNEL}', first.call_id) FROM (
        SELECT DISTINCT ON (t.account) t.call_id FROM tickets t
        WHERE t.account = ANY (of_accounts)
          AND t.expires_at > extract(epoch FROM clock_timestamp())
        ORDER BY t.account, t.place
    ) first;
END $$
"""  # noqa: S608 - our names

_TAKE = f"""
CREATE OR REPLACE FUNCTION aideon_take(
    hold json, begun json, queues boolean, own text[], standing jsonb, patience text
) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    id text := hold ->> 'call_id';
    amount bigint := hold ->> 'amount_nanousd';
    clock double precision := extract(epoch FROM clock_timestamp());
    is_queue boolean;
    mine bigint;
    states json;
    keys text[];
    blocked text[];
    is_open boolean;
    never boolean;
BEGIN
    {_LOCK}
    is_queue := EXISTS (SELECT FROM tickets);
    IF is_queue THEN
        SELECT min(place) INTO mine FROM tickets WHERE call_id = id;
    END IF;
    SELECT json_agg(json_build_array(account, scope, most, warns, spent, held, is_behind)),
           array_agg(DISTINCT account COLLATE "C" ORDER BY account COLLATE "C"),
           array_agg(account) FILTER (WHERE NOT warns AND (
               is_behind OR COALESCE(spent + held + amount > most, true))),
           COALESCE(bool_and(spent IS NOT NULL), true),
           COALESCE(bool_or(NOT warns AND COALESCE(spent + amount > most, true)), false)
    INTO states, keys, blocked, is_open, never
    FROM (
        SELECT l.*, is_queue AND NOT l.warns AND EXISTS (
            SELECT FROM tickets t WHERE t.account = l.account AND t.expires_at > clock
            AND (mine IS NULL OR t.place < mine)) AS is_behind
        FROM ({_LIMITS}) l
    ) limits;
    IF NOT is_open THEN
        RETURN NULL;
    END IF;
    IF amount = 0 OR blocked IS NULL THEN
        keys := COALESCE(keys, ARRAY[]::text[]);
        INSERT INTO holds (call_id, run_id, node_path, provider, taken_at, amount_nanousd, accounts,
            status, expires_at, host, pid, process_start)
        SELECT id, h.run_id, h.node_path, h.provider, h.taken_at, COALESCE(amount, 0),
            array_to_json(keys)::text, 'held', h.expires_at, h.host, h.pid, h.process_start
        FROM json_populate_record(NULL::holds, hold) h;
        IF amount <> 0 THEN
            UPDATE accounts SET held_nanousd = held_nanousd + amount WHERE account = ANY (keys);
        END IF;
        IF begun IS NOT NULL THEN
            INSERT INTO calls (call_id, run_id, node_path, role, round, purpose, candidate, attempt,
                provider, requested_model, started_at, rehearsed, shortened, economized, feature,
                status)
            SELECT call_id, run_id, node_path, role, round, purpose, candidate, attempt,
                provider, requested_model, started_at, rehearsed, shortened, economized, feature,
                status
            FROM json_populate_record(NULL::calls, begun) ON CONFLICT DO NOTHING;
        END IF;
        IF mine IS NOT NULL THEN
            DELETE FROM tickets WHERE call_id = id;
            PERFORM aideon_call_next(keys);
        END IF;
        RETURN json_build_object('is_held', true, 'limits', states);
    END IF;
    IF queues AND amount IS NOT NULL AND NOT never THEN
        UPDATE tickets SET expires_at = clock + {TICKET_LEASE} WHERE call_id = id;
        INSERT INTO tickets (account, place, call_id, expires_at, host, pid, process_start)
        SELECT DISTINCT b.account, COALESCE(mine, (SELECT COALESCE(max(place), 0) + 1 FROM tickets)),
            id, clock + {TICKET_LEASE}, hold ->> 'host', (hold ->> 'pid')::bigint,
            hold ->> 'process_start'
        FROM unnest(blocked) AS b (account) ON CONFLICT DO NOTHING;
    END IF;
    RETURN json_build_object('is_held', false, 'limits', states);
END $$
"""  # noqa: S608 - our names

_SETTLE = f"""
CREATE OR REPLACE FUNCTION aideon_settle(
    id text, ended json, own text[], standing jsonb, patience text
) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    cost bigint := ended ->> 'cost_nanousd';
    amount bigint;
    keys text[];
    states json;
BEGIN
    {_LOCK}
    SELECT h.amount_nanousd, ARRAY(SELECT json_array_elements_text(h.accounts::json))
    INTO amount, keys FROM holds h WHERE h.call_id = id AND h.status = 'held';
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    UPDATE calls c SET status = e.status, duration_ms = e.duration_ms,
        response_model = e.response_model, error_type = e.error_type, error = e.error,
        finish_reason = e.finish_reason, truncated = e.truncated, usage_source = e.usage_source,
        cost_nanousd = e.cost_nanousd, price_source = e.price_source,
        time_to_first_token_ms = e.time_to_first_token_ms, input_tokens = e.input_tokens,
        output_tokens = e.output_tokens, cache_read_tokens = e.cache_read_tokens,
        cache_creation_tokens = e.cache_creation_tokens, reasoning_tokens = e.reasoning_tokens
    FROM json_populate_record(NULL::calls, ended) e
    WHERE c.call_id = id AND c.status = 'started';
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    UPDATE holds SET status = CASE WHEN cost IS NULL THEN 'unknown' ELSE 'settled' END
    WHERE call_id = id;
    UPDATE accounts SET spent_nanousd = spent_nanousd + COALESCE(cost, amount),
        held_nanousd = held_nanousd - amount WHERE account = ANY (keys);
    IF EXISTS (SELECT FROM tickets) THEN
        PERFORM aideon_call_next(keys);
    END IF;
    SELECT json_agg(json_build_array(l.account, l.scope, l.most, l.warns, l.spent, l.held,
        (SELECT t.percent FROM told t WHERE t.account = l.account AND t.limit_nanousd = l.most)))
    INTO states FROM ({_LIMITS}) l WHERE l.spent IS NOT NULL;
    RETURN COALESCE(states, '[]'::json);
END $$
"""  # noqa: S608 - our names

_LEAVE = """
CREATE OR REPLACE FUNCTION aideon_leave(id text, patience text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    left_accounts text[];
BEGIN
    WITH gone AS (DELETE FROM tickets WHERE call_id = id RETURNING account)
    SELECT array_agg(account) INTO left_accounts FROM gone;
    PERFORM aideon_call_next(left_accounts);
END $$
"""

# A call that was not known to be simulated, or no longer is, counts in other accounts than it is
# held in. Then nothing is done here, as for a call without a hold.
_TAKE_SIMULATED = _TAKE.replace("economized, feature,", "economized, feature, simulated,")
_SETTLE_SIMULATED = _SETTLE.replace(
    "AND c.status = 'started'", "AND c.status = 'started' AND c.simulated = e.simulated"
)

# The server may have stopped after it took a hold and before it said so: the client asks again.
_TAKE_AGAIN = _TAKE_SIMULATED.replace(
    "    is_queue :=",
    """    IF EXISTS (SELECT FROM holds WHERE call_id = id AND status = 'held') THEN
        RETURN json_build_object('is_held', true, 'limits', NULL);
    END IF;
    is_queue :=""",
)

_TAKE_CHOSEN = _TAKE_AGAIN.replace("economized, feature,", "economized, choice, feature,")

# The units of a quota, `{counter: {"amount": .., "most": ..}}`, in the transaction of the money.
_TAKE_UNITS = f"""
CREATE OR REPLACE FUNCTION aideon_take_units(
    hold json, begun json, queues boolean, units json, own text[], standing jsonb, patience text
) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    is_new boolean;
    lacking json;
    answer json;
BEGIN
    {_LOCK}
    is_new := NOT EXISTS (SELECT FROM uses WHERE use_id = hold ->> 'call_id');
    IF is_new THEN
        SELECT json_build_array(u.key, COALESCE(c.used, 0), COALESCE(c.held, 0)) INTO lacking
        FROM json_each(units) u LEFT JOIN counters c ON c.account = u.key
        WHERE (u.value ->> 'most') IS NOT NULL AND COALESCE(COALESCE(c.used, 0)
            + COALESCE(c.held, 0) + (u.value ->> 'amount')::bigint > (u.value ->> 'most')::bigint,
            true)
        LIMIT 1;
        IF lacking IS NOT NULL THEN
            RETURN json_build_object('is_held', false, 'limits', NULL, 'lacking', lacking);
        END IF;
    END IF;
    answer := aideon_take(hold, begun, queues, own, standing, patience);
    IF is_new AND (answer ->> 'is_held')::boolean THEN
        INSERT INTO uses (use_id, amounts, status, taken_at)
        SELECT hold ->> 'call_id',
            json_object_agg(key, COALESCE((value ->> 'amount')::bigint, 0))::text, 'held',
            hold ->> 'taken_at' FROM json_each(units);
        INSERT INTO counters (account, used, held)
        SELECT key, 0, COALESCE((value ->> 'amount')::bigint, 0) FROM json_each(units)
        ON CONFLICT (account) DO UPDATE SET held = counters.held + EXCLUDED.held;
    END IF;
    RETURN answer;
END $$
"""  # noqa: S608 - our names

_SETTLE_UNITS = f"""
CREATE OR REPLACE FUNCTION aideon_settle_units(
    id text, ended json, spent json, own text[], standing jsonb, patience text
) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    answer json;
    amounts json;
BEGIN
    {_LOCK}
    answer := aideon_settle(id, ended, own, standing, patience);
    SELECT u.amounts::json INTO amounts FROM uses u WHERE u.use_id = id AND u.status = 'held';
    IF answer IS NOT NULL AND FOUND THEN
        UPDATE counters c SET held = held - h.value::bigint,
            used = used + COALESCE((spent ->> 'amount')::bigint, h.value::bigint)
        FROM json_each_text(amounts) h WHERE c.account = h.key;
        UPDATE uses u SET status = 'settled', amounts = (
            SELECT json_object_agg(h.key, COALESCE((spent ->> 'amount')::bigint, h.value::bigint))
            FROM json_each_text(u.amounts::json) h)::text WHERE u.use_id = id;
    END IF;
    RETURN answer;
END $$
"""  # noqa: S608 - our names

_TAKE_WITH_KEY = _TAKE_CHOSEN.replace(
    "economized, choice, feature,", "economized, choice, feature, provider_key_id, key_source,"
)

_TAKE_MEDIA = _TAKE_WITH_KEY.replace(
    "provider_key_id, key_source,", "provider_key_id, key_source, modality, processing,"
)
_SETTLE_MEDIA = _SETTLE_SIMULATED.replace(
    "reasoning_tokens = e.reasoning_tokens",
    "reasoning_tokens = e.reasoning_tokens, unit = e.unit, quantity = e.quantity,\n"
    "        cost_reported = e.cost_reported",
)


def _numbered(table: str, key: str) -> tuple[str, ...]:
    """Number the rows of a table in the order in which they were written, older ones by the clock."""
    older = f"SELECT {key}, row_number() OVER (ORDER BY started_at, {key}) AS number FROM {table}"  # noqa: S608 - ours, as below
    change = f"UPDATE {table} SET begun = number FROM ({older}) AS older"  # noqa: S608
    return (
        f"ALTER TABLE {table} ADD COLUMN begun BIGINT GENERATED BY DEFAULT AS IDENTITY",
        f"{change} WHERE older.{key} = {table}.{key}",
        f"CREATE INDEX {table}_begun ON {table} (begun)",
    )


OF_STEP = {
    "m010_tickets": (_NEXT, _TAKE, _SETTLE, _LEAVE),
    "m012_simulated_calls": (_TAKE_SIMULATED, _SETTLE_SIMULATED),
    "m014_order_of_beginning": (
        *_numbered("runs", "run_id"),
        *_numbered("batches", "batch_id"),
        _TAKE_AGAIN,
    ),
    "m015_choice": (_TAKE_CHOSEN,),
    "m021_quotas": (_TAKE_WITH_KEY, _TAKE_UNITS, _SETTLE_UNITS),
    "m024_media": (_TAKE_MEDIA, _SETTLE_MEDIA),
}
"""What only a server has of a step of the schema, by its name. What has been released is never
changed: a later step replaces it."""
