"""Plain functions of the state, as nodes.

Where the nodes of a pattern stand, asked while one of them runs.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, cast

from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda

from aideon_agents.models.bridge import blocking, in_own_thread
from aideon_agents.state import State, StepResult, next_order, node_path

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig


def here(config: RunnableConfig) -> str:
    """The place of the node that runs."""
    return node_path(config.get("metadata") or {})


def own_path(config: RunnableConfig, name: str) -> str:
    """The place of a pattern, asked from one of its own nodes."""
    return here(config).rpartition("/")[0] or name


def beside(config: RunnableConfig, name: str) -> str:
    """The place of another node of the same pattern."""
    around, slash, _ = here(config).rpartition("/")
    return f"{around}{slash}{name}"


def is_in(path: str, place: str) -> bool:
    """Whether a path is a place itself, or lies inside."""
    return f"{path}/".startswith(f"{place}/")


def function_node(function: Callable[..., Any]) -> Runnable[Any, Any]:
    """A plain function as a node: what it returns is an update of the state, or a result."""
    return node(Answering(function).work, name_of(function))


@dataclasses.dataclass(frozen=True)
class Answering:
    """What a plain function does as a node."""

    function: Callable[..., Any]

    async def work(self, state: State, config: RunnableConfig) -> Any:
        """Call it, and take what it returns for an update or a result."""
        returned = await answer(self.function, state)
        if returned is None or isinstance(returned, Mapping):
            return cast("Any", returned)
        path = here(config)
        result = StepResult(
            node_path=path,
            role="function",
            content=returned if isinstance(returned, str) else repr(returned),
            data=None if isinstance(returned, str) else returned,
            round=state.get("round", 1),
            order=next_order(state.get("results") or {}),
        )
        return {"results": {path: result}}


def node(
    work: Callable[[Any, RunnableConfig], Coroutine[Any, Any, Any]], name: str
) -> Runnable[Any, Any]:
    """A coroutine function as a node of synchronous and asynchronous runs."""

    def work_blocking(state: State, config: RunnableConfig) -> Any:
        return blocking(work(state, config))

    return RunnableLambda(work_blocking, work, name=name)


async def answer(function: Callable[..., Any], state: State) -> Any:
    """What a function says of a state; one that is not asynchronous runs in a thread."""
    if inspect.iscoroutinefunction(function):
        return await function(state)
    returned = await in_own_thread(functools.partial(function, state))
    # An object whose __call__ is a coroutine function gives what has to be awaited.
    return await returned if inspect.isawaitable(returned) else returned


def name_of(function: Callable[..., Any]) -> str:
    """What a node made of a function is called."""
    return getattr(function, "__name__", type(function).__name__).strip("<>")
