"""The ledger's tables, step by step, for a file and for a server.

A step that has been released is never changed: a ledger made by any older version is brought up to
date by the steps it lacks. A ledger with steps that are not named here comes from a newer version; this
one works beside it if those steps are additive (see `BREAKING`).

The steps are written once, in SQLite's SQL, which Postgres shares but for some types (see
`for_postgres`). Each database records in a table of its own which steps its ledger has taken.
"""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, TypeAlias, cast

from aideon_agents.ledger.schema.first_steps import FIRST_STEPS, Executor
from aideon_agents.ledger.schema.media_steps import m024_media, m025_provider_batches
from aideon_agents.ledger.schema.service_steps import SERVICE_STEPS, m023_sessions_of_keys
from aideon_agents.ledger.schema.serving_steps import m022_service

if TYPE_CHECKING:
    from collections.abc import Callable


Step: TypeAlias = "Callable[[Executor], None]"
"""Makes the tables and columns that one version added; its name is recorded when it was taken."""


def m010_tickets(db: Executor) -> None:
    """The calls that wait for money, by the accounts that lack it; they are served by `place`.

    A call has the same place in each account that it waits for. Its process renews the ticket
    until `expires_at`, in Unix seconds; `host`, `pid` and `process_start` show whether it is gone.
    Only a server has tickets: with a file, each process has a queue of its own.
    """
    db.execute("""
        CREATE TABLE tickets (
            account TEXT NOT NULL, place INTEGER NOT NULL, call_id TEXT NOT NULL,
            expires_at DOUBLE PRECISION NOT NULL,
            host TEXT NOT NULL, pid INTEGER NOT NULL, process_start TEXT,
            PRIMARY KEY (account, place)
        )
    """)


def m011_tool_calls(db: Executor) -> None:
    """One row per call of a tool: names and times; arguments and results are content."""
    db.execute("""
        CREATE TABLE tool_calls (
            tool_call_id TEXT PRIMARY KEY,
            run_id TEXT NOT NULL,
            node_path TEXT NOT NULL,
            round INTEGER NOT NULL,
            name TEXT NOT NULL,
            status TEXT NOT NULL,
            error TEXT,
            started_at TEXT NOT NULL,
            duration_ms INTEGER
        )
    """)
    db.execute("CREATE INDEX tool_calls_run_id ON tool_calls (run_id)")


def m012_simulated_calls(db: Executor) -> None:
    """Which calls a simulated provider answered: they are no part of reports and standing limits.

    A run with such a call is a simulated one; the index finds them, and is empty elsewhere.
    """
    db.execute("ALTER TABLE calls ADD COLUMN simulated INTEGER NOT NULL DEFAULT 0")
    db.execute("CREATE INDEX calls_simulated ON calls (run_id) WHERE simulated = 1")


def m013_carried_items(db: Executor) -> None:
    """What a batch needs to take over items of an earlier one, and where it took them from.

    `version` names the content of the workflow, `options` is a digest of the options that every item
    has, and `content` one of an item's task, inputs and own id: work with the same three is the same.
    `carried_from` is the batch whose items were taken over; `is_carried` marks them. NULL in old rows.
    """
    for column in ("version", "options", "carried_from"):
        db.execute(f"ALTER TABLE batches ADD COLUMN {column} TEXT")
    db.execute("ALTER TABLE items ADD COLUMN content TEXT")
    db.execute("ALTER TABLE items ADD COLUMN is_carried INTEGER")


def m014_order_of_beginning(_db: Executor) -> None:
    """Runs and batches in the order in which they began: `begun` on a server, a file has `rowid`."""


def m015_choice(db: Executor) -> None:
    """Why each model was asked, as a JSON object; NULL in calls that no choice of ours was made for."""
    db.execute("ALTER TABLE calls ADD COLUMN choice TEXT")


def m016_outcomes(db: Executor) -> None:
    """How well models answered: a score from 0 to 1, and the class of the task.

    `source` is person, code, verdict, failure or user. `run_id` and `node_path` are NULL where the
    outcome belongs to no run. `rehearsed` also marks answers of a simulated provider. The index
    serves the newest outcomes of each class and model. There is no text of the task or the answer.
    """
    db.execute("""
        CREATE TABLE outcomes (
            task_class TEXT NOT NULL,
            model TEXT NOT NULL,
            score DOUBLE PRECISION NOT NULL,
            source TEXT NOT NULL,
            run_id TEXT,
            node_path TEXT,
            rehearsed INTEGER NOT NULL,
            recorded_at TEXT NOT NULL
        )
    """)
    db.execute("CREATE INDEX outcomes_class ON outcomes (task_class, model, recorded_at)")


