"""A run and its graph as the JSON values of a page.

Money stays an exact decimal string and unknown values stay null. A call is a list in the order of
`FIELDS`, because a run may have ten thousand of them.

The graph is drawn in every state that a reader can fold it into, so the page needs no layout of its
own. Where its groups can be folded in too many ways, each level is folded as a whole.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from aideon_agents import settings as environment
from aideon_agents.drawing.annotations import Annotations
from aideon_agents.drawing.folding import outermost, with_closed
from aideon_agents.drawing.svg import unstyled
from aideon_agents.graphs.topology import Topology, declared_paths, in_declared_order
from aideon_agents.ledger.costs import Totals, Trace, cost_of, counted
from aideon_agents.ledger.documents import cost_document, node_document
from aideon_agents.ledger.money import usd_text
from aideon_agents.ledger.rows import Call, Content, Run
from aideon_agents.ledger.store import Ledger
from aideon_agents.ledger.tool_calls import ToolCall, counts, tool_calls
from aideon_agents.media.artifacts import Artifacts, artifact_in, made_by

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping, Sequence

Annotate: TypeAlias = Callable[[Topology], Annotations | None]
"""From a graph to what is written on it; the page asks again for each level of folding."""


FIELDS = (
    "call_id",
    "node_path",
    "role",
    "round",
    "candidate",
    "attempt",
    "provider",
    "requested_model",
    "response_model",
    "status",
    "error_type",
    "error",
    "finish_reason",
    "truncated",
    "shortened",
    "economized",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_creation_tokens",
    "reasoning_tokens",
    "usage_source",
    "price_source",
    "duration_ms",
    "time_to_first_token_ms",
    "usd",
    "start_ms",
)
"""Of a call. `start_ms` counts from the start of the run."""

_OF_THE_ROW = FIELDS[:-2]

_OF_THE_RUN = (
    "run_id",
    "workflow",
    "target",
    "status",
    "stop_reason",
    "error",
    "error_type",
    "user",
    "tier",
    "thread",
    "rehearsed",
    "simulated",
    "started_at",
    "ended_at",
    "output",
)


_OF_A_TOOL = (
    "tool_call_id",
    "node_path",
    "round",
    "name",
    "status",
    "error",
    "duration_ms",
    "arguments",
    "result",
)

Span: TypeAlias = tuple[str, str, int, int, int | None, str | None]
"""One time that a node ran, as it was watched: the ledger knows of calls alone. Its node path, role
and round, its start and end in milliseconds from the start of the run, and its error. The end is
None while it runs, the error where there is none."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known about a run at one time."""

    run: Run
    calls: Sequence[Call]
    """All of them, those included that are no part of its cost."""
    contents: Sequence[Content] = ()
    """Of the calls that were recorded."""
    pictures: Mapping[str, Sequence[str]] = field(default_factory=dict[str, "list[str]"])
    """As data URIs, by the ids of the recorded calls that made them."""
    tools: Sequence[ToolCall] = ()
    spans: Sequence[Span] = field(default=())
    """Empty where the run was not watched."""

    @property
    def tools_called(self) -> dict[str, Counter[str]]:
        """How often each node called each of its tools, by node path and name."""
        return counts(self.tools)

    @property
    def trace(self) -> Trace:
        """What the figures of a graph are made of."""
        return self.run, counted(self.run, self.calls)


def recorded(ledger: Ledger, run: Run) -> Record:
    """Everything that the ledger knows of a run."""
    calls, contents = ledger.calls(run.run_id), ledger.contents(run.run_id)
    tools = tool_calls(ledger, run.run_id)
    pictures = _pictures(ledger, run.run_id) if contents else {}
    return Record(run=run, calls=calls, contents=contents, tools=tools, pictures=pictures)


_LARGEST_PICTURE = 2**19
"""Bytes of a picture that a page shows: the page holds it."""


def _pictures(ledger: Ledger, run_id: str) -> dict[str, list[str]]:
    """The pictures that the calls of a run have made, as far as they are there and not too large."""
    rows = [row for row in made_by(ledger, run_id) if row["mime"].startswith("image/")]
    files = Artifacts.of(environment.load(), ledger) if rows else None
    found: dict[str, list[str]] = {}
    for row in rows if files else ():
        path = cast("Artifacts", files).path(artifact_in(row))
        if row["bytes"] <= _LARGEST_PICTURE and path.is_file():
            data = base64.b64encode(path.read_bytes()).decode()
            found.setdefault(row["call_id"], []).append(f"data:{row['mime']};base64,{data}")
    return found


