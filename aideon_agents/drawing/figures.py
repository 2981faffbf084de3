"""What runs spent on each node and group of a graph, and which way they took.

Read from the ledger's calls alone, so a run that is under way, has crashed or was started by
somebody's own code is told of as well as one that is done. Of several runs everything is a sum;
what one run takes, in money and in time, is the median.

Calls added up: what those of one node come to in one run, and over several.
"""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from langgraph.graph import END, START

from aideon_agents.drawing.annotations import EdgeKey
from aideon_agents.drawing.locations import Locations
from aideon_agents.drawing.taken_edges import Found, Seen, TakenEdges
from aideon_agents.graphs.topology import Topology
from aideon_agents.ledger.pricing import usd
from aideon_agents.ledger.rows import RunStatus
from aideon_agents.ledger.store import Ledger
from aideon_agents.ledger.traces import CallTrace, RunTrace, traces

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from decimal import Decimal


BadgeWord = Literal[
    "failed",
    "over_budget",
    "waiting",
    "running",
    "cut_off",
    "fallback",
    "retry",
    "cached",
    "not_run",
]
"""`cut_off`: nothing was heard of a call's end, or it was cancelled. `not_run`: as far as is known,
in none of the runs; the others: in one of them at least."""

_FAILED = ("error", "truncated")
_ANSWERED = ("ok", "cached")


@dataclass
class Tally:
    """What the calls of a node, or of several, come to."""

    calls: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    known: int = 0
    """Calls whose cost is known."""
    rounds: int = 0
    asked: dict[str, None] = field(default_factory=dict[str, None])
    """Every model, first use first."""
    models: dict[str, None] = field(default_factory=dict[str, None])
    runs: int = 0
    """Runs that called a model here."""
    nanousd: int = 0
    """What is known of their cost."""
    priced: list[int] = field(default_factory=list[int])
    """The cost, in nano-dollars, of each of these runs of which all of it is known."""
    busy_ms: list[int] = field(default_factory=list[int])
    """How long each of these runs was at it, where that is known."""
    badges: Counter[BadgeWord] = field(default_factory=Counter["BadgeWord"])
    """In how many runs."""

    def add(self, calls: Sequence[CallTrace]) -> None:
        """Add one run's calls; there is one at least."""
        known = [call.nanousd for call in calls if call.nanousd is not None]
        self.calls += len(calls)
        self.failed += sum(call.status in _FAILED for call in calls)
        self.input_tokens += sum(call.input_tokens or 0 for call in calls)
        self.output_tokens += sum(call.output_tokens or 0 for call in calls)
        self.known += len(known)
        self.runs += 1
        self.nanousd += sum(known)
        if len(known) == len(calls):
            self.priced.append(sum(known))
        self.rounds = max(self.rounds, *(call.round for call in calls))
        self.asked |= dict.fromkeys(call.model for call in calls)
        self.models |= dict.fromkeys(_answering(calls))
        if any(call.duration_ms is not None for call in calls):
            self.busy_ms.append(busy(calls))

    @property
    def median_nanousd(self) -> int | None:
        """Of the runs whose cost is known; None: that of none is."""
        return round(statistics.median(self.priced)) if self.priced else None

    @property
    def median_ms(self) -> int | None:
        """Of the runs; None: no call has ended."""
        return round(statistics.median(self.busy_ms)) if self.busy_ms else None


def busy(calls: Iterable[CallTrace]) -> int:
    """How long at least one of some calls was under way."""
    whole, until = 0, 0
    for call in calls:
        end = call.started_ms + (call.duration_ms or 0)
        whole += max(0, end - max(until, call.started_ms))
        until = max(until, end)
    return whole


def badges(calls: Sequence[CallTrace], status: RunStatus) -> set[BadgeWord]:
    """What is remarkable about a node's calls in one run."""
    found: set[BadgeWord] = set()
    for call in calls:
        # A cheaper model that was preferred to fit a budget stepped in for nobody.
        if call.candidate > 0 and not call.economized and call.status in _ANSWERED:
            found.add("fallback")
        if call.attempt > 1:
            found.add("retry")
        if call.status == "cached":
            found.add("cached")
        if call.status == "started" and status == "running":
            found.add("running")
        elif call.status in {"started", "cancelled"}:
            found.add("cut_off")
    if failed(calls):
        found.add("failed")
    return found


