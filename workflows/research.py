"""Research: find passages in your sources, split the question, answer the parts, one cited report."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aideon_agents import (
    creative,
    executor,
    iterative,
    orchestrated,
    planner,
    sequential,
    validator,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aideon_agents import State

INPUTS = {"source": "a file or folder to search, or a list of them; without one, no source is read"}

_MOST_FILES, _MOST_BYTES = 2000, 1_000_000
_PASSAGES, _CHARACTERS = 8, 700
_CITED = re.compile(r"\[([^\[\]\n]+:\d+)\]")


def find(state: State) -> str:
    """The passages of the sources that share most words with the task, each after its label."""
    given: Any = (state.get("inputs") or {}).get("source") or []
    sources = list(given) if isinstance(given, list | tuple) else [given]
    if not sources:
        return "No source was given. Answer from what you know, and cite nothing."
    wanted = _words(state.get("task", ""))
    passages = [passage for source in sources for passage in _passages(Path(source).expanduser())]
    ranked = sorted(
        passages, key=lambda one: -len(wanted & _words(one[1])) / (len(_words(one[1])) + 20)
    )
    found = [one for one in ranked[:_PASSAGES] if wanted & _words(one[1])]
    if not found:
        return "The sources contain nothing about the task."
    return "\n\n".join(f"[{label}]\n{text[:_CHARACTERS]}" for label, text in found)


find.reads = ["source"]  # a run whose sources are missing is refused before any call


def _words(text: str) -> set[str]:
    return {word.casefold() for word in re.findall(r"\w{4,}", text)}


def _passages(source: Path) -> Iterator[tuple[str, str]]:
    """The paragraphs of every text file at a path, each with its file and line."""
    files = [source] if source.is_file() else sorted(source.rglob("*"))
    texts = [one for one in files if one.is_file() and not one.name.startswith(".")]
    for file in texts[:_MOST_FILES]:
        content = file.read_bytes()[:_MOST_BYTES]
        if b"\0" in content:
            continue  # not a text
        lines = content.decode("utf-8", "replace").splitlines()
        starts = [
            n for n, line in enumerate(lines) if line and (n == 0 or not lines[n - 1].strip())
        ]
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
            yield f"{file}:{start + 1}", "\n".join(lines[start:end]).strip()


def cites_its_sources(text: str, state: State) -> bool | str:
    """Every citation names a passage that was found, and there is one if any was found."""
    known = state.get("results") or {}
    found = {
        label
        for path, one in known.items()
        if path.endswith("find")
        for label in _CITED.findall(one.content)
    }
    cited = Counter(_CITED.findall(text))
    if unknown := [label for label in cited if label not in found]:
        return f"These citations name no passage that was found: {', '.join(unknown)}."
    return bool(cited) or not found or "Cite the passages: the label in brackets after each claim."


def research(tools: Sequence[Any] = ()) -> Any:
    """The workflow, with search tools that its executors may call as well."""
    return sequential(
        find,
        orchestrated(
            planner(description="Split the question into parts that can be answered on their own."),
            executor(tools=tools),
            creative(),
            max_steps=6,
            name="investigate",
        ),
        iterative(
            creative(
                "report",
                description="Write a report that answers the question. After each claim that a "
                "passage supports, cite its label in square brackets, such as [notes.md:12]. Say "
                "which part is uncertain.",
                complexity="high",
            ),
            validator(criteria=["it answers the question", cites_its_sources]),
            max_rounds=2,
            name="write",
        ),
        name="research",
    )


graph = research()
