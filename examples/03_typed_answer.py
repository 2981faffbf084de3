"""A typed answer, and a plain function that works on it."""

from pydantic import BaseModel

from aideon_agents import State, executor, run, sequential


class Facts(BaseModel):
    """What the executor has to answer with."""

    facts: list[str]


def shortest(state: State) -> str:
    """A function is a node: it reads the state and returns text."""
    return min(state["results"]["facts"].data.facts, key=len)


graph = sequential(executor("facts", output=Facts), shortest)
print(run(graph, "Heat pumps move heat. They need power.", rehearse=True).output)