def failed(calls: Iterable[CallTrace]) -> bool:
    """Whether some node path's last call failed."""
    return any(call.status in _FAILED for call in _last(calls))


def _last(calls: Iterable[CallTrace]) -> Iterable[CallTrace]:
    """Each node path's last call: how it ended is how the node did."""
    return {call.node_path: call for call in calls}.values()


def is_answered(calls: Iterable[CallTrace]) -> bool:
    """Whether every node path's last call brought an answer."""
    return all(call.status in _ANSWERED for call in _last(calls))


def _answering(calls: Sequence[CallTrace]) -> Iterator[str]:
    """The models that answered; those that were asked where none did."""
    answered = [call.model for call in calls if call.status in _ANSWERED]
    return iter(answered or [call.model for call in calls])


@dataclass(frozen=True, kw_only=True)
class NodeFigures:
    """What runs spent on a node, on all that stands in a group, or altogether."""

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
    input_tokens: int
    output_tokens: int
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
    """What runs spent on a graph, and which way they took."""

    run_ids: tuple[str, ...]
    workflow: str
    """The name of what ran; empty where no run was found."""
    statuses: Mapping[RunStatus, int]
    """In how many runs."""
    stop_reason: str | None
    """Why the only run ended; None: there is nothing to say, or there are several."""
    rehearsed: bool
    """Whether any of the runs was: then nothing, or not all, was paid."""
    duration_ms: int | None
    """From a run's start to its end, the median of those that have ended; None: none has."""
    totals: NodeFigures
    """Of all calls, those included that stand nowhere in the graph."""
    nodes: Mapping[str, NodeFigures]
    """By the id of a node or a group. A node without an entry left no trace."""
    taken: Mapping[EdgeKey, int]
    """The edges that are known to have been taken, and in how many runs."""
    unknown: frozenset[EdgeKey]
    """The edges that may have been taken. Those in neither were not."""


