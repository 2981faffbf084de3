"""Functions as tools: parameters of every name and kind, generators, and what they raise."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.messages.tool import tool_call
from langchain_core.runnables import RunnableConfig  # noqa: TC002 - LangChain reads it
from langchain_core.tools import tool
from langgraph.types import Command

from aideon_agents import Context, executor, sequential
from aideon_agents.errors import UserError
from aideon_agents.testing import GivenModels, ScriptedChatModel


async def used(function: Any, /, **args: Any) -> ToolMessage:
    """What the model is sent of one call of a tool."""
    name = getattr(function, "name", None) or function.__name__
    called = AIMessage("", tool_calls=[tool_call(name=name, args=args, id="c")])
    model = ScriptedChatModel(answers=[called, "done"])
    context = Context(models=GivenModels(model))
    await sequential(executor(tools=[function])).ainvoke({"task": "Go."}, context=context)
    (offered,) = model.requests[0].options["tools"]
    assert set(args) <= set(offered["function"]["parameters"]["properties"])
    result = model.requests[-1].messages[-1]
    assert isinstance(result, ToolMessage)
    return result


def reserved(config: str, run_manager: str, callbacks: str, schema: str = "d") -> str:
    """Tell what was given.

    Args:
        config: The first.
        run_manager: The second.
        callbacks: The third.
        schema: The fourth.
    """
    return f"{config}{run_manager}{callbacks}{schema}"


def collected(args: list[int], kwargs: dict[str, int], self: int = 0, _x: int = 0) -> str:
    """Tell what was given."""
    return f"{args}{kwargs}{self}{_x}"


def spread(first: int, /, *items: int, last: int, **more: int) -> str:
    """Tell what was given."""
    return f"{first}{items}{last}{more}"


async def waits(config: str) -> str:
    """Tell what was given, later."""
    await asyncio.sleep(0)
    return config


@pytest.mark.parametrize(
    ("function", "args", "said"),
    [
        (reserved, {"config": "a", "run_manager": "b", "callbacks": "c"}, "abcd"),
        (collected, {"args": [1], "kwargs": {"k": 2}, "self": 3, "_x": 4}, "[1]{'k': 2}34"),
        (
            spread,
            {"first": "1", "items": ["2", 3], "last": 4, "more": {"k": 5}},
            "1(2, 3)4{'k': 5}",
        ),
        (spread, {"first": 1, "last": 4}, "1()4{}"),
        (waits, {"config": "a"}, "a"),
    ],
)
async def test_parameters_may_have_any_name_and_kind(function, args, said):
    result = await used(function, **args)
    assert (result.status, result.content) == ("success", said)


async def test_they_are_described_and_checked_like_others():
    result = await used(spread, first="x", last=1)
    assert result.content.startswith("Error: first: Input should be a valid integer")
    model = ScriptedChatModel(answers=["done"])
    context = Context(models=GivenModels(model))
    await sequential(executor(tools=[reserved])).ainvoke({"task": "Go."}, context=context)
    (offered,) = model.requests[0].options["tools"]
    described = offered["function"]["parameters"]
    assert offered["function"]["description"] == "Tell what was given."
    assert described["properties"]["config"] == {"type": "string", "description": "The first."}
    assert described["required"] == ["config", "run_manager", "callbacks"]


async def test_what_langchain_gives_a_function_it_still_gives():
    def place(word: str, config: RunnableConfig) -> str:
        """Tell where it runs."""
        return f"{word} {config['metadata']['langgraph_node']}"

    assert (await used(place, word="in")).content == "in executor"


def numbers(most: int) -> Any:
    """Count."""
    yield from range(most)


async def later(most: int) -> Any:
    """Count."""
    for number in range(most):
        yield number


def kept(config: int) -> Any:
    """Count."""
    yield from range(config)


@functools.wraps(later)
def wrapped(most: int) -> Any:
    return later(most)


@pytest.mark.parametrize("function", [numbers, later, kept, tool(numbers), wrapped])
async def test_the_values_of_a_generator_are_its_result(function):
    name = "config" if function is kept else "most"
    assert (await used(function, **{name: 3})).content == "[0, 1, 2]"


async def cancels_itself(how: str) -> str:
    """Be cancelled."""
    if how == "raises":
        raise asyncio.CancelledError("of its own")
    inner = asyncio.create_task(asyncio.sleep(60))
    inner.cancel("of its own")
    await inner
    return ""


def cancels_in_a_thread(how: str) -> str:
    """Be cancelled."""
    raise asyncio.CancelledError(f"of its own {how}".removesuffix(" raises"))


@pytest.mark.parametrize("how", ["raises", "awaits"])
async def test_a_cancellation_of_a_tools_own_is_a_failure_of_it(how):
    assert "Error: CancelledError" in (await used(cancels_itself, how=how)).content
    result = await used(cancels_in_a_thread, how="raises")
    assert (result.status, result.content) == ("error", "Error: CancelledError: of its own")


def goes(word: str) -> Command:
    """Go elsewhere."""
    return Command(goto=word)


def may_go(word: str) -> str | Command | None:
    """Go elsewhere."""
    return word


@pytest.mark.parametrize("function", [goes, may_go, tool(goes)])
def test_a_tool_that_returns_a_command_is_refused(function):
    with pytest.raises(UserError, match="returns a Command, which an agent cannot carry out"):
        executor(tools=[function])


def hides(word: str, _x: int) -> str:
    """Tell."""
    return f"{word}{_x}"


def manages(run_manager: str) -> str:
    """Tell."""
    return run_manager


def configured(config: str) -> str:
    """Tell."""
    return config


@pytest.mark.parametrize("function", [hides, manages, configured])
def test_a_parameter_that_langchain_does_not_pass_on_is_refused_where_the_tool_is_made(function):
    with pytest.raises(UserError, match="does not reach a LangChain tool: give it another name"):
        executor(tools=[tool(function)])
    executor(tools=[function])
