"""A graph in the form that `aideon graph` was asked for; imported when it draws.

`aideon graph -f html`: a run, or a graph alone, as one page for a browser.

What `aideon graph --run` draws: the graph as it was when it ran, and what was spent on it.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from aideon_agents import tasks
from aideon_agents.cli import options, output
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
from aideon_agents.ledger.traces import Trace, runs_of_batch, traces
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
class Ran:
    """Runs of one graph."""

    topology: Topology
    """With all its groups open."""
    drawn: Topology
    """As deep as was asked for."""
    figures: RunFigures
    annotations: Annotations


def runs(
    ledger: Ledger, found: Sequence[Run], read_runs: Iterable[Trace], depth: int | None = None
) -> Ran:
    """What runs of one graph spent; `read_runs` are the same with their calls."""
    topology = _graph(ledger, found[0])
    for other in found[1:]:
        if _graph(ledger, other) != topology:
            raise InputError(
                f"run {other.run_id} is of {other.workflow} and run {found[0].run_id} of "
                f"{found[0].workflow}, or of another version of it: draw them one by one"
            )
    waiting = {run.run_id: _asking(ledger, run) for run in found}
    return _ran(read_runs, topology, depth, waiting=waiting)


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
    return _ran(traces(ledger, run_ids), topology, depth, waiting=waiting, name=title)


def _ran(
    read_runs: Iterable[Trace],
    topology: Topology,
    depth: int | None,
    *,
    waiting: Mapping[str, Sequence[str]],
    name: str | None = None,
) -> Ran:
    drawn = folded(topology, depth)
    spent = figures(read_runs, topology, waiting=waiting)
    return Ran(
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


def made(asked: Asked) -> bytes:
    """Make the page."""
    if asked.target is not None:
        topology = read(tasks.load(asked.target).graph)
        alone = page(topology, None, lambda _: None, theme=asked.theme, depth=asked.depth)
        return alone.encode()
    if asked.batch is not None or len(asked.runs) != 1:
        raise InputError("-f html shows the calls of one run: give --run once, or another -f")
    with options.ledger() as ledger:
        record = recorded(ledger, ledger.find_run(asked.runs[0]))
        found = runs(ledger, [record.run], [record.trace])
    return page(
        found.topology,
        record,
        lambda drawn: annotated(found.figures, found.topology, drawn),
        theme=asked.theme,
        depth=asked.depth,
    ).encode()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """What to draw and how."""

    target: str | None
    """A workflow's address; None: runs are drawn."""
    runs: Sequence[str] = ()
    batch: str | None = None
    """A reference to a batch, whose runs are drawn; None: no batch's are."""
    form: str
    depth: int | None
    """How many levels stay open; None: all."""
    theme: Theme
    scale: Scale
    columns: int
    """How many cells a line of text may take."""


def drawn(asked: Asked) -> bytes:
    """Draw it."""
    if asked.form == "html":
        return made(asked)
    if asked.target is not None:
        return _drawn(asked, read(tasks.load(asked.target).graph, asked.depth), None)
    with options.ledger() as ledger:
        if asked.batch is not None:
            found = batch(ledger, asked.batch, asked.depth)
        else:
            read_once = {run.run_id: run for run in map(ledger.find_run, asked.runs)}
            read_runs = traces(ledger, list(read_once))
            found = runs(ledger, list(read_once.values()), read_runs, asked.depth)
    return _drawn(asked, found.drawn, found)


def _drawn(asked: Asked, topology: Topology, found: Ran | None) -> bytes:
    said = found.annotations if found else None
    if asked.form == "png":
        return png.png(topology, said, theme=asked.theme, scale=asked.scale)
    made = _text(asked, topology, said, found)
    return (made.rstrip("\n") + "\n").encode()


def _text(asked: Asked, topology: Topology, said: Annotations | None, found: Ran | None) -> str:
    if asked.form == "svg":
        return svg.svg(topology, said, theme=asked.theme)
    if asked.form == "text":
        return text.text(topology, said, width=asked.columns)
    if asked.form == "mermaid":
        source = mermaid.mermaid(topology, said)
        if complaint := mermaid.too_much(source):
            output.complain(complaint)
        return source
    model: dict[str, Any] = (
        spent_document(found.figures, topology, found.annotations)
        if found
        else dataclasses.asdict(topology)
    )
    return output.as_json(model)
