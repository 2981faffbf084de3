"""The shapes of the ledger's rows: what is known when something starts, when it ends, and read back.

Times are UTC texts as `clock.utc_text` writes them. What nobody knows is None, never 0 or empty.

The ledger's statements, each written once from the shape whose fields it holds.

Rows as they are read back: what a database has no type for gets the one that it is.

A call's row: there before the model is asked, and completed once, when its end is known.

What was asked and answered, as JSON: kept only of runs that were told to record content.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any, Literal, cast

from aideon_agents.ledger.database import Row, Statements
from aideon_agents.ledger.identity import Process, is_gone, new_run_id
from aideon_agents.ledger.pricing import usd
from aideon_agents.ledger.redaction import stored_line, without_keys
from aideon_agents.ledger.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal


RunStatus = Literal["running", "completed", "failed", "stopped", "waiting", "cancelled", "crashed"]
"""`crashed` is worked out on reading: the row says running and its process is gone."""

CallStatus = Literal["started", "ok", "error", "cancelled", "truncated", "cached"]
"""`started`: nothing was heard of its end. `truncated`: the answer broke off on the way."""

UsageSource = Literal["reported", "estimated", "none"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunStart:
    """What is known when a run starts."""

    workflow: str
    """The graph's name."""
    run_id: str = dataclasses.field(default_factory=new_run_id)
    target: str | None = None
    """The address it was started by; None: a graph that was at hand."""
    user: str | None = None
    """Who it is for; None: nobody was named."""
    tier: str | None = None
    thread: str | None = None
    """The conversation it belongs to; None: it stands alone."""
    rehearsed: bool = False
    """Answers are worked out by rule and nothing is paid."""
    options: Mapping[str, Any] | None = None
    """What it was told besides its task and inputs, as JSON values, for going on with it later."""
    target_hash: str | None = None
    """SHA-256 of the target's file; None: it was a graph that was at hand."""
    graph: Mapping[str, Any] | None = None
    """The graph's plain model, as `aideon graph -f json` gives it; None: nobody kept it."""
    batch_id: str | None = None
    item_id: str | None = None
    """Which item of that batch it is; None like the batch: of none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One run, as read back."""

    run_id: str
    workflow: str
    target: str | None
    status: RunStatus
    stop_reason: str | None
    """Why the root pattern or the run ended; None: there is nothing to say."""
    error: str | None
    """One line without keys; None: it did not fail."""
    error_type: str | None
    """The name of the error's class."""
    user: str | None
    tier: str | None
    thread: str | None
    rehearsed: bool
    started_at: str
    ended_at: str | None
    """None while it runs, and for good when it crashed."""
    output: str | None
    """The last result's text; None unless content is recorded."""
    results: Mapping[str, Any] | None
    """Every node's result; None unless content is recorded."""
    options: Mapping[str, Any] | None
    target_hash: str | None
    graph: Mapping[str, Any] | None
    batch_id: str | None
    item_id: str | None
    """These five as in `RunStart`; None as well in runs of before there were such columns."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CallStart:
    """What is known when an attempt at a model starts."""

    call_id: str
    """LangChain's run id of the attempt."""
    run_id: str
    node_path: str
    """Empty outside any graph."""
    role: str
    """Empty when the model was not called by an agent of ours."""
    provider: str
    requested_model: str
    started_at: str
    round: int = 1
    purpose: str | None = None
    candidate: int = 0
    """Position in the chain; 0 is the primary."""
    attempt: int = 1
    """The n-th try of this candidate, from 1."""
    rehearsed: bool = False
    shortened: bool = False
    """The answer is given less room than asked for, to fit a budget."""
    economized: bool = False
    """A cheaper model of the chain is preferred, because a budget is nearly used up."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CallEnd:
    """What is known when an attempt has ended."""

    status: CallStatus
    duration_ms: int
    response_model: str | None = None
    """The model that the answer names; None: there was no answer, or it names none."""
    error_type: str | None = None
    error: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    usage_source: UsageSource = "none"
    cost_nanousd: int | None = None
    """Billionths of a US dollar; None: unknown, and totals are lower bounds."""
    price_source: str | None = None
    time_to_first_token_ms: int | None = None
    """None unless the answer was streamed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Call:
    """One attempt at a model, as read back; fields as in `CallStart` and `CallEnd`."""

    call_id: str
    run_id: str
    node_path: str
    role: str
    round: int
    purpose: str | None
    candidate: int
    attempt: int
    provider: str
    requested_model: str
    response_model: str | None
    status: CallStatus
    error_type: str | None
    error: str | None
    finish_reason: str | None
    shortened: bool
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_creation_tokens: int | None
    reasoning_tokens: int | None
    usage_source: UsageSource
    cost_nanousd: int | None
    price_source: str | None
    started_at: str
    duration_ms: int | None
    time_to_first_token_ms: int | None
    rehearsed: bool
    economized: bool

    @property
    def usd(self) -> Decimal | None:
        """US dollars, exactly; None: unknown."""
        return None if self.cost_nanousd is None else usd(self.cost_nanousd)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Content:
    """What one call asked and was answered, as read back."""

    call_id: str
    prompt: Any
    """A list of chat messages (`role`, `content`), or of texts where the model completes text."""
    answer: Any
    """A chat message, or a text; None: there was no answer."""


