"""One of several ways, by a decision: routing."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any, cast

from langchain_core.runnables import Runnable
from langgraph.graph import END, START

from aideon_agents.errors import InputError, StepFailed, UserError
from aideon_agents.graphs import Graph, Node
from aideon_agents.graphs.enclosing import Door, Enclosing
from aideon_agents.patterns import functions
from aideon_agents.patterns import nodes as making
from aideon_agents.patterns.nodes import compiled
from aideon_agents.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_core.runnables import RunnableConfig


def conditional(
    condition: Node | str,
    branches: Mapping[str, Node],
    *,
    default: str | None = None,
    name: str = "conditional",
) -> Graph:
    """Go one of several ways.

    Args:
        condition: Who decides: an agent, which is asked for one of the routes; a function of the
            state that returns a route, or True and False for `yes` and `no`; or the key of an
            input whose value is the route.
        branches: What to run on each route: an agent, function or graph by the route's name,
            which is also its node's name.
        default: The route for every answer that names no branch; None: such an answer is an error.
        name: What it is called where it is a node itself, and in reports.

    Returns:
        A compiled graph; it writes the route taken as `route`.

    Raises:
        UserError: There is no branch, the default is none of them, or nothing decides. When it
            runs, an input that names no branch is an `InputError`, any other such answer is
            `StepFailed`.
    """
    routes = tuple(branches)
    if default is not None and default not in branches:
        raise UserError(f"{name}: the default {default!r} is none of {', '.join(routes)}")
    ways = _ways(branches, name)
    asked = _asked(condition, routes, name)
    (decision,) = making.named([asked], name, reserved=routes)
    key = condition if isinstance(condition, str) else None
    fork = _Fork(decision.runnable, routes, default, name, key)
    needs = [key] if key and default is None else []
    graph = making.builder(entry=State)
    making.add(graph, decision, Enclosing(fork.decide, [fork.asked], decision.name, needs=needs))
    graph.add_edge(START, decision.name)
    graph.add_conditional_edges(decision.name, route_branch, {route: route for route in routes})
    for way in ways:
        making.add(graph, way)
        graph.add_edge(way.name, END)
    return compiled(graph, name)


def route_branch(state: State) -> str:
    """Where a conditional goes after its decision."""
    return cast("str", state.get("route"))


def _ways(branches: Mapping[str, Node], pattern: str) -> list[making.Named]:
    """The branches, each under its route's name."""
    for route in branches:
        if not making.can_name(route):
            raise UserError(f"{pattern}: {route!r} cannot name a route: leave out /, | and :")
    made = [making.named([node], pattern, rounds=0)[0] for node in branches.values()]
    if not made:
        raise UserError(f"{pattern} needs at least one branch")
    ways = zip(branches, made, strict=True)
    return [making.approved(dataclasses.replace(way, name=route)) for route, way in ways]


def _asked(condition: Node | str, routes: Sequence[str], pattern: str) -> Runnable[Any, Any]:
    """What decides, as a node that writes a route."""
    if isinstance(condition, str):
        return _writing_route(functools.partial(_given, condition), f"when {condition}")
    if isinstance(condition, making.Decider):
        return condition.deciding(routes)
    if isinstance(condition, Runnable) or not callable(condition):
        raise UserError(
            f"{pattern} was given {condition!r} to decide: that is done by an agent, a function "
            "of the state, or the key of an input"
        )
    return _writing_route(condition, functions.name_of(condition))


def _given(key: str, state: State) -> Any:
    return (state.get("inputs") or {}).get(key)


def _writing_route(predicate: Callable[..., Any], name: str) -> Runnable[Any, Any]:
    async def work(state: State, config: RunnableConfig) -> dict[str, Any]:  # noqa: ARG001 - a node's
        return {"route": await functions.answer(predicate, state)}

    return functions.node(work, name)


@dataclasses.dataclass(frozen=True)
class _Fork:
    """A decision that always leads somewhere, or says why not."""

    asked: Runnable[Any, Any]
    routes: tuple[str, ...]
    default: str | None
    name: str
    """The conditional's."""
    key: str | None
    """The input that decides; None: something else does."""

    async def decide(self, state: State, config: RunnableConfig, door: Door) -> dict[str, Any]:
        update = await door.call(self.asked, state, config)
        return {**update, "route": self._route(update["route"])}

    def _route(self, said: Any) -> str:
        named = ("yes" if said else "no") if isinstance(said, bool) else str(said)
        if named in self.routes:
            return named
        if self.default is not None:
            return self.default
        routes = ", ".join(self.routes)
        if self.key is None:
            raise StepFailed(f"{self.name}: {named!r} is no route, the routes are {routes}")
        found = "is not given" if said is None else f"is {named!r}, which is no route"
        raise InputError(
            f"{self.name}: the input {self.key!r} {found}: give one of {routes} "
            f"with -p {self.key}=ROUTE"
        )
