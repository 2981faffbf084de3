"""Keeps keys out of the ledger: providers quote them in their error messages."""

from __future__ import annotations

import os
import re

_KEY_VARIABLES = ("TOGETHER_API_KEY", "TOGETHER_AI_API_KEY", "OPENAI_API_KEY", "HF_TOKEN")
_LOOKS_LIKE_A_KEY = re.compile(
    r"""
    (?P<lead> bearer \s+ ) [^\s"',;]+                # an Authorization header
    | \b (?: sk- | tgp_ | hf_ ) [\w*.-]{3,} [\w*]    # with stars where the middle is hidden
    | \b [0-9a-f]{64} \b                            # Together's older keys
    """,
    re.VERBOSE | re.IGNORECASE,
)
_LONGEST = 500


def one_line(text: str) -> str:
    """An error's text for a row: one line, at most 500 characters, every key as `[key]`.

    Args:
        text: What the error said.

    Returns:
        The text without line breaks and without anything that is or looks like a key.
    """
    for variable in _KEY_VARIABLES:
        if key := os.environ.get(variable, "").strip():
            text = text.replace(key, "[key]")
    line = " ".join(_LOOKS_LIKE_A_KEY.sub(r"\g<lead>[key]", text).split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
