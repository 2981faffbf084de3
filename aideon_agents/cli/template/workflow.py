"""Collect facts and an angle at the same time, then write until the text is good."""

from aideon_agents import creative, executor, iterative, parallel, sequential, validator

graph = sequential(
    parallel(
        executor("facts", description="Collect the facts that a reader must know."),
        creative("angle", description="Find the one idea that holds the text together."),
        name="gather",
    ),
    iterative(
        creative("draft", description="Write the text: the main point first."),
        validator(criteria="at most 200 words; no claim without a fact"),
        max_rounds=3,
        name="refine",
    ),
)
