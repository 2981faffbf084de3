"""Runs that follow one another: what an earlier run of a thread leaves for the next.

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
from aideon_agents.runner.shapes import shapes
from aideon_agents.state import Exchange, StepResult

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from langchain_core.runnables import RunnableConfig

    from aideon_agents.ledger.rows import RunStart
    from aideon_agents.ledger.store import Ledger
    from aideon_agents.patterns.nodes import Graph
    from aideon_agents.runner.roots import Root

_log = logging.getLogger("aideon_agents.runner")

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
    earlier: tuple[Exchange, ...] = ()
    """What was said before, oldest first."""
    memory: Graph | None = None
    """What this run is added to; None: nothing, or the graph sees to that itself."""
    memory_config: RunnableConfig | None = None

    async def remember(self, task: str, results: Mapping[str, StepResult]) -> None:
        """Add a run that has come to its end to what was said.

        Args:
            task: What was asked.
            results: What came of it. Their typed data is not kept: the next run reads text.
        """
        if self.memory is None:
            return
        plain = {path: one.model_copy(update={"data": None}) for path, one in results.items()}
        said = _Said(exchanges=[Exchange(task=task, results=plain)])
        try:
            await self.memory.ainvoke(cast("Any", said), self.memory_config, durability="exit")
        except Exception as error:  # noqa: BLE001 - what came of the run is there, and paid for
            _log.warning("the thread does not keep this run: %s", error)


@contextlib.asynccontextmanager
async def joined(root: Root, start: RunStart, book: Ledger) -> AsyncGenerator[Thread]:
    """Go on with a run's thread while a block lasts.

    Args:
        root: The graph to run.
        start: The run, which names its thread if it has one.
        book: The ledger; what threads keep lies beside it.

    Yields:
        The graph to run, and what was said before.

    Raises:
        LedgerError: The file beside the ledger cannot be opened.
    """
    if start.thread is None:
        yield Thread(graph=root.graph, config=_kept_as(start.run_id))
        return
    # Drivers that only a conversation needs.
    from aideon_agents.ledger.checkpoints import open_checkpoints  # noqa: PLC0415

    mark = " (rehearsed)" if start.rehearsed else ""  # rehearsals and paid runs do not mix
    if not root.is_ours:
        config = _kept_as(f"graph:{start.workflow}:{start.thread}{mark}")
        async with open_checkpoints(book, shapes(root.graph)) as saver:
            yield Thread(graph=root.graph.copy(update={"checkpointer": saver}), config=config)
        return
    async with open_checkpoints(book, [Exchange, StepResult]) as saver:
        memory = _memory().copy(update={"checkpointer": saver})
        config = _kept_as(f"thread:{start.thread}{mark}")
        kept = await memory.aget_state(config)
        yield Thread(
            graph=root.graph,
            config=_kept_as(start.run_id),
            earlier=tuple(kept.values.get("exchanges", ())),
            memory=memory,
            memory_config=config,
        )


def checked(thread: str | None) -> str | None:
    """A thread's name as it was given.

    Args:
        thread: None: there is none.

    Returns:
        The same.

    Raises:
        InputError: It is empty.
    """
    if thread is not None and not thread.strip():
        raise InputError("a thread needs a name, and it is empty")
    return thread


def _kept_as(name: str) -> RunnableConfig:
    return {"configurable": {"thread_id": name}}


def _memory() -> Graph:
    """A graph that does nothing but keep what it is given."""

    def keep(state: _Said) -> dict[str, Any]:  # noqa: ARG001 - a node's
        return {}

    builder = StateGraph(_Said)
    builder.add_node("keep", keep)
    builder.add_edge(START, "keep")
    builder.add_edge("keep", END)
    return cast("Graph", builder.compile(name="memory"))
