"""A node that calls other nodes itself: a loop's judge, a conditional's decision, a kept branch.

The work of such a node is written once, as a coroutine, for asynchronous and synchronous runs. In a
synchronous run the nodes inside must be invoked synchronously, on the same thread: a checkpointer
may not support anything else, and a thread per level would use up the pool. There the coroutine
never waits, and one step completes it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langgraph._internal._config import (
    DEFAULT_RECURSION_LIMIT,
)  # LangGraph has no public name for it

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


T = TypeVar("T")

RECURSION_LIMIT = int(DEFAULT_RECURSION_LIMIT)
"""How many steps a graph may take where its caller gives no limit, as LangGraph has it."""

AnyNode: TypeAlias = Runnable[Any, Any]


@dataclasses.dataclass(frozen=True)
class Door:
    """How the nodes inside are called: asynchronously or synchronously, as the run itself is."""

    call: Callable[[AnyNode, Any, RunnableConfig], Awaitable[Any]]
    """Runs a node on a state."""
    semaphore: type[asyncio.Semaphore | threading.Semaphore]
    """What bounds how many nodes run at once."""


Work: TypeAlias = Callable[[Any, RunnableConfig, Door], Coroutine[Any, Any, Any]]
"""From a state to an update, by way of the nodes inside."""


async def _on_the_loop(node: AnyNode, state: Any, config: RunnableConfig) -> Any:
    return await node.ainvoke(state, config)


async def _on_this_thread(node: AnyNode, state: Any, config: RunnableConfig) -> Any:
    return node.invoke(state, config)


_ASYNCHRONOUS = Door(_on_the_loop, asyncio.Semaphore)
_SYNCHRONOUS = Door(_on_this_thread, threading.Semaphore)


def with_limit(config: RunnableConfig | None) -> RunnableConfig:
    """A config with a recursion limit; LangGraph's own if the caller of the graph gave none.

    LangGraph does not hand its own limit on to a node, and LangChain replaces a missing one by 25.
    """
    given = config or RunnableConfig()
    if given.get("recursion_limit") is not None:
        return given
    return {**given, "recursion_limit": DEFAULT_RECURSION_LIMIT}


class LimitedNode(RunnableLambda[Any, Any]):
    """A node whose code, and the graphs that it runs, have the recursion limit of the graph around it."""

    def invoke(
        self,
        input: Any,  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run the node, with one recursion limit at every depth."""
        return super().invoke(input, with_limit(config), **kwargs)

    async def ainvoke(
        self,
        input: Any,  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run the node, with one recursion limit at every depth."""
        return await super().ainvoke(input, with_limit(config), **kwargs)


class Enclosing(LimitedNode):
    """A node with nodes inside that LangGraph does not run, but this one."""

    def __init__(
        self,
        work: Work,
        inside: Sequence[AnyNode],
        name: str,
        *,
        opens: bool = True,
        needs: Sequence[str] = (),
        shown: Mapping[str, str] | None = None,
    ) -> None:
        self._work = work
        self.inside = tuple(inside)
        self.needs = tuple(needs)
        self.shown = dict(shown or {})
        """The nodes inside as they are drawn: the name and the kind of each."""
        super().__init__(self._synchronous, self._asynchronous, name=name)
        self.deps = list(inside) if opens else []

    def _synchronous(self, state: Any, config: RunnableConfig) -> Any:
        return _at_once(self._work(state, config, _SYNCHRONOUS))

    async def _asynchronous(self, state: Any, config: RunnableConfig) -> Any:
        return await self._work(state, config, _ASYNCHRONOUS)


def _at_once(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that has nothing to wait for."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    work.close()
    raise RuntimeError("a node waited for an event loop in a synchronous run")
