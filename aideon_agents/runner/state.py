"""What is kept of a run beside the ledger: its state, its questions, and its thread.

A run's state is kept until the run is over. Our own graphs start each run with a clean state: what a
loop counted, or a branch wrote, must not leak into the next task. So a thread keeps what was asked
and what came of it, and the next run reads that (`Context.earlier`). A graph made elsewhere only
knows LangGraph's threads: its state continues where the thread left it.

The questions that a run waits with are content, so the ledger does not hold them. They are kept
beside the run's state, as plain JSON: they can be shown without the workflow's classes.

A checkpoint's bytes may only become the classes that `shapes` finds in the graph.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import logging
import sys
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, cast, get_args, get_type_hints

from langchain_core.runnables.config import DEFAULT_RECURSION_LIMIT as LANGCHAIN_LIMIT
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel
from pydantic_core import to_json

from aideon_agents.graphs import Graph
from aideon_agents.graphs.enclosing import RECURSION_LIMIT
from aideon_agents.graphs.walk import functions, graphs, once_per_graph, specs
from aideon_agents.ledger.checkpointer import Checkpointer, readable
from aideon_agents.ledger.checkpoints import (
    are_there,
    conversation_name,
    graph_name,
    open_checkpointer,
    questions_name,
)
from aideon_agents.ledger.redaction import safe_text
from aideon_agents.ledger.store import Ledger
from aideon_agents.patterns.iterative import Round, Rounds
from aideon_agents.runner.events import Question
from aideon_agents.runner.spec import RunSpec, takes_task
from aideon_agents.state import (
    Approval,
    Artifact,
    Decision,
    Exchange,
    Plan,
    PlanStep,
    StepResult,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping

    from langchain_core.runnables import RunnableConfig


_OURS = (StepResult, Artifact, Plan, PlanStep, Verdict, Decision, Approval, Round, Rounds, Exchange)


def shapes(graph: Graph) -> set[type]:
    """The classes that a graph's state may contain."""
    declared, modules = _declared(graph)
    found = set(declared)
    # What a function returns may be any shape of its own file, also one defined since the last run.
    for name in modules:
        module = sys.modules.get(name)
        for value in list(vars(module).values()) if module else ():
            if isinstance(value, type) and value.__module__ == name and _is_data(value):
                _collect(value, found)
    return found


@once_per_graph
def _declared(graph: Graph) -> tuple[frozenset[type], tuple[str, ...]]:
    """The classes that schemas, agents and functions name, and the modules of the functions."""
    found: set[type] = set(_OURS)
    for one in graphs(graph):
        for schema in one.builder.schemas:
            _collect(schema, found)
    for spec in specs(graph):
        for output in filter(None, (spec.output, spec.kept_as)):
            _collect(output, found)
    modules: dict[str, None] = {}
    for function in functions(graph):
        _collect(_hints(function).get("return"), found)
        modules[str(getattr(function, "__module__", None))] = None
    return frozenset(found), tuple(modules)


def _collect(hint: Any, found: set[type]) -> None:
    for argument in get_args(hint):
        _collect(argument, found)
    if not isinstance(hint, type) or hint in found:
        return
    # A model, a dataclass, a typed dict, an enumeration, or a type that pydantic knows how to make.
    made = hasattr(hint, "__get_pydantic_core_schema__") or issubclass(hint, enum.Enum)
    if not made and not hasattr(hint, "__annotations__"):
        return
    found.add(hint)
    for inner in _hints(hint).values():
        _collect(inner, found)


def _hints(annotated: Any) -> dict[str, Any]:
    try:
        return get_type_hints(annotated)
    except Exception:  # noqa: BLE001 - names that only type checkers know, or anything else
        return {}


def _is_data(kind: type) -> bool:
    return dataclasses.is_dataclass(kind) or issubclass(kind, BaseModel | enum.Enum)


_log = logging.getLogger("aideon_agents.runner")

RUN = "aideon_run"
"""Metadata key of a checkpoint: the id of the run that it belongs to."""

_REMEMBERED = 10
"""How many earlier runs of its thread a run is given."""


def _latest(before: list[Exchange], now: list[Exchange]) -> list[Exchange]:
    return [*before, *now][-_REMEMBERED:]


class _Conversation(TypedDict):
    exchanges: Annotated[list[Exchange], _latest]


class _Questions(TypedDict):
    text: str
    """JSON."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thread:
    """Where the state of a run is kept while it runs, and its conversation so far."""

    graph: Graph
    config: RunnableConfig
    """The name under which the graph's state is kept, if anything keeps it."""
    checkpointer: Checkpointer | None = None
    """What keeps the graph's state while it runs; None: nothing does."""
    outlives: bool = False
    """Whether the state belongs to the thread and stays when the run has completed."""
    earlier: tuple[Exchange, ...] = ()
    """The earlier runs of the thread, oldest first."""
    memory: Graph | None = None
    """What keeps the conversation; None: there is none, or the graph keeps it itself."""
    memory_config: RunnableConfig | None = None

    async def remember(self, task: str, results: Mapping[str, StepResult]) -> None:
        """Add a completed run to the conversation, without typed data: the next run reads text."""
        if self.memory is None:
            return
        plain = {path: dataclasses.replace(one, data=None) for path, one in results.items()}
        added = _Conversation(exchanges=[Exchange(task=task, results=plain)])
        try:
            await self.memory.ainvoke(cast("Any", added), self.memory_config, durability="exit")
        except Exception as error:  # noqa: BLE001 - the result is there, and paid for
            _log.warning("the thread does not keep this run: %s", error)


