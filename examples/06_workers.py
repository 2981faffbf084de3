"""Several workers: a planner makes the steps at run time, and says who does each of them."""

from aideon_agents import State, creative, executor, orchestrated, planner, run


def prices(item: str) -> str:
    """The price list entry of an item."""
    return {"pump": "$4,000"}.get(item, "not in the list")


def count_words(state: State) -> str:
    """Count the words of a text; this worker asks no model."""
    return f"{len(state['task'].split())} words"


graph = orchestrated(
    planner(),
    workers={
        "clerk": ("finds prices", executor(tools=[prices], complexity="low")),
        "writer": creative(description="Write the text of the offer."),
        "counter": count_words,
    },
    max_steps=4,
)

result = run(graph, "Offer a heat pump. Name its price. Keep it short.", rehearse=True)
for step in result.results["planner"].data.steps:
    print(f"{step.id} by {step.agent}: {step.description}")
print(result.output)
