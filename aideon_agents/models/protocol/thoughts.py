"""The thoughts that a model writes into the text of its answer, by the marks around them.

Servers that do not take the thoughts of a model apart leave them in its text, between marks that differ
from model to model. Thoughts alone are no answer.
"""

from __future__ import annotations

import re

from aideon_agents.ledger.redaction import safe_text

_THINKING = r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|scratchpad|analysis|rationale)"
BEGINS = (
    rf"<(?:\w{{1,20}}:)?{_THINKING}(?:\s[^<>]{{0,80}})?>"
    rf"|<\|(?:begin_of_|start_)?{_THINKING}\|>|\[THINK\]|◁think▷"
    r"|<\|channel\|>\s{0,9}(?:analysis|commentary)\b"
)
ENDS = (
    rf"</(?:\w{{1,20}}:)?{_THINKING}\s?>|<\|(?:end_of_|end_|/){_THINKING}\|>"
    r"|\[/THINK\]|◁/think▷|<\|channel\|>\s{0,9}final\b"
)
OVER = (
    r"<\|(?:im_end|eot_id|eom_id|end_of_text|endoftext|end_of_turn|end|return|eos)\|>"
    r"|</s>|<eos>|<end_of_turn>|<\uff5cend▁of▁sentence\uff5c>|\[INST\]"
)
"""Marks of the end of a turn."""
UNMARKED = re.compile(r"\s*(?:analysis|commentary)", re.IGNORECASE)
UNMARKED_ANSWER = "assistantfinal"
"""What is left of gpt-oss' marks where a server drops all special tokens."""

MARKED = re.compile(rf"{BEGINS}|{ENDS}|{OVER}|{UNMARKED_ANSWER}", re.IGNORECASE)

_BEGIN = re.compile(BEGINS, re.IGNORECASE)
THOUGHTS_BEGIN = re.compile(rf"\s*(?:{BEGINS})", re.IGNORECASE)
"""A text that begins with thoughts."""
_END = re.compile(ENDS, re.IGNORECASE)
_END_OF_LINE = re.compile(rf"^\s*(?:{ENDS})[^\S\n]*$", re.IGNORECASE | re.MULTILINE)
_FILLING = rf"(?:\s|{OVER}|<\|(?:im_)?start\|>\s{{0,9}}(?:assistant)?|<\|message\|>)*"
_BLANK = re.compile(_FILLING, re.IGNORECASE)
"""What says nothing between thoughts and around them."""
_LAST = re.compile(rf"(?:{ENDS}){_FILLING}\Z", re.IGNORECASE)
_BROKEN_MARK = re.compile(
    r"(?:<\|channel\|>\s{0,9}\w{0,10}|<[^>]{0,100}|\[[A-Z]{0,5}|◁\w{0,5}|a(?:s{1,2}(?:is?t?a?n?)?)?)\Z",
    re.IGNORECASE,
)
"""What may become a mark with the next chunk of a stream."""
_LONGEST_MARK = 128


def only_thoughts(text: str) -> bool:
    """Whether a text with such marks says nothing but thoughts."""
    return not _behind_thoughts(text)


def answer_in(sent: str) -> str:
    """The text of an answer without its thoughts, unless it has nothing else."""
    text = safe_text(sent)
    if not MARKED.search(text):
        return text
    rest = _behind_thoughts(text)
    # A template may begin the thoughts; an answer may mention the mark, but not in a line of its own.
    if rest == text and not _BEGIN.search(text) and (end := _END_OF_LINE.search(text)):
        rest = text[_after_blank(text, end.end()) :]
    return rest if rest.strip() else text


def _behind_thoughts(text: str) -> str:
    """What a text says behind its thoughts."""
    if UNMARKED.match(text) and UNMARKED_ANSWER in text:
        text = text.rpartition(UNMARKED_ANSWER)[2]
    at = _after_blank(text, 0)
    while begin := _BEGIN.match(text, at):
        end = _END.search(text, begin.end())
        if end is None:
            return ""
        at = _after_blank(text, end.end())
    rest = text[at:]
    # A template may begin the thoughts, and models mention the mark within them.
    return "" if _LAST.search(rest) and not _BEGIN.search(rest) else rest


def _after_blank(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at


class Spoken:
    """The text of a stream, and whether it has said more than thoughts."""

    def __init__(self) -> None:
        self.is_answer = False
        self._parts: list[str] = []
        self._begin = ""
        """The text until it says more than thoughts."""
        self._ends_from = 0
        """Where the end of the thoughts may be; 0: none have begun."""
        self._last: str | None = ""
        """The end of the text, where a mark may show all before it to be thoughts; None: one has."""

    def take(self, text: str) -> bool:
        """Add a piece of text; returns whether it has said more than thoughts."""
        if text:
            self._parts.append(text)
        if self.is_answer or not text:
            return self.is_answer
        self._begin += text
        if self._ends_from and not _END.search(self._begin, self._ends_from):
            self._ends_from = max(self._ends_from, len(self._begin) - _LONGEST_MARK)
            return False
        if begin := _BEGIN.match(self._begin, _after_blank(self._begin, 0)):
            self._ends_from = begin.end()
        rest = _behind_thoughts(self._begin)
        self.is_answer = bool(rest) and not _BROKEN_MARK.match(rest)
        return self.is_answer

    def answer_of(self, text: str) -> str:
        """What a piece of text adds to the answer. What may still be thoughts comes with a later one."""
        known = self.is_answer
        if not self.take(text):
            return ""
        return text if known else self.rest

    def after_end(self, text: str) -> str | None:
        """What follows a mark that shows all text before it to be thoughts; None: there is none.

        `text` is the piece that was added last.
        """
        if self._last is None or self.has_thoughts:
            return None
        last = (self._last + text)[-max(len(text), _LONGEST_MARK) :]
        end = _END_OF_LINE.search(last)
        if end is None or "\n" not in last[end.end() :]:
            self._last = last
            return None
        self._last = None
        return None if _BEGIN.search("".join(self._parts)) else last[end.end() :].lstrip()

    @property
    def rest(self) -> str:
        """The answer so far, until it says more than thoughts: what may become a mark is part of it."""
        return _behind_thoughts(self._begin) if self.has_thoughts else self._begin

    @property
    def has_thoughts(self) -> bool:
        """Whether it begins with thoughts."""
        return self._ends_from > 0

    @property
    def has_text(self) -> bool:
        """Whether it has any text, thoughts included."""
        return bool(self._parts)

    def was_only_thoughts(self) -> bool:
        """Whether the whole text is, also where only their end has a mark."""
        text = "".join(self._parts)
        return not text.strip() or bool(MARKED.search(text) and only_thoughts(text))
