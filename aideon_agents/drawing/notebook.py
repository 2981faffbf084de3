"""What a notebook shows: a graph's picture, and a run's result with its costs.

Where a picture cannot be drawn, Mermaid is shown; in a terminal, text. The graph and the calls of a
result are read from the ledger when a notebook shows it, so a run that is not shown costs nothing
more. Where they can no longer be read, the table has the result's own figures.
"""

from __future__ import annotations

import contextlib
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aideon_agents.drawing.annotations import Annotations
from aideon_agents.drawing.figures import figures
from aideon_agents.drawing.mermaid import mermaid
from aideon_agents.drawing.notes import annotated, money
from aideon_agents.drawing.svg import svg
from aideon_agents.drawing.text import text
from aideon_agents.errors import UserError
from aideon_agents.graphs.topology import AnyGraph, Topology, read, topology_in
from aideon_agents.ledger.costs import Totals, tokens_text, traces
from aideon_agents.ledger.store import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager


def graph_shown(graph: AnyGraph) -> dict[str, str]:
    """What a notebook shows of a compiled graph, by MIME type."""
    return shown(read(graph))


def shown(topology: Topology, annotations: Annotations | None = None) -> dict[str, str]:
    """What a notebook shows of a graph, by MIME type."""
    plain = text(topology, annotations)
    try:
        drawn = svg(topology, annotations)
    except UserError:  # the extra is not installed
        source = mermaid(topology, annotations)
        return {"text/markdown": f"```mermaid\n{source}```\n", "text/plain": plain}
    framed = f'<div style="overflow-x:auto">{drawn}</div>'
    return {"text/html": framed, "image/svg+xml": drawn, "text/plain": plain}


_COLUMNS = ("node", "model", "calls", "in", "out", "cost")
_TABLE = 'style="border-collapse:collapse;font-variant-numeric:tabular-nums;margin:8px 0"'
_CELL = "padding:2px 12px 2px 0;text-align:{}"
_FIGURES = 4
"""The number of columns from the right that hold figures."""


def run_shown(result: Any) -> dict[str, str]:
    """What a notebook shows of a run's result, by MIME type."""
    drawn = _drawn(result)
    outline = drawn.get("text/plain", "").rstrip()
    picture = drawn.get("text/html") or (f"<pre>{escape(outline)}</pre>" if outline else "")
    html = [_summary(result), picture, _table(result)]
    plain = [_line(result), outline, result.output or ""]
    return {
        "text/html": "\n".join(filter(None, html)),
        "text/plain": "\n\n".join(filter(None, plain)),
    }


def _drawn(result: Any) -> dict[str, str]:
    """The graph with its figures; empty where the ledger cannot be read."""
    kept = result.kept_in
    if kept is None or (isinstance(kept, Path) and not kept.exists()):
        return {}  # opening it would create it
    try:
        with _opened(kept) as ledger:
            topology = topology_in(ledger.find_run(result.run_id).graph)
            if topology is None:
                return {}
            asking = [str(one["node_path"]) for one in result.questions]
            waiting = {result.run_id: asking}
            runs = list(traces(ledger, [result.run_id]))
            spent = figures(runs, topology, waiting=waiting, given=result.results)
    except UserError:
        return {}
    return shown(topology, annotated(spent, topology, topology))


def _opened(kept: Ledger | Path) -> AbstractContextManager[Ledger]:
    """A ledger to read; one on a server is left open."""
    return contextlib.nullcontext(kept) if isinstance(kept, Ledger) else Ledger(kept)


def _line(result: Any) -> str:
    reason = f" ({result.stop_reason})" if result.stop_reason else ""
    mark = ", rehearsed" if result.rehearsed else ""
    cost = money(result.cost.usd, complete=result.cost.complete)
    line = f"{result.workflow} {result.run_id}: {result.status}{reason}, {cost}{mark}"
    return f"{line}\nerror: {result.error}" if result.error else line


def _summary(result: Any) -> str:
    return f"<div>{escape(_line(result)).replace(chr(10), '<br>')}</div>"


def _table(result: Any) -> str:
    rows = [_row(_COLUMNS, "th")]
    for node in result.nodes:
        models = ", ".join(model.partition(":")[2] for model in node.models)
        rows.append(_row((node.node_path, models, *_counts(node))))
    if len(result.nodes) > 1:
        rows.append(_row(("total", "", *_counts(result.cost)), "th"))
    return f"<table {_TABLE}>{''.join(rows)}</table>" if result.nodes else ""


def _counts(totals: Totals) -> Iterator[str]:
    failed = f" ({totals.failed_calls:,} failed)" if totals.failed_calls else ""
    yield f"{totals.calls:,}{failed}"
    yield tokens_text(totals.input_tokens, counted=totals.counted)
    yield tokens_text(totals.output_tokens, counted=totals.counted)
    yield money(totals.usd, complete=totals.complete)


def _row(cells: tuple[str, ...], tag: str = "td") -> str:
    first_figure = len(cells) - _FIGURES
    made = [
        f'<{tag} style="{_CELL.format("right" if index >= first_figure else "left")}">'
        f"{escape(cell)}</{tag}>"
        for index, cell in enumerate(cells)
    ]
    return f"<tr>{''.join(made)}</tr>"
