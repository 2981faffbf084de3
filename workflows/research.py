"""Research: the planner splits the question, workers answer the parts in waves, one report."""

from aideon_agents import creative, executor, orchestrated, planner, sequential

graph = sequential(
    orchestrated(
        planner(description="Split the question into parts that can be answered on their own."),
        executor(),
        creative(),
        max_steps=8,
        name="investigate",
    ),
    creative(
        "report",
        description="Write a report that answers the question; say which part is uncertain.",
        complexity="high",
    ),
    name="research",
)
