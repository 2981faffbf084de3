"""The most central sentences of a text, in their original order.

An answer by rule contains only what its material contains. The score of a sentence is how often its
longer words occur in the whole text, which needs no model, no network and one pass over the text.
Code, tables, headings and badges in Markdown carry little meaning, so they count only if there is
nothing else.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x85\ud800-\udfff]")
# Every repetition is bounded or cannot overlap what follows it, so that a megabyte of "[[[[" or
# "<<<<" still takes linear time.
_REMOVED = re.compile(
    r"<!--[^<>]{0,2000}-->|!\[[^\[\]\n]{0,300}\]\([^()\s]{0,500}\)|</?[A-Za-z][^<>\n]{0,300}>"
)
_LINK = re.compile(r"\[([^\[\]\n]{0,300})\]\([^()\s]{0,500}\)")
_FENCE = re.compile(r"```|~~~")
_EMPHASIS = re.compile(r"\*\*|~~|`")
_BULLET = re.compile(r"(?:[-*+]|\d{1,3}[.)])\s+")
_MINOR = re.compile(r"#{1,6}\s|\||[-=*_]{3,}$")
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+(?![a-z])|(?<=[。！？])\s*")  # noqa: RUF001 - Chinese full stops
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+")
_IDEOGRAPH = "\u3040"
_TELLING = 4
"""Letters of the shortest word that counts."""
_LONGEST = 300
"""Characters of the longest piece that counts as one sentence."""
_CHARACTERS_PER_WORD = 12
"""Emoji and endless strings have no words: this many characters count as one."""


def digest(text: str, max_words: int = 120) -> str:
    """The most central sentences of a text, up to so many words."""
    chosen: list[int] = []
    room = max_words
    units, ranking = _ranked(text)
    for index in ranking:
        if any(_overlap(units[index], units[known]) for known in chosen):
            continue
        room -= _words_in(units[index])
        if room < 0:
            break
        chosen.append(index)
    if not chosen and ranking:
        return shortened(units[ranking[0]], max_words)
    return " ".join(_stopped(units[index]) for index in sorted(chosen))


def _overlap(one: str, other: str) -> bool:
    """Whether one sentence is part of the other: an earlier digest joins the sentences it quotes."""
    return one in other or other in one


def central(text: str, count: int, max_words: int) -> tuple[str, ...]:
    """The most central sentences of a text, separately."""
    units, ranking = _ranked(text)
    return tuple(shortened(units[index], max_words) for index in sorted(ranking[:count]))


def shortened(sentence: str, max_words: int) -> str:
    """Cut a sentence after so many words, and end it with an ellipsis or a full stop."""
    end = max_words * _CHARACTERS_PER_WORD
    for position, word in enumerate(_WORD.finditer(sentence)):
        if position == max_words:
            end = min(end, word.start())
            break
    return _stopped(sentence) if end >= len(sentence) else sentence[:end].rstrip() + "…"


@lru_cache(maxsize=8)
def _ranked(text: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The text's distinct sentences, and their indices from the most to the least central."""
    units = tuple(dict.fromkeys(_sentences(text)))
    words = [[word.casefold() for word in _WORD.findall(unit)] for unit in units]
    weights = Counter(
        word for unit in words for word in unit if len(word) >= _TELLING or word >= _IDEOGRAPH
    )

    def score(index: int) -> float:
        # The constant prevents a heading of one frequent word from outscoring a whole sentence.
        return sum(weights[word] for word in set(words[index])) / (len(words[index]) + 8)

    scores = [score(index) for index in range(len(units))]
    return units, tuple(sorted(range(len(units)), key=lambda index: (-scores[index], index)))


def _sentences(text: str) -> list[str]:
    major, minor = _paragraphs(_plain(text))
    found = [piece for paragraph in major for piece in _split(paragraph)]
    if not any(_WORD.search(piece) for piece in found):
        found += [piece for line in minor for piece in _split(line)]
    return found


def _plain(text: str) -> str:
    without_marks = _REMOVED.sub("", _CONTROL.sub(" ", text.replace("\r", "\n")))
    return _EMPHASIS.sub("", _LINK.sub(r"\1", _FENCE.sub("\n\0\n", without_marks)))


def _paragraphs(text: str) -> tuple[list[str], list[str]]:
    """The paragraphs of a text, and its code, tables and headings."""
    major: list[list[str]] = [[]]
    minor: list[str] = []
    fenced = False
    for line in text.split("\n"):
        stripped = line.strip().lstrip("> ")
        bullet = _BULLET.match(stripped) if stripped else None
        if line == "\0":
            fenced = not fenced
        elif fenced or _MINOR.match(stripped):
            minor.append(stripped.strip("#| -=*_"))
            major.append([])
        elif bullet:
            major.append([stripped[bullet.end() :]])
        elif stripped:
            major[-1].append(stripped)
        elif major[-1]:
            major.append([])
    return [" ".join(lines) for lines in major if lines], [line for line in minor if line]


def _split(paragraph: str) -> list[str]:
    pieces: list[str] = []
    for sentence in _SENTENCE_END.split(" ".join(paragraph.split())):
        start = 0
        while len(sentence) - start > _LONGEST:
            space = sentence.rfind(" ", start + _LONGEST // 2, start + _LONGEST)
            end = space if space > 0 else start + _LONGEST
            pieces.append(sentence[start:end].strip())
            start = end
        pieces.append(sentence[start:].strip())
    return [piece for piece in pieces if piece]


def _words_in(sentence: str) -> int:
    words = sum(1 for _ in _WORD.finditer(sentence))
    return max(1, words, len(sentence) // _CHARACTERS_PER_WORD)


def _stopped(sentence: str) -> str:
    if not sentence or not sentence[-1].isalnum():
        return sentence
    return sentence + ("。" if _IDEOGRAPH <= sentence[-1] <= "\u9fff" else ".")
