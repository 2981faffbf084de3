"""Tools: functions that a model may call, with what each call cost and how long it took."""

from langchain_core.messages import AIMessage

from aideon_agents import Settings, executor, run
from aideon_agents.testing import ScriptedChatModel

STOCK = {"pump": 3, "valve": 0}


def stock(item: str) -> int:
    """How many of an item are in stock."""
    return STOCK[item]


def order(item: str, count: int) -> str:
    """Order an item; returns the number of the order."""
    STOCK[item] += count
    return f"A-17: {count} x {item}"


# A real model decides by itself what to call: leave `model=` out, and set a provider's key.
wants_stock = AIMessage("", tool_calls=[{"id": "1", "name": "stock", "args": {"item": "valve"}}])
wants_order = AIMessage(
    "", tool_calls=[{"id": "2", "name": "order", "args": {"item": "valve", "count": 5}}]
)
script = ScriptedChatModel(answers=[wants_stock, wants_order, "Five valves are ordered: A-17."])

buyer = executor("buyer", tools=[stock, order], model=script, max_tool_rounds=4)
result = run(buyer, "Keep at least one valve in stock.", settings=Settings(offline=False))
print(result.output)
print(STOCK, f"after {result.cost.calls} calls")
