"""A first run: one agent, its answer, and what it cost."""

from aideon_agents import executor, run, sequential

graph = sequential(executor("facts", description="List three facts from the text."))
result = run(graph, "Heat pumps move heat. They need power. They work in the cold.", rehearse=True)

print(result.output)
print(f"{result.status}: ${result.cost.usd} for {result.cost.calls} call")
