"""An agent with tools that was stopped on its way: what it has asked and done is not done twice."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.messages.tool import tool_call
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphDrained
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

from aideon_agents import Context, CostHandler, Ledger, executor, sequential
from aideon_agents.errors import UserError
from aideon_agents.runner.listening import Watcher
from aideon_agents.state import State
from aideon_agents.testing import GivenModels, ScriptedChatModel

CONFIG = {"configurable": {"thread_id": "t"}}


def calls(*made: tuple[str, dict[str, Any]]) -> AIMessage:
    return AIMessage(
        "",
        tool_calls=[
            tool_call(name=name, args=args, id=f"c{n}") for n, (name, args) in enumerate(made)
        ],
    )


@dataclasses.dataclass
class Work:
    """An agent in a graph that keeps its state, on a script, with tools that say who ran."""

    answers: list[Any]
    ran: list[str] = dataclasses.field(default_factory=list[str])

    def __post_init__(self) -> None:
        self.model = ScriptedChatModel(answers=self.answers)
        self.graph = sequential(executor(tools=self.tools))
        self.graph.checkpointer = InMemorySaver()

    @property
    def tools(self) -> list[Any]:
        def note(word: str) -> str:
            """Note a word."""
            self.ran.append(word)
            return f"noted {word}"

        def ask(what: str) -> str:
            """Ask the boss."""
            self.ran.append(f"ask {what}")
            return f"the boss says {interrupt(what)}"

        return [note, ask]

    async def go(self, entry: Any, **config: Any) -> dict[str, Any]:
        context = Context(models=GivenModels(self.model))
        return await self.graph.ainvoke(entry, {**CONFIG, **config}, context=context)

    @property
    def results(self) -> list[str]:
        """The results of tools in the last question."""
        messages = self.model.requests[-1].messages
        return [str(one.content) for one in messages if isinstance(one, ToolMessage)]


START_ = {"task": "Work."}


async def test_what_was_asked_and_done_before_a_stop_is_neither_asked_nor_done_again():
    rounds = [calls(("note", {"word": "one"})), calls(("note", {"word": "two"}))]
    work = Work([*rounds, GraphDrained("no money"), "Done."])
    with pytest.raises(GraphDrained):
        await work.go(START_)
    values = await work.go(None)
    assert values["results"]["executor"].content == "Done."
    assert len(work.model.requests) == 4  # two, the one that was stopped, and that one again
    assert work.ran == ["one", "two"]
    assert work.results == ["noted one", "noted two"]


async def test_a_failure_is_not_kept():
    work = Work([calls(("note", {"word": "one"})), ValueError("a bug"), "Done."])
    with pytest.raises(ValueError, match="a bug"):
        await work.go(START_)
    values = await work.go(None)
    assert values["results"]["executor"].content == "Done."
    assert work.ran == ["one"]


async def test_a_question_of_a_tool_costs_no_second_answer_of_the_model():
    work = Work([calls(("note", {"word": "one"}), ("ask", {"what": "May I?"})), "Done."])
    asked = await work.go(START_)
    assert [one.value for one in asked["__interrupt__"]] == ["May I?"]
    await work.go(Command(resume="yes"))
    assert len(work.model.requests) == 2
    assert work.ran.count("one") == 1
    assert work.results == ["noted one", "the boss says yes"]


async def test_two_tools_may_ask_at_once_and_each_is_given_its_own_answer():
    work = Work([calls(("ask", {"what": "A?"}), ("ask", {"what": "B?"})), "Done."])
    asked = (await work.go(START_))["__interrupt__"]
    assert sorted(one.value for one in asked) == ["A?", "B?"]
    given = {one.id: one.value.lower() for one in asked}
    await work.go(Command(resume=given))
    assert work.results == ["the boss says a?", "the boss says b?"]


async def test_of_two_questions_one_may_be_answered_first():
    work = Work([calls(("ask", {"what": "A?"}), ("ask", {"what": "B?"})), "Done."])
    first, second = sorted((await work.go(START_))["__interrupt__"], key=lambda one: one.value)
    still = await work.go(Command(resume={second.id: "b"}))
    assert [one.value for one in still["__interrupt__"]] == ["A?"]
    await work.go(Command(resume={first.id: "a"}))
    assert work.results == ["the boss says a", "the boss says b"]
    assert work.ran.count("ask B?") == 2  # asked, and answered


async def test_a_later_question_is_not_given_an_earlier_answer():
    rounds = [calls(("ask", {"what": "A?"})), calls(("ask", {"what": "B?"}))]
    work = Work([*rounds, "Done."])
    await work.go(START_)
    asked = await work.go(Command(resume="a"))
    assert [one.value for one in asked["__interrupt__"]] == ["B?"]
    await work.go(Command(resume="b"))
    assert work.results == ["the boss says a", "the boss says b"]
    assert len(work.model.requests) == 3


async def test_a_stop_counts_more_than_a_question_beside_it():
    def stop() -> str:
        """Find that the money is gone."""
        raise GraphDrained("no money")

    work = Work([calls(("ask", {"what": "A?"}), ("stop", {}))])
    work.graph = sequential(executor(tools=[*work.tools, stop]))
    work.graph.checkpointer = InMemorySaver()
    with pytest.raises(GraphDrained):
        await work.go(START_)


async def test_rows_and_tokens_are_those_of_an_agent_whose_work_is_not_kept(tmp_path):
    answers = [calls(("note", {"word": "one"})), "It is done."]
    seen: list[Any] = []
    for keeps in (True, False):
        work = Work(answers)
        work.graph.checkpointer = InMemorySaver() if keeps else None
        context = Context(models=GivenModels(work.model))
        with Ledger(tmp_path / f"{keeps}.db") as ledger:
            handler = CostHandler(ledger)
            stream = work.graph.astream(
                START_, {**CONFIG, "callbacks": [handler]}, context=context, stream_mode="messages"
            )
            tokens = [(str(one.content), about["langgraph_node"]) async for one, about in stream]
            rows = ledger.calls(str(handler.run_id))
            seen.append((tokens, [(row.node_path, row.role, row.status) for row in rows]))
    assert seen[0] == seen[1]
    assert [row[0] for row in seen[0][1]] == ["executor", "executor"]


async def test_a_graph_that_a_tool_runs_has_the_places_it_would_have_anywhere(tmp_path):
    inner = sequential(executor("look"), name="inner")
    context = Context(models=GivenModels(ScriptedChatModel(answers=["found"])))

    async def dig() -> str:
        """Dig."""
        values = await inner.ainvoke({"task": "Dig."}, context=context)
        return values["results"]["executor/look"].content

    work = Work([calls(("dig", {})), "Done."])
    work.graph = sequential(executor(tools=[dig]))
    work.graph.checkpointer = InMemorySaver()
    with Ledger(tmp_path / "ledger.db") as ledger:
        handler = CostHandler(ledger)
        await work.go(START_, callbacks=[handler])
        rows = ledger.calls(str(handler.run_id))
    assert [row.node_path for row in rows] == ["executor", "executor/look", "executor"]
    assert work.results == ["found"]


async def test_agents_that_wait_for_a_slot_do_not_wait_for_their_own_questions():
    answers = [calls(("note", {"word": "x"}))] * 2
    work = Work([*answers, "Done.", "Done."])
    builder = StateGraph(State, context_schema=Context)
    for name in ("a", "b"):
        builder.add_node(name, executor(name, tools=work.tools))
        builder.add_edge(START, name)
    work.graph = builder.compile(checkpointer=InMemorySaver())
    async with asyncio.timeout(30):
        values = await work.go(START_, max_concurrency=1)
    assert {one.content for one in values["results"].values()} >= {"Done."}


def test_a_synchronous_run_with_a_checkpointer_calls_its_tools_as_well():
    work = Work([calls(("note", {"word": "one"})), "Done."])
    values = work.graph.invoke(START_, CONFIG, context=Context(models=GivenModels(work.model)))
    assert values["results"]["executor"].content == "Done."
    assert work.results == ["noted one"]


async def test_an_agent_that_a_synchronous_node_awaits_on_a_loop_of_its_own_works():
    work = Work([calls(("note", {"word": "one"})), "Done."])
    agent = executor(tools=work.tools)

    def node(state):
        return asyncio.run(agent.ainvoke(state))

    builder = StateGraph(State, context_schema=Context)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    work.graph = builder.compile(checkpointer=InMemorySaver())
    values = await work.go(START_)
    assert [one.content for one in values["results"].values()] == ["Done."]


class Odd:
    """What no checkpoint can hold."""


async def test_what_a_tool_gives_besides_its_text_need_not_be_kept():
    @tool(response_format="content_and_artifact")
    def odd() -> tuple[str, Odd]:
        """Give something odd."""
        return "odd", Odd()

    work = Work([calls(("odd", {})), "Done."])
    work.graph = sequential(executor(tools=[odd]))
    work.graph.checkpointer = InMemorySaver()
    await work.go(START_)
    assert work.results == ["odd"]


async def test_a_tool_that_is_cut_short_has_cleaned_up_before_its_agent_ends():
    started, ended = asyncio.Event(), []

    async def hang() -> str:
        """Wait for ever."""
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(50):  # longer than the agent takes to end
                await asyncio.sleep(0)
            ended.append("hang")
        return ""

    async def fail() -> str:
        """Find a mistake of the caller's."""
        await started.wait()
        raise UserError("no such page")

    agent, seen = executor(tools=[hang, fail]), []

    async def node(state):
        try:
            await agent.ainvoke(state)
        except UserError:
            seen.extend(ended)

    work = Work([calls(("hang", {}), ("fail", {}))])
    work.graph = sequential(node)
    work.graph.checkpointer = InMemorySaver()
    await work.go(START_)
    assert seen == ["hang"]


async def test_what_happens_inside_an_agent_is_no_node_of_the_graph_around_it():
    work = Work([calls(("ask", {"what": "A?"})), "Done."])
    builder = StateGraph(State, context_schema=Context)
    builder.add_node("mine", executor(tools=work.tools))
    builder.add_edge(START, "mine")
    graph = builder.compile(checkpointer=InMemorySaver())
    context = Context(models=GivenModels(work.model))
    stream = graph.astream(START_, CONFIG, context=context, stream_mode="tasks", subgraphs=True)
    tasks = [(namespace, one) async for namespace, one in stream]
    watcher = Watcher(graph, lambda path: None)
    begun = [watcher.started(namespace, one) for namespace, one in tasks if "result" not in one]
    assert [one.node_path for one in begun if one] == ["mine"]
    assert len(begun) == 3  # the question and the tool as well
