"""Calls added up: what a run, an item of a batch or a whole batch has cost, and each node in it.

Every cost is made of the same sums: of rows that the database grouped (`selection.sums`), or of
calls that have been read anyway. Sums hold what is known. `complete` is False when the cost of any
call is unknown, `counted` when its tokens are, and the sum is then a lower bound. Rehearsed calls
count in rehearsed runs only.

`traces` reads the runs and calls for a picture of many runs: without graphs and options, which
would be the largest part of each row, and a few hundred runs at a time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from aideon_agents.ledger.database import Statements
from aideon_agents.ledger.money import OWN_PRICE, usd
from aideon_agents.ledger.rows import CALL_COLUMNS, SIMULATED_RUN, Call, Run, call_in, run_in
from aideon_agents.ledger.selection import sums
from aideon_agents.ledger.store import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from decimal import Decimal


FAILED = ("error", "broken")
"""Statuses of calls that raised or whose answer broke off."""

ANSWERED = ("ok", "cached")
"""Statuses of calls that were answered, by a model or from the cache."""

NOTHING = usd(0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Totals:
    """What some calls add up to."""

    calls: int = 0
    """Every attempt at a model, failed ones included."""
    failed_calls: int = 0
    """Of these, the ones that raised or whose answer broke off."""
    input_tokens: int | None = 0
    """The sum of what is known; None: nothing is."""
    output_tokens: int | None = 0
    """As above."""
    usd: Decimal = NOTHING
    """US dollars, the sum of what is known."""
    complete: bool = True
    """Whether the cost of every call is known; if not, `usd` is a lower bound."""
    counted: bool = True
    """Whether the tokens of every call are known; if not, their sums are lower bounds."""

    def __add__(self, other: Totals) -> Totals:
        counted = self.counted and other.counted
        return Totals(
            calls=self.calls + other.calls,
            failed_calls=self.failed_calls + other.failed_calls,
            input_tokens=_known((self.input_tokens or 0) + (other.input_tokens or 0), counted),
            output_tokens=_known((self.output_tokens or 0) + (other.output_tokens or 0), counted),
            usd=self.usd + other.usd,
            complete=self.complete and other.complete,
            counted=counted,
        )


def _known(tokens: int, counted: bool) -> int | None:  # noqa: FBT001 - private
    """A sum of tokens; None: nothing is known of any call."""
    return tokens if tokens or counted else None


def tokens_text(tokens: int | None, *, counted: bool) -> str:
    """A sum of tokens for people: `1,234`, `>= 1,234` for a lower bound, `?` if nothing is known."""
    if tokens is None:
        return "?"
    return f"{tokens:,}" if counted else f">= {tokens:,}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeCost(Totals):
    """What one node's calls add up to."""

    node_path: str
    role: str = ""
    """Empty when no agent of ours called the model, and in the cost of an item or a batch."""
    models: tuple[str, ...] = ()
    """`provider:model` of the models that answered, or were asked when none did; first use first.
    Empty in the cost of an item or a batch, which is added up often and by node alone."""
    duration_ms: int = 0
    """The calls' durations added up, also where they overlapped."""
    truncated: bool = False
    """An answer met `max_tokens` and was not asked for again. In the cost of a batch always False,
    as the next two."""
    fallback: bool = False
    """An answer came from another candidate than the first of its chain."""
    cached: bool = False
    """An answer came from the answer cache."""