def _names(shape: type[Any], *, without: tuple[str, ...] = ()) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(shape) if f.name not in without)


def _insert(table: str, columns: Sequence[str]) -> str:
    named = ", ".join(f'"{column}"' for column in columns)  # user is a word of SQL's own
    places = ", ".join(f":{column}" for column in columns)
    return f"INSERT INTO {table} ({named}) VALUES ({places})"  # noqa: S608 - our names


def _update(table: str, columns: Sequence[str], where: str) -> str:
    changes = ", ".join(f"{column} = :{column}" for column in columns)
    return f"UPDATE {table} SET {changes} WHERE {where}"  # noqa: S608 - our names


def fields(shape: object, names: Sequence[str]) -> dict[str, Any]:
    """A row's values. dataclasses.asdict copies deeply and takes longer than the insert."""
    return {name: getattr(shape, name) for name in names}


RUN_START = _names(RunStart)
CALL_START = _names(CallStart)
END_COLUMNS = _names(CallEnd, without=("usage", "error"))
USAGE = _names(Usage)
NO_USAGE = dict.fromkeys(USAGE)
OWNER = ("host", "pid", "process_start")
JSON = ("options", "graph")
"""Columns of a run's start that hold JSON."""

MOST_ROWS = 2**62
"""More than any ledger has."""

START_RUN = _insert("runs", (*RUN_START, "status", *OWNER, "started_at"))
ONE_RUN = "SELECT * FROM runs WHERE run_id = :run_id"
RESUME_RUN = (
    "UPDATE runs SET status = 'running', stop_reason = NULL, error = NULL, error_type = NULL,"
    " ended_at = NULL, host = :host, pid = :pid, process_start = :process_start"
    " WHERE run_id = :run_id"
)
FINISH_RUN = _update(
    "runs",
    ("status", "stop_reason", "error", "error_type", "output", "results", "ended_at"),
    "run_id = :run_id AND status = 'running'",
)
# A call that two handlers report is one call: the first row stands.
START_CALL = _insert("calls", (*CALL_START, "status")) + " ON CONFLICT DO NOTHING"
UNMAKE_CALL = "DELETE FROM calls WHERE call_id = :call_id AND status = 'started'"
FINISH_CALL = _update(
    "calls", (*END_COLUMNS, "error", *USAGE), "call_id = :call_id AND status = 'started'"
)
RUNS_FROM = "SELECT * FROM runs WHERE run_id >= :first AND run_id <= :last ORDER BY run_id"
NEWEST_RUNS = "SELECT * FROM runs ORDER BY started_at DESC, run_id DESC LIMIT :most"
# Ids of calls grow with time, so they tell the order within a microsecond.
CALLS_OF_RUN = "SELECT * FROM calls WHERE run_id = :run_id ORDER BY started_at, call_id"
RECORD_PROMPT = _insert("contents", ("call_id", "prompt")) + " ON CONFLICT DO NOTHING"
RECORD_ANSWER = "UPDATE contents SET answer = :answer WHERE call_id = :call_id"
CONTENTS_OF_RUN = (
    "SELECT contents.* FROM contents JOIN calls USING (call_id) WHERE run_id = :run_id"
    " ORDER BY started_at, call_id"
)


_JSON = ("results", "options", "graph")
_FLAGS = ("shortened", "rehearsed", "economized")


def run_in(row: Row) -> Run:
    """A run, out of a whole row of its table; one whose process is gone has crashed."""
    fields: dict[str, Any] = dict(row)
    owner = Process(fields.pop("host"), fields.pop("pid"), fields.pop("process_start"))
    if fields["status"] == "running" and is_gone(owner):
        fields["status"] = "crashed"
    fields["rehearsed"] = bool(fields["rehearsed"])
    for name in _JSON:
        fields[name] = None if fields[name] is None else json.loads(fields[name])
    return Run(**fields)


def call_in(row: Row) -> Call:
    """A call, out of a whole row of its table."""
    fields: dict[str, Any] = dict(row)
    for flag in _FLAGS:
        fields[flag] = bool(fields[flag])
    return Call(**fields)


def begin(tx: Statements, start: CallStart) -> None:
    """Write a call's row, `started`: from here on money may be spent."""
    values = {**fields(start, CALL_START), "status": "started"}
    tx.later(START_CALL, values)


def unmake(tx: Statements, call_id: str) -> None:
    """Take away the row of a call that was never made."""
    tx.later(UNMAKE_CALL, {"call_id": call_id})


def end(tx: Statements, call_id: str, end: CallEnd) -> bool:
    """Complete a call's row, its error as one line without keys."""
    usage = fields(end.usage, USAGE) if end.usage else NO_USAGE
    values = {
        **fields(end, END_COLUMNS),
        **usage,
        "error": None if end.error is None else stored_line(end.error),
        "call_id": call_id,
    }
    return tx.write(FINISH_CALL, values) == 1


def redacted(value: Any) -> Any:
    """The same values with `[key]` for keys: in the texts, because in JSON quotes are escaped."""
    if isinstance(value, str):
        return without_keys(value)
    if isinstance(value, list):
        return [redacted(one) for one in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {name: redacted(one) for name, one in cast("dict[Any, Any]", value).items()}
    return value
