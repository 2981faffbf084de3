"""Keeps keys out of the ledger: providers quote them in their error messages."""

from __future__ import annotations

import json
import os
import re

_KEY_VARIABLES = ("TOGETHER_API_KEY", "TOGETHER_AI_API_KEY", "OPENAI_API_KEY", "HF_TOKEN")
_LOOKS_LIKE_A_KEY = re.compile(
    r"""
    (?P<lead> bearer \s+ ) [^\s"',;]+                # an Authorization header
    # With stars where the middle is hidden. HF_TOKEN is no key, but the name of one.
    | \b (?: sk- | tgp_ | (?-i: hf_ ) ) [\w*.-]{3,} [\w*]
    | \b [0-9a-f]{64} \b                            # Together's older keys
    """,
    re.VERBOSE | re.IGNORECASE,
)
_LONGEST = 2000
"""Characters of an error: a chain that failed names each attempt."""


_SHORTEST = 8
"""Characters of the shortest key that is looked for by its value: less is part of ordinary words."""
_given: set[str] = set()
"""Keys that this process was given otherwise: in a `.env` file, or in code."""


def keep_out(key: str) -> None:
    """Make a key known, so that it is recognised whatever it looks like."""
    if len(key.strip()) >= _SHORTEST:
        _given.add(key.strip())


def without_keys(text: str) -> str:
    """The same text with `[key]` for everything that is or looks like a key."""
    for key in _given:
        text = text.replace(key, "[key]")
    for variable in _KEY_VARIABLES:
        key = os.environ.get(variable, "").strip()
        if len(key) >= _SHORTEST:
            text = text.replace(key, "[key]")
    return _LOOKS_LIKE_A_KEY.sub(r"\g<lead>[key]", text)


ANSWER_BEGINS = "; it begins "
"""What an error says before it quotes, as a JSON string, how a model's answer begins."""

IT_SAYS = "; it says "
"""The same before any other words that are a model's, or somebody's question to a person."""

_QUOTED_ANSWER = re.compile(
    f"(?:{ANSWER_BEGINS}|{IT_SAYS})" + r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)'
)  # or cut


def safe_text(said: object) -> str:
    """What somebody's object says of itself, as text that can be written anywhere."""
    try:
        text = str(said)
    except Exception:  # noqa: BLE001 - whatever somebody's __str__ raises
        text = f"<{type(said).__name__} that cannot be shown>"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def stored_line(text: str) -> str:
    """An error's text for a row: as `one_line`, and without a quoted answer.

    Answers are stored only where that was asked for, and then in a table of their own.
    """
    return one_line(_QUOTED_ANSWER.sub("", text))


def quoted(said: str) -> str:
    """Words of a model or a graph in an error: shown to the caller, never stored."""
    return IT_SAYS + json.dumps(said, ensure_ascii=False)


def one_line(text: str) -> str:
    """An error's text: one line, at most 2,000 characters, every key as `[key]`."""
    line = " ".join(without_keys(text).split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
