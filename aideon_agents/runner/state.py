"""What a run leaves: its own state until it is done, and what the next run of its thread is told.

Our own graphs start each run with a clean state: what a loop counted, or a branch wrote, must not
meet the next task. So a thread keeps what was asked and what came of it, and the next run is given
that to read (`Context.earlier`). A graph made elsewhere knows LangGraph's way alone: its state goes
on where the thread left it.

What a run waits for an answer to: heard while it runs, and kept for whoever is to answer.

A question is content, so the ledger does not hold it. It lies beside the run's state, as plain JSON:
whoever shows it need not have the workflow's classes at hand.

Which classes a graph's state may hold: nothing else is made out of a checkpoint's bytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import logging
import sys
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, cast, get_args, get_type_hints

from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel
from pydantic_core import to_json

from aideon_agents.errors import InputError
from aideon_agents.graphs import Graph
from aideon_agents.graphs.walk import functions, graphs, specs
from aideon_agents.ledger.checkpointer import Checkpoints
from aideon_agents.ledger.checkpoints import (
    are_there,
    conversation_name,
    graph_name,
    open_checkpoints,
    questions_name,
)
from aideon_agents.ledger.redaction import safe_text
from aideon_agents.ledger.rows import RunStart
from aideon_agents.ledger.store import Ledger
from aideon_agents.patterns.iterative import Round, Rounds
from aideon_agents.runner.events import Question
from aideon_agents.runner.roots import Root
from aideon_agents.state import (
    Approval,
    Decision,
    Exchange,
    Plan,
    PlanStep,
    StepResult,
    Verdict,
    node_path,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping

    from langchain_core.runnables import RunnableConfig


_OURS = (StepResult, Plan, PlanStep, Verdict, Decision, Approval, Round, Rounds, Exchange)


def shapes(graph: Graph) -> set[type]:
    """The classes that may stand in a graph's state."""
    found: set[type] = set(_OURS)
    for one in graphs(graph):
        for schema in one.builder.schemas:
            _collect(schema, found)
    for spec in specs(graph):
        for output in filter(None, (spec.output, spec.kept_as)):
            _collect(output, found)
    for function in functions(graph):
        _collect(_returned(function), found)
        for beside in _beside(function):
            _collect(beside, found)
    return found


def _collect(hint: Any, found: set[type]) -> None:
    for argument in get_args(hint):
        _collect(argument, found)
    if not isinstance(hint, type) or hint in found or not _is_shape(hint):
        return
    found.add(hint)
    for inner in _hints(hint).values():
        _collect(inner, found)


def _hints(annotated: Any) -> dict[str, Any]:
    try:
        return get_type_hints(annotated)
    except Exception:  # noqa: BLE001 - names for type checkers alone, and whatever else is written there
        return {}


def _is_shape(kind: type) -> bool:
    """Whether it is a model, a dataclass, a typed dict, or an enumeration."""
    return hasattr(kind, "__annotations__") or issubclass(kind, enum.Enum)


def _returned(function: Callable[..., Any]) -> Any:
    return _hints(function).get("return")


def _beside(function: Callable[..., Any]) -> Iterator[type]:
    """The shapes that a function's own file defines: what it returns may be any of them."""
    module = sys.modules.get(str(getattr(function, "__module__", None)))
    if module is None:
        return
    for value in list(vars(module).values()):
        is_shape = dataclasses.is_dataclass(value) or _is_checked(value)
        if isinstance(value, type) and is_shape and value.__module__ == module.__name__:
            yield value


def _is_checked(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel | enum.Enum)


_log = logging.getLogger("aideon_agents.runner")

RUN = "aideon_run"
"""Metadata key by which a checkpoint says of which run it is."""

_REMEMBERED = 10
"""How many earlier runs the next one is told of; those before are too long ago."""


def _lately(before: list[Exchange], now: list[Exchange]) -> list[Exchange]:
    return [*before, *now][-_REMEMBERED:]


