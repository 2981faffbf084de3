"""Compiled graphs from elsewhere, with a schema of their own, as nodes of a pattern.

Such a graph is given the keys that it takes, and its answer becomes a result. A graph that writes
`results` is used as it is.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from langchain_core.messages import HumanMessage, convert_to_messages
from pydantic_core import to_json

from aideon_agents.errors import InputError
from aideon_agents.graphs.enclosing import Door, Enclosing
from aideon_agents.patterns.functions import current_path, step_result
from aideon_agents.state import State, current_results

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.runnables import Runnable, RunnableConfig
    from langgraph.graph.state import CompiledStateGraph

AnyGraph: TypeAlias = "CompiledStateGraph[Any, Any, Any, Any]"


def adapted(graph: AnyGraph) -> Runnable[Any, Any]:
    """The graph itself where it writes `results` or has one unnamed channel, else an adapter."""
    gives = graph.output_channels
    if isinstance(gives, str) or "results" in gives:
        return graph
    return Enclosing(functools.partial(_run_foreign, graph), [graph], graph.get_name())


async def _run_foreign(
    graph: AnyGraph, state: State, config: RunnableConfig, door: Door
) -> dict[str, Any]:
    given = _input_for(graph, state)
    answer = await door.call(graph, given, config) or {}
    changed = {
        key: value for key, value in answer.items() if key not in given or given[key] != value
    }
    path = current_path(config)
    return {"results": {path: step_result(state, path, "graph", *_content_and_data(changed))}}


def _input_for(graph: AnyGraph, state: State) -> dict[str, Any]:
    """Keys of the state and of the inputs that the graph takes; messages get the prompt."""
    takes = graph.builder.schemas[graph.builder.input_schema]
    known = {**(state.get("inputs") or {}), **state}
    given = {key: value for key, value in known.items() if key in takes}
    if "messages" in takes and not given.keys() & {"messages", "task"}:
        given["messages"] = [HumanMessage(_prompt(state))]
    if not given:
        raise InputError(
            f"the graph {graph.get_name()} takes {', '.join(sorted(takes))}, and the run has none "
            "of these: pass one of them in the inputs"
        )
    return given


def _prompt(state: State) -> str:
    sections = [("Task", state.get("task", ""))]
    sections += [
        (f"From {result.node_path}", result.content)
        for result in current_results(state.get("results") or {})
    ]
    return "\n\n".join(f"# {title}\n\n{text}" for title, text in sections)


def _content_and_data(changed: Mapping[str, Any]) -> tuple[str, Any]:
    """The text of the last message, else what changed as JSON; and what changed as data."""
    rest = {key: value for key, value in changed.items() if key != "messages"}
    if messages := cast("list[Any]", changed.get("messages")):
        return str(convert_to_messages(messages[-1:])[0].text), rest or None
    return to_json(rest, indent=2, serialize_unknown=True).decode(), rest
