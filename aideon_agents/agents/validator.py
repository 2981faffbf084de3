"""The agent that judges results."""

from __future__ import annotations

from typing import Unpack

from aideon_agents.agents.node import Agent, Options, make
from aideon_agents.state import Results, Verdict


def validator(
    name: str | None = None,
    *,
    criteria: str | None = None,
    question: str | None = None,
    **options: Unpack[Options],
) -> Agent:
    """An agent that judges the latest result; its typed answer is a `Verdict`.

    In a `conditional` it decides instead: its typed answer is then a `Decision`.

    Args:
        name: Its name in the graph and in reports; None: `validator`.
        criteria: What the result must meet, where `{task}` and `{key of inputs}` are filled in;
            None: what the task asks for.
        question: What it decides in a `conditional`.
        **options: See `Options`.

    Returns:
        A node for any pattern or LangGraph graph; it writes `verdict`.

    Raises:
        UserError: An argument is not valid.
    """
    judged = criteria or "it does what the task asks for"
    asked = options.get("description") or "Judge the latest of the results above."
    options["description"] = question or f"{asked} Criteria: {judged}"
    return make("validator", name, options, output=Verdict, write=_write)


def _write(verdict: Verdict) -> tuple[str, Results]:
    word = "passed" if verdict.passed else "not passed"
    feedback = f": {verdict.feedback}" if verdict.feedback else ""
    return f"{word}, score {verdict.score:g}{feedback}", Results(verdict=verdict)