@contextlib.asynccontextmanager
async def open_thread(
    spec: RunSpec, ledger: Ledger, *, keeps_state: bool
) -> AsyncGenerator[Thread]:
    """Open what keeps a run's state, and its conversation if it has one."""
    start, graph, checkpointer = spec.start, spec.graph, spec.checkpointer
    outlives = start.thread is not None and not takes_task(graph)
    name = start.run_id
    if start.thread is not None and outlives:
        name = graph_name(start.workflow, start.thread, rehearsed=start.rehearsed)
    config = config_for(name, start.run_id, spec.config)
    if start.thread is None and not keeps_state:
        yield Thread(graph=graph, config=config)
        return
    async with contextlib.AsyncExitStack() as open_while_used:
        if checkpointer is None:
            opening = open_checkpointer(ledger, shapes(graph))
            checkpointer = await open_while_used.enter_async_context(opening)
        thread = Thread(graph=graph, config=config, outlives=outlives)
        if keeps_state or outlives:
            kept = graph.copy(update={"checkpointer": checkpointer})
            thread = dataclasses.replace(thread, graph=kept, checkpointer=checkpointer)
        if start.thread is not None and not outlives:
            memory = _keeping(_Conversation, checkpointer)
            where = config_for(conversation_name(start.thread, rehearsed=start.rehearsed))
            with readable(conversation_name(start.thread, rehearsed=start.rehearsed)):
                earlier = tuple((await memory.aget_state(where)).values.get("exchanges", ()))
                if not all(isinstance(one, Exchange) for one in earlier):
                    raise TypeError("an exchange is of another class")
            thread = dataclasses.replace(
                thread,
                earlier=earlier,
                memory=memory,
                memory_config=where,
            )
        yield thread


def config_for(
    name: str, run_id: str | None = None, given: RunnableConfig | None = None
) -> RunnableConfig:
    """LangGraph's config for what is kept under a name; that of a run with its id and what was given."""
    if run_id is None:
        return {"configurable": {"thread_id": name}}
    given = given or {}
    around = (var_child_runnable_config.get() or {}).get("recursion_limit")
    known = around if around != LANGCHAIN_LIMIT else None  # LangChain adds its own everywhere
    return {
        "recursion_limit": known or RECURSION_LIMIT,
        **given,
        "configurable": {**given.get("configurable", {}), "thread_id": name},
        "metadata": {**given.get("metadata", {}), RUN: run_id},
    }


def _keeping(schema: type[Any], checkpointer: Checkpointer) -> Graph:
    """A graph that only keeps what it is given: so every checkpointer can keep it."""
    builder = StateGraph(schema)
    builder.add_node("keep", lambda state: {})  # noqa: ARG005 - LangGraph names it
    builder.add_edge(START, "keep")
    builder.add_edge("keep", END)
    return cast("Graph", builder.compile(name="memory", checkpointer=checkpointer))


def question(identity: str, path: str, value: object, schema: object) -> Question:
    """A question in JSON values."""
    return Question(node_path=path, id=identity, question=_plain(value), schema=_plain(schema))


def by_path(questions: Iterable[Question]) -> list[Question]:
    """Questions in an order that does not depend on which branch was faster."""
    return sorted(questions, key=lambda one: one.node_path)


async def save_questions(
    checkpointer: Checkpointer, run_id: str, questions: Iterable[Question]
) -> None:
    """Save what a run asks, in place of what it asked before."""
    text = json.dumps([one.document() for one in questions])
    keeping = _keeping(_Questions, checkpointer)
    where = config_for(questions_name(run_id))
    await keeping.ainvoke(cast("Any", _Questions(text=text)), where, durability="exit")


async def saved_questions(checkpointer: Checkpointer, run_id: str) -> list[Question]:
    """What a run has asked."""
    keeping = _keeping(_Questions, checkpointer)
    with readable(questions_name(run_id)):
        state = await keeping.aget_state(config_for(questions_name(run_id)))
        return [Question(**one) for one in json.loads(state.values.get("text", "[]"))]


async def open_questions(ledger: Ledger, run_id: str) -> list[Question]:
    """What a waiting run has asked, read without its workflow; empty if it was removed."""
    if not are_there(ledger):
        return []
    async with open_checkpointer(ledger, []) as checkpointer:
        return await saved_questions(checkpointer, run_id)


async def conversation(ledger: Ledger, thread: str, *, rehearsed: bool) -> list[Exchange]:
    """Every completed run of a thread, oldest first: more than the next run reads."""
    if not are_there(ledger):
        return []
    name = conversation_name(thread, rehearsed=rehearsed)
    async with open_checkpointer(ledger, _OURS) as checkpointer:
        memory = _keeping(_Conversation, checkpointer)
        with readable(name):
            kept = [one.values async for one in memory.aget_state_history(config_for(name))]
    return [one["exchanges"][-1] for one in reversed(kept) if one.get("exchanges")]


async def kept_values(
    ledger: Ledger, graph: Graph, workflow: str, thread: str, *, rehearsed: bool
) -> dict[str, Any]:
    """The state that a graph which is not ours keeps on a thread; empty: it keeps none."""
    if not are_there(ledger):
        return {}
    name = graph_name(workflow, thread, rehearsed=rehearsed)
    async with open_checkpointer(ledger, shapes(graph)) as checkpointer:
        kept = graph.copy(update={"checkpointer": checkpointer})
        with readable(name):
            return dict((await kept.aget_state(config_for(name))).values)


def _plain(value: object) -> Any:
    try:
        return json.loads(to_json(value, fallback=safe_text, inf_nan_mode="null"))
    except ValueError:  # half a character, or an object that contains itself
        return safe_text(value)
