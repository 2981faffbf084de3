"""What a parallel branch may be held to: how many run at once, and what its failure means."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import threading
import weakref
from typing import TYPE_CHECKING, Any

from langgraph.errors import GraphBubbleUp, NodeCancelledError, is_invalid_resume
from langgraph.runtime import get_runtime

from aideon_agents.errors import AideonError, LimitError, StepFailed, UserError
from aideon_agents.patterns.places import beside, here
from aideon_agents.state import StepResult, latest, next_order

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, Sequence

    from langchain_core.runnables import RunnableConfig

    from aideon_agents.patterns.enclosing import Door
    from aideon_agents.patterns.nodes import Graph
    from aideon_agents.state import State

FAILED = "failed"
"""The role of a result that stands for a failure."""

_NEVER_KEPT = (
    GraphBubbleUp,  # a question, or a stop that was asked for
    NodeCancelledError,
    concurrent.futures.CancelledError,  # a cancellation, seen from another thread
    LimitError,
    UserError,
)


class Gates:
    """How many branches run at once, counted for each run of a graph by itself."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        # A gate lives as long as a branch holds it, and all branches of a run start together.
        self._open: weakref.WeakValueDictionary[str, asyncio.Semaphore | threading.Semaphore] = (
            weakref.WeakValueDictionary()
        )

    @contextlib.asynccontextmanager
    async def turn(self, door: Door) -> AsyncGenerator[None]:
        """Hold one place for the length of a block, in the run that the current node is part of."""
        gate = self._gate(door)
        if isinstance(gate, threading.Semaphore):
            with gate:
                yield
        else:
            async with gate:
                yield

    def _gate(self, door: Door) -> asyncio.Semaphore | threading.Semaphore:
        execution = get_runtime().execution_info
        # All branches of one run start from the same checkpoint, and no other run does.
        key = execution.checkpoint_id if execution else ""
        with self._lock:
            return self._open.setdefault(key, door.semaphore(self.limit))


@dataclasses.dataclass(frozen=True)
class Branch:
    """A branch that waits for its turn, and whose failure may be kept."""

    graph: Graph
    gates: Gates | None
    """None: it need not wait."""
    keeps: bool
    """Whether its failure becomes its result."""

    async def run(self, state: State, config: RunnableConfig, door: Door) -> Any:
        async with self.gates.turn(door) if self.gates else contextlib.nullcontext():
            try:
                update = await door.call(self.graph, state, config)
            except _NEVER_KEPT:
                raise
            except Exception as error:
                if not self.keeps or is_invalid_resume(error):
                    raise
                return _failed(error, state, config)
        return _recovered(update, state, config) if self.keeps else update


async def require_one(
    state: State, config: RunnableConfig, *, names: Sequence[str], pattern: str
) -> None:
    """Fail when every branch did."""
    results = state.get("results") or {}
    given = {name: results.get(beside(config, name)) for name in names}
    failures = [
        f"{name}: {one.content}" for name, one in given.items() if one and one.role == FAILED
    ]
    if len(failures) == len(names):
        raise StepFailed(f"{pattern}: every branch failed: {'; '.join(failures)}")


def _failed(error: Exception, state: State, config: RunnableConfig) -> dict[str, Any]:
    """A failure as a result. It comes before whatever the other branches say: that counts more."""
    said = str(error) if isinstance(error, AideonError) else f"{type(error).__name__}: {error}"
    path = here(config)
    result = StepResult(
        node_path=path,
        role=FAILED,
        content=" ".join(said.split()),
        round=state.get("round", 1),
        order=next_order(state.get("results") or {}) - 1,
    )
    return {"results": {path: result}}


def _recovered(update: Any, state: State, config: RunnableConfig) -> Any:
    """The update of a branch; its failure in an earlier round no longer stands."""
    path = here(config)
    results = update["results"]
    if path not in results or results[path].role != FAILED:
        return update
    now = latest({at: result for at, result in results.items() if at.startswith(f"{path}/")})
    result = StepResult(
        node_path=path,
        role="graph",
        content=now.content if now else "",
        round=state.get("round", 1),
        order=next_order(results),
    )
    return {**update, "results": {**results, path: result}}
