"""What runs spent on each node and group of a graph, and which edges they took.

Worked out from the ledger's calls alone, so a run that is under way, has crashed or was started by
the user's own code is shown like one that is done. Of several runs everything is a sum; what one
run takes, in money and in time, is the median.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from langgraph.graph import END, START

from aideon_agents.drawing.annotations import EdgeKey
from aideon_agents.drawing.folding import Locations
from aideon_agents.drawing.taken_edges import Seen, TakenEdges, Verdicts
from aideon_agents.graphs.topology import Topology
from aideon_agents.ledger.costs import (
    ANSWERED,
    FAILED,
    Totals,
    Trace,
    cut_off,
    is_fallback,
    model_of,
    totals_of,
)
from aideon_agents.ledger.money import usd
from aideon_agents.ledger.rows import Call, Run, RunStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from decimal import Decimal


BadgeWord = Literal[
    "failed",
    "over_budget",
    "waiting",
    "running",
    "cut_off",
    "truncated",
    "fallback",
    "retry",
    "cached",
    "not_run",
]
"""`cut_off`: a call's end is unknown, or it was cancelled. `truncated`: an answer met `max_tokens`.
`not_run`: as far as is known,
in none of the runs; the others: in one of them at least."""


@dataclass
class Tally:
    """What the calls of a node, or of several, add up to over the runs that are read."""

    totals: Totals = field(default_factory=Totals)
    is_priced: bool = False
    """Whether the cost of any call is known."""
    rounds: int = 0
    requested: dict[str, None] = field(default_factory=dict[str, None])
    """Every model, first use first."""
    models: dict[str, None] = field(default_factory=dict[str, None])
    runs: int = 0
    """Runs that called a model here."""
    priced: list[Decimal] = field(default_factory=list["Decimal"])
    """What each of the runs cost whose cost is known completely, in US dollars."""
    busy_ms: list[int] = field(default_factory=list[int])
    """How long calls of each of these runs were under way, where that is known."""
    badges: Counter[BadgeWord] = field(default_factory=Counter["BadgeWord"])
    """In how many runs."""

    def add(self, calls: Sequence[Call]) -> None:
        """Add one run's calls; there is at least one."""
        run = totals_of(calls)
        self.totals += run
        self.is_priced |= any(call.cost_nanousd is not None for call in calls)
        self.runs += 1
        if run.complete:
            self.priced.append(run.usd)
        self.rounds = max(self.rounds, *(call.round for call in calls))
        self.requested |= dict.fromkeys(map(model_of, calls))
        answered = [call for call in calls if call.status in ANSWERED]
        self.models |= dict.fromkeys(map(model_of, answered or calls))
        if any(call.duration_ms is not None for call in calls):
            self.busy_ms.append(busy(calls))

    @property
    def median_usd(self) -> Decimal | None:
        """Of the runs whose cost is known, to the nano-dollar; None: there are none."""
        return statistics.median(self.priced).quantize(usd(1)) if self.priced else None

    @property
    def median_ms(self) -> int | None:
        """Of the runs; None: no call has ended."""
        return round(statistics.median(self.busy_ms)) if self.busy_ms else None


def busy(calls: Iterable[Call]) -> int:
    """How many milliseconds at least one of some calls was under way."""
    whole, until = 0, 0
    for call in calls:
        start = _milliseconds(call.started_at)
        end = start + (call.duration_ms or 0)
        whole += max(0, end - max(until, start))
        until = max(until, end)
    return whole


def badges(calls: Sequence[Call], status: RunStatus) -> set[BadgeWord]:
    """What is remarkable about a node's calls in one run."""
    found: set[BadgeWord] = set()
    for call in calls:
        if is_fallback(call):
            found.add("fallback")
        if call.attempt > 1:
            found.add("retry")
        if call.status == "cached":
            found.add("cached")
        if call.status == "started" and status == "running":
            found.add("running")
        elif call.status in {"started", "cancelled"}:
            found.add("cut_off")
    if cut_off(calls):
        found.add("truncated")
    if failed(calls):
        found.add("failed")
    return found


def failed(calls: Iterable[Call]) -> bool:
    """Whether some node path's last call failed."""
    return any(call.status in FAILED for call in _last(calls))


def _last(calls: Iterable[Call]) -> Iterable[Call]:
    """Each node path's last call: how it ended is how the node did."""
    return {call.node_path: call for call in calls}.values()


def _milliseconds(moment: str) -> int:
    """Milliseconds since 1970."""
    return round(datetime.fromisoformat(moment).timestamp() * 1000)


