"""Refine: improve the given text until it is clear, correct and concise."""

from aideon_agents import creative, iterative, validator

graph = iterative(
    creative("text", description="Improve the text in the task. Change no fact."),
    validator(criteria="clear, correct and concise; every fact of the task is kept"),
    max_rounds=4,
    pass_score=0.8,
    name="refine",
)