class _Said(TypedDict):
    exchanges: Annotated[list[Exchange], _lately]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thread:
    """What a run goes on with."""

    graph: Graph
    config: RunnableConfig
    """Says under which name the graph's state is kept, where anything keeps it."""
    saver: Checkpoints | None = None
    """What keeps the graph's state while it runs; None: nothing does."""
    outlives: bool = False
    """Whether what is kept is the thread's, and stays when the run has completed."""
    earlier: tuple[Exchange, ...] = ()
    """What was said before, oldest first."""
    memory: Graph | None = None
    """What this run is added to; None: nothing, or the graph sees to that itself."""
    memory_config: RunnableConfig | None = None

    async def remember(self, task: str, results: Mapping[str, StepResult]) -> None:
        """Add a run that has come to its end to what was said."""
        if self.memory is None:
            return
        plain = {path: dataclasses.replace(one, data=None) for path, one in results.items()}
        said = _Said(exchanges=[Exchange(task=task, results=plain)])
        try:
            await self.memory.ainvoke(cast("Any", said), self.memory_config, durability="exit")
        except Exception as error:  # noqa: BLE001 - what came of the run is there, and paid for
            _log.warning("the thread does not keep this run: %s", error)


@contextlib.asynccontextmanager
async def joined(
    root: Root, start: RunStart, book: Ledger, *, keeps: bool, saver: Checkpoints | None = None
) -> AsyncGenerator[Thread]:
    """Go on with a run's state, and with its thread, while a block lasts."""
    outlives = start.thread is not None and not root.is_ours
    name = start.run_id
    if start.thread is not None and outlives:
        name = graph_name(start.workflow, start.thread, rehearsed=start.rehearsed)
    config = kept_as(name, start.run_id)
    if start.thread is None and not keeps:
        yield Thread(graph=root.graph, config=config)
        return
    async with contextlib.AsyncExitStack() as open_while_used:
        if saver is None:
            opening = open_checkpoints(book, shapes(root.graph))
            saver = await open_while_used.enter_async_context(opening)
        thread = Thread(graph=root.graph, config=config, outlives=outlives)
        if keeps or outlives:
            graph = root.graph.copy(update={"checkpointer": saver})
            thread = dataclasses.replace(thread, graph=graph, saver=saver)
        if start.thread is not None and not outlives:
            memory = _memory().copy(update={"checkpointer": saver})
            place = kept_as(conversation_name(start.thread, rehearsed=start.rehearsed), None)
            known = await memory.aget_state(place)
            thread = dataclasses.replace(
                thread,
                earlier=tuple(known.values.get("exchanges", ())),
                memory=memory,
                memory_config=place,
            )
        yield thread


def checked(thread: str | None) -> str | None:
    """A thread's name as it was given."""
    if thread is not None and not thread.strip():
        raise InputError("a thread needs a name, and it is empty")
    return thread


def kept_as(name: str, run_id: str | None = None) -> RunnableConfig:
    """Where something is kept."""
    made = cast("RunnableConfig", {"configurable": {"thread_id": name}})
    return made if run_id is None else {**made, "metadata": {RUN: run_id}}


def _memory() -> Graph:
    """A graph that does nothing but keep what it is given."""

    def keep(state: _Said) -> dict[str, Any]:  # noqa: ARG001 - a node's
        return {}

    builder = StateGraph(_Said)
    builder.add_node("keep", keep)
    builder.add_edge(START, "keep")
    builder.add_edge("keep", END)
    return cast("Graph", builder.compile(name="memory"))


class Heard:
    """The questions that a run's tasks have asked, by their ids."""

    def __init__(self) -> None:
        self.asked: dict[str, Question] = {}
        self._begun: dict[str, tuple[tuple[str, ...], Mapping[str, Any]]] = {}

    def of_task(self, namespace: tuple[str, ...], task: Mapping[str, Any]) -> list[Question]:
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
