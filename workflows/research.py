"""Research: find passages in your sources, split the question, answer the parts, one cited report.

`workflow("research", tools=[...])` makes one whose executors also search with tools.
"""

from __future__ import annotations

import codecs
import functools
import itertools
import logging
import math
import os
import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aideon_agents import (
    UserError,
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

_MOST_FILES, _MOST_BYTES, _MOST_IN_ALL = 2000, 1_000_000, 20_000_000
_PASSAGES, _CHARACTERS = 8, 700
_BRACKETS = re.compile(r"\[([^\[\]\n]+)\]")
_LABEL = re.compile(r"\S[^\n]*:[0-9a-f]+")
_ADDRESS = re.compile(r"https?://[^\s<>\"'`\])}]+")
_WORD = re.compile(r"\w+")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
_log = logging.getLogger("aideon_agents.workflows")


def find(state: State) -> str:
    """The passages of the sources that fit the task best, each after its label."""
    given: Any = (state.get("inputs") or {}).get("source") or []
    sources = given if isinstance(given, list | tuple) else [given]
    if not sources:
        return "No source was given."
    left_out: list[str] = []
    passages = list(dict.fromkeys(_passages(sources, left_out)))
    found = _best(state.get("task", ""), passages)
    texts = [f"[{label}]\n{text}" for label, text in found]
    if left_out:
        shown = ", ".join(left_out[:10]) + (" and more" if len(left_out) > 10 else "")  # noqa: PLR2004
        texts.append(f"Not read: {shown}.")
        _log.warning("not read: %s", shown)
    return "\n\n".join(texts if found else ["The sources contain nothing about the task.", *texts])


find.reads = ["source"]  # a run whose sources are missing is refused before any call


def _passages(sources: Sequence[str | Path], left_out: list[str]) -> Iterator[tuple[str, str]]:
    """Paragraphs of the text files at some paths, each with its file and line."""
    room = _MOST_IN_ALL
    files = itertools.chain.from_iterable(map(_files, sources))
    for number, file in enumerate(files):
        if number == _MOST_FILES or room <= 0:
            left_out.append(f"{file} and what follows (at most {_MOST_FILES} files, 20 MB)")
            return
        try:
            with file.open("rb") as opened:
                content = opened.read(_MOST_BYTES + 1)
        except OSError as error:
            left_out.append(f"{file} ({error.strerror or error})")
            continue
        if len(content) > _MOST_BYTES:
            left_out.append(f"the end of {file} (longer than 1 MB)")
        room -= len(content)
        is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        if b"\0" in content and not is_wide:
            left_out.append(f"{file} (not a text file: convert it to text)")
            continue
        text = content[:_MOST_BYTES].decode("utf-16" if is_wide else "utf-8-sig", "replace")
        name = str(file).translate(str.maketrans("[]", "()"))
        yield from ((f"{name}:{line}", part) for line, part in _parts(text))


def _files(source: str | Path) -> Iterator[Path]:
    path = Path(source).expanduser()
    if not path.exists():
        raise UserError(f"the source {source} does not exist: give a file or a folder")
    if not path.is_dir():
        yield path
    for folder, inside, names in os.walk(path):
        inside[:] = sorted(one for one in inside if not one.startswith("."))
        files = (Path(folder, name) for name in sorted(names) if not name.startswith("."))
        yield from (file for file in files if file.is_file())


def _parts(text: str) -> Iterator[tuple[int, str]]:
    """Paragraphs, each with the number of its line; a long one in pieces."""
    part, begins = "", 0
    for number, line in enumerate([*text.split("\n"), ""], 1):
        kept = line.strip()
        if part and (not kept or len(part) + len(kept) > _CHARACTERS):
            yield begins, part
            part = ""
        while len(kept) > _CHARACTERS:
            yield number, kept[:_CHARACTERS]
            kept = kept[_CHARACTERS:]
        if kept:
            begins = begins if part else number
            part = f"{part}\n{kept}" if part else kept


def _best(task: str, passages: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The passages that fit a task best, by BM25 over pieces of words: they need no stemming."""
    wanted = {piece for word in _words(task) for piece in _pieces(word)}
    pieces_in = functools.cache(lambda word: [one for one in _pieces(word) if one in wanted])
    counted: list[tuple[Counter[str], int]] = []
    for _, text in passages:
        words = _words(text)
        counted.append((Counter(piece for word in words for piece in pieces_in(word)), len(words)))
    holding = Counter(piece for pieces, _ in counted for piece in pieces)
    usual = sum(length for _, length in counted) / len(counted) if counted else 0

    def score(index: int) -> float:
        pieces, length = counted[index]
        return sum(
            math.log(1 + (len(counted) - holding[one] + 0.5) / (holding[one] + 0.5))
            * (2.2 * times / (times + 0.3 + 0.9 * length / usual))
            for one, times in pieces.items()
        )

    scores = {index: score(index) for index in range(len(passages))}
    ranked = sorted(scores, key=lambda index: -scores[index])[:_PASSAGES]
    return [passages[index] for index in ranked if scores[index] > scores[ranked[0]] / 5]


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def _pieces(word: str) -> list[str]:
    """The runs of four characters in a word; of two where a script has no spaces between words."""
    size = 2 if _UNSPACED.search(word) else 4
    return [word[at : at + size] for at in range(max(1, len(word) - size + 1))]


def cites_its_sources(text: str, state: State) -> bool | str:
    """Every citation names a passage or a tool's answer, and there is one if any was found."""
    results = (state.get("results") or {}).values()
    given = [one.content for one in results if one.node_path.rpartition("/")[2] == "find"]
    found = {label for one in given for label in re.findall(r"^\[(.+:\d+)\]$", one, re.MULTILINE)}
    for one in results:
        found.update(one.sources)
        given += one.sources.values()
    labels = list(
        itertools.chain.from_iterable(_named(one, found) for one in _BRACKETS.findall(text))
    )
    addresses = [one.rstrip(".,;:!?*_") for one in _ADDRESS.findall(text)]
    known = {one.rstrip(".,;:!?*_/") for shown in given for one in _ADDRESS.findall(shown)}
    unknown = [one for one in labels if one not in found]
    unknown += [one for one in addresses if one.rstrip("/") not in known]
    if unknown:
        return f"These citations name nothing that was found: {', '.join(dict.fromkeys(unknown))}."
    is_cited = bool(labels or addresses or not found)
    return is_cited or "Cite what was found: the label in brackets after each claim."


def _named(bracket: str, found: set[str]) -> list[str]:
    """The labels in a pair of brackets: one, or several after commas."""
    if bracket in found:
        return [bracket]
    parts = [part.strip() for part in re.split("[,;]", bracket)]
    return [part for part in parts if _LABEL.fullmatch(part) and "://" not in part]


_SEARCH = "Search with your tools, with words of your own, and answer from what they return."


def research(tools: Sequence[Any] = ()) -> Any:
    """The workflow; its executors search with the tools: LangChain tools, functions, MCP servers."""
    return sequential(
        find,
        orchestrated(
            planner(description="Split the question into parts that can be answered on their own."),
            executor(tools=tools, grounded=bool(tools), description=_SEARCH if tools else None),
            creative(),
            max_steps=6,
            name="investigate",
        ),
        iterative(
            creative(
                "report",
                description="Write a report that answers the question. After each claim that a "
                "passage or a tool's answer supports, cite its label in square brackets, such as "
                "[notes.md:12] or [search:1f0c], or its web address. Say which part is uncertain.",
                complexity="high",
            ),
            validator(criteria=["it answers the question", cites_its_sources]),
            max_rounds=2,
            name="write",
        ),
        name="research",
    )


graph = research()
