"""A one-page brief: plan it, gather what it needs at the same time, write until it is good."""

from aideon_agents import creative, executor, iterative, parallel, planner, sequential, validator

graph = sequential(
    planner(description="Plan a one-page brief on the task."),
    parallel(
        executor("facts", description="Collect the facts that a reader must know."),
        executor("risks", description="Collect what may go wrong or is still open."),
        creative("angle", description="Find the one idea that holds the brief together."),
        name="gather",
    ),
    iterative(
        creative("draft", description="Write the brief: at most 300 words, the main point first."),
        validator(
            criteria="at most 300 words; the main point comes first; no claim without a fact"
        ),
        name="refine",
    ),
    name="brief",
)
