"""What `aideon graph` draws, in each form; imported when the command runs.

A run is drawn with the graph that it had when it ran.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from aideon_agents import tasks
from aideon_agents.cli import output
from aideon_agents.cli.options import ledger as open_ledger
from aideon_agents.drawing import mermaid, png, svg, text
from aideon_agents.drawing.figures import figures
from aideon_agents.drawing.folding import folded
from aideon_agents.drawing.notes import annotated, spent_document
from aideon_agents.drawing.page.document import page
from aideon_agents.drawing.page.record import recorded
from aideon_agents.errors import InputError
from aideon_agents.graphs.topology import Topology, read, topology_in
from aideon_agents.ledger import batch_items
from aideon_agents.ledger.batches import find_batch, graph_of
from aideon_agents.ledger.costs import Trace, runs_of_batch, traces
from aideon_agents.runner import recall

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aideon_agents.drawing.annotations import Annotations
    from aideon_agents.drawing.figures import RunFigures
    from aideon_agents.drawing.png import Scale
    from aideon_agents.drawing.themes import Theme
    from aideon_agents.graphs.topology import Topology
    from aideon_agents.ledger.rows import Run
    from aideon_agents.ledger.store import Ledger


@dataclasses.dataclass(frozen=True, kw_only=True)
class DrawnRuns:
    """Runs of one graph, with their costs."""

    topology: Topology
    """With all groups open."""
    drawn: Topology
    """With as many levels open as the user wants."""
    figures: RunFigures
    annotations: Annotations


def runs(
    ledger: Ledger, found: Sequence[Run], read_runs: Iterable[Trace], depth: int | None = None
) -> DrawnRuns:
    """The costs of runs, which must have the same graph; `read_runs` are their calls."""
    topology = _graph(ledger, found[0])
    for other in found[1:]:
        if _graph(ledger, other) != topology:
            raise InputError(
                f"run {other.run_id} of {other.workflow} and run {found[0].run_id} of "
                f"{found[0].workflow} have different graphs: draw them one by one"
            )
    waiting = {run.run_id: _asking(ledger, run) for run in found}
    return _ran(read_runs, topology, depth, waiting=waiting)


def batch(ledger: Ledger, ref: str, depth: int | None = None) -> DrawnRuns:
    """Read all runs of a batch."""
    found = find_batch(ledger, ref)
    run_ids = runs_of_batch(ledger, found.batch_id)
    if not run_ids:
        raise InputError(f"batch {found.batch_id} has no run yet: see `aideon batches show`")
    topology = _graph(ledger, ledger.find_run(run_ids[-1]))
    title = f"{found.workflow} · batch {found.batch_id}"
    items = batch_items.with_status(ledger, found.batch_id, "waiting", len(run_ids))
    asking = [ledger.find_run(row.run_id) for row in items if row.run_id]
    waiting = {run.run_id: _asking(ledger, run) for run in asking}
    return _ran(traces(ledger, run_ids), topology, depth, waiting=waiting, name=title)


def _ran(
    read_runs: Iterable[Trace],
    topology: Topology,
    depth: int | None,
    *,
    waiting: Mapping[str, Sequence[str]],
    name: str | None = None,
) -> DrawnRuns:
    drawn = folded(topology, depth)
    spent = figures(read_runs, topology, waiting=waiting)
    return DrawnRuns(
        topology=topology,
        drawn=drawn,
        figures=spent,
        annotations=annotated(spent, topology, drawn, name=name),
    )


def _graph(ledger: Ledger, run: Run) -> Topology:
    """The graph that a run had; the current one if the ledger did not keep it."""
    of_batch = graph_of(ledger, run.batch_id) if run.batch_id and run.graph is None else None
    kept = topology_in(run.graph or of_batch)
    if kept is not None:
        return kept
    if run.target is None:
        raise InputError(
            f"run {run.run_id} cannot be drawn: it was started in Python without an address, and "
            f"the ledger has no graph of it; see its calls with `aideon runs show {run.run_id}`"
        )
    target = tasks.load(run.target)
    if run.target_hash not in (None, target.content_hash):
        output.note(
            f"{target.path} has changed since run {run.run_id}: this is the graph as it is now"
        )
    return read(target.graph)


def _asking(ledger: Ledger, run: Run) -> Sequence[str]:
    """The paths of nodes that wait for an answer."""
    if run.status != "waiting":
        return ()
    return [str(one["node_path"]) for one in recall(ledger, run).questions]


def _page(options: GraphOptions) -> bytes:
    """Make the HTML page of a run, or of a workflow alone."""
    if options.target is not None:
        topology = read(tasks.load(options.target).graph)
        alone = page(topology, None, lambda _: None, theme=options.theme, depth=options.depth)
        return alone.encode()
    if options.batch is not None or len(options.runs) != 1:
        raise InputError("-f html shows one run: give --run once, or choose another -f")
    with open_ledger() as ledger:
        record = recorded(ledger, ledger.find_run(options.runs[0]))
        found = runs(ledger, [record.run], [record.trace])
    return page(
        found.topology,
        record,
        lambda drawn: annotated(found.figures, found.topology, drawn),
        theme=options.theme,
        depth=options.depth,
    ).encode()


@dataclasses.dataclass(frozen=True, kw_only=True)
class GraphOptions:
    """The options of `aideon graph`."""

    target: str | None
    """The address of a workflow; None: runs are drawn."""
    runs: Sequence[str] = ()
    batch: str | None = None
    """A reference to a batch whose runs are drawn; None: no batch."""
    form: str
    depth: int | None
    """The number of levels that stay open; None: all."""
    theme: Theme
    scale: Scale
    columns: int
    """Characters per line of text."""


def drawn(options: GraphOptions) -> bytes:
    """Draw in the chosen form; text ends in a newline."""
    if options.form == "html":
        return _page(options)
    if options.target is not None:
        return _drawn(options, read(tasks.load(options.target).graph, options.depth), None)
    with open_ledger() as ledger:
        if options.batch is not None:
            found = batch(ledger, options.batch, options.depth)
        else:
            read_once = {run.run_id: run for run in map(ledger.find_run, options.runs)}
            read_runs = traces(ledger, list(read_once))
            found = runs(ledger, list(read_once.values()), read_runs, options.depth)
    return _drawn(options, found.drawn, found)


def _drawn(options: GraphOptions, topology: Topology, found: DrawnRuns | None) -> bytes:
    notes = found.annotations if found else None
    if options.form == "png":
        return png.png(topology, notes, theme=options.theme, scale=options.scale)
    made = _text(options, topology, notes, found)
    return (made.rstrip("\n") + "\n").encode()


def _text(
    options: GraphOptions, topology: Topology, notes: Annotations | None, found: DrawnRuns | None
) -> str:
    if options.form == "svg":
        return svg.svg(topology, notes, theme=options.theme)
    if options.form == "text":
        return text.text(topology, notes, width=options.columns)
    if options.form == "mermaid":
        source = mermaid.mermaid(topology, notes)
        if complaint := mermaid.too_much(source):
            output.complain(complaint)
        return source
    model: dict[str, Any] = (
        spent_document(found.figures, topology, found.annotations)
        if found
        else dataclasses.asdict(topology)
    )
    return output.as_json(model)
