"""Refine: improve a text until it is clear, correct and concise, or as the instruction says."""

from aideon_agents import creative, iterative, validator

INPUTS = {
    "text": "the text to improve, if the task is the instruction; without it, the task is the text"
}

_TEXT = (
    'Improve the text in <given name="text"> as <task> asks. If there is no such text, improve the '
    "text in <task>: make it clear, correct and concise."
)

graph = iterative(
    creative("text", description=f"{_TEXT} Change no fact. Answer with the improved text alone."),
    validator(
        criteria=[
            "it is improved as asked, else clear, correct and concise",
            "every fact of the original text is kept",
        ]
    ),
    max_rounds=4,
    pass_score=0.8,
    name="refine",
)
