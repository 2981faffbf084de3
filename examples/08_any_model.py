"""Any chat model of LangChain: as an object, for one agent or for a role of a run."""

from langchain_anthropic import ChatAnthropic

from aideon_agents import creative, executor, run, sequential

# Retries, fallbacks, budgets and rows in the ledger are the same as for every other model.
claude = ChatAnthropic(model="claude-haiku-4-5", api_key="your key", max_tokens=300)
graph = sequential(
    executor("facts"),
    creative("draft", model=[claude, "together:openai/gpt-oss-120b"]),  # the second is a fallback
)

result = run(graph, "A note on heat pumps. They move heat.", rehearse=True)
for node in result.nodes:
    print(node.node_path, *node.models, f"${node.usd}")

# A run may replace the model of a role. A name works as well: "anthropic:claude-haiku-4-5".
result = run(graph, "A note on heat pumps.", model={"executor": claude}, rehearse=True)
print(result.nodes[0].models)
