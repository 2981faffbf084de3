"""Accounts, which sum up what is spent and held under a limit, and the standing limits of a ledger.

Opening an account adds up the rows that exist; from then on every settlement adds to it, so that it
always equals those rows: a limit set in the middle of a month counts the whole month. Removing a
limit closes its accounts, because nothing keeps them up to date any more.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from aideon_agents.errors import NotFound
from aideon_agents.ledger.budgets.alerts import Alert
from aideon_agents.ledger.budgets.limits import (
    OF_RUNS,
    Account,
    CallDimensions,
    LimitState,
    Scope,
    own_account,
)
from aideon_agents.ledger.database import Database, Row, Statements
from aideon_agents.ledger.identity import now, utc_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


REPORT = "report:"
"""Begins the account under which `told` holds that the report of a day was sent."""
_Also: TypeAlias = "Callable[[Statements], object] | None"
THRESHOLDS = (50, 80, 95, 100)
"""Percentages of a limit that cause an alert, once per window."""

_NEAR = 80
"""Percentage of a run's, day's or month's limit from which cheaper models are preferred."""
_OF_ALL = {Scope(kind="run"), Scope("day"), Scope("month")}
_PARTS = 4
"""Parts of a limit in which is said what it leaves."""


def limit_states(tx: Statements, call: CallDimensions, *, opens: bool = True) -> list[LimitState]:
    """Every limit that applies to a call.

    `tx` is a transaction where missing accounts are opened; without `opens`, their limits are left
    out and reading is enough.
    """
    scopes, guessed, rows = _look(tx, call, tuple(_last_scopes))
    if tuple(scopes) != guessed:
        _last_scopes[:] = scopes
        scopes, _, rows = _look(tx, call, tuple(scopes))
    limits = [
        (scope, account, row["limit_nanousd"], bool(row["warns"]))
        for text, row in scopes.items()
        for scope, account in call.in_scopes[text]
    ]
    for _, account, _, _ in limits if opens else ():
        if account.key not in rows:
            rows[account.key] = open_account(tx, account)
    limits += [
        (*own_account(*call.own[key]), row["limit_nanousd"], False)
        for key, row in rows.items()
        if key in call.own and row["limit_nanousd"] is not None
    ]
    return [
        LimitState(
            scope=scope,
            account=account,
            limit=limit,
            warns=warns,
            spent=row["spent_nanousd"],
            held=row["held_nanousd"],
        )
        for scope, account, limit, warns in limits
        if (row := rows.get(account.key))
    ]


_last_scopes: list[str] = []
"""The scopes of the standing limits that were read last in this process. They name the accounts that
the next call needs, so that one statement reads both; if they have changed, a second one follows."""


def _look(
    tx: Statements, call: CallDimensions, guessed: tuple[str, ...]
) -> tuple[dict[str, Row], tuple[str, ...], dict[str, Row]]:
    """The standing limits by scope, and the accounts of a call by key, if the limits are as guessed."""
    for text in guessed:
        if text not in call.in_scopes:
            scope = Scope.parse(text)
            call.in_scopes[text] = [(scope, account) for account in scope.accounts(call)]
    keys = {account.key for text in guessed for _, account in call.in_scopes[text]}
    names, values = _parameters(keys.union(call.own))
    scopes: dict[str, Row] = {}
    rows: dict[str, Row] = {}
    for row in tx.select(_limits_and_accounts(names), values):
        (rows if row["warns"] is None else scopes)[row["account"]] = row
    return dict(sorted(scopes.items())), guessed, rows


