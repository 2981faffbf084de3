"""What the root of a run takes and gives: one of our graphs, or anybody's.

Ours take a `task` and `inputs`, and give `results`. A graph made elsewhere has keys of its own: its
`messages` are given the task as a person's message, and every input goes under its own name.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, cast

from langchain_core.messages import BaseMessage, HumanMessage, convert_to_messages
from pydantic_core import to_json

from aideon_agents.agents.node import Agent
from aideon_agents.errors import InputError
from aideon_agents.graphs import Graph
from aideon_agents.graphs.topology import read
from aideon_agents.state import StepResult, latest

_PUTS_TASK = ("task", "messages")
"""The keys that a task can be put into."""


@dataclasses.dataclass(frozen=True)
class Root:
    """The graph that a run runs."""

    graph: Graph

    @property
    def takes(self) -> tuple[str, ...]:
        """The keys of its input, in order."""
        builder = self.graph.builder
        return tuple(sorted(builder.schemas[builder.input_schema]))

    @functools.cached_property
    def is_flat(self) -> bool:
        """Whether whatever happens in it happens at its own level. Asked of every item of a batch."""
        return holds_agents_alone(self.graph)

    @property
    def is_ours(self) -> bool:
        """Whether it takes a task as our nodes read it; else it knows LangGraph's threads alone."""
        return "task" in self.takes

    def entry(self, task: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """What it is given."""
        takes = self.takes
        if not set(takes) & set(_PUTS_TASK):
            raise InputError(
                f"{self.graph.get_name()} takes {', '.join(takes)}: a task needs a key "
                f"{' or '.join(_PUTS_TASK)} in the state of the graph"
            )
        put = {"task": task, "messages": [HumanMessage(task)]}
        given = {key: value for key, value in put.items() if key in takes}
        if "inputs" in takes:
            return {**given, "inputs": dict(inputs)}
        unknown = [key for key in inputs if key not in takes or key in given]
        if unknown:
            raise InputError(
                f"{self.graph.get_name()} has no input {unknown[0]!r}: it takes {', '.join(takes)}"
            )
        return {**given, **inputs}

    def output(
        self, values: Mapping[str, Any], results: Mapping[str, StepResult], *, completed: bool
    ) -> str | None:
        """What came out, as text."""
        if said := _last_said(values.get("messages")):
            return said
        if last := self._last(dict(results)):
            return last.content
        if not completed or isinstance(values.get("results"), Mapping):
            return None
        builder = self.graph.builder
        gives = builder.schemas[builder.output_schema]
        given = {key: value for key, value in values.items() if key in gives and key != "messages"}
        return to_json(given, indent=2, serialize_unknown=True).decode() if given else None

    def _last(self, results: dict[str, StepResult]) -> StepResult | None:
        """The last result; of branches that end alike, that of the one which was given last.

        LangGraph takes in what parallel branches wrote in the order of their names.
        """
        last = latest(results)
        equals = [one for one in results.values() if last and one.order == last.order]
        if len(equals) <= 1:
            return last
        paths = [node.path for node in read(self.graph).nodes]

        def position(result: StepResult) -> int:
            own = result.node_path
            inside = (index for index, path in enumerate(paths) if f"{path}/".startswith(f"{own}/"))
            return max(inside, default=-1)

        return max(reversed(equals), key=position)


def results_in(values: object) -> dict[str, StepResult]:
    """The results that a state or an update holds."""
    held = cast("Mapping[str, Any]", values).get("results") if isinstance(values, Mapping) else None
    if not isinstance(held, Mapping):
        return {}
    found = cast("Mapping[str, Any]", held)
    return {path: one for path, one in found.items() if isinstance(one, StepResult)}


def _last_said(messages: object) -> str | None:
    if not isinstance(messages, list) or not messages:
        return None
    last = cast("list[Any]", messages)[-1]
    if not isinstance(last, BaseMessage | dict | tuple):
        return None
    (message,) = convert_to_messages([last])
    return None if isinstance(message, HumanMessage) else str(message.text)


def holds_agents_alone(graph: Graph) -> bool:
    """Whether every node of a graph is an agent of ours that runs nothing inside it."""
    nodes = [node.runnable for node in graph.builder.nodes.values()]
    return all(isinstance(node, Agent) and node.is_alone for node in nodes)
