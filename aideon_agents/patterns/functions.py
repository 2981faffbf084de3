"""Plain functions of the state as nodes, and the node paths that a running node can ask for."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from typing import TYPE_CHECKING, Any, cast, get_args, get_origin, get_type_hints

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime, get_runtime
from langgraph.store.base import BaseStore
from langgraph.types import StreamWriter

from aideon_agents.errors import UserError
from aideon_agents.graphs.enclosing import LimitedNode
from aideon_agents.models.bridge import blocking, in_own_thread
from aideon_agents.models.candidates import answers_noted, models_of
from aideon_agents.node_paths import node_path
from aideon_agents.patterns.returned import judgement, update
from aideon_agents.state import State, StepResult, next_order

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from langchain_core.runnables import Runnable


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


_BY_TYPE = {
    "RunnableConfig": "config",
    "Runtime": "runtime",
    "StreamWriter": "writer",
    "BaseStore": "store",
}
"""What a function may take besides the state, by the names of LangGraph's types."""
_TYPES = (RunnableConfig, Runtime, BaseStore)
_Kind = inspect.Parameter


class Call:
    """A function of the state, and of whatever else LangGraph gives to a node.

    The parameters are read when the graph is built: those that a node cannot fill in are a UserError.
    """

    def __init__(self, function: Callable[..., Any], pattern: str) -> None:
        self.function = function
        self.name = name_of(function)
        self._who = f"{pattern}: the function {self.name}"
        if isinstance(function, type):
            raise UserError(
                f"{pattern}: {self.name} is a class and cannot be a node: give a function or an "
                "instance that can be called"
            )
        inner = _unwrapped(function)
        if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
            raise UserError(f"{self._who} is a generator: return a value instead of using yield")
        self._positional, self._named = self._places(_hints(inner))

    def _places(self, hints: Mapping[str, Any]) -> tuple[list[str], dict[str, str]]:
        """What it is given by position, and by name."""
        try:
            parameters, is_known = _parameters(self.function)
        except (TypeError, ValueError):  # a builtin that does not say
            return ["state"], {}
        kinds = {
            one.name: _injected(one, hints.get(one.name, one.annotation)) for one in parameters
        }
        bound = self.function.keywords if isinstance(self.function, functools.partial) else {}
        kinds |= dict.fromkeys(bound, None)
        free = [one for one in parameters if not kinds[one.name] and one.name not in bound]
        places = [
            one for one in free if one.kind in (_Kind.POSITIONAL_ONLY, _Kind.POSITIONAL_OR_KEYWORD)
        ]
        places += [one for one in free if one.kind is _Kind.KEYWORD_ONLY and one.name == "state"]
        places += [one for one in free if one.kind is _Kind.VAR_POSITIONAL]
        if not places:
            raise UserError(f"{self._who} takes no state: its first parameter must be the state")
        place = next((one for one in places if one.name == "state"), places[0])
        kinds[place.name] = "state"
        lacking = [
            one.name
            for one in free
            if not kinds[one.name]
            and one.default is _Kind.empty
            and one.kind not in (_Kind.VAR_POSITIONAL, _Kind.VAR_KEYWORD)
        ]
        if lacking and is_known:
            raise UserError(
                f"{self._who} needs {', '.join(lacking)}, which a node is not given: it takes the "
                "state and config, runtime, writer or store; give others with functools.partial"
            )
        positional: list[str] = []
        named: dict[str, str] = {}
        for nth, one in enumerate(parameters):
            if not (kind := kinds[one.name]):
                continue
            by_place = one.kind in (_Kind.POSITIONAL_ONLY, _Kind.VAR_POSITIONAL)
            if by_place or (nth == 0 and one.kind is not _Kind.KEYWORD_ONLY):
                positional.append(kind)
            else:
                named[one.name] = kind
        return positional, named

    async def __call__(self, state: State, config: RunnableConfig) -> Any:
        """Call the function; a synchronous one runs in a thread."""
        values: dict[str, Any] = {"state": state, "config": config}
        if {*self._positional, *self._named.values()} - values.keys():
            runtime = get_runtime()
            values |= {"runtime": runtime, "writer": runtime.stream_writer, "store": runtime.store}
        args = [values[kind] for kind in self._positional]
        called = functools.partial(
            self.function, *args, **{name: values[kind] for name, kind in self._named.items()}
        )
        if inspect.iscoroutinefunction(self.function):
            return await called()
        failed: list[Exception] = []

        def call() -> Any:
            try:
                return called()
            except Exception as error:  # noqa: BLE001 - raised below
                failed.append(error)

        returned = await in_own_thread(call)
        if failed:
            # asyncio replaces some of those of a thread, without the line that raised.
            raise failed[0]
        # An object whose __call__ is a coroutine function returns an awaitable.
        return await returned if inspect.isawaitable(returned) else returned


