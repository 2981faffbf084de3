"""What the provider engine refuses, before anything is sent."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast

from langgraph.graph import END, START

from aideon_agents.agents.node import Agent
from aideon_agents.batch.provider.asking import BatchModels, Desk
from aideon_agents.batch.provider.dialects import LIVE
from aideon_agents.errors import InputError
from aideon_agents.graphs.enclosing import Enclosing
from aideon_agents.graphs.topology import declared
from aideon_agents.graphs.walk import NodeInfo, graphs, requests, walk
from aideon_agents.runner.spec import asks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aideon_agents.graphs import Graph
    from aideon_agents.models import Models
    from aideon_agents.runner.spec import RunSpec

_OPTIONS: Mapping[str, str] = {
    "cache": "answers are not kept (--cache)",
    "quality": "answers are not judged (--quality)",
    "callbacks": "callbacks hear of no calls",
    "config": "it takes no config",
}
"""Options that have no meaning there."""


def for_batches(spec: RunSpec, given: Mapping[str, Any]) -> tuple[RunSpec, Desk | None]:
    """A run whose calls become lines of a batch; None: it is rehearsed, as with the local engine.

    Refuses a workflow or options that batches of a provider cannot run.
    """
    check(spec, given)
    settings = cast("Models", spec.context.models).settings
    if spec.start.rehearsed or settings.rehearses:
        return spec, None
    desk = Desk(settings)
    context = dataclasses.replace(spec.context, models=BatchModels(settings, desk))
    return dataclasses.replace(spec, context=context), desk


def check(spec: RunSpec, given: Mapping[str, Any]) -> None:
    """Refuse a workflow or options that batches of a provider cannot run."""
    for name, why in _OPTIONS.items():
        if given.get(name):
            raise InputError(f"the provider engine cannot do this: {why}; {LIVE}")
    if given.get("checkpoint") is False:
        raise InputError("the provider engine keeps the state of its runs: leave out checkpoint")
    for where, what in _problems(spec.graph):
        raise InputError(
            f"the provider engine runs agents without tools one after another, and {where} {what}: "
            f"{LIVE}"
        )
    if not requests(spec.graph):
        raise InputError(f"no node of {spec.graph.get_name()} asks a model: {LIVE}")


def _problems(graph: Graph) -> Sequence[tuple[str, str]]:
    """The nodes that cannot be run, and why."""
    found = [(node.path, what) for node in walk(graph) if (what := _problem(node))]
    found += [
        (one.get_name(), "runs several nodes at once, or chooses the next one")
        for one in graphs(graph)
        if _has_branches(one)
    ]
    if not found and asks(graph):
        found = [(graph.get_name(), "asks a person")]
    return found


def _problem(node: NodeInfo) -> str | None:
    """Why a node cannot be run; None: it can."""
    if node.asks:
        return "asks a person"
    if isinstance(node.runs, Enclosing):
        return "runs other nodes itself, as a loop or a choice does"
    if node.is_graph:
        return None if node.opened else "is a graph that shows no nodes"
    if isinstance(node.runs, Agent):
        spec = node.runs.spec
        if spec.toolbox:
            return "calls tools"
        return "has its answers judged (quality)" if spec.quality else None
    given = getattr(node.runs, "func", None) or getattr(node.runs, "afunc", None)
    return None if callable(given) else "is no agent of this package"


def _has_branches(graph: Graph) -> bool:
    """Whether more than one node may follow a node."""
    edges = declared(cast("Any", graph.builder))
    followers: dict[str, set[str]] = {}
    for edge in edges:
        followers.setdefault(edge.source, set()).add(edge.target)
    is_cyclic = len([one for one in edges if one.source != START]) > len(graph.builder.nodes)
    leads_on = any(len(targets) > 1 for targets in followers.values())
    ends = sum(edge.target == END for edge in edges)
    return is_cyclic or leads_on or ends > 1 or any(edge.conditional for edge in edges)
