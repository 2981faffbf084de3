"""What `aideon graph --run` draws: the graph as it was when it ran, and what was spent on it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from aideon_agents import tasks
from aideon_agents.cli import output
from aideon_agents.drawing.folding import folded
from aideon_agents.drawing.spending import figures
from aideon_agents.drawing.spent_notes import annotated
from aideon_agents.drawing.stored import topology_in
from aideon_agents.drawing.topology import read
from aideon_agents.errors import InputError
from aideon_agents.ledger import batch_items
from aideon_agents.ledger.batches import find_batch, graph_of
from aideon_agents.ledger.traces import runs_of_batch
from aideon_agents.runner import recall

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aideon_agents.drawing.annotations import Annotations
    from aideon_agents.drawing.spending import RunFigures
    from aideon_agents.drawing.topology import Topology
    from aideon_agents.ledger.rows import Run
    from aideon_agents.ledger.store import Ledger


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ran:
    """Runs of one graph."""

    run_ids: Sequence[str]
    topology: Topology
    """With all its groups open."""
    drawn: Topology
    """As deep as was asked for."""
    figures: RunFigures
    annotations: Annotations


def runs(ledger: Ledger, refs: Sequence[str], depth: int | None = None) -> Ran:
    """Read runs of one graph."""
    found = list({run.run_id: run for run in map(ledger.find_run, refs)}.values())
    topology = _graph(ledger, found[0])
    for other in found[1:]:
        if _graph(ledger, other) != topology:
            raise InputError(
                f"run {other.run_id} is of {other.workflow} and run {found[0].run_id} of "
                f"{found[0].workflow}, or of another version of it: draw them one by one"
            )
    waiting = {run.run_id: _asking(ledger, run) for run in found}
    return _ran(ledger, [run.run_id for run in found], topology, depth, waiting=waiting)


def batch(ledger: Ledger, ref: str, depth: int | None = None) -> Ran:
    """Read all runs of a batch."""
    found = find_batch(ledger, ref)
    run_ids = runs_of_batch(ledger, found.batch_id)
    if not run_ids:
        raise InputError(f"batch {found.batch_id} has no run yet: `aideon batches show` tells more")
    topology = _graph(ledger, ledger.find_run(run_ids[-1]))
    title = f"{found.workflow} · batch {found.batch_id}"
    items = batch_items.with_status(ledger, found.batch_id, "waiting", len(run_ids))
    asking = [ledger.find_run(row.run_id) for row in items if row.run_id]
    waiting = {run.run_id: _asking(ledger, run) for run in asking}
    return _ran(ledger, run_ids, topology, depth, waiting=waiting, name=title)


def _ran(
    ledger: Ledger,
    run_ids: Sequence[str],
    topology: Topology,
    depth: int | None,
    *,
    waiting: Mapping[str, Sequence[str]],
    name: str | None = None,
) -> Ran:
    drawn = folded(topology, depth)
    spent = figures(ledger, run_ids, topology, waiting=waiting)
    return Ran(
        run_ids=run_ids,
        topology=topology,
        drawn=drawn,
        figures=spent,
        annotations=annotated(spent, topology, drawn, name=name),
    )


def _graph(ledger: Ledger, run: Run) -> Topology:
    """A run's graph as it was; as it is now, where nobody kept it."""
    of_batch = graph_of(ledger, run.batch_id) if run.batch_id and run.graph is None else None
    kept = topology_in(run.graph or of_batch)
    if kept is not None:
        return kept
    if run.target is None:
        raise InputError(
            f"run {run.run_id} cannot be drawn: it was given a graph that was at hand, and its row "
            f"keeps no model of it; `aideon runs show {run.run_id}` tells of its nodes"
        )
    target = tasks.load(run.target)
    if run.target_hash not in (None, target.content_hash):
        output.note(
            f"{target.path} has changed since run {run.run_id}: its graph is drawn as it is now"
        )
    return read(target.graph)


def _asking(ledger: Ledger, run: Run) -> Sequence[str]:
    """The node paths that wait for an answer."""
    if run.status != "waiting":
        return ()
    return [str(one["node_path"]) for one in recall(ledger, run).questions]
