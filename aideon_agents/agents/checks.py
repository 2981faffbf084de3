"""Exact criteria of a validator: functions that check a text, without a model."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from aideon_agents.errors import StepFailed, UserError
from aideon_agents.models.bridge import in_own_thread
from aideon_agents.state import Context, State, Verdict, latest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aideon_agents.state import StepResult


Check: TypeAlias = Callable[..., Any]
"""A function of the text, or of the text and the state. It returns whether the text meets its
criterion: True or False, a text that says what is wrong, `(bool, feedback)`, or a `Verdict`."""


def checks_in(given: object, name: str) -> tuple[Check, ...]:
    """The checks of a validator; UserError: one is no function of a text."""
    listed = [given] if callable(given) else list(cast("Sequence[object]", given or ()))
    for one in listed:
        if not callable(one) or _positions(one) not in (1, 2):
            raise UserError(
                f"{name}: {one!r} cannot be a check: give a function of the text, or of the text "
                "and the state"
            )
    return tuple(cast("list[Check]", listed))


def _positions(function: Callable[..., Any]) -> int:
    """How many positional arguments a function is given: at least those that it needs."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a builtin that does not say
        return 1
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return 2
    places = [
        one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]
    needed = [one for one in places if one.default is one.empty]
    return max(len(needed), min(len(places), 1)) if needed or places else 0


async def checked(
    checks: Sequence[Check], verdict: Verdict | None, state: State, name: str, context: Context
) -> Verdict:
    """The verdict of a model together with the checks; None: no model was asked.

    It passes if everything passes. Its score is the mean of the model's score and of the checks,
    each of which counts 1 or 0 unless it says more. The made-up texts of a rehearsal are not
    checked.
    """
    if context.rehearse:
        passed = not context.longest
        return verdict or Verdict(passed=passed, score=float(passed), feedback="")
    text = _judged(state)
    verdicts = [verdict] if verdict else []
    verdicts += [
        _as_verdict(await _called(check, text, state, name), check, name) for check in checks
    ]
    failed = [one.feedback for one in verdicts if not one.passed and one.feedback]
    return Verdict(
        passed=all(one.passed for one in verdicts),
        score=sum(one.score for one in verdicts) / len(verdicts),
        feedback="\n".join(failed) or (verdict.feedback if verdict else ""),
    )


def _judged(state: State) -> str:
    """The text that is judged: the latest result, or the task where there is none."""
    results: Mapping[str, StepResult] = state.get("results") or {}
    made = latest({path: one for path, one in results.items() if one.role != "validator"})
    return made.content if made else state.get("task", "")


async def _called(check: Check, text: str, state: State, name: str) -> Any:
    given = (text, state)[: _positions(check)]
    try:
        if inspect.iscoroutinefunction(check):
            return await check(*given)
        return await in_own_thread(functools.partial(check, *given))
    except Exception as error:
        raise StepFailed(
            f"{name}: the check {_name(check)} failed: {type(error).__name__}: {error}"
        ) from error


def _as_verdict(returned: Any, check: Check, name: str) -> Verdict:
    if isinstance(returned, Verdict):
        return returned
    feedback = ""
    passed = returned
    if isinstance(returned, tuple):
        passed, feedback = cast("tuple[Any, Any]", (*returned, ""))[:2]
    elif isinstance(returned, str):
        passed, feedback = not returned, returned
    if not isinstance(passed, bool) or not isinstance(feedback, str):
        raise StepFailed(
            f"{name}: the check {_name(check)} returned {returned!r}: return True, False, a text "
            "that says what is wrong, (bool, feedback), or a Verdict"
        )
    if not passed and not feedback:
        feedback = f"This is not met: {_wanted(check)}"
    return Verdict(passed=passed, score=float(passed), feedback="" if passed else feedback)


def _wanted(check: Check) -> str:
    """What a check checks: the first line of its docstring, else its name."""
    described = inspect.getdoc(check) if inspect.isfunction(check) else None
    return described.splitlines()[0] if described else _name(check).replace("_", " ")


def _name(check: Check) -> str:
    return getattr(check, "__name__", type(check).__name__).strip("<>")
