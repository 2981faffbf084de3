"""LangChain's `create_agent` as a node: its model calls are in the same ledger and budget."""

from langchain.agents import create_agent
from langchain_core.messages import AIMessage

from aideon_agents import Settings, State, creative, run, sequential
from aideon_agents.testing import ScriptedChatModel


def price(item: str) -> str:
    """The price of an item."""
    return {"pump": "$4,000"}.get(item, "unknown")


asks = AIMessage("", tool_calls=[{"id": "1", "name": "price", "args": {"item": "pump"}}])
model = ScriptedChatModel(answers=[asks, "A pump costs $4,000."])  # or ChatOpenAI(...)
agent = create_agent(model, [price], name="clerk")


async def clerk(state: State) -> str:
    """Ask the agent, and hand on its last words."""
    said = await agent.ainvoke({"messages": [("human", state["task"])]})
    return said["messages"][-1].content


writer = creative("offer", model=ScriptedChatModel(answers=["A pump for $4,000: an offer."]))
graph = sequential(clerk, writer)
result = run(graph, "What does a pump cost?", settings=Settings(offline=False))
print(result.output)
for node in result.nodes:
    print(node.node_path, node.calls, "calls")
