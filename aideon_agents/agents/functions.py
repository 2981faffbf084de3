"""Functions as tools: parameters of any name and kind, generators, and what cannot be a tool.

LangChain passes a tool's arguments on beside its own: a parameter called `config`, `self` or `args`,
or one whose name begins with `_`, never reaches the function. Such a function becomes a `NamedArguments`,
which passes them on as one value.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import typing
from collections.abc import Awaitable, Callable  # noqa: TC003 - pydantic reads them
from typing import TYPE_CHECKING, Any, cast, get_args, get_type_hints

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, InjectedToolArg, StructuredTool
from langchain_core.tools.base import (
    _infer_arg_descriptions,  # pyright: ignore[reportPrivateUsage] - as for other functions
)
from langgraph.types import Command
from pydantic import BaseModel, Field, create_model

from aideon_agents.errors import UserError
from aideon_agents.models.bridge import in_own_thread

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LANGCHAINS = {"config", "run_manager", "callbacks", "self", "args", "kwargs"}
"""Names of parameters that LangChain keeps for itself."""
_Kind = inspect.Parameter


class NamedArguments(BaseTool):
    """A tool whose arguments may have any name: LangChain passes them on as one value."""

    work: Callable[[dict[str, Any]], Awaitable[Any]]

    def _to_args_and_kwargs(
        self,
        tool_input: str | dict[str, Any],
        tool_call_id: str | None,  # noqa: ARG002 - LangChain's
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (tool_input,), {}

    def _run(self, given: dict[str, Any]) -> Any:
        raise NotImplementedError  # it is asynchronous

    async def _arun(self, given: dict[str, Any]) -> Any:
        return await self.work(given)


def from_function(function: Callable[..., Any]) -> BaseTool:
    """Make a tool of a function; its signature and docstring describe it to the model."""
    hints = get_type_hints(function, include_extras=True)
    _refuse_command(hints.get("return"), getattr(function, "__name__", "function"))
    parameters = inspect.signature(function).parameters
    if any(_is_injected(hint) for name, hint in hints.items() if name != "return"):
        return with_values(_structured(function))
    if all(map(_is_ordinary, parameters.values())):
        return with_values(_structured(function))
    return _named(function, parameters, hints)


def _structured(function: Callable[..., Any]) -> StructuredTool:
    if not inspect.iscoroutinefunction(inspect.unwrap(function)):
        return StructuredTool.from_function(function, parse_docstring=True)
    return StructuredTool.from_function(coroutine=_awaiting(function), parse_docstring=True)


def _is_ordinary(parameter: inspect.Parameter) -> bool:
    name = parameter.name
    return (
        parameter.kind in {_Kind.POSITIONAL_OR_KEYWORD, _Kind.KEYWORD_ONLY}
        and name not in _LANGCHAINS
        and not name.startswith("_")
        and not hasattr(BaseModel, name)
    )


def _is_injected(hint: Any) -> bool:
    """Whether LangChain or LangGraph fills a parameter in, and not the model."""
    if hint is RunnableConfig or any(_is_injected(one) for one in get_args(hint)):
        return True
    kind = hint if isinstance(hint, type) else type(hint)
    return issubclass(kind, InjectedToolArg) or kind.__module__.startswith(
        "langchain_core.callbacks"
    )


def _refuse_command(returned: Any, name: str) -> None:
    """Raise UserError for a tool that returns a Command, which an agent does not carry out."""
    if returned is Command or typing.get_origin(returned) is Command:
        raise UserError(
            f"the tool {name} returns a Command, which an agent cannot carry out: return a text"
        )
    for one in get_args(returned):
        _refuse_command(one, name)


def with_values(tool: StructuredTool) -> StructuredTool:
    """The same tool; if its function is a generator, with the values as its result."""
    changes: dict[str, Any] = {}
    if tool.func and inspect.isgeneratorfunction(inspect.unwrap(tool.func)):
        changes = {"func": _listing(tool.func)}
    if tool.func and inspect.isasyncgenfunction(inspect.unwrap(tool.func)):
        changes = {"func": None, "coroutine": _awaiting(tool.func)}
    return tool.model_copy(update=changes) if changes else tool


def _listing(function: Callable[..., Iterable[Any]]) -> Callable[..., list[Any]]:
    @functools.wraps(function)
    def listing(*args: Any, **kwargs: Any) -> list[Any]:
        return list(function(*args, **kwargs))

    return listing


def _awaiting(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    if inspect.iscoroutinefunction(function):
        return function

    @functools.wraps(function)
    async def awaiting(*args: Any, **kwargs: Any) -> Any:
        return await _value(function(*args, **kwargs))

    return awaiting


async def _value(result: Any) -> Any:
    if inspect.isasyncgen(result):
        return [one async for one in result]
    if inspect.isgenerator(result):
        return list(cast("Iterable[Any]", result))
    return await result if inspect.isawaitable(result) else result


def _named(
    function: Callable[..., Any],
    parameters: Mapping[str, inspect.Parameter],
    hints: Mapping[str, Any],
) -> NamedArguments:
    """A tool whose model has fields of its own names, and the parameters' names as aliases."""
    description, described = _infer_arg_descriptions(function, parse_docstring=True)
    fields: dict[str, Any] = {}
    for nth, (name, parameter) in enumerate(parameters.items()):
        hint, default = hints.get(name, Any), parameter.default
        if parameter.kind is _Kind.VAR_POSITIONAL:
            hint, default = list[hint], []
        if parameter.kind is _Kind.VAR_KEYWORD:
            hint, default = dict[str, hint], {}
        default = ... if default is _Kind.empty else default
        field = Field(default, alias=name, title=name, description=described.get(name))
        fields[f"field_{nth}"] = (hint, field)
    model = create_model(function.__name__, __doc__=description, **fields)
    is_async = inspect.iscoroutinefunction(inspect.unwrap(function)) or inspect.isasyncgenfunction(
        inspect.unwrap(function)
    )

    async def work(given: dict[str, Any]) -> Any:
        args, kwargs = _call_of(parameters, model.model_validate(given))
        if is_async:
            return await _value(function(*args, **kwargs))
        called = functools.partial(function, *args, **kwargs)
        if inspect.isgeneratorfunction(inspect.unwrap(function)):
            return await in_own_thread(lambda: list(called()))
        return await in_own_thread(called)

    schema = model.model_json_schema()
    return NamedArguments(
        name=function.__name__, description=description, args_schema=schema, work=work
    )


