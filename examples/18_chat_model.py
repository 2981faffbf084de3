"""Our models in other code: retries, fallbacks, budgets and costs, as one LangChain chat model."""

from pathlib import Path
from tempfile import TemporaryDirectory

from langchain.agents import create_agent
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from aideon_agents import CostHandler, Ledger, Settings, chat_model
from aideon_agents.testing import Fault, SimulatedProvider


def price(item: str) -> str:
    """The price of an item."""
    return {"pump": "$4,000"}.get(item, "unknown")


with (
    SimulatedProvider(faults=[Fault(503), Fault(429, retry_after=0.1)]) as provider,
    TemporaryDirectory() as folder,
    Ledger(Path(folder) / "ledger.db") as ledger,
):
    # Without settings= and ledger=, both come from the environment, or from the run around the call.
    settings = Settings(together_api_key="any", together_base_url=provider.base_url, offline=False)
    small = chat_model("small", settings=settings, ledger=ledger)

    # A pipe. Its call belongs to no run, so it is a run of its own.
    pipe = ChatPromptTemplate.from_template("A haiku on {topic}.") | small | StrOutputParser()
    print(pipe.invoke({"topic": "heat pumps"}))

    # An agent of LangChain. With a CostHandler, all its calls are one run, which has a budget.
    clerk = create_agent(small, [price])
    handler = CostHandler(ledger, workflow="clerk", budget="0.05")
    question = {"messages": [("human", "What does a pump cost?")]}
    print(clerk.invoke(question, {"callbacks": [handler]})["messages"][-1].text)

    for run in reversed(ledger.runs()):
        for call in ledger.calls(run.run_id):
            print(run.workflow, call.requested_model, call.attempt, call.status, call.usd)
