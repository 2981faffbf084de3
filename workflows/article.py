"""An article: outline, three sections written at the same time, put together and edited."""

from aideon_agents import creative, iterative, parallel, planner, sequential, validator

graph = sequential(
    planner("outline", description="Outline an article on the task: opening, middle, close."),
    parallel(
        creative("opening", description="Write the opening: why this matters to the reader."),
        creative("middle", description="Write the middle: what is known, with examples."),
        creative("close", description="Write the close: what follows, and what is still open."),
        name="sections",
    ),
    iterative(
        creative("article", description="Make one article of the sections; keep every fact."),
        validator(criteria="one voice throughout; no repetition; every section's point is kept"),
        name="edit",
    ),
    name="article",
)
