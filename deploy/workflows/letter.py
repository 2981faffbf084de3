"""Writes a letter: a person approves the draft before it is made into the final text."""

from aideon_agents import creative, sequential

graph = sequential(
    creative("draft", description="Write a letter about {task}", approve=True),
    creative("letter", description="Improve the wording of the draft"),
)
