"""Agents of other frameworks with our models: in a run, with its budget, its rehearsal and its rows."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from aideon_agents import Ledger, Settings, arun, sequential
from aideon_agents.testing import SimulatedProvider

pytestmark = pytest.mark.filterwarnings(
    "ignore::pydantic.warnings.PydanticDeprecationWarning"  # LlamaIndex looks at every attribute
)
TASK = "What does a pump cost?"


def price(item: str) -> str:
    """The price of an item.

    Args:
        item: What it is.
    """
    return f"{item}: $4,000"


class Offer(BaseModel):
    """An offer."""

    item: str


def pydantic_ai():
    """An agent with a tool, one with a typed answer, and a stream."""
    from pydantic_ai import Agent

    from aideon_agents.connect.pydantic_ai import model

    agent = Agent(model("small"), tools=[price], instructions="Be brief.")
    typed = Agent(model("small"), output_type=Offer)

    async def clerk(state):
        answer = (await agent.run(state["task"])).output
        assert isinstance((await typed.run("One pump.")).output, Offer)
        async with agent.run_stream(state["task"]) as stream:
            texts = [text async for text in stream.stream_text()]
        assert texts
        return answer

    return clerk


def openai_agents():
    """An agent with a tool, whole and streamed."""
    from agents import Agent, Runner, function_tool, set_tracing_disabled

    from aideon_agents.connect.openai_agents import model

    set_tracing_disabled(disabled=True)
    agent = Agent(name="clerk", model=model("small"), tools=[function_tool(price)])

    async def clerk(state):
        answer = (await Runner.run(agent, state["task"])).final_output
        streamed = Runner.run_streamed(agent, state["task"])
        assert [event.type async for event in streamed.stream_events()]
        return answer

    return clerk


def smolagents():
    """An agent with a tool, which needs no event loop."""
    from smolagents import LogLevel, ToolCallingAgent, tool

    from aideon_agents.connect.smolagents import Model, node

    return node(
        ToolCallingAgent(
            tools=[tool(price)], model=Model("small"), max_steps=2, verbosity_level=LogLevel.OFF
        )
    )


def llama_index_agent():
    """An agent with a tool."""
    from llama_index.core.agent.workflow import FunctionAgent

    from aideon_agents.connect.llama_index import LLM, node

    return node(FunctionAgent(name="clerk", tools=[price], llm=LLM("small")))


def llama_index_query():
    """A query engine over a document."""
    from llama_index.core import Document, SummaryIndex

    from aideon_agents.connect.llama_index import LLM, node

    index = SummaryIndex.from_documents([Document(text="A pump costs $4,000.")])
    return node(index.as_query_engine(llm=LLM("small")))


def llama_index_workflow():
    """A Workflow that completes and streams."""
    from llama_index.core.workflow import StartEvent, StopEvent, Workflow, step

    from aideon_agents.connect.llama_index import LLM, node

    class Flow(Workflow):
        @step
        async def answer(self, ev: StartEvent) -> StopEvent:
            llm = LLM("small")
            parts = [one.delta async for one in await llm.astream_complete("Hello, pumps.")]
            assert "".join(parts)
            return StopEvent(result=(await llm.acomplete(ev.task)).text)

    return node(Flow())


FRAMEWORKS = [
    pydantic_ai,
    openai_agents,
    smolagents,
    llama_index_agent,
    llama_index_query,
    llama_index_workflow,
]


@pytest.fixture(scope="module")
def provider():
    with SimulatedProvider() as running:
        yield running


@pytest.fixture(scope="module")
def options(provider, tmp_path_factory):
    """What a run at the provider takes."""
    settings = Settings(together_api_key="any", together_base_url=provider.base_url, offline=False)
    with Ledger(tmp_path_factory.mktemp("connect") / "ledger.db") as ledger:
        yield {"settings": settings, "ledger": ledger}


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_the_calls_of_a_foreign_agent_are_rows_that_equal_the_bill(
    framework, provider, options
):
    billed = len(provider.bill.calls)
    done = await arun(sequential(framework()), TASK, budget="0.05", **options)
    assert (done.status, done.error) == ("completed", None)
    assert done.output
    rows = options["ledger"].calls(done.run_id)
    sent = provider.bill.calls[billed:]
    assert sent
    assert [(one.input_tokens, one.output_tokens) for one in rows] == [
        (one.input_tokens, one.output_tokens) for one in sent
    ]
    assert {one.node_path for one in rows} == {done.nodes[0].node_path}


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_a_budget_stops_a_foreign_agent_before_a_call(framework, provider, options):
    asked = len(provider.requests)
    done = await arun(sequential(framework()), TASK, budget="0.0000001", **options)
    assert (done.status, done.stop_reason) == ("stopped", "budget")
    assert len(provider.requests) == asked


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_a_foreign_agent_is_rehearsed_without_a_request(framework, provider, options):
    asked = len(provider.requests)
    done = await arun(sequential(framework()), TASK, rehearse=True, **options)
    assert (done.status, done.error, done.rehearsed) == ("completed", None, True)
    assert len(provider.requests) == asked
