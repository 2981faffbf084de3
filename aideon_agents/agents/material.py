"""What an agent is told: its instructions, the task, what came before, and what to do now."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from aideon_agents.errors import InputError
from aideon_agents.models.answers.reply import TO_DO, estimate_tokens
from aideon_agents.state import Exchange, State, StepResult, current_results

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


_KEPT = 400
"""Characters that a shortened result keeps: its beginning, where an answer says what it is."""
_CUT = "… (shortened to fit the model)"


def messages(
    state: State,
    *,
    instructions: str,
    step: str | None,
    node_path: str,
    conversation: Sequence[Exchange] = (),
    room: int | None = None,
) -> list[BaseMessage]:
    """The prompt of one agent's call.

    Where it does not fit the model, what came before is shortened from the oldest on: first the
    conversation, then each result but the latest. The task, the inputs, the latest result and what
    to do now stay whole.
    """
    results = state.get("results") or {}
    sections = [("Earlier in this conversation", _told(conversation))] if conversation else []
    sections.append(("Task", state.get("task", "")))
    sections += [
        (f"Given: {key}", str(value)) for key, value in (state.get("inputs") or {}).items()
    ]
    seen = [_section(result, node_path) for result in current_results(results)]
    yielding = [*range(len(conversation[:1])), *range(len(sections), len(sections + seen[1:]))]
    sections += seen
    earlier, feedback = results.get(node_path), _feedback(state)
    if feedback and earlier and earlier.role != "validator":
        sections.append(("Feedback on your earlier version", feedback))
    if step:
        sections.append((TO_DO, filled(step, state)))
    told = _joined(sections)
    for index in yielding:
        if room is None or estimate_tokens(instructions + told) <= room:
            break
        title, text = sections[index]
        sections[index] = (title, text if len(text) <= _KEPT else text[:_KEPT] + _CUT)
        told = _joined(sections)
    return [SystemMessage(instructions), HumanMessage(told)]


def _joined(sections: Iterable[tuple[str, str]]) -> str:
    return "\n\n".join(f"# {title}\n\n{text}" for title, text in sections)


def _told(conversation: Sequence[Exchange]) -> str:
    """What was asked in each earlier run, and the results that stood at its end."""
    parts: list[tuple[str, str]] = []
    for exchange in conversation:
        parts.append(("Asked", exchange.task))
        parts += [
            (f"From {result.node_path}", result.content)
            for result in current_results(exchange.results)
        ]
    return "\n\n".join(f"## {title}\n\n{text}" for title, text in parts)


def filled(text: str, state: State) -> str:
    """Put the task and the inputs where a text names them in braces."""
    known = {**(state.get("inputs") or {}), "task": state.get("task", "")}
    names = "|".join(re.escape(key) for key in known)
    return re.sub(r"\{(" + names + r")\}", lambda found: str(known[found[1]]), text)


def require(keys: Iterable[str], state: State) -> None:
    """Refuse a state that lacks an input which a step names."""
    missing = [key for key in keys if key != "task" and key not in (state.get("inputs") or {})]
    if missing:
        raise InputError(f"the inputs lack {', '.join(missing)}: give each with -p KEY=VALUE")


def _feedback(state: State) -> str:
    """What our loop says; in a loop made elsewhere, the verdict that did not pass."""
    verdict = state.get("verdict")
    said = verdict.feedback if verdict and not verdict.passed else ""
    return state.get("feedback", said)


def _section(result: StepResult, node_path: str) -> tuple[str, str]:
    title = "Your earlier version" if result.node_path == node_path else f"From {result.node_path}"
    return title, result.content