def summary(record: Record) -> dict[str, Any]:
    """The values of the run as a whole, and of its nodes."""
    run, calls = record.trace
    cost, results, ended = cost_of(calls), run.results or {}, run.ended_at
    by_node = in_declared_order(cost.by_node, run.graph)
    return {
        "run": {name: getattr(run, name) for name in _OF_THE_RUN}
        | {"duration_ms": ended and since(run.started_at, ended)},
        "totals": {**cost_document(cost), **certainty(cost)},
        "nodes": [{**node_document(one), **certainty(one)} for one in by_node.values()],
        "results": {path: one.get("content") for path, one in results.items()},
        "order": declared_paths(run.graph),
        "spans": list(record.spans),
        "tools": [
            {name: getattr(one, name) for name in _OF_A_TOOL}
            | {"start_ms": since(run.started_at, one.started_at)}
            for one in record.tools
        ],
    }


def certainty(totals: Totals) -> dict[str, bool]:
    """Which sums are lower bounds: of money, and of tokens."""
    return {"complete": totals.complete, "counted": totals.counted}


def without_run(name: str) -> dict[str, Any]:
    """The same values for a graph without a run."""
    unknown = dict.fromkeys((*_OF_THE_RUN, "duration_ms"))
    run = unknown | {"workflow": name, "rehearsed": False, "simulated": False}
    return {"run": run, "totals": {}, "nodes": [], "results": {}, "spans": [], "tools": []}


def rows(record: Record) -> list[list[Any]]:
    """The calls of a run."""
    began = datetime.fromisoformat(record.run.started_at)
    return [
        [
            *(getattr(call, name) for name in _OF_THE_ROW),
            None if call.usd is None else usd_text(call.usd),
            _milliseconds(began, datetime.fromisoformat(call.started_at)),
        ]
        for call in record.calls
    ]


def content_line(content: Content, pictures: Sequence[str] = ()) -> str:
    """The prompt and the answer of one call, as a line of JSON."""
    shown = [pictures] if pictures else []
    return json.dumps([content.call_id, content.prompt, content.answer, *shown], ensure_ascii=False)


def since(began: str, moment: str) -> int:
    """Milliseconds from one of the ledger's times to another."""
    return _milliseconds(datetime.fromisoformat(began), datetime.fromisoformat(moment))


def _milliseconds(began: datetime, moment: datetime) -> int:
    return round((moment - began).total_seconds() * 1000)


MOST = 24
"""Ways to fold a graph that are drawn one by one."""
_NODES = 1_500
"""Nodes that are drawn for them, all pictures together."""


def views(topology: Topology, *, by_level: bool = False) -> dict[frozenset[str], Topology]:
    """The states that a reader can choose from, by the ids of the folded groups.

    Groups inside a folded one are not named.
    """
    inside = _inside(topology)
    most = 1 if by_level else min(MOST, _NODES // len(topology.nodes))
    states = _ways(inside, None, most)
    if states is None:
        states, depth = [frozenset[str]()], 0
        while level := outermost(topology, depth):
            states.insert(1, level)  # the outermost groups are last
            depth += 1
    return {state: with_closed(topology, state) for state in states}


def drawn_views(
    views: Mapping[frozenset[str], Topology], annotate: Annotate
) -> list[dict[str, Any]]:
    """States of a graph and their pictures, as JSON values."""
    return [
        {"closed": sorted(closed), "svg": unstyled(drawn, annotate(drawn))}
        for closed, drawn in views.items()
    ]


def _inside(topology: Topology) -> dict[str | None, list[str]]:
    found: dict[str | None, list[str]] = {}
    for group in topology.groups:
        found.setdefault(group.parent, []).append(group.id)
    return found


def _ways(
    inside: Mapping[str | None, list[str]], around: str | None, most: int
) -> list[frozenset[str]] | None:
    """Every way to fold what is inside a group; None: there are too many."""
    ways = [frozenset[str]()]
    for group in inside.get(around, ()):
        within = _ways(inside, group, most)
        if within is None or len(ways) * (len(within) + 1) > most:
            return None
        ways = [one | other for other in (*within, frozenset([group])) for one in ways]
    return ways
