"""What `aideon graph` draws, in each form; imported when the command runs.

A run is drawn with the graph that it had when it ran.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from aideon_agents import tasks
from aideon_agents.cli import output
from aideon_agents.cli.options import ledger as open_ledger
from aideon_agents.drawing import mermaid, png, svg, text
from aideon_agents.drawing.figures import figures
from aideon_agents.drawing.folding import folded
from aideon_agents.drawing.notes import annotated, spent_document
from aideon_agents.drawing.page.batch import ItemSums, batch_values
from aideon_agents.drawing.page.document import page, with_graph
from aideon_agents.drawing.page.record import recorded
from aideon_agents.errors import InputError
from aideon_agents.graphs.topology import Topology, read, topology_in
from aideon_agents.ledger import batch_items
from aideon_agents.ledger.batches import find_batch, graph_of
from aideon_agents.ledger.costs import Trace, runs_of_batch, traces
from aideon_agents.ledger.tool_calls import counts, tool_calls
from aideon_agents.runner import recall

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aideon_agents.drawing.figures import RunFigures
    from aideon_agents.drawing.png import Scale
    from aideon_agents.drawing.themes import Theme
    from aideon_agents.graphs import Graph
    from aideon_agents.ledger.batches import Batch
    from aideon_agents.ledger.rows import Run
    from aideon_agents.ledger.store import Ledger


def drawn(
    form: str,
    *,
    target: str | None,
    run_refs: Sequence[str],
    batch: str | None,
    allow_outside: bool,
    depth: int | None,
    theme: Theme,
    scale: Scale,
    columns: int,
) -> bytes:
    """Draw a workflow, runs or a batch; text ends in a newline.

    `depth` is the number of levels that stay open, None: all. `columns` is the width of text.
    """
    loaded = None if target is None else tasks.load(target, allow_outside=allow_outside).graph
    if form == "html":
        return _page(loaded, run_refs, batch, theme, depth).encode("utf-8", "replace")
    notes = None
    if loaded is not None:
        topology = read(loaded, depth)
        document = dataclasses.asdict(topology)
    else:
        with open_ledger() as ledger:
            whole, spent, title = _batch(ledger, batch) if batch else _named(ledger, run_refs)
            called = counts(one for run_id in spent.run_ids for one in tool_calls(ledger, run_id))
        topology = folded(whole, depth)
        notes = annotated(spent, whole, topology, name=title, tools=called)
        document = spent_document(spent, topology, notes)
    if form == "png":
        return png.png(topology, notes, theme=theme, scale=scale)
    if form == "svg":
        made = svg.svg(topology, notes, theme=theme)
    elif form == "text":
        made = text.text(topology, notes, width=columns)
    elif form == "mermaid":
        made = mermaid.mermaid(topology, notes)
        if complaint := mermaid.too_much(made):
            output.complain(complaint)
    else:
        made = output.as_json(document)
    return output.encoded(made)


def _page(
    loaded: Graph | None,
    run_refs: Sequence[str],
    batch: str | None,
    theme: Theme,
    depth: int | None,
) -> str:
    """Make the HTML page of a run, of a batch, or of a workflow alone."""
    if loaded is not None:
        return page(read(loaded), None, lambda _: None, theme=theme, depth=depth)
    if batch is not None:
        with open_ledger() as ledger:
            return _batch_page(ledger, find_batch(ledger, batch), theme, depth)
    if len(run_refs) != 1:
        raise InputError("-f html shows one run: give --run once, or choose another -f")
    with open_ledger() as ledger:
        record = recorded(ledger, ledger.find_run(run_refs[0]))
        whole, spent = _runs(ledger, [record.run], [record.trace])
    tools = record.tools_called
    return page(
        whole,
        record,
        lambda shown: annotated(spent, whole, shown, tools=tools),
        theme=theme,
        depth=depth,
    )


def _batch_page(ledger: Ledger, found: Batch, theme: Theme, depth: int | None) -> str:
    """Make the HTML page of a batch; one of which no item ran has no graph."""
    sums = ItemSums()
    run_ids = runs_of_batch(ledger, found.batch_id)
    if not run_ids:
        values = batch_values(ledger, found, sums)
        return with_graph(values, None, lambda _: None, theme=theme)
    read_runs = sums.reading(traces(ledger, run_ids))
    whole, spent, title = _of_batch(ledger, found, run_ids, read_runs)
    called = counts(one for run_id in run_ids for one in tool_calls(ledger, run_id))
    return with_graph(
        batch_values(ledger, found, sums),
        whole,
        lambda shown: annotated(spent, whole, shown, name=title, tools=called),
        theme=theme,
        depth=depth,
    )


def _named(ledger: Ledger, refs: Sequence[str]) -> tuple[Topology, RunFigures, None]:
    """The graph and the costs of the runs that the user names."""
    found = {run.run_id: run for run in map(ledger.find_run, refs)}
    return *_runs(ledger, list(found.values()), traces(ledger, list(found))), None


def _runs(
    ledger: Ledger, found: Sequence[Run], read_runs: Iterable[Trace]
) -> tuple[Topology, RunFigures]:
    """The graph and the costs of runs, which must have the same graph."""
    topology = _graph(ledger, found[0])
    for other in found[1:]:
        if _graph(ledger, other) != topology:
            raise InputError(
                f"run {other.run_id} of {other.workflow} and run {found[0].run_id} of "
                f"{found[0].workflow} have different graphs: draw them one by one"
            )
    return topology, figures(read_runs, topology, waiting=_waiting(ledger, found))


def _batch(ledger: Ledger, ref: str) -> tuple[Topology, RunFigures, str]:
    """The graph and the costs of the batch that the user names, and its title."""
    found = find_batch(ledger, ref)
    run_ids = runs_of_batch(ledger, found.batch_id)
    if not run_ids:
        raise InputError(
            f"batch {found.batch_id} has no run yet: see `aideon batches show {found.batch_id}`"
        )
    return _of_batch(ledger, found, run_ids, traces(ledger, run_ids))


def _of_batch(
    ledger: Ledger, found: Batch, run_ids: Sequence[str], read_runs: Iterable[Trace]
) -> tuple[Topology, RunFigures, str]:
    """The graph and the costs of all runs of a batch, and its title."""
    topology = _graph(ledger, ledger.find_run(run_ids[-1]))
    items = batch_items.with_status(ledger, found.batch_id, "waiting", len(run_ids))
    waiting = _waiting(ledger, [ledger.find_run(row.run_id) for row in items if row.run_id])
    spent = figures(read_runs, topology, waiting=waiting)
    return topology, spent, f"{found.workflow} · batch {found.batch_id}"


def _waiting(ledger: Ledger, found: Iterable[Run]) -> dict[str, Sequence[str]]:
    """The paths of the nodes that wait for an answer, by run."""
    return {
        run.run_id: [str(one["node_path"]) for one in recall(ledger, run).questions]
        if run.status == "waiting"
        else ()
        for run in found
    }


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
    allow_outside = (run.options or {}).get("allow_outside", False)
    target = tasks.load(run.target, allow_outside=allow_outside)
    if run.target_hash not in (None, target.content_hash):
        output.note(
            f"{target.path} has changed since run {run.run_id}: this is the graph as it is now"
        )
    return read(target.graph)
