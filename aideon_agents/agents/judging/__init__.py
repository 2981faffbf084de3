"""Judgements of answers: their shape, and the second try at an answer whose quality is too low.

A model is asked for a whole number from 0 to 10, each of which means something, and for its reasons
first: weak models answer 7 or 85 where they are asked for a share of 1. A verdict has the share.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from typing import TYPE_CHECKING, Annotated, Any, cast

from langgraph.constants import TAG_NOSTREAM
from pydantic import BaseModel, Field, WithJsonSchema, model_validator

from aideon_agents import errors
from aideon_agents.agents import prompt_files
from aideon_agents.agents.calling import ask
from aideon_agents.graphs import material
from aideon_agents.ledger import tags
from aideon_agents.models.candidates import announce_restart, answers_noted, models_of
from aideon_agents.models.choosing import can_step_up
from aideon_agents.models.learning.verdicts import record_verdict
from aideon_agents.state import (
    Context,
    ModelRequest,
    ModelSource,
    Results,
    State,
    StepResult,
    Verdict,
    merge,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from langchain_core.runnables import RunnableConfig

_log = logging.getLogger("aideon_agents.agents")

QUALITY = 0.8
"""The score that an answer must reach where `quality` is True."""
WITHOUT_CRITERIA = "it does what the task asks for"

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


def quality_of(
    given: object, where: str, kind: type[errors.AideonError] = errors.UserError
) -> float | None:
    """A threshold as the caller gives it: 0 for False, None for None."""
    if isinstance(given, bool):
        return QUALITY if given else 0.0
    if given is None or (isinstance(given, int | float) and 0 <= given <= 1):
        return cast("float | None", given)
    raise kind(f"{where}quality is {errors.shown(given)}: give True, False, or a score from 0 to 1")


def asked_about(what: str, criteria: Sequence[str]) -> str:
    """What a model is asked to judge, by these criteria."""
    return "\n- ".join([f"{what}\nCriteria:", *criteria])


def write(verdict: Verdict) -> tuple[str, Results]:
    """A verdict as text, and what a validator writes besides its result."""
    word = "passed" if verdict.passed else "not passed"
    feedback = f": {verdict.feedback}" if verdict.feedback else ""
    return f"{word}, score {round(verdict.score, 2):g}{feedback}", Results(verdict=verdict)


async def improved(
    first: Results,
    again: Callable[[], Awaitable[Results]],
    state: State,
    models: ModelSource,
    context: Context,
    *,
    request: ModelRequest,
    threshold: float,
    wanted: str | None,
    config: RunnableConfig,
) -> Results:
    """The answer, or a second one of the next larger model where its score is under the threshold.

    `again` gives the second one, `wanted` is what the agent was to do, None: the task. The better of
    the two is kept; where the second or a judgement is refused or fails, the first.
    """
    answer = _result(first)
    level = logging.INFO if context.is_item else logging.WARNING  # a batch has many answers
    if not can_step_up(request, context.tier):
        why = "its quality was not judged, because there is no larger model to ask again"
        _log.log(level, "%s: %s", answer.node_path, why)
        return first

    async def score(results: Results) -> float:
        judged = merge(state.get("results") or {}, results.get("results") or {})
        given = cast("State", {**state, "results": judged})
        found, judges = await _score(
            given, wanted, models=models, request=request, context=context, config=config
        )
        if judges:
            record_verdict(config, _result(results), judges, found)
        return found

    try:
        before = await score(first)
        if before >= threshold:
            return first
        if context.stream:
            announce_restart(config)
        second = await again()
        after = await score(second)
    except (
        errors.BudgetExceeded,
        errors.QuotaExceeded,
        errors.RunError,
        errors.NoModel,
    ) as refused:
        why = "its first answer was kept, because no better one could be had"
        _log.log(level, "%s: %s: %s", answer.node_path, why, refused)
        return first
    _log.info("%s: scored %g, a larger model %g", answer.node_path, before, after)
    if after < before:
        if context.stream:
            announce_restart(config)  # the tokens shown last are not the answer
        return first
    later = _result(second)
    both = dataclasses.replace(later, models=[*answer.models, *later.models])
    return {**second, "results": {later.node_path: both}}


def _result(results: Results) -> StepResult:
    """The one result that an agent writes."""
    (result,) = (results.get("results") or {}).values()
    return result


async def _score(
    state: State,
    wanted: str | None,
    *,
    models: ModelSource,
    request: ModelRequest,
    context: Context,
    config: RunnableConfig,
) -> tuple[float, list[str]]:
    """The score of the latest result, as a validator gives it, and the models that gave it.

    Their calls belong to the same node.
    """
    criteria = f"it does what these instructions ask for: {wanted}" if wanted else WITHOUT_CRITERIA
    judge = ModelRequest(
        role="validator",
        purpose=request.purpose,
        model=context.model.get("validator") or (),
        privacy=request.privacy,
        max_tokens=512,
        may_think=True,
    )
    prompt = material.messages(
        state,
        instructions=f"{prompt_files.prompt('validator')}\n\n{prompt_files.prompt('rules')}",
        step=asked_about("Judge the last <result>.", [criteria]),
        node_path="",
    )
    metadata = {**(config.get("metadata") or {}), tags.ROLE: judge.role}
    hidden = [*(config.get("tags") or ()), TAG_NOSTREAM]
    quiet = cast("RunnableConfig", {**config, "metadata": metadata, "tags": hidden})
    whole = dataclasses.replace(context, stream=False)
    with answers_noted() as noted:  # those of the judge are not the agent's
        verdict: Judgement = await ask(
            models, judge, whole, prompt, output=Judgement, toolbox=None, sources=None, config=quiet
        )
    return verdict.score, models_of(noted)
