"""A one-page brief: plan it, gather what it needs at the same time, write until it is good."""

from aideon_agents import creative, executor, iterative, parallel, planner, sequential, validator

INPUTS: dict[str, str] = {}

_MOST_WORDS = 300


def is_one_page(text: str) -> bool | str:
    """The brief has at most 300 words."""
    words = len(text.split())
    return (
        words <= _MOST_WORDS or f"The brief has {words} words; at most {_MOST_WORDS} are allowed."
    )


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
        validator(criteria=["the main point comes first", "no claim without a fact", is_one_page]),
        name="refine",
    ),
    name="brief",
)
