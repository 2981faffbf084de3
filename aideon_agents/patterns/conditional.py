"""One of several branches, chosen by a decision: routing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import NoneType
from typing import TYPE_CHECKING, Any, cast, overload

from langchain_core.runnables import Runnable
from langgraph.graph import END, START

from aideon_agents.errors import InputError, StepFailed, UserError, refuse_kinds
from aideon_agents.graphs import Node, Typed
from aideon_agents.graphs.enclosing import Door, Enclosing
from aideon_agents.patterns.functions import Call, async_node
from aideon_agents.patterns.nodes import (
    NAME_RULE,
    Decider,
    NamedNode,
    PatternGraph,
    add_node,
    compile_graph,
    is_valid_name,
    named_nodes,
    new_builder,
    with_approval,
)
from aideon_agents.state import DataT, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.runnables import RunnableConfig


_KINDS = {
    "branches": ((Mapping, NoneType), "nodes by the name of their route"),
    "routes": ((Mapping, NoneType), "when to choose each route, by its name"),
    "default": ((str, NoneType), "the name of a route"),
}


@overload
def conditional(
    condition: Node | str,
    branches: Mapping[str, Typed[DataT]],
    *,
    routes: Mapping[str, str] | None = None,
    default: str | None = None,
    name: str = "conditional",
) -> PatternGraph[DataT]: ...
@overload
def conditional(
    condition: Node | str,
    *,
    routes: Mapping[str, tuple[str, Typed[DataT]]],
    default: str | None = None,
    name: str = "conditional",
) -> PatternGraph[DataT]: ...
@overload
def conditional(
    condition: Node | str,
    branches: Mapping[str, Node] | None = None,
    *,
    routes: Mapping[str, str | tuple[str, Node]] | None = None,
    default: str | None = None,
    name: str = "conditional",
) -> PatternGraph: ...
def conditional(
    condition: Node | str,
    branches: Mapping[str, Node] | None = None,
    *,
    routes: Mapping[str, str | tuple[str, Node]] | None = None,
    default: str | None = None,
    name: str = "conditional",
) -> PatternGraph[Any]:
    """Run one of several branches.

    `conditional(validator(), routes={"bug": ("it reports a fault", executor()), ...})` says of each
    route when to choose it; `routes={"bug": "it reports a fault"}` does so beside `branches`.

    Args:
        condition: What decides: an agent, which is asked for one of the routes; a function of the
            state that returns a route, or True and False for `yes` and `no`; or the key of an
            input whose value is the route.
        branches: The agent, function or graph of each route, by the route's name, which is also
            its node's name.
        routes: When an agent chooses a route, by the route's name; with its node, where `branches`
            lacks it. `{task}` and `{key of inputs}` are filled in.
        default: The route for every answer that names no branch; None: such an answer is an error.
        name: Its name in reports, and as a node of another graph.

    Returns:
        A compiled graph; it writes the chosen route as `route`.

    Raises:
        UserError: There is no branch, the default or a route is not a branch, or the condition
            cannot decide.
            In a run, an input that names no branch is an `InputError`, any other such answer is a
            `StepFailed`.
    """
    given = {"branches": branches, "routes": routes, "default": default}
    refuse_kinds(given, _KINDS, f"{name}: ")
    branches, whens = _described(branches or {}, routes or {}, name)
    known = tuple(branches)
    if default is not None and default not in branches:
        raise UserError(f"{name}: the default {default!r} is not a branch: use {', '.join(known)}")
    nodes = _branch_nodes(branches, name)
    deciding = _deciding_node(condition, whens, name)
    (decision,) = named_nodes([deciding], name, reserved=known)
    key = condition if isinstance(condition, str) else None
    needs = [key] if key and default is None else []
    graph = new_builder(entry=State)

    async def decide(state: State, config: RunnableConfig, door: Door) -> dict[str, Any]:
        update = await door.call(decision.runnable, state, config)
        return {**update, "route": _checked(update["route"], known, default, name, key)}

    runs = Enclosing(decide, [decision.runnable], decision.name, needs=needs)
    add_node(graph, decision, runs)
    graph.add_edge(START, decision.name)
    graph.add_conditional_edges(decision.name, route_branch, {route: route for route in known})
    for node in nodes:
        add_node(graph, node)
        graph.add_edge(node.name, END)
    return compile_graph(graph, name)


def route_branch(state: State) -> str:
    """The branch that runs after the decision."""
    return cast("str", state.get("route"))


def _described(
    branches: Mapping[str, Node], routes: Mapping[str, str | tuple[str, Node]], pattern: str
) -> tuple[dict[str, Node], dict[str, str]]:
    """The node of every route, and when each is chosen; empty where nothing says so."""
    nodes = dict(branches)
    whens = dict.fromkeys(branches, "")
    for route, given in routes.items():
        when, *node = cast("Any", given if isinstance(given, tuple) else (given,))
        if not isinstance(when, str) or len(node) > 1:
            raise UserError(
                f"{pattern}: the route {route!r} is {given!r}: give when to choose it, or "
                "(when, node)"
            )
        if bool(node) == (route in branches):
            what = "has two nodes" if node else "has no node: it is not a branch"
            raise UserError(f"{pattern}: the route {route!r} {what}")
        nodes.update({route: node[0]} if node else {})
        whens[route] = when
    return nodes, whens


def _branch_nodes(branches: Mapping[str, Node], pattern: str) -> list[NamedNode]:
    """The branches, each named after its route."""
    if not branches:
        raise UserError(f"{pattern} needs at least one branch")
    nodes: list[NamedNode] = []
    for route, branch in branches.items():
        if not isinstance(cast("object", route), str) or not is_valid_name(route):
            raise UserError(f"{pattern}: {route!r} is not a valid route name: {NAME_RULE}")
        (node,) = named_nodes([branch], pattern, asks=False)
        nodes.append(with_approval(dataclasses.replace(node, name=route)))
    return nodes


def _deciding_node(
    condition: Node | str, routes: Mapping[str, str], pattern: str
) -> Runnable[Any, Any]:
    """The condition as a node that writes `route`."""
    if isinstance(condition, str):

        def value(state: State) -> Any:
            return (state.get("inputs") or {}).get(condition)

        return _route_node(Call(value, pattern), f"when {condition}")
    if isinstance(condition, Decider):
        return condition.deciding(routes)
    if isinstance(condition, Runnable) or not callable(condition):
        raise UserError(
            f"{pattern}: {condition!r} cannot be the condition: give an agent, a function of the "
            "state, or the key of an input"
        )
    return _route_node(Call(condition, pattern))


def _route_node(call: Call, name: str | None = None) -> Runnable[Any, Any]:
    async def work(state: State, config: RunnableConfig) -> dict[str, Any]:
        return {"route": await call(state, config)}

    return async_node(work, name or call.name)


def _checked(
    answer: Any, routes: Sequence[str], default: str | None, pattern: str, key: str | None
) -> str:
    """The branch that an answer names; `key` is the input that decided, None: a node did."""
    route = ("yes" if answer else "no") if isinstance(answer, bool) else str(answer)
    if route in routes:
        return route
    # A small model may write `Yes.` for `yes`.
    alike = [one for one in routes if one.casefold() == route.strip(" .\"'`*\n").casefold()]
    if len(alike) == 1:
        return alike[0]
    if default is not None:
        return default
    known = ", ".join(routes)
    if key is None:
        raise StepFailed(f"{pattern}: unknown route {route!r}, the routes are {known}")
    found = "is missing" if answer is None else f"is {route!r}, which is not a route"
    raise InputError(
        f"{pattern}: the input {key!r} {found}: give one of {known} with -p {key}=ROUTE"
    )