Costs: TypeAlias = "Iterable[NodeCost]"
"""What some nodes cost, once or several times each."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost(Totals):
    """What the calls of a run, an item or a batch add up to."""

    by_node: dict[str, NodeCost]
    """By node path, of a run in order of first start; only nodes that called a model."""
    models: tuple[str, ...] = ()
    """`provider:model` of the models that answered, in order of first answer. Empty in the cost of
    a batch."""


def run_cost(ledger: Ledger, run_id: str) -> Cost:
    """What a run has cost so far; the run may be named as `Ledger.find_run` takes it."""
    return cost(ledger.database, run_id=ledger.find_run(run_id).run_id)


def cost(
    tx: Statements,
    *,
    run_id: str | None = None,
    batch_id: str | None = None,
    item_ids: Sequence[str] | None = None,
    with_models: bool = False,
) -> Cost:
    """What a run, items of a batch in all of their runs, or all runs of a batch have cost so far.

    `with_models` adds the roles and models of the nodes of a batch, which takes longer.
    """
    scope = {"calls.run_id": run_id, "runs.batch_id": batch_id}
    known = {column: value for column, value in scope.items() if value is not None}
    names = {column: column.partition(".")[2] for column in known}
    where = [f"{column} = :{name}" for column, name in names.items()]
    values = {names[column]: value for column, value in known.items()}
    if item_ids is not None:
        items = {f"item{nth}": item_id for nth, item_id in enumerate(item_ids)}
        where.append(f"runs.item_id IN ({', '.join(f':{name}' for name in items) or 'NULL'})")
        values |= items
    counted = " AND ".join([*where, "(calls.rehearsed = 0 OR runs.rehearsed = 1)"])
    if run_id is None and item_ids is None and not with_models:
        return _cost(sums(tx, counted, values, by={"node_path": _NODE["node_path"]}))
    return _cost(sums(tx, counted, values, by=_NODE, also=_ANSWERS, in_order=True))


def cost_of(calls: Iterable[Call]) -> Cost:
    """The same from calls that have been read."""
    read = sorted(calls, key=_moment)
    truncated = cut_off(read)
    rows = [
        _row(call)
        | {
            "truncated_calls": int(call.call_id in truncated),
            "fallback_calls": int(is_fallback(call)),
            "cached_calls": int(call.status == "cached"),
            "first_answer": _moment(call) if call.status in ANSWERED else "",
        }
        for call in read
    ]
    return _cost(rows)


def cut_off(calls: Iterable[Call]) -> set[str]:
    """The ids of calls, given in order, whose answers met `max_tokens` and were not asked for again."""
    newest = {_question(call): call for call in calls if call.status in ANSWERED}
    return {call.call_id for call in newest.values() if call.truncated}


def answers_cut_off(tx: Statements, batch_id: str) -> int:
    """How many answers of a batch met `max_tokens` and were not asked for again."""
    (row,) = tx.select(_CUT_OFF_IN_BATCH, {"batch_id": batch_id})
    return int(row["calls"])


def is_fallback(call: Call) -> bool:
    """Whether a call was answered by another candidate than the first, and not to save money."""
    return call.candidate > 0 and call.status in ANSWERED and not call.economized


def _moment(call: Call) -> str:
    """Orders calls by their start, also within a millisecond."""
    return call.started_at + call.call_id


def _question(call: Call) -> tuple[object, ...]:
    """What a call asks: an agent's later answer in a round replaces its earlier one."""
    return (call.run_id, call.node_path, call.round, call.role or call.call_id)


def totals_of(calls: Iterable[Call]) -> Totals:
    """What calls that have been read add up to."""
    return totals(list(map(_row, calls)))


def counted(run: Run, calls: Iterable[Call]) -> list[Call]:
    """Those of a run's calls that are part of its cost."""
    return [call for call in calls if run.rehearsed or not call.rehearsed]


def model_of(call: Call) -> str:
    """`provider:model` of the model that answered, or was asked when none did."""
    return f"{call.provider}:{call.response_model or call.requested_model}"


def totals(rows: Sequence[Mapping[str, Any]]) -> Totals:
    """What rows of `selection.sums` add up to."""
    calls, failed, input_tokens, output_tokens, nanousd, known, counted = (
        sum([row[name] for row in rows]) for name in _SUMMED
    )
    return Totals(
        calls=calls,
        failed_calls=failed,
        input_tokens=_known(input_tokens, counted == calls),
        output_tokens=_known(output_tokens, counted == calls),
        usd=usd(nanousd),
        complete=known == calls,
        counted=counted == calls,
    )


_SUMMED = (
    "calls",
    "failed_calls",
    "input_tokens",
    "output_tokens",
    "nanousd",
    "known_calls",
    "counted_calls",
)


def _cost(rows: Sequence[Mapping[str, Any]]) -> Cost:
    of_node: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        of_node.setdefault(row["node_path"], []).append(row)
    nodes = {
        path: NodeCost(
            node_path=path,
            role=next((row["role"] for row in own if row.get("role")), ""),
            models=tuple(dict.fromkeys([row["model"] for row in own if "model" in row])),
            duration_ms=sum([row["duration_ms"] for row in own]),
            truncated=any(row.get("truncated_calls") for row in own),
            fallback=any(row.get("fallback_calls") for row in own),
            cached=any(row.get("cached_calls") for row in own),
            **vars(totals(own)),
        )
        for path, own in of_node.items()
    }
    answered = sorted(
        (row["first_answer"], row["model"]) for row in rows if row.get("first_answer")
    )
    models = tuple(dict.fromkeys(model for _, model in answered))
    return Cost(by_node=nodes, models=models, **vars(totals(rows)))