def _unwrapped(function: Any) -> Any:
    """The function inside partials; of an object that can be called, its method."""
    while isinstance(function, functools.partial):
        function = cast("Any", function).func
    return function if inspect.isroutine(function) else type(function).__call__


def _parameters(function: Callable[..., Any]) -> tuple[list[inspect.Parameter], bool]:
    """The parameters, and whether all of them must be given by the node.

    A decorator that takes anything may add arguments of its own to those of the function inside.
    """
    own = [*inspect.signature(function, follow_wrapped=False).parameters.values()]
    inner = [*inspect.signature(function).parameters.values()]
    takes_any = {_Kind.VAR_POSITIONAL, _Kind.VAR_KEYWORD} & {one.kind for one in own}
    return (inner, inner == own) if takes_any else (own, True)


def _hints(function: Any) -> dict[str, Any]:
    """The types of the parameters, without those that only a type checker knows."""
    try:
        return get_type_hints(function)
    except Exception:  # noqa: BLE001 - a hint may be any expression
        return {}


def _injected(parameter: inspect.Parameter, hint: Any) -> str | None:
    """What LangGraph gives for a parameter, by its type or by its name; None: nothing."""
    if parameter.kind in (_Kind.VAR_POSITIONAL, _Kind.VAR_KEYWORD):
        return None
    if isinstance(hint, str):
        written = re.findall(r"\w+", hint)
        known = [kind for name, kind in _BY_TYPE.items() if name in written]
    else:
        known = [kind for one in (hint, *get_args(hint)) if (kind := _of_type(one))]
    if known:
        return known[0]
    is_free = hint is _Kind.empty or parameter.default is _Kind.empty
    return parameter.name if parameter.name in _BY_TYPE.values() and is_free else None


def _of_type(hint: Any) -> str | None:
    if hint == StreamWriter:
        return "writer"
    plain = get_origin(hint) or hint
    known = plain.__mro__ if isinstance(plain, type) else ()
    return next((_BY_TYPE[one.__name__] for one in known if one in _TYPES), None)


def function_node(
    function: Callable[..., Any], pattern: str, name: str | None = None
) -> Runnable[Any, Any]:
    """A plain function as a node, named after the function by default; UserError: it cannot be one."""
    return _node(Call(function, pattern), "function", update, name)


def check_node(function: Callable[..., Any], pattern: str) -> Runnable[Any, Any]:
    """A plain function as the check of a loop, which writes a `verdict`."""
    return _node(Call(function, pattern), "validator", judgement)


def _node(
    call: Call,
    role: str,
    read: Callable[[Any, StepResult, str], Mapping[str, Any] | None],
    name: str | None = None,
) -> Runnable[Any, Any]:
    async def work(state: State, config: RunnableConfig) -> Any:
        with answers_noted() as answers:
            returned = await call(state, config)
        path = current_path(config)
        who = f"{path or call.name}: the function {call.name}"
        own = step_result(state, path, role, "")
        truncated = any(one[1] for one in answers)
        stale = max([age for *_, age in answers if age is not None], default=None)
        asked = {"models": models_of(answers), "truncated": truncated, "stale_s": stale}
        own = dataclasses.replace(own, **asked)
        return read(returned, own, who)

    cast("Any", work).function = call.function  # graphs.walk.functions finds it there
    return async_node(work, name or call.name)


def async_node(
    work: Callable[[Any, RunnableConfig], Coroutine[Any, Any, Any]], name: str
) -> Runnable[Any, Any]:
    """A coroutine function as a node of synchronous and asynchronous runs."""

    def work_blocking(state: State, config: RunnableConfig) -> Any:
        return blocking(work(state, config))

    return LimitedNode(work_blocking, work, name=name)


def name_of(function: Callable[..., Any]) -> str:
    """The name of a function's node."""
    return getattr(function, "__name__", type(function).__name__).strip("<>")
