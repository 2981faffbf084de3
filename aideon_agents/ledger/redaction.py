"""Removes API keys from texts before they are stored: providers quote keys in error messages."""

from __future__ import annotations

import json
import os
import re
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

_KEY_VARIABLES = ("TOGETHER_API_KEY", "TOGETHER_AI_API_KEY", "OPENAI_API_KEY", "HF_TOKEN")
_LOOKS_LIKE_A_KEY = re.compile(
    r"""
    (?P<lead> bearer \s+ ) [^\s"',;]+                # an Authorization header
    # With stars where the middle is hidden. HF_TOKEN is the name of a key, not a key.
    | \b (?: sk- | tgp_ | (?-i: hf_ ) ) [\w*.-]{3,} [\w*]
    | \b (?-i: aid_ [0-9a-z]{10} _ ) \w{6,}          # of the service
    | \b [0-9a-f]{64} \b                            # Together's older keys
    """,
    re.VERBOSE | re.IGNORECASE,
)
_LONGEST = 2000
"""Characters of an error: a chain that failed names each attempt."""

_SHORTEST = 8
"""Characters of the shortest key that is looked for by its value: less is part of ordinary words."""
_given: set[str] = set()
"""Keys that this process got from elsewhere than the environment: a `.env` file, or code."""


def keep_out(key: str) -> None:
    """Register a key, so that it is removed whatever it looks like."""
    if len(key.strip()) >= _SHORTEST:
        _given.add(key.strip())


def bare_address(address: str) -> str:
    """An address without a user, a password and a query, which are kept out of all texts from then on."""
    try:
        parts = urlsplit(address)
        keep_out(unquote(parts.password or ""))
        keep_out(parts.password or "")
        for _, value in parse_qsl(parts.query):
            keep_out(value)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path, "", ""))
    except ValueError:
        return "an address that cannot be read"


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
"""The same before any other quoted text: a model's words, or a graph's question to a person."""

_QUOTED_ANSWER = re.compile(
    f"(?:{ANSWER_BEGINS}|{IT_SAYS})" + r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)'
)  # or cut


def safe_text(value: object) -> str:
    """An object's `str`, as text that can be written anywhere: it may raise or hold a surrogate."""
    try:
        text = str(value)
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
        text = f"<{type(value).__name__} that cannot be shown>"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def stored_line(text: str) -> str:
    """An error's text for a row: as `one_line`, and without a quoted answer.

    Answers are stored only where content is recorded, and then in their own table.
    """
    return one_line(_QUOTED_ANSWER.sub("", text))


def quoted(text: str) -> str:
    """Words of a model or a graph, to append to an error: shown to the caller, never stored."""
    return IT_SAYS + json.dumps(text, ensure_ascii=False)


def one_line(text: str) -> str:
    """An error's text: one line, at most 2,000 characters, every key as `[key]`."""
    line = " ".join(without_keys(text).split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


_CONTROLS = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069]")
"""Codes that steer a terminal, but no tab and no line end; and those that reverse a text."""


def printable(text: str) -> str:
    """Remove control characters: the text of a model must not control the terminal."""
    return _CONTROLS.sub("", text)