@dataclass(frozen=True, kw_only=True)
class NodeFigures:
    """What runs spent on a node, on a group, or in total."""

    node_path: str
    """Empty for all together."""
    usd: Decimal | None
    """US dollars, the sum of what is known; None: nothing is known, or nothing was called."""
    complete: bool
    """Whether the cost of every call is known; if not, `usd` is a lower bound."""
    share: float | None
    """Of what all nodes cost, 0 to 1; None: there is nothing to share, or this part is unknown."""
    calls: int
    """Every attempt at a model, failed ones included."""
    failed_calls: int
    input_tokens: int | None
    """The sum of what is known; None: nothing is."""
    output_tokens: int | None
    counted: bool
    """Whether the tokens of every call are known; if not, their sums are lower bounds."""
    rounds: int
    """The highest round in which it called a model; 0: it called none."""
    duration_ms: int | None
    """How long at least one of its calls was under way; of several runs the median of those that
    called a model here. None: no call has ended."""
    median_usd: Decimal | None
    """US dollars that one of these runs spent here, of those whose cost is all known; None: that
    of none is."""
    ran: int
    """How many runs called a model here."""
    models: tuple[str, ...]
    """`provider:model` of the models that answered, or were asked when none did; first use first."""
    gave_way: tuple[str, ...]
    """Models that were asked, did not answer, and for which another stepped in; likewise."""
    badges: Mapping[BadgeWord, int]
    """What is remarkable, and in how many of the runs."""


@dataclass(frozen=True, kw_only=True)
class RunFigures:
    """What runs spent on a graph, and which edges they took."""

    run_ids: tuple[str, ...]
    workflow: str
    """The name of what ran; empty where no run was found."""
    statuses: Mapping[RunStatus, int]
    """In how many runs."""
    stop_reason: str | None
    """Why the only run ended; None: there is nothing to say, or there are several."""
    rehearsed: bool
    """Whether any of the runs was: then nothing, or not all, was paid."""
    simulated: bool  # as above
    duration_ms: int | None
    """From a run's start to its end, pauses included, the median of those that have ended; None:
    none has."""
    totals: NodeFigures
    """Of all calls, those included whose node is not in the graph."""
    nodes: Mapping[str, NodeFigures]
    """By the id of a node or a group. A node without an entry left no trace."""
    taken: Mapping[EdgeKey, int]
    """The edges that are known to have been taken, and in how many runs."""
    unknown: frozenset[EdgeKey]
    """The edges that may have been taken. Those in neither were not."""


def figures(
    runs: Iterable[Trace],
    topology: Topology,
    *,
    waiting: Mapping[str, Collection[str]] | None = None,
    given: Collection[str] = (),
) -> RunFigures:
    """Work out what runs of a graph spent, and which edges they took."""
    reading = _Reading(topology, waiting or {}, frozenset(given))
    for run, calls in runs:
        reading.add(run, calls)
    return reading.done()


