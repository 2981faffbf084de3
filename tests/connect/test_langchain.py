"""Workflows inside LangChain, and its chains inside workflows."""

from __future__ import annotations

import pytest
from langchain.agents import create_agent
from langchain_core.documents import Document
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda

from aideon_agents import Ledger, Settings, arun, chat_model, executor, run, sequential
from aideon_agents.connect import langchain
from aideon_agents.errors import LimitError
from aideon_agents.testing import ScriptedChatModel, SimulatedProvider


@pytest.fixture(scope="module")
def provider():
    with SimulatedProvider() as running:
        yield running


@pytest.fixture
def options(provider, tmp_path):
    settings = Settings(together_api_key="any", together_base_url=provider.base_url, offline=False)
    with Ledger(tmp_path / "ledger.db") as ledger:
        yield {"settings": settings, "ledger": ledger}


def test_a_workflow_in_a_chain_is_a_run_of_its_own(options):
    chain = (lambda word: f"Say {word}.") | langchain.runnable(
        sequential(executor("say")), budget="0.05", **options
    )
    assert "Say hello." in chain.invoke("hello")
    (found,) = options["ledger"].runs()
    assert (found.workflow, found.status) == ("sequential", "completed")


async def test_a_workflow_in_a_chain_raises_what_stopped_it(options):
    chain = langchain.runnable(sequential(executor("say")), budget="0.0000001", **options)
    with pytest.raises(LimitError, match="budget"):
        await chain.ainvoke("hello")


async def test_a_workflow_as_a_tool_inside_a_run_spends_the_money_of_the_run(options):
    research = langchain.tool(sequential(executor("find")), "research", "Finds facts.")
    asks = AIMessage(
        "", tool_calls=[{"id": "1", "name": "research", "args": {"task": "Find pumps."}}]
    )
    clerk = create_agent(ScriptedChatModel(answers=[asks, "Found.", asks]), [research])

    async def ask(state):
        answer = await clerk.ainvoke({"messages": [("human", state["task"])]})
        return "\n".join(str(one.text) for one in answer["messages"])

    done = await arun(sequential(ask), "Pumps?", budget="0.05", **options)
    assert (done.status, done.error) == ("completed", None)
    assert done.output.splitlines()[-2:] == ["Find pumps.", "Found."]
    assert len(options["ledger"].runs()) == 1
    assert {one.node_path.split("/")[0] for one in options["ledger"].calls(done.run_id)} == {"ask"}
    stopped = await arun(sequential(ask), "Pumps?", budget="0.0000001", **options)
    assert (stopped.status, stopped.stop_reason) == ("stopped", "budget")


def test_a_chain_is_a_node_whose_text_is_its_output(options):
    prompt = ChatPromptTemplate.from_template("A haiku on {task}")
    chain = prompt | chat_model("small") | StrOutputParser()
    done = run(sequential(chain, executor("end")), "pumps.", **options)
    assert (done.status, done.error) == ("completed", None)
    assert done.results["node"].content == "A haiku on pumps."
    assert [one.node_path for one in done.nodes] == ["node", "end"]


def test_a_runnable_that_returns_a_text_or_a_mapping_is_a_node(options):
    done = run(sequential(RunnableLambda(lambda state: state["task"].upper())), "pumps", **options)
    assert done.output == "PUMPS"
    graph = sequential(RunnableLambda(lambda _: {"route": "loud", "price": 4000}, name="decide"))
    assert run(graph, "pumps", **options).results["decide"].data == {"price": 4000}


class Shelf(BaseRetriever):
    """A retriever with two documents."""

    def _get_relevant_documents(self, query, *, run_manager):
        return [Document(f"On {query}."), Document("It costs $4,000.")]


def test_a_retriever_is_a_node_that_is_asked_with_the_task(options):
    assert run(sequential(Shelf()), "pumps", **options).output == "On pumps.\n\nIt costs $4,000."
