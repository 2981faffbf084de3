"""An agent with tools: what it may be given, and how the model's calls are run."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from typing import Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.messages.tool import invalid_tool_call, tool_call
from langchain_core.tools import BaseTool, ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from pydantic import BaseModel

from aideon_agents import Context, creative, executor, planner, sequential, validator
from aideon_agents.errors import TimeLimit, UserError
from aideon_agents.models.answers.rehearsal import RehearsalChatModel
from aideon_agents.state import PlanStep, State, Verdict
from aideon_agents.testing import GivenModels, ScriptedChatModel

PUMPS = "Heat pumps move heat from outdoor air into a house."
PASSED = Verdict(passed=True, score=1, feedback="")


def add(a: int, b: int) -> int:
    """Add two whole numbers.

    Args:
        a: The first of them.
        b: The second.
    """
    return a + b


async def fetch(page: str) -> str:
    """Fetch a page."""
    await asyncio.sleep(0)
    return f"text of {page}"


def calls(*made: tuple[str, dict[str, Any]]) -> AIMessage:
    return AIMessage(
        "",
        tool_calls=[
            tool_call(name=name, args=args, id=f"c{n}") for n, (name, args) in enumerate(made)
        ],
    )


class ToolRun:
    """An agent on a scripted model, run once."""

    def __init__(self, *answers: Any, node: Any = None, **options: Any) -> None:
        self.model = ScriptedChatModel(answers=list(answers))
        self.graph = sequential(node or executor(**options))
        self.context = Context(models=GivenModels(self.model))

    async def run(self) -> ToolRun:
        self.values = await self.graph.ainvoke({"task": PUMPS}, context=self.context)
        return self

    @property
    def output(self) -> str:
        return self.values["results"]["executor"].content

    def tool_messages(self, request: int = -1) -> list[ToolMessage]:
        asked = self.model.requests[request].messages
        return [message for message in asked if isinstance(message, ToolMessage)]

    def results(self, request: int = -1) -> list[str]:
        return [str(message.content) for message in self.tool_messages(request)]


async def test_the_model_sees_a_functions_signature_and_docstring():
    run = await ToolRun("done", tools=[add]).run()
    (offered,) = run.model.requests[0].options["tools"]
    assert offered["function"]["name"] == "add"
    assert offered["function"]["description"] == "Add two whole numbers."
    parameters = offered["function"]["parameters"]
    assert parameters["properties"]["a"] == {"type": "integer", "description": "The first of them."}
    assert parameters["required"] == ["a", "b"]


async def test_tools_called_in_one_answer_are_all_answered_in_the_next_question():
    answers = calls(("add", {"a": 1, "b": 2}), ("fetch", {"page": "home"})), "It is 3."
    run = await ToolRun(*answers, tools=[add, fetch]).run()
    assert run.output == "It is 3."
    assert run.results() == ["3", "text of home"]
    assert [message.tool_call_id for message in run.tool_messages()] == ["c0", "c1"]
    assert len(run.model.requests) == 2


async def test_tools_called_in_one_answer_run_at_the_same_time():
    both = threading.Barrier(2)

    def wait(name: str) -> str:
        """Wait for the other one."""
        both.wait(timeout=60)
        return name

    answers = calls(("wait", {"name": "x"}), ("wait", {"name": "y"})), "done"
    assert (await ToolRun(*answers, tools=[wait]).run()).results() == ["x", "y"]


async def test_a_blocking_tool_does_not_block_the_event_loop():
    free = threading.Event()
    asyncio.get_running_loop().call_later(0.01, free.set)

    def wait() -> str:
        """Wait until the event loop has done something else."""
        return str(free.wait(timeout=60))

    assert (await ToolRun(calls(("wait", {})), "done", tools=[wait]).run()).results() == ["True"]


async def test_a_tool_sees_the_callers_context_variables():
    customer = contextvars.ContextVar("customer")
    customer.set("ada")

    def who() -> str:
        """Tell who the customer is."""
        return customer.get()

    assert (await ToolRun(calls(("who", {})), "done", tools=[who]).run()).results() == ["ada"]


def test_a_graph_with_tools_runs_from_synchronous_code():
    run = ToolRun(
        calls(("add", {"a": 1, "b": 2}), ("fetch", {"page": "p"})), "3", tools=[add, fetch]
    )
    run.values = run.graph.invoke({"task": PUMPS}, context=run.context)
    assert run.results() == ["3", "text of p"]


@tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"cold in {city}"


@tool(response_format="content_and_artifact")
def picture() -> Any:
    """Draw something."""
    return [{"type": "text", "text": "a house"}, {"type": "image", "base64": "AAAA"}], None


class Clock(BaseTool):
    name: str = "clock"
    description: str = "Tell the time."

    def _run(self) -> str:
        return f"noon, in {threading.current_thread().name}"


class AsyncClock(Clock):
    name: str = "async_clock"

    async def _arun(self) -> str:
        return "noon"


async def test_langchain_tools_of_every_kind_are_run():
    made = ("weather", {"city": "Oslo"}), ("clock", {}), ("async_clock", {})
    run = await ToolRun(calls(*made), "done", tools=[weather, Clock(), AsyncClock()]).run()
    assert run.results() == ["cold in Oslo", "noon, in aideon-tool", "noon"]


async def test_of_a_tools_picture_the_model_is_sent_that_there_is_one():
    run = await ToolRun(calls(("picture", {})), "done", tools=[picture]).run()
    assert run.results() == ["a house\n[image]"]


def broken(key: str) -> str:
    """Ask a service."""
    raise ValueError(f"no access\nfor {key}")


async def slow() -> str:
    """Wait for ever."""
    await asyncio.Event().wait()
    return "never"


def exhausted() -> str:
    """Take the first of nothing."""  # inside a future, StopIteration would never arrive
    return next(iter(()))


broken.tags = ["local"]  # or it would not be given a key


@tool
def careful() -> str:
    """Say what is wrong."""
    raise ToolException("the well\nis dry")


careful.handle_tool_error = True


@tool
def jump() -> Any:
    """Go elsewhere."""
    return Command(goto="elsewhere")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (
            ("broken", {"key": "sk-1234567890abcdef"}),
            "Error: ValueError: no access for [key]",
        ),
        (("exhausted", {}), "Error: RuntimeError: StopIteration: "),
        (("careful", {}), "Error: the well is dry"),
        (("jump", {}), "Error: jump returned a Command, which cannot be sent to a model"),
        (
            ("search", {}),
            "Error: there is no tool search; there are broken, exhausted, careful, jump, add",
        ),
        (
            ("add", {"a": []}),
            "Error: a: Input should be a valid integer; b: Field required",
        ),
    ],
)
async def test_what_goes_wrong_with_a_tool_is_sent_to_the_model_in_one_line(call, error):
    tools = [broken, exhausted, careful, jump, add]
    made = calls(call, ("add", {"a": 1, "b": 2}))
    run = await ToolRun(made, "I see.", tools=tools).run()
    first, second = run.tool_messages()
    assert (first.status, first.content) == ("error", error.strip())
    assert (second.status, second.content) == ("success", "3")
    assert run.output == "I see."


async def test_a_tool_that_takes_too_long_is_reported_to_the_model():
    run = await ToolRun(calls(("slow", {})), "I see.", tools=[slow], tool_timeout=0.1).run()
    (only,) = run.tool_messages()
    assert (only.status, only.content) == ("error", "Error: slow took longer than 0.1 s")


async def test_arguments_that_are_not_json_are_reported_and_not_quoted_back_to_the_provider():
    answer = AIMessage(
        "",
        invalid_tool_calls=[
            invalid_tool_call(name="add", args='{"a": 1, "b', id="c0", error=None),
            invalid_tool_call(name=None, args=None, id=None, error=None),
        ],
    )
    run = await ToolRun(answer, "I see.", tools=[add]).run()
    assert run.results() == [
        r'Error: the arguments are no JSON object; they begin "{\"a\": 1, \"b"',
        'Error: the arguments are no JSON object; they begin ""',
    ]
    quoted = run.model.requests[-1].messages[-3]
    assert isinstance(quoted, AIMessage)
    assert quoted.invalid_tool_calls == []
    assert [(call["name"], call["args"], call["id"]) for call in quoted.tool_calls] == [
        ("add", {}, "c0"),
        ("unnamed", {}, "call_0_1"),
    ]


async def test_after_the_last_round_the_model_may_call_none_of_its_tools():
    again = calls(("add", {"a": 1, "b": 2}))
    run = await ToolRun(again, again, "It is 3.", tools=[add], max_tool_rounds=2).run()
    assert run.output == "It is 3."
    assert "tools" in run.model.requests[1].options
    assert [request.options.get("tool_choice") for request in run.model.requests] == [
        None,
        None,
        "none",
    ]
    assert run.model.requests[2].options["tools"] == run.model.requests[1].options["tools"]
    assert run.results() == [
        "3",
        "3\n\n(No further tool can be called. Answer now, with what you have.)",
    ]
    assert "No further" not in run.results(1)[0]


class Sum(BaseModel):
    total: int


async def test_a_shape_is_asked_for_when_the_tools_have_answered():
    answers = calls(("add", {"a": 1, "b": 2})), "It is 3.", Sum(total=3)
    run = await ToolRun(*answers, tools=[add], output=Sum).run()
    assert run.values["results"]["executor"].data == Sum(total=3)
    *_, looped, shaped = run.model.requests
    assert "tools" in looped.options
    assert "response_format" in shaped.options
    assert looped.messages == shaped.messages


async def test_a_final_text_in_the_right_shape_needs_no_further_question():
    answers = calls(("add", {"a": 1, "b": 2})), '```json\n{"total": 3}\n```'
    run = await ToolRun(*answers, tools=[add], output=Sum).run()
    assert run.values["results"]["executor"].data == Sum(total=3)
    assert len(run.model.requests) == 2


async def test_the_shape_is_the_answer_that_is_due_after_the_last_round():
    answers = calls(("add", {"a": 1, "b": 2})), Sum(total=3)
    run = await ToolRun(*answers, tools=[add], output=Sum, max_tool_rounds=1).run()
    assert run.values["results"]["executor"].data == Sum(total=3)


@pytest.mark.parametrize(
    ("agent", "answer"), [(creative, "said"), (validator, PASSED), (planner, {"steps": []})]
)
async def test_every_role_may_have_tools(agent, answer):
    node = agent("it", tools=[add])
    run = await ToolRun(calls(("add", {"a": 1, "b": 2})), answer, node=node).run()
    assert run.results() == ["3"]
    assert run.values["results"]["it"]


async def test_the_executor_of_a_plans_step_keeps_its_tools():
    step = PlanStep(id="s1", description="Add", agent="executor", complexity="low", depends_on=[])
    node = executor(tools=[add]).for_step(step)
    run = await ToolRun(calls(("add", {"a": 1, "b": 2})), "3", node=node).run()
    assert run.results() == ["3"]


async def test_an_interrupt_in_a_tool_stops_the_graph_and_its_answer_resumes_it():
    def approve(sum_: int) -> str:
        """Ask the boss."""
        return f"the boss says {interrupt(f'Spend {sum_}?')}"

    asks = calls(("approve", {"sum_": 5}))
    model = ScriptedChatModel(answers=[asks, "Approved."])
    builder = StateGraph(State, context_schema=Context)
    builder.add_node("executor", executor(tools=[approve]))
    builder.add_edge(START, "executor")
    graph = builder.compile(checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    context = Context(models=GivenModels(model))
    stopped = await graph.ainvoke({"task": PUMPS}, config, context=context)
    assert [asked.value for asked in stopped["__interrupt__"]] == ["Spend 5?"]
    resumed = await graph.ainvoke(Command(resume="yes"), config, context=context)
    assert resumed["results"]["executor"].content == "Approved."
    assert str(model.requests[-1].messages[-1].content) == "the boss says yes"


@pytest.mark.parametrize("error", [UserError("no such model"), TimeLimit(3)])
async def test_a_limit_or_the_callers_mistake_found_by_a_tool_is_raised(error):
    ended: list[str] = []

    def stop() -> str:
        """Find that it cannot go on."""
        raise error

    async def other() -> str:
        """Wait for ever."""
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("other")
        return ""

    run = ToolRun(calls(("other", {}), ("stop", {})), tools=[other, stop])
    with pytest.raises(type(error)) as caught:
        await run.run()
    assert caught.value is error
    assert ended == ["other"]


@pytest.mark.parametrize("blocking", [True, False])
async def test_a_run_that_is_cancelled_does_not_wait_for_its_tools(blocking):
    begun, release, ended = asyncio.Event(), threading.Event(), []
    loop = asyncio.get_running_loop()

    def block() -> str:
        """Block for long."""
        loop.call_soon_threadsafe(begun.set)
        release.wait(timeout=60)
        ended.append("block")
        return ""

    async def wait() -> str:
        """Wait for long."""
        begun.set()
        await asyncio.sleep(60)
        ended.append("wait")
        return ""

    used = block if blocking else wait
    run = ToolRun(calls((used.__name__, {})), tools=[used])
    running = asyncio.create_task(run.run())
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended == []
    release.set()


async def test_tools_that_run_graphs_with_tools_do_not_wait_for_one_anothers_threads():
    deep = ScriptedChatModel(answers=[lambda asked: _once(asked, "add", {"a": 1, "b": 2})] * 80)
    inner = sequential(executor(tools=[add]))

    def ask_expert(question: str) -> str:
        """Ask an expert."""
        context = Context(models=GivenModels(deep))
        (result,) = inner.invoke({"task": question}, context=context)["results"].values()
        return result.content

    many = calls(*[("ask_expert", {"question": "1 + 2?"})] * 40)
    run = ToolRun(many, "done", tools=[ask_expert])
    run.values = await asyncio.to_thread(run.graph.invoke, {"task": PUMPS}, context=run.context)
    assert run.results() == ["It is 3."] * 40


def _once(asked: Any, name: str, args: dict[str, Any]) -> Any:
    return "It is 3." if isinstance(asked[-1], ToolMessage) else calls((name, args))


async def test_agents_of_a_graph_that_a_tool_runs_have_places_of_their_own():
    inner = sequential(executor("facts"), creative("text"))
    results: dict[str, Any] = {}

    async def research(topic: str) -> str:
        """Find out and write it down."""
        results.update((await inner.ainvoke({"task": topic}))["results"])
        return results["executor/text"].content

    model = ScriptedChatModel(answers=[calls(("research", {"topic": "x"})), "facts", "text", "end"])
    run = ToolRun(tools=[research])
    run.model, run.context = model, Context(models=GivenModels(model))
    await run.run()
    assert list(results) == ["executor/facts", "executor/text"]
    assert run.results() == ["text"]
    assert list(run.values["results"]) == ["executor"]


@pytest.mark.parametrize("output", [None, Sum])
async def test_a_rehearsal_runs_no_tool(output):
    done: list[int] = []

    def pay(amount: int) -> str:
        """Pay."""
        done.append(amount)
        return "paid"

    run = ToolRun(tools=[pay], output=output)
    model = RehearsalChatModel(provider="together", model="m")
    run.context = Context(models=GivenModels(model))
    await run.run()
    assert done == []
    assert run.output == (PUMPS if output is None else '{\n  "total": 1\n}')


class Unsayable:
    """No pydantic schema can be made of it."""


def takes_unsayable(what: Unsayable) -> str:
    """Take something."""
    return str(what)


def undocumented(a: int) -> int:
    return a


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tools": "file.py:add"}, "agent: tools must be a list, not 'file.py:add'"),
        ({"tools": add}, "agent: tools must be a list, not <function add"),
        ({"tools": [3]}, "agent: 3 cannot be a tool: give a LangChain tool, a function, or mcp_s"),
        ({"tools": [Sum]}, "Sum'> cannot be a tool"),
        ({"tools": [functools.partial(add, 1)]}, "cannot be a tool"),
        ({"tools": [executor()]}, "cannot be a tool"),
        ({"tools": [lambda x: x]}, "the tool <lambda> needs a docstring"),
        ({"tools": [Clock(name="a clock")]}, "'a clock' is not a valid tool name: use 1 to 64"),
        ({"tools": [undocumented]}, "the tool undocumented needs a docstring"),
        ({"tools": [takes_unsayable]}, "the arguments of the tool takes_unsayable cannot be"),
        ({"tools": [add, add]}, "two tools are called 'add': give one of them another name"),
        ({"tools": [add], "max_tool_rounds": 0}, "must be more than 0"),
        ({"tools": [add], "tool_timeout": 0}, "must be more than 0"),
    ],
)
def test_what_cannot_be_a_tool_is_refused_when_the_agent_is_made(options, message):
    with pytest.raises(UserError) as caught:
        executor("agent", **options)
    assert message in str(caught.value)


async def test_an_agent_with_an_empty_list_of_tools_is_asked_once():
    run = await ToolRun("said", tools=[]).run()
    assert "tools" not in run.model.requests[0].options