def _row(call: Call) -> dict[str, Any]:
    """One call as a row of `selection.sums`."""
    # Without usage it used no tokens if it was free, but at the user's own server it may have.
    used_nothing = call.cost_nanousd == 0 and call.price_source != OWN_PRICE
    used_nothing = used_nothing or call.unit not in {None, "token"}
    is_kept = call.status == "cached"  # its tokens were used by an earlier call
    return {
        "node_path": call.node_path,
        "role": call.role,
        "model": model_of(call),
        "calls": 1,
        "failed_calls": int(call.status in FAILED),
        "input_tokens": 0 if is_kept else call.input_tokens or 0,
        "output_tokens": 0 if is_kept else call.output_tokens or 0,
        "nanousd": call.cost_nanousd or 0,
        "known_calls": int(call.cost_nanousd is not None),
        "counted_calls": int(call.input_tokens is not None or used_nothing),
        "duration_ms": call.duration_ms or 0,
    }


_NODE = {
    "node_path": "calls.node_path",
    "role": "calls.role",
    "model": (
        "calls.provider || ':' || COALESCE(NULLIF(calls.response_model, ''), calls.requested_model)"
    ),
}
"""SQL: what a node's sums are grouped by."""

_IS_ANSWERED = "calls.status IN ('ok', 'cached')"

CUT_OFF = f"""
    calls.truncated = 1 AND {_IS_ANSWERED} AND (calls.role = '' OR NOT EXISTS (
        SELECT 1 FROM calls AS later WHERE later.run_id = calls.run_id
            AND later.started_at || later.call_id > calls.started_at || calls.call_id
            AND later.node_path = calls.node_path AND later.round = calls.round
            AND later.role = calls.role AND later.status IN ('ok', 'cached')
    ))
"""  # noqa: S608 - our words
"""SQL: an answer that met `max_tokens` and was not asked for again."""

_CUT_OFF_IN_BATCH = f"""
    SELECT COUNT(*) AS calls FROM calls JOIN runs ON runs.run_id = calls.run_id
    WHERE runs.batch_id = :batch_id AND {CUT_OFF}
"""  # noqa: S608 - our words

_ANSWERS = {
    "truncated_calls": f"COUNT(*) FILTER (WHERE {CUT_OFF})",
    "fallback_calls": (
        f"COUNT(*) FILTER (WHERE {_IS_ANSWERED} AND calls.candidate > 0 AND calls.economized = 0)"
    ),
    "cached_calls": "COUNT(*) FILTER (WHERE calls.status = 'cached')",
    "first_answer": f"MIN(calls.started_at || calls.call_id) FILTER (WHERE {_IS_ANSWERED})",
}
"""SQL: what is known about the answers of a node."""


Trace: TypeAlias = tuple[Run, Sequence[Call]]
"""A run, without its options and its graph, and the calls that are part of its cost, in the order
in which they started."""

_AT_ONCE = 500
"""Runs in one statement: fewer than the number of parameters that any database takes."""


def traces(ledger: Ledger, run_ids: Sequence[str]) -> Iterator[Trace]:
    """Read runs in the order of their ids; an id that does not exist is left out."""
    for first in range(0, len(run_ids), _AT_ONCE):
        some = run_ids[first : first + _AT_ONCE]
        values = {f"r{index}": run_id for index, run_id in enumerate(some)}
        listed = ", ".join(f":{name}" for name in values)
        runs = {row["run_id"]: run_in(row) for row in ledger.select(_RUNS.format(listed), values)}
        calls: dict[str, list[Call]] = {run_id: [] for run_id in some}
        for row in ledger.select(_CALLS.format(listed), values):
            calls[row["run_id"]].append(call_in(row))
        yield from ((runs[one], counted(runs[one], calls[one])) for one in some if one in runs)


def runs_of_batch(ledger: Ledger, batch_id: str) -> list[str]:
    """The runs of a batch, lost ones included, in the order in which they started."""
    return [row["run_id"] for row in ledger.select(_OF_BATCH, {"batch_id": batch_id})]


_RUNS = f"""
    SELECT run_id, workflow, target, status, stop_reason, error, error_type, failed_node, "user",
        tier, thread, rehearsed, started_at, ended_at, output, results, NULL AS options, target_hash,
        NULL AS graph, batch_id, item_id, host, pid, process_start,
        {SIMULATED_RUN} AS simulated
    FROM runs WHERE run_id IN ({{}})
"""  # noqa: S608 - our words
_CALLS = f"SELECT {CALL_COLUMNS} FROM calls WHERE run_id IN ({{}}) ORDER BY started_at, call_id"  # noqa: S608 - as above
_OF_BATCH = "SELECT run_id FROM runs WHERE batch_id = :batch_id ORDER BY started_at, run_id"
