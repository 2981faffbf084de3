"""What functions that are nodes may take, found out when the graph is built."""

from __future__ import annotations

import functools

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime  # noqa: TC002 - the hints are read
from langgraph.store.base import BaseStore  # noqa: TC002 - the hints are read
from langgraph.store.memory import InMemoryStore
from langgraph.types import StreamWriter  # noqa: TC002 - the hints are read

from aideon_agents import conditional, iterative, orchestrated, parallel, planner, sequential
from aideon_agents.errors import UserError
from aideon_agents.state import Context, State


def only_state(state):
    return state["task"]


def with_config(state, config):
    return config["metadata"]["langgraph_node"]


def with_typed_config(state, settings: RunnableConfig | None = None):
    return settings["metadata"]["langgraph_node"]


def with_runtime(state, runtime: Runtime[Context]):
    return runtime.context.tier


def with_untyped_runtime(state, runtime):
    return runtime.context.tier


def with_writer(state, writer):
    writer({"seen": state["task"]})
    return "written"


def with_typed_writer(state, say: StreamWriter):
    say({"seen": state["task"]})
    return "written"


def with_store(state, *, store: BaseStore):
    store.put(("a",), "b", {"c": state["task"]})
    return store.get(("a",), "b").value["c"]


def with_all(state, config, /, runtime, *, writer, store):
    writer({"seen": state["task"]})
    return f"{config['metadata']['langgraph_node']} {runtime.context.tier} {store is not None}"


def state_last(config, state):
    return f"{config['metadata']['langgraph_node']}: {state['task']}"


def any_arguments(*args, **kwargs):
    return f"{args[0]['task']} {len(args)} {len(kwargs)}"


def with_defaults(state, words=3, config: dict = {}, *, more=()):  # noqa: B006 - only read
    return f"{words} {len(config)} {more}"


def named(name, state):
    return f"{name} {state['task']}"


def decorated(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def with_database(function):
    @functools.wraps(function)
    def wrapper(state):
        return function(state, "database")

    return wrapper


@with_database
def reads(state, database):
    return database


class Worker:
    def work(self, state, config):
        return with_config(state, config)

    @classmethod
    def of_class(cls, state: State) -> str:
        return cls.__name__

    @staticmethod
    async def later(state, runtime: Runtime[Unknown]):  # noqa: F821 - only a type checker knows it
        return runtime.context.tier

    def __call__(self, state, writer):
        return with_writer(state, writer)


CASES = [
    (only_state, "heat"),
    (with_config, "with_config"),
    (with_typed_config, "with_typed_config"),
    (decorated(with_config), "with_config"),
    (with_runtime, "premium"),
    (with_untyped_runtime, "premium"),
    (with_writer, "written"),
    (with_typed_writer, "written"),
    (with_store, "heat"),
    (with_all, "with_all premium True"),
    (state_last, "state_last: heat"),
    (any_arguments, "heat 1 0"),
    (with_defaults, "3 0 ()"),
    (functools.partial(with_defaults, words=4), "4 0 ()"),
    (functools.partial(named, "who"), "who heat"),
    (functools.partial(with_config, config={"metadata": {"langgraph_node": "mine"}}), "mine"),
    (reads, "database"),
    (Worker().work, "work"),
    (Worker.of_class, "Worker"),
    (Worker.later, "premium"),
    (Worker(), "written"),
    (lambda state, config: f"{state['task']} {with_config(state, config)}", "heat lambda"),
]


@pytest.mark.parametrize(("function", "expected"), CASES)
async def test_a_function_takes_what_langgraph_gives_to_a_node(function, expected):
    inner = sequential(function, name="inner")
    outer = StateGraph(State, context_schema=Context)
    outer.add_node("inner", inner)
    outer.add_edge(START, "inner")
    outer.add_edge("inner", END)
    graph = outer.compile(store=InMemoryStore())
    given = {"task": "heat"}
    for ended in (
        graph.invoke(given, context=Context()),
        await graph.ainvoke(given, context=Context()),
    ):
        (result,) = ended["results"].values()
        assert result.content == expected


async def test_what_a_function_writes_is_streamed():
    graph = sequential(with_writer)
    given = {"task": "heat"}
    assert [*graph.stream(given, stream_mode="custom")] == [{"seen": "heat"}]
    streamed = [one async for one in graph.astream(given, stream_mode="custom")]
    assert streamed == [{"seen": "heat"}]


def nothing():
    return "x"


def lists(state):
    yield state


async def lists_later(state):
    yield state


class Lists:
    def __call__(self, state):
        yield state


PATTERNS = [
    sequential,
    parallel,
    lambda node: conditional(node, {"yes": only_state}),
    lambda node: conditional(only_state, {"yes": node}),
    lambda node: iterative(node, only_state),
    lambda node: iterative(only_state, node),
    lambda node: orchestrated(planner(), node),
    lambda node: orchestrated(planner(), workers={"x": ("what for", node)}),
]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(
    ("function", "wrong"),
    [
        (nothing, "the function nothing takes no state"),
        (lambda config: "x", "the function lambda takes no state"),
        (lambda *, other: "x", "the function lambda takes no state"),
        (lambda **more: "x", "the function lambda takes no state"),
        (lambda state, database: "x", "the function lambda needs database, which"),
        (lambda state, *, database, table: "x", "the function lambda needs database, table,"),
        (functools.partial(named), "the function partial needs name, which"),
        (Worker, "Worker is a class"),
        (lists, "the function lists is a generator"),
        (lists_later, "the function lists_later is a generator"),
        (functools.partial(lists), "is a generator"),
        (Lists(), "the function Lists is a generator"),
    ],
)
def test_what_cannot_be_a_node_is_refused_when_the_graph_is_built(pattern, function, wrong):
    with pytest.raises(UserError, match=rf"^\w+: .*{wrong}") as refused:
        pattern(function)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("pattern", [sequential, parallel])
@pytest.mark.parametrize("bind", [lambda model: model, lambda model: model.bind(stop=["x"])])
def test_a_chat_model_is_refused_with_what_to_do(pattern, bind):
    model = FakeListChatModel(responses=["x"])
    with pytest.raises(
        UserError, match=r"FakeListChatModel is a model .* executor\(model=\.\.\.\)"
    ):
        pattern(bind(model))


def test_other_runnables_are_nodes_as_they_are():
    graph = sequential(RunnableLambda(lambda state: {"route": state["task"]}))
    assert graph.invoke({"task": "heat"})["route"] == "heat"
