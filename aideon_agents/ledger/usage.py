"""Token counts as LangChain has them: parents include their parts.

`input_tokens` includes cached ones and `output_tokens` includes reasoning, so nothing here is ever
added to its parent. A count that was not reported is None; a reported 0 is a value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

MOST = 10**12
"""Tokens that no call can have: a larger number is an error, and would distort every sum."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Usage:
    """The tokens of one call."""

    input_tokens: int
    """All tokens of the prompt, cached ones included."""
    output_tokens: int
    """All tokens of the answer, reasoning included."""
    cache_read_tokens: int | None = None
    """Of the input, read from the provider's prompt cache; None: not reported."""
    cache_creation_tokens: int | None = None
    """Of the input, written to the provider's prompt cache; None: not reported."""
    reasoning_tokens: int | None = None
    """Of the output, spent on thinking; None: not reported."""


def usage_of(message: object) -> Usage | None:
    """The usage that a message or a chunk reports; None also where one of the two totals is missing."""
    reported: Any = getattr(message, "usage_metadata", None)
    if not isinstance(reported, Mapping):
        return None
    counts = cast("Mapping[str, Any]", reported)
    input_tokens, output_tokens = _count(counts, "input_tokens"), _count(counts, "output_tokens")
    if input_tokens is None or output_tokens is None:
        return None
    of_input = counts.get("input_token_details")
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=_count(of_input, "cache_read"),
        cache_creation_tokens=_count(of_input, "cache_creation"),
        reasoning_tokens=_count(counts.get("output_token_details"), "reasoning"),
    )


def answered_from_cache(message: object) -> bool:
    """Whether LangChain's own cache gave the answer: it repeats the old usage with `total_cost` 0."""
    reported: Any = getattr(message, "usage_metadata", None)
    return isinstance(reported, Mapping) and "total_cost" in reported and not reported["total_cost"]


class RunningTotal:
    """The usage of a stream whose chunks each repeat the total so far.

    LangChain adds up the usage of all chunks, which is right for providers that report parts and
    many times too much for those that report totals. Totals are recognised because they repeat the
    input count, which is complete from the first chunk on; parts report it once.
    """

    def __init__(self) -> None:
        self.usage: Usage | None = None
        """The last total; None while no chunk has repeated an input count."""
        self._last: Usage | None = None

    def hear(self, chunk: object) -> None:
        """Take one chunk's message into account."""
        counts = usage_of(chunk)
        if counts is None:
            return
        if self._last and counts.input_tokens and counts.input_tokens == self._last.input_tokens:
            self.usage = counts
        self._last = counts


def _count(counts: object, name: str) -> int | None:
    value = cast("Mapping[str, Any]", counts).get(name) if isinstance(counts, Mapping) else None
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST
    return value if is_count else None
