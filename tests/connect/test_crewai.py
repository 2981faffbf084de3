"""A crew with our models. CrewAI does not fit into this environment: `make crewai` runs this in its own."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from aideon_agents import Ledger, Settings, run, sequential
from aideon_agents.testing import SimulatedProvider

crewai = pytest.importorskip("crewai", reason="CrewAI has an environment of its own: make crewai")

pytestmark = pytest.mark.filterwarnings("default")  # CrewAI's own code warns
TASK = "What does a pump cost?"


class Offer(BaseModel):
    """An offer."""

    price: str


@pytest.fixture
def crew(monkeypatch):
    from crewai.tools import tool

    from aideon_agents.connect.crewai import LLM

    monkeypatch.setenv("CREWAI_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")

    @tool("price")
    def price(item: str) -> str:
        """The price of an item."""
        return f"{item}: $4,000"

    about = {"goal": "answer", "backstory": "It knows prices.", "max_iter": 3}
    clerk = crewai.Agent(role="clerk", llm=LLM("small"), tools=[price], **about)
    writer = crewai.Agent(role="writer", llm=LLM("small"), **about)
    ask = crewai.Task(description="Answer: {task}", expected_output="a price", agent=clerk)
    write = crewai.Task(
        description="An offer: {task}",
        expected_output="a price",
        agent=writer,
        output_pydantic=Offer,
    )
    return crewai.Crew(agents=[clerk, writer], tasks=[ask, write])


def test_a_crew_is_a_node_with_rows_a_budget_and_a_rehearsal(crew, tmp_path):
    from aideon_agents.connect.crewai import node

    graph = sequential(node(crew))
    with SimulatedProvider() as provider, Ledger(tmp_path / "ledger.db") as ledger:
        settings = Settings(
            together_api_key="any", together_base_url=provider.base_url, offline=False
        )
        options = {"settings": settings, "ledger": ledger}
        rehearsed = run(graph, TASK, rehearse=True, **options)
        stopped = run(graph, TASK, budget="0.0000001", **options)
        assert (rehearsed.status, stopped.stop_reason) == ("completed", "budget")
        assert not provider.requests
        done = run(graph, TASK, budget="0.05", **options)
        assert (done.status, done.error) == ("completed", None)
        assert Offer.model_validate_json(done.output)
        billed = [(one.input_tokens, one.output_tokens) for one in provider.bill.calls]
        rows = ledger.calls(done.run_id)
        assert [(one.input_tokens, one.output_tokens) for one in rows] == billed
        assert {one.node_path for one in rows} == {"crew"}
