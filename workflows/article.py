"""An article: outline, three sections written at the same time, put together and edited."""

from aideon_agents import creative, iterative, parallel, planner, sequential, validator

INPUTS: dict[str, str] = {}

_SECTION = (
    "Write the {} of the article, at most 150 words. Cover only {} of the outline; the other "
)
_SECTION += "parts are written by others."

graph = sequential(
    planner(
        "outline",
        description="Outline an article on the task in three parts: opening, middle, close.",
    ),
    parallel(
        creative("opening", description=_SECTION.format("opening", "the first part")),
        creative("middle", description=_SECTION.format("middle", "the parts between")),
        creative("close", description=_SECTION.format("close", "the last part")),
        name="sections",
    ),
    iterative(
        creative("article", description="Make one article of the sections; keep every fact."),
        validator(criteria="one voice throughout; no repetition; every section's point is kept"),
        name="edit",
    ),
    name="article",
)
