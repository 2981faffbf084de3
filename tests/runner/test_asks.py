"""Whether a graph asks a person is read from its nodes and their code, before anything runs."""

from __future__ import annotations

import functools

import langgraph.types
import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt

from aideon_agents import (
    conditional,
    creative,
    executor,
    iterative,
    parallel,
    sequential,
    validator,
)
from aideon_agents.runner.spec import asks
from aideon_agents.state import State
from aideon_agents.testing import ScriptedChatModel

renamed = interrupt


def helper(question):
    return interrupt(question)


def ask(state):
    return interrupt("Send it?")


def asks_by_another_name(state):
    return renamed("Send it?")


def asks_by_module(state):
    return langgraph.types.interrupt("Send it?")


def asks_by_import(state):
    from langgraph.types import interrupt as asked

    return asked("Send it?")


def asks_by_helper(state):
    return [helper(word) for word in ("a", "b")]


async def asks_inside(state):
    async def deeper():
        return interrupt("Send it?")

    return await deeper()


def checked(function):
    @functools.wraps(function)
    def wrapper(state):
        return function(state) if interrupt("May it run?") else "no"

    return wrapper


@checked
def asks_by_decorator(state):
    return "done"


@functools.lru_cache
def cached(question):
    return helper(question)


class Approver:
    """Asks in its methods."""

    def __call__(self, state):
        return self.agreed()

    def node(self, state):
        return self.agreed()

    @staticmethod
    def always():
        return helper("Always?")

    def agreed(self):
        return interrupt("Agreed?")


approver = Approver()
inner = sequential(ask)


def send(text: str) -> str:
    """Send a text."""
    return interrupt(f"Send {text}?")


@tool
async def post(text: str) -> str:
    """Post a text."""
    return helper(f"Post {text}?")


def look(text: str) -> str:
    """Look a text up."""
    return text


def plain(state):
    """Say that it does not interrupt."""
    return "no interrupt here"


def in_a_graph(state):
    return inner.invoke(state)


def with_breakpoint():
    builder = StateGraph(State)
    builder.add_node("plain", lambda state: {})
    builder.add_edge(START, "plain")
    return builder.compile(interrupt_before=["plain"])


def with_middleware(*middleware):
    return create_agent(ScriptedChatModel(answers=["x"]), [look], middleware=middleware)


ASKING = {
    "a function": sequential(ask),
    "another name": sequential(asks_by_another_name),
    "a module": sequential(asks_by_module),
    "an import": sequential(asks_by_import),
    "a helper": sequential(asks_by_helper),
    "a function inside": sequential(asks_inside),
    "a decorator": sequential(asks_by_decorator),
    "a lambda": sequential(executor("a"), lambda state: helper("?")),
    "a wrapped helper": sequential(lambda state: cached("?")),
    "a partial": sequential(lambda state, go=None: functools.partial(helper, "?")()),
    "an object": sequential(lambda state: [approver(state)]),
    "a method": sequential(approver.node),
    "a method of an object": sequential(lambda state: approver.agreed()),
    "a static method": sequential(lambda state: Approver.always()),
    "a callable object": sequential(RunnableLambda(approver)),
    "a graph in a function": sequential(in_a_graph),
    "a branch": parallel(executor("a"), sequential(ask, name="b")),
    "a route": conditional("word", {"a": ask, "b": executor("b")}, default="b"),
    "an approval": sequential(creative("draft", approve=True)),
    "an approved check": iterative(
        creative("draft", approve=True), validator("check"), max_rounds=2
    ),
    "a tool": sequential(executor("a", tools=[send])),
    "a LangChain tool": sequential(executor("a", tools=[look, post])),
    "a breakpoint": with_breakpoint(),
    "LangChain's agent": sequential(with_middleware(HumanInTheLoopMiddleware({"look": True}))),
    "a tool of LangChain's agent": sequential(
        create_agent(ScriptedChatModel(answers=["x"]), [post])
    ),
}
SILENT = {
    "agents": sequential(executor("a"), creative("b")),
    "a function": sequential(plain),
    "a tool": sequential(executor("a", tools=[look])),
    "LangChain's agent": sequential(with_middleware()),
    "branches": parallel(executor("a"), plain),
}


@pytest.mark.parametrize("graph", ASKING.values(), ids=ASKING)
def test_a_graph_asks_wherever_its_code_does(graph):
    assert asks(graph)


@pytest.mark.parametrize("graph", SILENT.values(), ids=SILENT)
def test_other_graphs_do_not(graph):
    assert not asks(graph)
