"""Several nodes at the same time, on the same state: parallelization.

A branch returns what it received as well as what it wrote. Results carry an order that says which is
later. Of the plain keys (`BranchResults`), a value that a branch only returned must not undo one
that another branch wrote.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import functools
import threading
import weakref
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    TypeAlias,
    TypedDict,
    cast,
    get_args,
    get_type_hints,
)

from langgraph.channels import BinaryOperatorAggregate, LastValue
from langgraph.errors import GraphBubbleUp, NodeCancelledError, is_invalid_resume
from langgraph.graph import END, START
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import get_runtime

from aideon_agents.errors import AideonError, LimitError, StepFailed, UserError, is_kind
from aideon_agents.graphs import Graph, Node
from aideon_agents.graphs.enclosing import Door, Enclosing
from aideon_agents.graphs.output import output
from aideon_agents.ledger.forks import renewed
from aideon_agents.node_paths import part
from aideon_agents.patterns.functions import async_node, current_path, sibling_path, step_result
from aideon_agents.patterns.nodes import (
    NamedNode,
    add_node,
    compile_graph,
    named_nodes,
    new_builder,
)
from aideon_agents.state import Results, State, StepResult, merge, next_order

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, Callable, Sequence

    from langchain_core.runnables import RunnableConfig


FAILED = "failed"
"""The role of a result that records a failure."""

_NEVER_KEPT = (
    GraphBubbleUp,  # a question, or a stop that was asked for
    NodeCancelledError,
    concurrent.futures.CancelledError,  # a cancellation, seen from another thread
    LimitError,
    UserError,
)


class BranchLimit:
    """How many branches run at once, counted separately for each run of a graph."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.after_fork()
        # A semaphore lives as long as a branch uses it, and all branches of a run start together.
        self._semaphores: weakref.WeakValueDictionary[
            str, asyncio.Semaphore | threading.Semaphore
        ] = weakref.WeakValueDictionary()
        renewed.add(self)

    def after_fork(self) -> None:
        """Take no lock over from the parent process."""
        self._lock = threading.Lock()

    @contextlib.asynccontextmanager
    async def slot(self, door: Door) -> AsyncGenerator[None]:
        """Hold one slot for the length of a block, in the run of the current node."""
        execution = get_runtime().execution_info
        # All branches of one run start from the same checkpoint, and no other run does.
        key = execution.checkpoint_id if execution else ""
        with self._lock:
            semaphore = self._semaphores.setdefault(key, door.semaphore(self.limit))
        if isinstance(semaphore, threading.Semaphore):
            with semaphore:
                yield
        else:
            async with semaphore:
                yield


async def _run_branch(
    state: State,
    config: RunnableConfig,
    door: Door,
    *,
    graph: Graph,
    limit: BranchLimit | None,
    keeps: bool,
) -> Any:
    """Run a branch, which may have to wait for a slot. `keeps`: its failure becomes its result."""
    async with limit.slot(door) if limit else contextlib.nullcontext():
        try:
            update = await door.call(graph, state, config)
        except _NEVER_KEPT:
            raise
        except Exception as error:
            if not keeps or is_invalid_resume(error):
                raise
            return _failed(error, state, config)
    return _recovered(update, state, config, graph) if keeps else update


async def require_one(
    state: State, config: RunnableConfig, *, names: Sequence[str], pattern: str
) -> None:
    """Raise StepFailed if every branch failed."""
    results = state.get("results") or {}
    own = ((name, results.get(sibling_path(config, name))) for name in names)
    failures = [f"{name}: {one.content}" for name, one in own if one and one.role == FAILED]
    if len(failures) == len(names):
        raise StepFailed(f"{pattern}: every branch failed: {'; '.join(failures)}")


def _failed(error: Exception, state: State, config: RunnableConfig) -> dict[str, Any]:
    """A failure as a result. Its order is below that of the other branches' results."""
    what = str(error) if isinstance(error, AideonError) else f"{type(error).__name__}: {error}"
    path = current_path(config)
    result = step_result(state, path, FAILED, " ".join(what.split()))
    return {"results": {path: dataclasses.replace(result, order=result.order - 1)}}


def _recovered(update: Any, state: State, config: RunnableConfig, graph: Graph) -> Any:
    """The update of a branch, in which a failure of an earlier round is replaced."""
    path = current_path(config)
    results = update["results"]
    if path not in results or results[path].role != FAILED:
        return update
    inside = {at: result for at, result in results.items() if at.startswith(f"{path}/")}
    now = output(graph, inside, path)
    seen: State = {**state, "results": results}
    result = step_result(seen, path, "graph", now.content if now else "")
    return {**update, "results": {**results, path: result}}


OnFailure: TypeAlias = Literal["raise", "keep"]

_KEPT = "kept"
"""The node that checks, where failures are kept, that a branch succeeded."""


class ChangedValue(LastValue[Any]):
    """Keeps the value that a branch changed; of several, that of the last branch by name."""

    __slots__ = ()

    def update(self, values: Sequence[Any]) -> bool:
        """Take the last changed value of a step."""
        changed = [value for value in values if value != self.value]
        return super().update(changed[-1:])


def _is_new(one: StepResult, known: StepResult | None) -> bool:
    """Whether a branch wrote a result: all others it received."""
    return known is None or one.order > known.order or (one.role == FAILED and one is not known)


