"""What a run waits for an answer to: heard while it runs, and kept for whoever is to answer.

A question is content, so the ledger does not hold it. It lies beside the run's state, as plain JSON:
whoever shows it need not have the workflow's classes at hand.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypedDict, cast

from langgraph.graph import END, START, StateGraph
from pydantic_core import to_json

from aideon_agents.ledger.checkpoints import are_there, open_checkpoints, questions_name
from aideon_agents.ledger.redaction import safe_text
from aideon_agents.runner.events import Question
from aideon_agents.state import node_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from langchain_core.runnables import RunnableConfig

    from aideon_agents.ledger.savers import Checkpoints
    from aideon_agents.ledger.store import Ledger
    from aideon_agents.patterns.nodes import Graph
    from aideon_agents.runner.places import Names


class Heard:
    """The questions that a run's tasks have asked, by their ids."""

    def __init__(self) -> None:
        self.asked: dict[str, Question] = {}
        self._begun: dict[str, tuple[Names, Mapping[str, Any]]] = {}

    def of_task(self, namespace: Names, task: Mapping[str, Any]) -> list[Question]:
        """What a task has asked."""
        if "result" not in task:
            self._begun[task["id"]] = (namespace, task)
            return []
        around, begun = self._begun.pop(task["id"], (namespace, task))
        whole = "|".join((*around, f"{begun['name']}:{begun['id']}"))
        place = {**(begun.get("metadata") or {}), "langgraph_checkpoint_ns": whole}
        new = [
            question(one["id"], node_path(place), one["value"], one["response_schema"])
            for one in task.get("interrupts") or ()
            if one["id"] not in self.asked
        ]
        self.asked |= {one.id: one for one in new}
        return new


def question(identity: str, path: str, value: object, schema: object) -> Question:
    """A question in JSON values."""
    return Question(node_path=path, id=identity, question=_plain(value), schema=_plain(schema))


def by_place(questions: Iterable[Question]) -> list[Question]:
    """The questions in an order that does not depend on which branch was the quicker one."""
    return sorted(questions, key=lambda one: one.node_path)


async def keep(saver: Checkpoints, run_id: str, questions: Iterable[Question]) -> None:
    """Keep what a run asks, in place of what it asked before."""
    text = json.dumps([one.document() for one in questions])
    await _keeping(saver).ainvoke(_Kept(text=text), _config(run_id), durability="exit")


async def kept(saver: Checkpoints, run_id: str) -> list[Question]:
    """What a run has asked."""
    state = await _keeping(saver).aget_state(_config(run_id))
    return [Question(**one) for one in json.loads(state.values.get("text", "[]"))]


async def recalled(ledger: Ledger, run_id: str) -> list[Question]:
    """What a run that waits has asked, for whoever has the ledger alone."""
    if not are_there(ledger):
        return []
    async with open_checkpoints(ledger, []) as saver:
        return await kept(saver, run_id)


class _Kept(TypedDict):
    text: str
    """JSON."""


def _keeping(saver: Checkpoints) -> Graph:
    """A graph that does nothing but keep what it is given: so every checkpointer can."""

    def rest(state: _Kept) -> dict[str, Any]:  # noqa: ARG001 - a node's
        return {}

    builder = StateGraph(_Kept)
    builder.add_node("keep", rest)
    builder.add_edge(START, "keep")
    builder.add_edge("keep", END)
    return cast("Graph", builder.compile(name="questions", checkpointer=saver))


def _config(run_id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": questions_name(run_id)}}


def _plain(value: object) -> Any:
    try:
        return json.loads(to_json(value, fallback=safe_text, inf_nan_mode="null"))
    except ValueError:  # half a character, or an object that holds itself
        return safe_text(value)