def open_account(tx: Statements, account: Account, limit: int | None = None) -> Row:
    """Open an account with what already counts in it; an open account only takes the limit.

    `limit` None: the account gets no limit of its own, or keeps the one it has.
    """
    for row in tx.select(f"{_ACCOUNTS} (:account)", {"account": account.key}):
        if limit is not None:
            tx.later(_LIMIT, {"account": account.key, "limit": limit})
        return {**row, "limit_nanousd": row["limit_nanousd"] if limit is None else limit}
    spent, holds = _counted(tx, account)
    of_status = {"held": 0, "forfeited": 0, "unknown": 0}
    for hold in holds:
        of_status[hold["status"]] += hold["amount_nanousd"]
        # Its settlement counts in this account as well.
        keys = sorted({*json.loads(hold["accounts"]), account.key})
        tx.later(_JOIN, {"call_id": hold["call_id"], "accounts": json.dumps(keys)})
    row = {
        "account": account.key,
        "limit_nanousd": limit,
        "spent_nanousd": spent + of_status["forfeited"] + of_status["unknown"],
        "held_nanousd": of_status["held"],
    }
    tx.later(_OPEN, row)
    return row


def open_empty(tx: Statements, account: Account, limit: int) -> None:
    """Open the account of something new, for which there is nothing to add up."""
    row = {"account": account.key, "limit_nanousd": limit, "spent_nanousd": 0, "held_nanousd": 0}
    tx.later(_OPEN, row)


def set_own_limit(tx: Statements, account: Account, limit: int | None) -> None:
    """Set an account's own limit, in place of the one it has; None removes it."""
    if limit is None:
        tx.later("DELETE FROM accounts WHERE account = :account", {"account": account.key})
    else:
        open_account(tx, account, limit)


def add(tx: Statements, keys: Iterable[str], *, spent: int = 0, held: int = 0) -> None:
    """Add to the accounts with these keys that are open."""
    if not (spent or held):
        return
    names, values = _parameters(set(keys))
    if values:
        tx.later(_addition(names), {**values, "spent": spent, "held": held})


def crossed(tx: Statements, limits: Iterable[LimitState], run_id: str | None) -> list[Alert]:
    """An alert for each limit that has passed a threshold since its last alert.

    Call it in the transaction that settles a call: of several processes, one finds each crossing.
    """
    found: list[Alert] = []
    for one in limits:
        reached = [percent for percent in THRESHOLDS if one.spent * 100 >= one.limit * percent]
        if not reached or not one.spent:
            continue
        sent = {"account": one.account.key, "limit": one.limit, "percent": reached[-1]}
        if tx.write(_ALERTED, sent):
            found.append(
                Alert(
                    scope=one.name,
                    window=one.account.begins,
                    run_id=run_id,
                    percent=reached[-1],
                    limit_nanousd=one.limit,
                    spent_nanousd=one.spent,
                    warns=one.warns,
                )
            )
    return found


def sent(tx: Statements, most: int) -> list[Row]:
    """The alerts and daily reports that were sent, by account: the highest threshold of each."""
    return list(tx.select(_SENT, {"most": most}))


class Remaining(NamedTuple):
    """What the enforced limits on the run, the day and the month leave."""

    is_nearly_spent: bool = False
    """Whether four fifths of one of them are spent."""
    left: int | None = None
    """What the tightest one leaves, in nano-dollars, rounded up to a quarter of it; None: there is none."""


