"""What a run leaves: its own state until it is done, and what the next run of its thread is told.

Our own graphs start each run with a clean state: what a loop counted, or a branch wrote, must not
meet the next task. So a thread keeps what was asked and what came of it, and the next run is given
that to read (`Context.earlier`). A graph made elsewhere knows LangGraph's way alone: its state goes
on where the thread left it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, cast

from langgraph.graph import END, START, StateGraph

from aideon_agents.errors import InputError
from aideon_agents.ledger.checkpoints import conversation_name, graph_name, open_checkpoints
from aideon_agents.runner.shapes import shapes
from aideon_agents.state import Exchange

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from langchain_core.runnables import RunnableConfig

    from aideon_agents.ledger.rows import RunStart
    from aideon_agents.ledger.savers import Checkpoints
    from aideon_agents.ledger.store import Ledger
    from aideon_agents.patterns.nodes import Graph
    from aideon_agents.runner.roots import Root
    from aideon_agents.state import StepResult

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
