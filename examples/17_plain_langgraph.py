"""Our graphs are plain LangGraph: put one into your own graph and keep the cost handler."""

from pathlib import Path
from tempfile import TemporaryDirectory

from langgraph.graph import END, START, StateGraph

from aideon_agents import Context, CostHandler, Ledger, State, creative, executor, sequential

graph = StateGraph(State, context_schema=Context)
graph.add_node("write", sequential(executor("facts"), creative("draft")))
graph.add_node("shout", lambda _state: {"route": "loud"})
graph.add_edge(START, "write")
graph.add_edge("write", "shout")
graph.add_edge("shout", END)

with TemporaryDirectory() as folder, Ledger(Path(folder) / "ledger.db") as ledger:
    graph.compile().invoke(
        {"task": "A haiku on heat pumps."},
        config={"callbacks": [CostHandler(ledger)]},
        context=Context(rehearse=True),
    )
    for call in ledger.calls(ledger.runs()[0].run_id):
        print(call.node_path, call.requested_model, call.input_tokens, call.output_tokens)
