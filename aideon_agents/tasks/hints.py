"""What to say beside a word that is not known."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHOWN = 60


def nearest(word: str, known: Iterable[str], *, of: str = "there are") -> str:
    """Name what was probably meant, or all there is."""
    words = sorted(known)
    near = difflib.get_close_matches(word[:_SHOWN], words, n=3)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"{of} {', '.join(words)}" if words else f"{of} none"


def shown(value: Any) -> str:
    """A value as an error shows it: what YAML and JSON call it, and never long."""
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return "keys with values" if isinstance(value, dict) else "a list"
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
