"""Several nodes at the same time, on the same state: parallelization.

A branch gives back what it was given as well as what it wrote. Results know which is later; of the
plain keys (`News`), what a branch merely brought back must not undo what another one wrote.

What a parallel branch may be held to: how many run at once, and what its failure means.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import functools
import threading
import weakref
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, TypeGuard, get_args

from langgraph.channels import LastValue
from langgraph.errors import GraphBubbleUp, NodeCancelledError, is_invalid_resume
from langgraph.graph import END, START
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import get_runtime

from aideon_agents.errors import AideonError, LimitError, StepFailed, UserError
from aideon_agents.graphs import Graph, Node
from aideon_agents.graphs.enclosing import Door, Enclosing
from aideon_agents.patterns import functions
from aideon_agents.patterns import nodes as making
from aideon_agents.patterns.functions import beside, here
from aideon_agents.patterns.nodes import Named, compiled
from aideon_agents.state import Results, State, StepResult, latest, next_order, part

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, Sequence

    from langchain_core.runnables import RunnableConfig


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


OnFailure: TypeAlias = Literal["raise", "keep"]

_KEPT = "kept"
"""The node that looks whether any branch is left, where failures are kept."""


class Changed(LastValue[Any]):
    """Keeps what branches changed; where several did, that of the last by name."""

    __slots__ = ()

    def update(self, values: Sequence[Any]) -> bool:
        """Take the last new value of a step."""
        news = [value for value in values if value != self.value]
        return super().update(news[-1:])


class News(Results, total=False):
    """What branches give back."""

    plan: Annotated[Any, Changed]
    verdict: Annotated[Any, Changed]
    route: Annotated[Any, Changed]


class Branches(State, total=False):
    """What branches read."""

    plan: Annotated[Any, Changed]
    verdict: Annotated[Any, Changed]
    route: Annotated[Any, Changed]


def parallel(
    *branches: Node,
    max_concurrency: int | None = None,
    on_failure: OnFailure = "raise",
    name: str = "parallel",
) -> Graph:
    """Run branches at the same time; each sees what came before, none sees another.

    Args:
        *branches: Agents, functions, or compiled graphs.
        max_concurrency: How many branches run at once, per run of this graph; None: all.
        on_failure: `raise`: the first branch that fails fails the whole. `keep`: its error becomes
            its result, of role `failed`, and the others go on; only when all fail, so does the
            whole. Limits, mistakes of the caller's, questions and cancellations are never kept.
        name: What it is called where it is a node itself, and in reports.

    Returns:
        A compiled graph.

    Raises:
        UserError: There is no branch, or two of the same name, or an option cannot be.
    """
    if max_concurrency is not None and max_concurrency < 1:
        raise UserError(f"{name}: max_concurrency is {max_concurrency}, it must be at least 1")
    if on_failure not in get_args(OnFailure):
        raise UserError(f"{name}: on_failure is {on_failure!r}, it must be raise or keep")
    keeps = on_failure == "keep"
    gates = Gates(max_concurrency) if max_concurrency else None
    graph = making.builder(Branches, entry=Branches, gives=News)
    made = making.named(branches, name, reserved=[_KEPT] if keeps else [])
    for branch in made:
        own = _own_graph(branch)
        running = Branch(own, gates, keeps=keeps)
        runs = Enclosing(running.run, [own], branch.name) if gates or keeps else own
        making.add(graph, branch, runs)
        graph.add_edge(START, branch.name)
        graph.add_edge(branch.name, _KEPT if keeps else END)
    if keeps:
        still = functools.partial(require_one, names=[branch.name for branch in made], pattern=name)
        graph.add_node(_KEPT, functions.node(still, _KEPT), metadata=part(_KEPT))
        graph.add_edge(_KEPT, END)
    return compiled(graph, name)


def _is_ours(runnable: object) -> TypeGuard[Graph]:
    """Whether it is a graph that gives back nothing but what merges."""
    return (
        isinstance(runnable, CompiledStateGraph)
        and runnable.builder.output_schema.__annotations__.keys() <= Results.__annotations__.keys()
    )


def _own_graph(branch: Named) -> Graph:
    """The branch as a graph of its own.

    LangGraph's nodes move in step: a quick branch of plain nodes would wait for the slow one after
    each of its own. The wrapping adds no part to the path. A graph made elsewhere is wrapped as
    well: two that both gave back their task would be an InvalidUpdateError.
    """
    if _is_ours(branch.runnable):
        return branch.runnable
    inner = f"{branch.name}/"  # a name that no node of a user's can have
    graph = making.builder(entry=State)
    graph.add_node(inner, branch.runnable, metadata=branch.metadata | part(inner, ""))
    graph.add_edge(START, inner)
    graph.add_edge(inner, END)
    return graph.compile(name=branch.name)