def m018_model_states(db: Executor) -> None:
    """The state of each circuit breaker in each process: open, half_open or closed.

    `breaker` is a digest of an address, a key and a model, from which none of them can be read; the
    model is empty where the breaker is of all models with a key. `key_name` is the environment
    variable of the key, or a fingerprint. `number` orders the changes of one process. An open breaker
    lets no call through before `rests_until`. `host`, `pid` and `process_start` tell whether the process
    has ended.
    """
    db.execute("""
        CREATE TABLE model_states (
            breaker TEXT NOT NULL,
            provider TEXT NOT NULL,
            model TEXT NOT NULL,
            key_name TEXT,
            state TEXT NOT NULL,
            reason TEXT,
            rests_until TEXT,
            changed_at TEXT NOT NULL,
            number INTEGER NOT NULL,
            simulated INTEGER NOT NULL,
            host TEXT NOT NULL,
            pid INTEGER NOT NULL,
            process_start TEXT,
            PRIMARY KEY (breaker, host, pid)
        )
    """)


def m019_answers(db: Executor) -> None:
    """Answers that are kept, the leases of questions that are being asked, and what a hit saved.

    `key` and `prompt` are digests: with the model and its parameters, and without. `model` is
    `provider:model`, as it was asked. `answer` is JSON. Times are Unix seconds. A lease ends with
    `expires_at`, unless its process renews it; `host`, `pid` and `process_start` show whether that is
    gone. `saved_nanousd` is what a call that was answered from the cache would have cost; NULL where its
    price is not known, and for all other calls. The indexes serve the newest answer to a prompt, and
    deleting what was used longest ago, with the sum of all sizes.
    """
    db.execute("""
        CREATE TABLE answers (
            key TEXT PRIMARY KEY,
            prompt TEXT NOT NULL,
            model TEXT NOT NULL,
            answer TEXT NOT NULL,
            bytes INTEGER NOT NULL,
            simulated INTEGER NOT NULL,
            stored_at DOUBLE PRECISION NOT NULL,
            used_at DOUBLE PRECISION NOT NULL
        )
    """)
    db.execute("CREATE INDEX answers_prompt ON answers (prompt, stored_at)")
    db.execute("CREATE INDEX answers_used_at ON answers (used_at, key, bytes)")
    db.execute("""
        CREATE TABLE leases (
            key TEXT PRIMARY KEY,
            owner TEXT NOT NULL,
            expires_at DOUBLE PRECISION NOT NULL,
            host TEXT NOT NULL,
            pid INTEGER NOT NULL,
            process_start TEXT
        )
    """)
    db.execute("ALTER TABLE calls ADD COLUMN saved_nanousd INTEGER")


STEPS = (
    *FIRST_STEPS,
    m010_tickets,
    m011_tool_calls,
    m012_simulated_calls,
    m013_carried_items,
    m014_order_of_beginning,
    m015_choice,
    m016_outcomes,
    m018_model_states,
    m019_answers,
    *SERVICE_STEPS,
    m022_service,
    m023_sessions_of_keys,
    m024_media,
    m025_provider_batches,
)

BREAKING = frozenset({"m008_truncated_answers"})
"""The steps that a version which does not know them cannot go on beside. All others only add tables,
indexes, and columns that may be NULL or have a default, so they are additive: two versions can work on
one ledger while one replaces the other. A function of a server that such a step replaces takes and gives
what it did before, and may take and give more."""


# INTEGER is too short for nano-dollars, and TEXT is ordered as some language does, where the
# ledger compares ids and times by their characters.
_POSTGRES_WORDS = {"INTEGER": "BIGINT", "TEXT": 'TEXT COLLATE "C"', "user": '"user"'}
_WORD = re.compile(r"\b(?:INTEGER|TEXT|user(?= TEXT))\b")


def for_postgres(sql: str) -> str:
    """A step's statement in the words of Postgres."""
    return _WORD.sub(lambda word: _POSTGRES_WORDS[word[0]], sql)


def table_names() -> list[str]:
    """The tables that the steps make."""
    found: list[str] = []
    for step in STEPS:
        step(cast("Executor", SimpleNamespace(execute=found.append)))
    return re.findall(r"CREATE TABLE (\w+)", "\n".join(found))