class DeclaredOrder(BinaryOperatorAggregate[dict[str, StepResult]]):
    """Merges the results of branches in the order in which the branches were given.

    LangGraph writes what nodes of one step return in the order of the names of the nodes. Here the
    results of a branch also come later, by `order`, than those of the branches before it, as if the
    branches had run one after another.
    """

    __slots__ = ()
    names: ClassVar[Sequence[str]] = ()
    """The branches; each graph has a class of its own, because LangGraph makes the channels."""

    def __init__(self, typ: Any, operator: Callable[[Any, Any], Any] = merge) -> None:
        super().__init__(typ, operator)

    def update(self, values: Sequence[dict[str, StepResult]]) -> bool:
        """Merge what the branches of one step return."""
        before = cast("dict[str, StepResult]", self.value)
        latest_before = next_order(before) - 1
        added = [
            {path: one for path, one in value.items() if _is_new(one, before.get(path))}
            for value in values
        ]
        paths = [[path.split("/") for path in some] for some in added]
        later, merged = 0, list[dict[str, StepResult]]()
        for index in self._declared(paths):
            some = added[index]
            span = max((one.order for one in some.values()), default=0) - latest_before
            if later and span > 0:
                moved = {
                    path: dataclasses.replace(one, order=one.order + later)
                    for path, one in some.items()
                }
                merged.append({**values[index], **moved})
            else:
                merged.append(values[index])
            later += max(span, 0)
        return super().update(merged)

    def _declared(self, added: Sequence[Sequence[Sequence[str]]]) -> list[int]:
        """The positions of what branches added, in the order of the branches.

        All node paths begin with that of the pattern, and the part behind it is the branch.
        """
        position = {name: index for index, name in enumerate(self.names)}
        for depth in range(max((len(path) for paths in added for path in paths), default=0)):
            parts = [{path[depth] for path in paths if depth < len(path)} for paths in added]
            found = [[position[one] for one in some if one in position] for some in parts]
            known = [some[0] for some in found if len(some) == 1]
            if len(set(known)) == sum(map(bool, added)):
                return sorted(range(len(added)), key=lambda index: found[index] or [0])
        return list(range(len(added)))


class _ChangedValues(TypedDict, total=False):
    """The plain keys that branches write, each as it was changed."""

    plan: Annotated[Any, ChangedValue]
    verdict: Annotated[Any, ChangedValue]
    route: Annotated[Any, ChangedValue]


def _schemas(names: Sequence[str]) -> tuple[type[Any], type[Any]]:
    """What branches of these names read, and what they write."""
    own = get_type_hints(_ChangedValues, include_extras=True)
    channel = type("DeclaredOrder", (DeclaredOrder,), {"__slots__": (), "names": tuple(names)})
    own["results"] = Annotated[dict[str, StepResult], channel]
    reads = get_type_hints(State, include_extras=True) | own
    made: Any = TypedDict  # whose keys a type checker must know
    return made("BranchState", reads, total=False), made("BranchResults", own, total=False)


def parallel(
    *branches: Node,
    max_concurrency: int | None = None,
    on_failure: OnFailure = "raise",
    name: str = "parallel",
) -> Graph:
    """Run branches at the same time; each sees the results before it, none those of another branch.

    Args:
        *branches: Agents, functions, or compiled graphs.
        max_concurrency: How many branches run at once, per run of this graph; None: all.
        on_failure: With `raise`, the first branch that fails ends the run. With `keep`, its error
            becomes its result, of role `failed`, and the others continue; the run fails only if
            every branch does. Limits, errors of the caller, questions and cancellations always
            end the run.
        name: Its name in reports, and as a node of another graph.

    Returns:
        A compiled graph.

    Raises:
        UserError: There is no branch, two branches have the same name, or an option is invalid.
    """
    if max_concurrency is not None and (not is_kind(max_concurrency, int) or max_concurrency < 1):
        raise UserError(f"{name}: max_concurrency must be at least 1, not {max_concurrency!r}")
    if on_failure not in get_args(OnFailure):
        raise UserError(f"{name}: on_failure must be raise or keep, not {on_failure!r}")
    keeps = on_failure == "keep"
    limit = BranchLimit(max_concurrency) if max_concurrency else None
    nodes = named_nodes(branches, name, reserved=[_KEPT] if keeps else [])
    reads, gives = _schemas([node.name for node in nodes])
    graph = new_builder(reads, entry=reads, gives=gives)
    for node in nodes:
        if limit or keeps:
            own = _own_graph(node)
            running = functools.partial(_run_branch, graph=own, limit=limit, keeps=keeps)
            add_node(graph, node, Enclosing(running, [own], node.name))
        else:
            # An agent takes one superstep, returns only what it wrote, and needs no graph.
            add_node(graph, node, None if node.role else _own_graph(node))
        graph.add_edge(START, node.name)
        graph.add_edge(node.name, _KEPT if keeps else END)
    if keeps:
        checking = functools.partial(require_one, names=[one.name for one in nodes], pattern=name)
        graph.add_node(_KEPT, async_node(checking, _KEPT), metadata=part(_KEPT))
        graph.add_edge(_KEPT, END)
    return compile_graph(graph, name)


def _own_graph(branch: NamedNode) -> Graph:
    """The branch as a graph of its own.

    LangGraph's nodes move in supersteps: a quick branch of plain nodes would wait for the slow one
    after each of its own. The wrapping adds no part to the path. A graph from elsewhere is wrapped
    as well: two that both return their task would be an InvalidUpdateError.
    """
    runnable = branch.runnable
    if isinstance(runnable, CompiledStateGraph):
        gives = runnable.builder.output_schema.__annotations__
        if gives.keys() <= Results.__annotations__.keys():  # each of these merges
            return cast("Graph", runnable)
    inner = f"{branch.name}/"  # a name that no node of a user can have
    graph = new_builder(entry=State)
    graph.add_node(inner, runnable, metadata=branch.metadata | part(inner, ""))
    graph.add_edge(START, inner)
    graph.add_edge(inner, END)
    return graph.compile(name=branch.name)
