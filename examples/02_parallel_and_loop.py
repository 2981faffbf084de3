"""Patterns nest: gather at the same time, then write until a check passes."""

from aideon_agents import creative, executor, iterative, parallel, run, sequential, validator

graph = sequential(
    parallel(executor("facts"), executor("risks"), name="gather"),
    iterative(creative("draft"), validator(criteria="under 100 words"), name="refine"),
)
result = run(graph, "A note on heat pumps. They move heat. They need power.", rehearse=True)

for node in result.nodes:
    print(f"{node.node_path:18} {node.input_tokens:5} in {node.output_tokens:5} out  ${node.usd}")
