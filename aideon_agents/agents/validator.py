"""The agent that judges results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Unpack

from aideon_agents.agents.checks import checks_in
from aideon_agents.agents.given import Options
from aideon_agents.agents.judging import WITHOUT_CRITERIA, Judgement, asked_about, write
from aideon_agents.agents.node import Agent, make
from aideon_agents.errors import refuse_kinds
from aideon_agents.state import Verdict

if TYPE_CHECKING:
    from aideon_agents.agents.checks import Check

_KINDS = {
    "criteria": ((str, Callable, Sequence, NoneType), "text, a function, or a list of these"),
    "checks": ((Callable, Sequence), "a list of functions"),
    "question": ((str, NoneType), "text"),
    "description": ((str, NoneType), "text"),
}


def validator(
    name: str | None = None,
    *,
    criteria: str | Check | Sequence[str | Check] | None = None,
    checks: Sequence[Check] = (),
    question: str | None = None,
    **options: Unpack[Options],
) -> Agent:
    """An agent that judges the latest result; its typed answer is a `Verdict`.

    In a `conditional` it decides instead: its typed answer is then a `Decision`.

    Args:
        name: Its name in the graph and in reports; None: `validator`.
        criteria: What the result must meet, where `{task}` and `{key of inputs}` are filled in; a
            text, or a list of texts and functions. None: what the task asks for, unless there are
            checks.
        checks: Exact criteria: functions of the text, or of the text and the state, that return
            True, False, a text that says what is wrong, `(bool, feedback)`, or a `Verdict`. Without
            criteria no model is asked. A rehearsal does not call them.
        question: What it decides in a `conditional`.
        **options: See `Options`.

    Returns:
        A node for any pattern or LangGraph graph; it writes `verdict`.

    Raises:
        UserError: An argument is not valid.
    """
    given = {"criteria": criteria, "checks": checks, "question": question, **options}
    refuse_kinds(given, _KINDS, f"{name or 'validator'}: ")
    listed = [criteria] if isinstance(criteria, str) or callable(criteria) else criteria or ()
    texts = [one for one in listed if isinstance(one, str)]
    functions = [one for one in listed if not isinstance(one, str)]
    exact = checks_in([*functions, *checks_in(checks, name or "validator")], name or "validator")
    asked = (
        options.get("description") or "Judge the last <result>, or <task> if there is no result."
    )
    options["description"] = question or asked_about(asked, texts or [WITHOUT_CRITERIA])
    agent = make("validator", name, options, output=Judgement, kept_as=Verdict, write=write)
    return agent.checking(exact, asks=bool(texts) or not exact)