def remaining(limits: Iterable[LimitState]) -> Remaining:
    """What some limits leave; it is coarse, so that it rarely changes."""
    of = [one for one in limits if not one.warns and one.scope in _OF_ALL]
    left = [-(-_PARTS * (one.limit - one.spent) // max(1, one.limit)) * one.limit for one in of]
    return Remaining(
        any(one.spent * 100 >= one.limit * _NEAR for one in of),
        max(0, min(left)) // _PARTS if left else None,
    )


def _parameters(keys: set[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The names of a statement's parameters for some keys, and their values."""
    names = _NAMES[: len(keys)] if len(keys) <= len(_NAMES) else _names(len(keys))
    return names, dict(zip(names, sorted(keys), strict=True))


def _names(count: int) -> tuple[str, ...]:
    return tuple(f"key{number}" for number in range(count))


_NAMES = _names(32)


@functools.lru_cache(maxsize=128)
def _limits_and_accounts(names: tuple[str, ...]) -> str:
    """The statement that reads every standing limit, and some accounts, whose `warns` is NULL."""
    listed = ", ".join(f":{name}" for name in names) or "NULL"
    return (
        "SELECT scope AS account, limit_nanousd, warns, 0 AS spent_nanousd, 0 AS held_nanousd"  # noqa: S608 - our names
        " FROM budgets UNION ALL SELECT account, limit_nanousd, NULL, spent_nanousd, held_nanousd"
        f" FROM accounts WHERE account IN ({listed})"
    )


@functools.lru_cache(maxsize=128)
def _addition(names: tuple[str, ...]) -> str:
    listed = ", ".join(f":{name}" for name in names)
    return (
        "UPDATE accounts SET spent_nanousd = spent_nanousd + :spent,"  # noqa: S608 - our names
        f" held_nanousd = held_nanousd + :held WHERE account IN ({listed})"
    )


def _counted(tx: Statements, account: Account) -> tuple[int, list[Row]]:
    """The known cost of an account's calls, and its holds that are not settled."""
    values: dict[str, Any] = {}
    calls = _where(account, values, at="calls.started_at", of="calls")
    holds = _where(account, values, at="holds.taken_at", of="holds")
    if not account.key.startswith(OF_RUNS):
        calls += " AND calls.simulated = 0 AND COALESCE(calls.key_source, '') <> 'user'"
        holds += f" AND NOT EXISTS ({_SIMULATED_HOLD})"
    (known,) = tx.select(
        "SELECT COALESCE(SUM(cost_nanousd), 0) AS nanousd FROM calls"  # noqa: S608 - names of ours
        f" LEFT JOIN runs ON runs.run_id = calls.run_id WHERE calls.rehearsed = 0 AND {calls}",
        values,
    )
    unsettled = tx.select(
        f"SELECT {HOLD_COLUMNS} FROM holds LEFT JOIN runs ON runs.run_id = holds.run_id"  # noqa: S608 - as above
        " WHERE holds.status <> 'settled'"
        f" AND holds.status IN ('held', 'forfeited', 'unknown') AND {holds}",
        values,
    )
    return known["nanousd"], unsettled


def _where(account: Account, values: dict[str, Any], *, at: str, of: str) -> str:
    """The condition that selects an account's rows; its parameters are added to `values`."""
    columns = {
        "run": f"{of}.run_id",
        "batch": "runs.batch_id",
        "user": 'runs."user"',
        "tier": "runs.tier",
        "provider": f"{of}.provider",
    }
    conditions = ["1 = 1"]
    for kind, name in account.kinds:
        values[kind] = name
        if kind == "node":  # and the nodes inside it
            path = f"{of}.node_path"
            inside = f"substr({path}, 1, length(:node) + 1) = :node || '/'"
            conditions.append(f"({path} = :node OR {inside})")
        elif kind == "item":  # by the columns themselves, which have an index
            values["item_batch"], _, values["item"] = name.partition("/")
            conditions.append("runs.batch_id = :item_batch AND runs.item_id = :item")
        else:
            conditions.append(f"{columns[kind]} = :{kind}")
    if account.begins:
        values |= {"begins": account.begins, "ends": _after(account.begins)}
        conditions.append(f"{at} >= :begins AND {at} < :ends")
    return " AND ".join(conditions)


def _after(begins: str) -> str:
    """The day or month after a day or month."""
    if len(begins) == len("2026-11-21"):
        return (datetime.fromisoformat(begins) + timedelta(days=1)).date().isoformat()
    year, month = map(int, begins.split("-"))
    return datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC).date().isoformat()[:7]


HOLD_COLUMNS = (
    "holds.call_id, holds.run_id, holds.node_path, holds.provider, holds.taken_at,"
    " holds.amount_nanousd, holds.accounts, holds.status, holds.expires_at, holds.host, holds.pid,"
    " holds.process_start"
)
"""SQL: the columns of a hold. They are named, because a later version may add some."""

_SIMULATED_HOLD = (
    "SELECT 1 FROM calls WHERE calls.call_id = holds.call_id"
    " AND (calls.simulated = 1 OR calls.key_source = 'user')"
)
_ACCOUNTS = (
    "SELECT account, limit_nanousd, spent_nanousd, held_nanousd FROM accounts WHERE account IN"
)
_OPEN = (
    "INSERT INTO accounts (account, limit_nanousd, spent_nanousd, held_nanousd)"
    " VALUES (:account, :limit_nanousd, :spent_nanousd, :held_nanousd)"
)
_LIMIT = "UPDATE accounts SET limit_nanousd = :limit WHERE account = :account"
_ALERTED = (
    "INSERT INTO told (account, limit_nanousd, percent) VALUES (:account, :limit, :percent)"
    " ON CONFLICT (account, limit_nanousd) DO UPDATE SET percent = :percent"
    " WHERE told.percent < :percent"
)
_SENT = "SELECT account, limit_nanousd, percent FROM told ORDER BY account DESC LIMIT :most"
_JOIN = "UPDATE holds SET accounts = :accounts WHERE call_id = :call_id"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limit:
    """A standing limit of the ledger, with what is spent and held now."""

    scope: str
    limit_nanousd: int
    warns: bool
    """True: it only warns and refuses nothing."""
    window: str | None
    """The current UTC day or month; None: the limit has no window."""
    spent_nanousd: int | None
    """None: the limit applies to each one separately, and there may be many."""
    held_nanousd: int | None
    """The worst cases of calls in progress; None as above."""


def set_limit(
    database: Database, scope: str, limit: int, *, warns: bool = False, also: _Also = None
) -> None:
    """Set a standing limit in nano-dollars; `also`, as below, is done in the same transaction."""
    parsed = Scope.parse(scope)
    parsed.check_name()
    with database.transaction() as tx:
        tx.write(_SET, {"scope": str(parsed), "limit": limit, "warns": int(warns)})
        if also:
            also(tx)


def remove_limit(database: Database, scope: str, also: _Also = None) -> None:
    """Remove a standing limit."""
    named = str(Scope.parse(scope))
    with database.transaction() as tx:
        gone = tx.write("DELETE FROM budgets WHERE scope = :scope", {"scope": named})
        # No limit keeps these up to date any more; they are opened anew when one does.
        tx.later("DELETE FROM accounts WHERE limit_nanousd IS NULL", {})
        if gone and also:
            also(tx)
    if not gone:
        raise NotFound(f"there is no budget on {named}: `aideon budget list` shows what there is")


def limits(database: Database) -> list[Limit]:
    """The standing limits of a ledger, by scope."""
    found: list[Limit] = []
    with database.transaction() as tx:
        for row in tx.select("SELECT scope, limit_nanousd, warns FROM budgets ORDER BY scope", {}):
            scope = Scope.parse(row["scope"])
            state = _state_of(tx, scope)
            found.append(
                Limit(
                    scope=str(scope),
                    limit_nanousd=row["limit_nanousd"],
                    warns=bool(row["warns"]),
                    window=state.account.begins if state else None,
                    spent_nanousd=state.spent if state else None,
                    held_nanousd=state.held if state else None,
                )
            )
    return found


def _state_of(tx: Statements, scope: Scope) -> LimitState | None:
    """The state of a limit whose account needs no call: that of a name, a day or a month."""
    if scope.kind is not None and scope.name is None:
        return None
    at = utc_text(now())
    named = {scope.kind: scope.name} if scope.kind else {}
    if scope.kind == "item":
        batch, _, item = (scope.name or "").partition("/")
        named = {"batch": batch, "item": item}
    call = CallDimensions(at=at, **named)  # pyright: ignore[reportArgumentType] - kinds are its fields
    return next((one for one in limit_states(tx, call) if one.scope == scope), None)


_SET = (
    "INSERT INTO budgets (scope, limit_nanousd, warns) VALUES (:scope, :limit, :warns)"
    " ON CONFLICT (scope) DO UPDATE SET limit_nanousd = :limit, warns = :warns"
)
