"""Plain functions of the state as nodes, and the node paths that a running node can ask for."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, cast

from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda

from aideon_agents.models.bridge import blocking, in_own_thread
from aideon_agents.models.candidates import answers_noted, models_of
from aideon_agents.node_paths import node_path
from aideon_agents.state import State, StepResult, next_order


def current_path(config: RunnableConfig) -> str:
    """The path of the running node; empty outside a graph."""
    return node_path(config.get("metadata") or {})


def pattern_path(config: RunnableConfig, name: str) -> str:
    """The path of the pattern whose node is running; the pattern's name where it is the root."""
    return current_path(config).rpartition("/")[0] or name


def sibling_path(config: RunnableConfig, name: str) -> str:
    """The path of another node in the pattern of the running node."""
    around, slash, _ = current_path(config).rpartition("/")
    return f"{around}{slash}{name}"


def is_within(path: str, outer: str) -> bool:
    """Whether a path is the outer path or lies inside it."""
    return f"{path}/".startswith(f"{outer}/")


def step_result(
    state: State, node_path: str, role: str, content: str, data: Any = None
) -> StepResult:
    """A result that is later, by order, than every result in the state."""
    return StepResult(
        node_path=node_path,
        role=role,
        content=content,
        data=data,
        round=state.get("round", 1),
        order=next_order(state.get("results") or {}),
    )


def function_node(function: Callable[..., Any]) -> Runnable[Any, Any]:
    """A plain function as a node, named after the function.

    A mapping that the function returns is an update, anything else a result.
    """

    async def work(state: State, config: RunnableConfig) -> Any:
        with answers_noted() as answers:
            returned = await call_function(function, state)
        if returned is None or isinstance(returned, Mapping):
            return cast("Any", returned)
        path = current_path(config)
        is_text = isinstance(returned, str)
        content, data = (returned, None) if is_text else (repr(returned), returned)
        result = step_result(state, path, "function", content, data)
        truncated = any(truncated for _, truncated in answers)
        known = dataclasses.replace(result, models=models_of(answers), truncated=truncated)
        return {"results": {path: known}}

    cast("Any", work).function = function  # graphs.walk.functions finds it there
    return async_node(work, name_of(function))


def async_node(
    work: Callable[[Any, RunnableConfig], Coroutine[Any, Any, Any]], name: str
) -> Runnable[Any, Any]:
    """A coroutine function as a node of synchronous and asynchronous runs."""

    def work_blocking(state: State, config: RunnableConfig) -> Any:
        return blocking(work(state, config))

    return RunnableLambda(work_blocking, work, name=name)


async def call_function(function: Callable[..., Any], state: State) -> Any:
    """Call a function of the state; a synchronous one runs in a thread."""
    if inspect.iscoroutinefunction(function):
        return await function(state)
    failed: list[Exception] = []

    def call() -> Any:
        try:
            return function(state)
        except Exception as error:  # noqa: BLE001 - raised below
            failed.append(error)

    returned = await in_own_thread(call)
    if failed:
        raise failed[0]  # asyncio replaces some of those of a thread, without the line that raised
    # An object whose __call__ is a coroutine function returns an awaitable.
    return await returned if inspect.isawaitable(returned) else returned


def name_of(function: Callable[..., Any]) -> str:
    """The name of a function's node."""
    return getattr(function, "__name__", type(function).__name__).strip("<>")
