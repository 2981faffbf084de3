"""Several nodes at the same time, on the same state: parallelization.

A branch gives back what it was given as well as what it wrote. Results know which is later; of the
plain keys (`News`), what a branch merely brought back must not undo what another one wrote.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, TypeGuard, get_args

from langgraph.channels import LastValue
from langgraph.graph import END, START
from langgraph.graph.state import CompiledStateGraph

from aideon_agents.errors import UserError
from aideon_agents.patterns import functions
from aideon_agents.patterns import nodes as making
from aideon_agents.patterns.branches import Branch, Gates, require_one
from aideon_agents.patterns.displaying import compiled
from aideon_agents.patterns.enclosing import Enclosing
from aideon_agents.state import Results, State, part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aideon_agents.patterns.nodes import Graph, Named, Node


OnFailure: TypeAlias = Literal["raise", "keep"]

_KEPT = "kept"
"""The node that looks whether any branch is left, where failures are kept."""


class Changed(LastValue[Any]):
    """Keeps what branches changed; where several did, that of the last by name."""

    __slots__ = ()

    def update(self, values: Sequence[Any]) -> bool:
        """Take the last new value of a step."""
        news = [value for value in values if value != self.value]
        return super().update(news[-1:])


class News(Results, total=False):
    """What branches give back."""

    plan: Annotated[Any, Changed]
    verdict: Annotated[Any, Changed]
    route: Annotated[Any, Changed]


class Branches(State, total=False):
    """What branches read."""

    plan: Annotated[Any, Changed]
    verdict: Annotated[Any, Changed]
    route: Annotated[Any, Changed]


def parallel(
    *branches: Node,
    max_concurrency: int | None = None,
    on_failure: OnFailure = "raise",
    name: str = "parallel",
) -> Graph:
    """Run branches at the same time; each sees what came before, none sees another.

    Args:
        *branches: Agents, functions, or compiled graphs.
        max_concurrency: How many branches run at once, per run of this graph; None: all.
        on_failure: `raise`: the first branch that fails fails the whole. `keep`: its error becomes
            its result, of role `failed`, and the others go on; only when all fail, so does the
            whole. Limits, mistakes of the caller's, questions and cancellations are never kept.
        name: What it is called where it is a node itself, and in reports.

    Returns:
        A compiled graph.

    Raises:
        UserError: There is no branch, or two of the same name, or an option cannot be.
    """
    if max_concurrency is not None and max_concurrency < 1:
        raise UserError(f"{name}: max_concurrency is {max_concurrency}, it must be at least 1")
    if on_failure not in get_args(OnFailure):
        raise UserError(f"{name}: on_failure is {on_failure!r}, it must be raise or keep")
    keeps = on_failure == "keep"
    gates = Gates(max_concurrency) if max_concurrency else None
    graph = making.builder(Branches, entry=Branches, gives=News)
    made = making.named(branches, name, reserved=[_KEPT] if keeps else [])
    for branch in made:
        own = _own_graph(branch)
        running = Branch(own, gates, keeps=keeps)
        runs = Enclosing(running.run, [own], branch.name) if gates or keeps else own
        making.add(graph, branch, runs)
        graph.add_edge(START, branch.name)
        graph.add_edge(branch.name, _KEPT if keeps else END)
    if keeps:
        still = functools.partial(require_one, names=[branch.name for branch in made], pattern=name)
        graph.add_node(_KEPT, functions.node(still, _KEPT), metadata=part(_KEPT))
        graph.add_edge(_KEPT, END)
    return compiled(graph, name)


def _is_ours(runnable: object) -> TypeGuard[Graph]:
    """Whether it is a graph that gives back nothing but what merges."""
    return (
        isinstance(runnable, CompiledStateGraph)
        and runnable.builder.output_schema.__annotations__.keys() <= Results.__annotations__.keys()
    )


def _own_graph(branch: Named) -> Graph:
    """The branch as a graph of its own.

    LangGraph's nodes move in step: a quick branch of plain nodes would wait for the slow one after
    each of its own. The wrapping adds no part to the path. A graph made elsewhere is wrapped as
    well: two that both gave back their task would be an InvalidUpdateError.
    """
    if _is_ours(branch.runnable):
        return branch.runnable
    inner = f"{branch.name}/"  # a name that no node of a user's can have
    graph = making.builder(entry=State)
    graph.add_node(inner, branch.runnable, metadata=branch.metadata | part(inner, ""))
    graph.add_edge(START, inner)
    graph.add_edge(inner, END)
    return graph.compile(name=branch.name)
