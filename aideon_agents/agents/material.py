"""The prompt of an agent's call: its instructions, the task, earlier results, and what to do now."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from aideon_agents.errors import InputError
from aideon_agents.models.answers.reply import TO_DO, estimate_tokens
from aideon_agents.state import Exchange, State, current_results

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

    `step` is what to do now, None: the task itself. `node_path` is the agent's own, to tell its
    earlier version from the results of others. `room` is in tokens, None: no limit.

    Where the prompt does not fit, what came before is shortened from the oldest on: first the
    conversation, then each result but the latest. The task, the inputs, the latest result and what
    to do now stay whole.
    """
    results = state.get("results") or {}
    sections = [("Earlier in this conversation", _earlier(conversation))] if conversation else []
    sections.append(("Task", state.get("task", "")))
    sections += [
        (f"Given: {key}", str(value)) for key, value in (state.get("inputs") or {}).items()
    ]
    before = len(sections)
    sections += [
        (
            "Your earlier version" if one.node_path == node_path else f"From {one.node_path}",
            one.content,
        )
        for one in current_results(results)
    ]
    may_shorten = [*range(len(conversation[:1])), *range(before, len(sections) - 1)]
    # A loop from elsewhere writes no feedback, but perhaps a verdict that did not pass.
    verdict = state.get("verdict")
    feedback = state.get("feedback", verdict.feedback if verdict and not verdict.passed else "")
    own = results.get(node_path)
    if own and own.role == "validator":
        feedback = ""
    # What a person wants changed is always meant for this node.
    wanted = [one for one in (feedback, state.get("declined")) if one]
    if own and wanted:
        sections.append(("Feedback on your earlier version", "\n\n".join(wanted)))
    if step:
        sections.append((TO_DO, filled(step, state)))
    text = _joined("#", sections)
    for index in may_shorten:
        if room is None or estimate_tokens(instructions + text) <= room:
            break
        title, content = sections[index]
        sections[index] = (title, content if len(content) <= _KEPT else content[:_KEPT] + _CUT)
        text = _joined("#", sections)
    return [SystemMessage(instructions), HumanMessage(text)]


def _joined(mark: str, sections: Iterable[tuple[str, str]]) -> str:
    return "\n\n".join(f"{mark} {title}\n\n{text}" for title, text in sections)


def _earlier(conversation: Sequence[Exchange]) -> str:
    """The task of each earlier run, and its results at its end."""
    parts: list[tuple[str, str]] = []
    for exchange in conversation:
        parts.append(("Asked", exchange.task))
        parts += [
            (f"From {result.node_path}", result.content)
            for result in current_results(exchange.results)
        ]
    return _joined("##", parts)


def filled(text: str, state: State) -> str:
    """A text with the task and the inputs that it names in braces; other braces stay as they are."""
    known = {**(state.get("inputs") or {}), "task": state.get("task", "")}
    names = "|".join(re.escape(key) for key in known)
    return re.sub(r"\{(" + names + r")\}", lambda found: str(known[found[1]]), text)


def require(keys: Iterable[str], state: State) -> None:
    """Raise InputError if the inputs lack a key that some step's text names in braces."""
    missing = [key for key in keys if key != "task" and key not in (state.get("inputs") or {})]
    if missing:
        raise InputError(f"the inputs lack {', '.join(missing)}: give each with -p KEY=VALUE")
