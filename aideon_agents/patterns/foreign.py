"""Somebody's compiled graph with a schema of its own, as a node among ours.

It is given what it can take, and what it answers becomes a result. A graph that writes `results`
speaks our language already and is left alone.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import HumanMessage, convert_to_messages
from pydantic_core import to_json

from aideon_agents.errors import InputError
from aideon_agents.graphs.enclosing import Door, Enclosing
from aideon_agents.patterns.functions import here
from aideon_agents.state import State, StepResult, next_order, standing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.runnables import Runnable, RunnableConfig
    from langgraph.graph.state import CompiledStateGraph

    AnyGraph = CompiledStateGraph[Any, Any, Any, Any]


def adapted(graph: AnyGraph) -> Runnable[Any, Any]:
    """A compiled graph as a node among ours."""
    gives = graph.output_channels
    if isinstance(gives, str) or "results" in gives:
        return graph
    takes = frozenset(graph.builder.schemas[graph.builder.input_schema])
    return Enclosing(_Foreign(graph, takes).work, [graph], graph.get_name())


@dataclasses.dataclass(frozen=True)
class _Foreign:
    graph: AnyGraph
    takes: frozenset[str]
    """The keys of its input."""

    async def work(self, state: State, config: RunnableConfig, door: Door) -> dict[str, Any]:
        given = self._given(state)
        answer = await door.call(self.graph, given, config)
        changed = _changed(given, answer or {})
        path = here(config)
        content, data = _said(changed)
        result = StepResult(
            node_path=path,
            role="graph",
            content=content,
            data=data,
            round=state.get("round", 1),
            order=next_order(state.get("results") or {}),
        )
        return {"results": {path: result}}

    def _given(self, state: State) -> dict[str, Any]:
        """What it can take: keys of the state and of the inputs by name, else the prompt."""
        known = {**(state.get("inputs") or {}), **state}
        given = {key: value for key, value in known.items() if key in self.takes}
        if "messages" in self.takes and not given.keys() & {"messages", "task"}:
            given["messages"] = [HumanMessage(_prompt(state))]
        if not given:
            raise InputError(
                f"the graph {self.graph.get_name()} takes {', '.join(sorted(self.takes))}, and "
                "none of these is given: pass one in the inputs"
            )
        return given


def _prompt(state: State) -> str:
    sections = [("Task", state.get("task", ""))]
    sections += [
        (f"From {result.node_path}", result.content)
        for result in standing(state.get("results") or {})
    ]
    return "\n\n".join(f"# {title}\n\n{text}" for title, text in sections)


def _changed(given: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key not in given or given[key] != value}


def _said(changed: Mapping[str, Any]) -> tuple[str, Any]:
    """The answer as text, and as data: the last message's text, or what changed as JSON."""
    rest = {key: value for key, value in changed.items() if key != "messages"}
    if messages := cast("list[Any]", changed.get("messages")):
        return str(convert_to_messages(messages[-1:])[0].text), rest or None
    return to_json(rest, indent=2, serialize_unknown=True).decode(), rest
