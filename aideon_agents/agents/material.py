"""What an agent is told: its instructions, the task, what came before, and what to do now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from aideon_agents.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aideon_agents.state import State, StepResult


def messages(
    state: State, *, instructions: str, step: str | None, node_path: str
) -> list[BaseMessage]:
    """The prompt of one agent's call.

    Args:
        state: What the node reads.
        instructions: The system prompt.
        step: What to do now; None: the task itself.
        node_path: The agent's own place, to tell its earlier version from others' results.

    Returns:
        A system and a human message.
    """
    results = state.get("results") or {}
    sections = [("Task", state.get("task", ""))]
    sections += [
        (f"Given: {key}", str(value)) for key, value in (state.get("inputs") or {}).items()
    ]
    sections += [_section(result, node_path) for result in standing(results)]
    verdict = state.get("verdict")
    if verdict and node_path in results and not verdict.passed:
        sections.append(("Feedback on your earlier version", verdict.feedback))
    if step:
        sections.append(("What to do now", filled(step, state)))
    told = "\n\n".join(f"# {title}\n\n{text}" for title, text in sections)
    return [SystemMessage(instructions), HumanMessage(told)]


def standing(results: Mapping[str, StepResult]) -> list[StepResult]:
    """The results that still stand, in order.

    A pattern's own result (a loop's best round) replaces those of the nodes inside it, and a
    verdict is passed on as feedback, not as a result.

    Args:
        results: By node path.

    Returns:
        Results, oldest first.
    """
    replaced = tuple(path + "/" for path in results)
    kept = (
        result
        for path, result in results.items()
        if result.role != "validator" and not path.startswith(replaced)
    )
    return sorted(kept, key=lambda result: result.order)


def filled(text: str, state: State) -> str:
    """Put the task and the inputs where a text names them in braces.

    Args:
        text: May contain `{task}` and `{key of inputs}`.
        state: Where they are.

    Returns:
        The text with every such name replaced; other braces stay as they are.
    """
    known = {**(state.get("inputs") or {}), "task": state.get("task", "")}
    for key, value in known.items():
        text = text.replace("{" + key + "}", str(value))
    return text


def require(keys: Iterable[str], state: State) -> None:
    """Refuse a state that lacks an input which a step names.

    Args:
        keys: Names that some step's text has in braces.
        state: What the graph was given.

    Raises:
        InputError: Naming the keys that are missing.
    """
    missing = [key for key in keys if key != "task" and key not in (state.get("inputs") or {})]
    if missing:
        raise InputError(f"the inputs lack {', '.join(missing)}: give each with -p KEY=VALUE")


def _section(result: StepResult, node_path: str) -> tuple[str, str]:
    title = "Your earlier version" if result.node_path == node_path else f"From {result.node_path}"
    return title, result.content