def figures(
    ledger: Ledger,
    run_ids: Sequence[str],
    topology: Topology,
    *,
    waiting: Mapping[str, Collection[str]] | None = None,
    given: Collection[str] = (),
) -> RunFigures:
    """Read what runs of a graph spent, and which way they took."""
    reading = _Reading(topology, waiting or {}, frozenset(given))
    for trace in traces(ledger, run_ids):
        reading.add(trace)
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
        self._runs: list[RunTrace] = []
        self._whole = Tally()
        self._tallies: dict[str, Tally] = {}
        self._idle = Counter[str]()
        self._taken = Counter["EdgeKey"]()
        self._not_taken = Counter["EdgeKey"]()

    def add(self, run: RunTrace) -> None:
        """Add one run."""
        self._runs.append(run)
        by_place: dict[str, list[CallTrace]] = {}
        order: list[str] = []
        for call in run.calls:
            around = self._locations.of(call.node_path)
            # A call inside somebody else's agent belongs to none of the nodes in it.
            order += [place for place in around[:1] if place in self._taken_edges.into]
            for place in around:
                by_place.setdefault(place, []).append(call)
        if run.calls:
            self._whole.add(run.calls)
        for place, calls in by_place.items():
            tally = self._tally(place)
            tally.add(calls)
            tally.badges.update(badges(calls, run.status))
        nodes = {place: by_place[place] for place in order}
        found = self._found(run, order, nodes)
        self._taken.update(edge_key for edge_key, taken in found.verdicts.items() if taken)
        self._not_taken.update(edge_key for edge_key, taken in found.verdicts.items() if not taken)
        self._idle.update(found.idle)
        if run.status == "waiting":
            self._mark("waiting", self._asking(run))
        if run.status == "failed" and not any(map(failed, nodes.values())):
            self._mark("failed", self._broken(found, nodes))

    def _found(
        self, run: RunTrace, order: Sequence[str], nodes: Mapping[str, Sequence[CallTrace]]
    ) -> Found:
        """The way of a run; one that a budget stopped got as far as those that might not ask."""
        seen = self._seen(run, order, nodes)
        found = self._taken_edges.of(seen)
        if run.stop_reason != "budget":
            return found
        refused = self._refused(found, seen, nodes)
        self._mark("over_budget", refused)
        return self._taken_edges.of(replace(seen, also=seen.also | refused))

    def _seen(
        self, run: RunTrace, order: Sequence[str], nodes: Mapping[str, Sequence[CallTrace]]
    ) -> Seen:
        paths = {*self._given, *run.given}
        exact = {path: self._locations.of(path)[:1] for path in paths}
        also = {one for path, place in exact.items() for one in place if self._paths[one] == path}
        return Seen(
            order=tuple(order),
            also=frozenset(also | self._asking(run)),
            unanswered=frozenset(one for one in nodes if not is_answered(nodes[one])),
            completed=run.status == "completed",
        )

    def _asking(self, run: RunTrace) -> set[str]:
        paths = self._waiting.get(run.run_id, ())
        return {around[0] for path in paths if (around := self._locations.of(path))}

    def _refused(
        self, found: Found, seen: Seen, nodes: Mapping[str, Sequence[CallTrace]]
    ) -> frozenset[str]:
        """The nodes that were reached and might not ask, or not once more."""
        reached = {
            target
            for (source, target), certain in self._taken_edges.certain.items()
            if certain and target in found.idle and target in self._taken_edges.agents
            if (source == START or source in nodes) and source not in seen.unanswered
        }
        return seen.unanswered | reached

    def _broken(self, found: Found, nodes: Mapping[str, Sequence[CallTrace]]) -> set[str]:
        """The one node that the run did not get past, where its answers could not be used."""
        last = [
            one
            for one in nodes
            if not any(
                found.verdicts.get(edge_key) is not False for edge_key in self._taken_edges.out[one]
            )
        ]
        return set(last) if len(last) == 1 else set()

    def _mark(self, word: BadgeWord, places: Iterable[str]) -> None:
        for place in {around for one in places for around in self._locations.around(one)}:
            self._tally(place).badges[word] += 1

    def _tally(self, place: str) -> Tally:
        return self._tallies.setdefault(place, Tally())

    def done(self) -> RunFigures:
        """What it all comes to."""
        runs = self._runs
        ended = [run.duration_ms for run in runs if run.duration_ms is not None]
        taken = self._taken if runs else Counter["EdgeKey"]()
        for place in self._never_ran():
            if not self._tally(place).badges:
                self._tally(place).badges["not_run"] = len(runs)
        total = self._whole.nanousd
        return RunFigures(
            run_ids=tuple(run.run_id for run in runs),
            workflow=runs[0].workflow if runs else "",
            statuses=Counter(run.status for run in runs),
            stop_reason=runs[0].stop_reason if len(runs) == 1 else None,
            rehearsed=any(run.rehearsed for run in runs),
            duration_ms=round(statistics.median(ended)) if ended else None,
            totals=_figures("", self._whole, total),
            nodes={
                one: _figures(path, self._tallies[one], total)
                for one, path in self._paths.items()
                if one in self._tallies
            },
            taken=taken,
            unknown=frozenset(
                edge_key
                for edge_key in self._taken_edges.certain
                if edge_key not in taken and self._not_taken[edge_key] < len(runs)
            ),
        )

    def _never_ran(self) -> Iterable[str]:
        """Nodes that did not run in any of the runs, and groups of such nodes alone."""
        nodes = [node.id for node in self._topology.nodes]
        idle = {one for one in nodes if self._idle[one] == len(self._runs) > 0} - {END}
        alive = {
            around for one in nodes if one not in idle for around in self._locations.around(one)
        }
        return {around for one in idle for around in self._locations.around(one)} - alive


def _figures(path: str, tally: Tally, total: int) -> NodeFigures:
    spent, median = tally.nanousd, tally.median_nanousd
    return NodeFigures(
        node_path=path,
        usd=usd(spent) if tally.known else None,
        complete=tally.known == tally.calls,
        share=spent / total if total and tally.known else None,
        calls=tally.calls,
        failed_calls=tally.failed,
        input_tokens=tally.input_tokens,
        output_tokens=tally.output_tokens,
        rounds=tally.rounds,
        duration_ms=tally.median_ms,
        median_usd=None if median is None else usd(median),
        ran=tally.runs,
        models=tuple(tally.models),
        gave_way=tuple(one for one in tally.asked if one not in tally.models),
        badges=tally.badges,
    )