def _call_of(
    parameters: Mapping[str, inspect.Parameter], given: BaseModel
) -> tuple[list[Any], dict[str, Any]]:
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for nth, (name, parameter) in enumerate(parameters.items()):
        value = getattr(given, f"field_{nth}")
        if parameter.kind is _Kind.VAR_POSITIONAL:
            args += value
        elif parameter.kind is _Kind.VAR_KEYWORD:
            kwargs.update(value)
        elif parameter.kind is _Kind.KEYWORD_ONLY:
            kwargs[name] = value
        else:
            args.append(value)
    return args, kwargs


def refuse_unusable(tool: StructuredTool) -> None:
    """Raise UserError for a LangChain tool that returns a Command, or that no call can reach."""
    function = tool.coroutine or tool.func
    if function is None:
        return
    hints: dict[str, Any] = {}
    with contextlib.suppress(Exception):  # names that only type checkers know
        hints = get_type_hints(function, include_extras=True)
    _refuse_command(hints.get("return"), tool.name)
    parameters = inspect.signature(function).parameters
    takes_any = any(one.kind is _Kind.VAR_KEYWORD for one in parameters.values())
    seen = set(tool.args)
    for name, parameter in parameters.items():
        if name == "callbacks" or _is_injected(hints.get(name)):
            continue
        is_lost = name in {"config", "run_manager", "self"} and name in seen
        is_missing = parameter.default is _Kind.empty and name not in seen
        is_spread = parameter.kind in {_Kind.VAR_POSITIONAL, _Kind.POSITIONAL_ONLY} and name in seen
        needs = parameter.kind not in {_Kind.VAR_KEYWORD, _Kind.VAR_POSITIONAL}
        if is_lost or is_spread or (is_missing and needs and not takes_any):
            raise UserError(
                f"the parameter {name} of the tool {tool.name} does not reach a LangChain tool: give "
                "it another name, or give the function itself"
            )
