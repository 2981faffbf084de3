"""A text that a regular expression accepts, for the string fields that demand one.

The pattern is read once, left to right: the first alternative, few repetitions, the first fitting
character. What that yields is checked against the pattern by `re`, so a construct that is read
too simply (a lookahead, a back reference) ends as "no" and never as a wrong answer.
"""

from __future__ import annotations

import re
import string
from functools import lru_cache

_ALPHABET = string.ascii_lowercase + string.digits + string.ascii_uppercase + "-_.:/@#+,;=!?() "
_REPETITIONS = (1, 0, 2, 3, 4, 5, 8, 12, 16, 24, 32, 64, 128, 256)
_LONGEST = 10_000
_SIMPLE_COUNTS = {"*": (0, _LONGEST), "+": (1, _LONGEST), "?": (0, 1)}
_COUNTS = re.compile(r"\{(\d+)(,?)(\d*)\}")
_LOOKAROUND = re.compile(r"\(\?<?[=!]")
_GROUP = re.compile(r"\((\?(:|P?<\w+>))?")
_ANCHOR = re.compile(r"\^|\$|\\[AbBzZ]")
_ONE = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]|\\.|[^()|]", re.DOTALL)


def matching(pattern: str, *, shortest: int, longest: int | None, variant: int) -> str:
    """Work out a text that a pattern accepts."""
    for repetitions in _REPETITIONS:
        try:
            text = _Reader(pattern, repetitions, variant).alternatives()
            found = re.search(pattern, text)
        except (re.error, RecursionError) as error:
            raise ValueError(f"the pattern {pattern!r} cannot be read: {error}") from error
        if found and shortest <= len(text) and (longest is None or len(text) <= longest):
            return text
    raise ValueError(f"no text that matches the pattern {pattern!r} was found by simple means")


@lru_cache(maxsize=256)
def _characters(single: str) -> str:
    """The characters that a class, an escape or a literal accepts."""
    accepted = re.compile(single, re.DOTALL)
    return "".join(char for char in _ALPHABET + single if accepted.fullmatch(char))


class _Reader:
    """Reads a pattern and writes a text as it goes."""

    def __init__(self, pattern: str, repetitions: int, variant: int) -> None:
        self._pattern = pattern
        self._repetitions = repetitions
        self._variant = variant
        self._at = 0

    def alternatives(self) -> str:
        first = self._sequence()
        while self._peek() == "|":
            self._at += 1
            self._sequence()
        return first

    def _sequence(self) -> str:
        written = ""
        while self._peek() not in {"", "|", ")"}:
            written += self._repeated()
            if len(written) > _LONGEST:
                raise ValueError(f"the pattern {self._pattern!r} asks for too long a text")
        return written

    def _repeated(self) -> str:
        start, variant = self._at, self._variant
        once = self._atom()
        least, most = self._counts()
        end = self._at
        wanted = min(max(least, self._repetitions), most)
        if wanted == 0:
            self._variant = variant
            return ""
        written = once
        while wanted > 1 and len(written) <= _LONGEST:
            self._at = start
            written += self._atom()
            wanted -= 1
        self._at = end
        return written

    def _atom(self) -> str:
        looking = _LOOKAROUND.match(self._pattern, self._at)
        group = looking or _GROUP.match(self._pattern, self._at)
        if group:
            variant = self._variant
            self._at = group.end()
            inside = self.alternatives()
            self._at += 1
            if looking:
                self._variant = variant
            return "" if looking else inside
        anchor = _ANCHOR.match(self._pattern, self._at)
        if anchor:
            self._at = anchor.end()
            return ""
        return self._one()

    def _one(self) -> str:
        single = _ONE.match(self._pattern, self._at)
        accepted = _characters(single.group()) if single else ""
        if single is None or not accepted:
            rest = self._pattern[self._at :]
            raise ValueError(f"no plain character fits where the pattern goes on with {rest!r}")
        self._at = single.end()
        self._variant, choice = divmod(self._variant, len(accepted))
        return accepted[choice]

    def _counts(self) -> tuple[int, int]:
        exact = _COUNTS.match(self._pattern, self._at)
        simple = _SIMPLE_COUNTS.get(self._peek())
        if exact:
            self._at = exact.end()
            least = int(exact[1])
            counts = least, int(exact[3] or _LONGEST) if exact[2] else least
        elif simple:
            self._at += 1
            counts = simple
        else:
            return 1, 1
        if self._peek() in {"?", "+"}:  # lazy and possessive accept the same texts
            self._at += 1
        return counts

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]