class _Reading:
    """What has been read so far."""

    def __init__(
        self, topology: Topology, waiting: Mapping[str, Collection[str]], given: frozenset[str]
    ) -> None:
        self._topology = topology
        self._paths = {one.id: one.path for one in (*topology.nodes, *topology.groups)}
        self._locations = Locations(topology)
        self._taken_edges = TakenEdges(topology)
        self._waiting = waiting
        self._given = given
        self._runs: list[Run] = []
        self._whole = Tally()
        self._tallies = defaultdict[str, Tally](Tally)
        self._idle = Counter[str]()
        self._taken = Counter["EdgeKey"]()
        self._not_taken = Counter["EdgeKey"]()

    def add(self, run: Run, calls: Sequence[Call]) -> None:
        """Add one run with its calls."""
        self._runs.append(run)
        by_place: dict[str, list[Call]] = {}
        order: list[str] = []
        for call in calls:
            around = self._locations.of_call(call.node_path, call.role)
            # A call inside a foreign agent belongs to none of the agent's nodes.
            order += [place for place in around[:1] if place in self._taken_edges.into]
            for place in around:
                by_place.setdefault(place, []).append(call)
        if calls:
            self._whole.add(calls)
        for place, own in by_place.items():
            tally = self._tallies[place]
            tally.add(own)
            tally.badges.update(badges(own, run.status))
        nodes = {place: by_place[place] for place in order}
        verdicts, idle = self._found(run, order, nodes)
        self._taken.update(edge for edge, taken in verdicts.items() if taken)
        self._not_taken.update(edge for edge, taken in verdicts.items() if not taken)
        self._idle.update(idle)
        if run.status == "waiting":
            self._mark("waiting", self._asking(run))
        for place in self._failed(run):
            if not failed(by_place.get(place, ())):  # which is counted already
                self._tallies[place].badges["failed"] += 1

    def _found(
        self, run: Run, order: Sequence[str], nodes: Mapping[str, Sequence[Call]]
    ) -> tuple[Verdicts, frozenset[str]]:
        """The edges that a run took; one that a budget stopped reached the nodes that were refused."""
        seen = self._seen(run, order, nodes)
        found = self._taken_edges.of(seen)
        if run.stop_reason != "budget":
            return found
        _, idle = found
        refused = self._refused(idle, seen, nodes)
        self._mark("over_budget", refused)
        return self._taken_edges.of(replace(seen, also=seen.also | refused))

    def _seen(self, run: Run, order: Sequence[str], nodes: Mapping[str, Sequence[Call]]) -> Seen:
        paths = {*self._given, *(run.results or ())}
        exact = {path: self._locations.of(path)[:1] for path in paths}
        also = {one for path, place in exact.items() for one in place if self._paths[one] == path}
        return Seen(
            order=tuple(order),
            also=frozenset(also | self._asking(run)),
            unanswered=frozenset(
                one
                for one, calls in nodes.items()
                if any(call.status not in ANSWERED for call in _last(calls))
            ),
            completed=run.status == "completed",
        )

    def _asking(self, run: Run) -> set[str]:
        paths = self._waiting.get(run.run_id, ())
        return {around[0] for path in paths if (around := self._locations.of(path))}

    def _refused(
        self, idle: frozenset[str], seen: Seen, nodes: Mapping[str, Sequence[Call]]
    ) -> frozenset[str]:
        """The nodes that were reached and might not ask, or not once more."""
        reached = {
            target
            for (source, target), certain in self._taken_edges.certain.items()
            if certain and target in idle and target in self._taken_edges.agents
            if (source == START or source in nodes) and source not in seen.unanswered
        }
        return seen.unanswered | reached

    def _failed(self, run: Run) -> Sequence[str]:
        """The node that failed the run, and the groups around it."""
        if not run.failed_node:
            return ()
        # A name may contain spaces, and so may the name of the file behind it, but only that has
        # a colon.
        words = run.failed_node.split(" ")
        parts = [" ".join(words[:end]) for end in range(len(words), 0, -1)]
        known = set(self._paths.values())
        path = next((one for one in parts if one in known), parts[":" in run.failed_node])
        return self._locations.of(path)

    def _mark(self, word: BadgeWord, places: Iterable[str]) -> None:
        for place in {around for one in places for around in self._topology.around(one)}:
            self._tallies[place].badges[word] += 1

    def done(self) -> RunFigures:
        """The figures of all runs."""
        runs = self._runs
        ended = [
            _milliseconds(run.ended_at) - _milliseconds(run.started_at)
            for run in runs
            if run.ended_at is not None
        ]
        taken = self._taken if runs else Counter["EdgeKey"]()
        for place in self._never_ran():
            if not self._tallies[place].badges:
                self._tallies[place].badges["not_run"] = len(runs)
        total = self._whole.totals.usd
        return RunFigures(
            run_ids=tuple(run.run_id for run in runs),
            workflow=runs[0].workflow if runs else "",
            statuses=Counter(run.status for run in runs),
            stop_reason=runs[0].stop_reason if len(runs) == 1 else None,
            rehearsed=any(run.rehearsed for run in runs),
            simulated=any(run.simulated for run in runs),
            duration_ms=round(statistics.median(ended)) if ended else None,
            totals=_figures("", self._whole, total),
            nodes={
                one: _figures(path, self._tallies[one], total)
                for one, path in self._paths.items()
                if one in self._tallies
            },
            taken=taken,
            unknown=frozenset(
                edge
                for edge in self._taken_edges.certain
                if edge not in taken and self._not_taken[edge] < len(runs)
            ),
        )

    def _never_ran(self) -> Iterable[str]:
        """Nodes that did not run in any of the runs, and groups of such nodes alone."""
        nodes = [node.id for node in self._topology.nodes]
        idle = {one for one in nodes if self._idle[one] == len(self._runs) > 0} - {END}
        alive = {
            around for one in nodes if one not in idle for around in self._topology.around(one)
        }
        return {around for one in idle for around in self._topology.around(one)} - alive


def _figures(path: str, tally: Tally, total: Decimal) -> NodeFigures:
    spent = tally.totals
    return NodeFigures(
        node_path=path,
        usd=spent.usd if tally.is_priced else None,
        complete=spent.complete,
        share=float(spent.usd / total) if total and tally.is_priced else None,
        calls=spent.calls,
        failed_calls=spent.failed_calls,
        input_tokens=spent.input_tokens,
        output_tokens=spent.output_tokens,
        counted=spent.counted,
        rounds=tally.rounds,
        duration_ms=tally.median_ms,
        median_usd=tally.median_usd,
        ran=tally.runs,
        models=tuple(tally.models),
        gave_way=tuple(one for one in tally.requested if one not in tally.models),
        badges=tally.badges,
    )
