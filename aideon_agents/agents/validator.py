"""The agent that judges results.

A model is asked for a whole number from 0 to 10, each of which means something, and for its reasons
first: weak models answer 7 or 85 where they are asked for a share of 1. A verdict has the share.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Unpack, cast

from pydantic import BaseModel, Field, WithJsonSchema, model_validator

from aideon_agents.agents.checks import checks_in
from aideon_agents.agents.given import Options
from aideon_agents.agents.node import Agent, make
from aideon_agents.errors import refuse_kinds
from aideon_agents.state import Results, Verdict

if TYPE_CHECKING:
    from aideon_agents.agents.checks import Check

_KINDS = {
    "criteria": ((str, Callable, Sequence, NoneType), "text, a function, or a list of these"),
    "checks": ((Callable, Sequence), "a list of functions"),
    "question": ((str, NoneType), "text"),
    "description": ((str, NoneType), "text"),
}
_MOST = 10
_SCALE = {
    "type": "integer",
    "enum": list(range(_MOST, -1, -1)),
    "description": "10: meets every criterion, nothing to improve; 8: meets every criterion, small "
    "flaws; 6: misses one in part; 4: misses one; 2: misses most; 0: empty or about something else",
}
_WRITTEN = re.compile(r"\s*(\d+)(?:\.0*)?\s*(?:/\s*10)?\s*")
"""A whole number, as some models write it."""


class Judgement(BaseModel):
    """A judgement of a text against criteria."""

    reasons: str = Field(
        description="For each criterion, whether the text meets it and which words show it, in one "
        "sentence"
    )
    score: Annotated[float, Field(ge=0, le=1), WithJsonSchema(_SCALE)]
    passed: bool = Field(description="Whether the text meets every criterion")
    feedback: str = Field(
        description="What to change, one concrete instruction per failing; empty when nothing"
    )

    @model_validator(mode="before")
    @classmethod
    def _as_share(cls, answer: Any) -> Any:
        """The score as a share of 1.

        An answer without reasons may be a whole `Verdict`, as scripted models in tests give it.
        """
        if not isinstance(answer, dict):
            return answer
        known = cast("dict[str, Any]", answer)
        score = known.get("score")
        if "reasons" not in known:
            if isinstance(score, int | float) and score > 1:
                raise ValueError("reasons is missing")
            return {"reasons": "", **known}
        if score is None:
            return known
        whole = _WRITTEN.fullmatch(str(score))
        if isinstance(score, bool) or whole is None or int(whole[1]) > _MOST:
            raise ValueError(f"score must be a whole number from 0 to {_MOST}, not {score!r}")
        return {**known, "score": int(whole[1]) / _MOST}

    @model_validator(mode="after")
    def _with_feedback(self) -> Judgement:
        """Where nothing says what to change, the reasons do."""
        if not self.passed and not self.feedback.strip():
            self.feedback = self.reasons
        return self


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
    wanted = texts or ["it does what the task asks for"]
    options["description"] = question or "\n- ".join([f"{asked}\nCriteria:", *wanted])
    agent = make("validator", name, options, output=Judgement, kept_as=Verdict, write=_write)
    return agent.checking(exact, asks=bool(texts) or not exact)


def _write(verdict: Verdict) -> tuple[str, Results]:
    word = "passed" if verdict.passed else "not passed"
    feedback = f": {verdict.feedback}" if verdict.feedback else ""
    return f"{word}, score {round(verdict.score, 2):g}{feedback}", Results(verdict=verdict)
