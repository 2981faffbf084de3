"""Pictures of workflows and of runs as answers."""

from __future__ import annotations

import dataclasses
from typing import Literal, TypeAlias

from fastapi import Response
from fastapi.responses import JSONResponse

from aideon_agents.drawing import mermaid, svg
from aideon_agents.drawing.figures import figures
from aideon_agents.drawing.notes import annotated
from aideon_agents.drawing.page.document import page, policy
from aideon_agents.drawing.page.record import recorded
from aideon_agents.errors import Conflict
from aideon_agents.graphs import Graph
from aideon_agents.graphs.topology import read, topology_in
from aideon_agents.ledger.rows import Run
from aideon_agents.ledger.store import Ledger
from aideon_agents.runner import recall

WorkflowForm: TypeAlias = Literal["svg", "json", "mermaid"]
RunForm: TypeAlias = Literal["svg", "html"]

_SVG = "image/svg+xml"
_STYLED = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
"""A picture has its styles inside, and runs no script."""


def of_workflow(graph: Graph, form: WorkflowForm) -> Response:
    """The graph of a workflow."""
    topology = read(graph)
    if form == "json":
        return JSONResponse(dataclasses.asdict(topology))
    if form == "mermaid":
        return Response(mermaid.mermaid(topology), media_type="text/plain")
    return Response(svg.svg(topology, theme="auto"), media_type=_SVG, headers=_STYLED)


def of_run(ledger: Ledger, run: Run, form: RunForm) -> Response:
    """The graph of a run with what its nodes cost."""
    topology = topology_in(run.graph)
    if topology is None:
        raise Conflict(f"run {run.run_id} cannot be drawn: the ledger has no graph of it")
    record = recorded(ledger, run)
    asked = recall(ledger, run).questions
    waiting = {run.run_id: [str(one["node_path"]) for one in asked]}
    spent = figures([record.trace], topology, waiting=waiting)
    tools = record.tools_called
    if form == "svg":
        notes = annotated(spent, topology, topology, tools=tools)
        return Response(svg.svg(topology, notes, theme="auto"), media_type=_SVG, headers=_STYLED)
    made = page(topology, record, lambda shown: annotated(spent, topology, shown, tools=tools))
    heads = {"Content-Security-Policy": policy(live=False)}
    return Response(made.encode("utf-8", "replace"), media_type="text/html", headers=heads)
