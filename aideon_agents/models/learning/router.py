"""A small model of when a stronger model is worth its price, read from a prompt.

It estimates P(strong right) - P(weak right) from words, pieces of words, the length and the look of a
prompt. The difference is estimated, and not how hard the prompt is: a prompt that is too hard for both
models is no reason to pay more. `fitting` makes one from labels; using it needs no extra.
"""

from __future__ import annotations

import base64
import functools
import math
import re
import struct
import tomllib
import zlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from aideon_agents.errors import InputError
from aideon_agents.ledger.forks import lazily

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BUCKETS = 1 << 15
"""Of each kind of text feature: words with their pairs, and pieces of words. A feature's bucket is its hash."""

PIECES = 0.7
"""The weight of pieces against words."""

FAR = 4.0
"""The deviations from what is usual that a feature of the look counts at most."""

_HEAD, _TAIL = 1500, 500
"""The characters of a long prompt that are read: reading it all would take longer than a decision may."""

_WORD = re.compile(r"\w+|[^\w\s]")
_NUMBER = re.compile(r"\d+")
_CODE = re.compile(r"def |return|[{};]|==|=>|</|import ")
_FORMULA = re.compile(r"[\^=\\]")
_QUESTION = re.compile(r"\W*(?:which|what|who|when|where)", re.IGNORECASE)
_NEGATION = re.compile(r"\b(?:not|except)\b", re.IGNORECASE)


class Label(NamedTuple):
    """What two models made of one prompt."""

    prompt: str
    weak: float
    """0 to 1: how right the answer was."""
    strong: float
    category: str | None = None


class Router(BaseModel):
    """A fitted model, as its file has it. Numbers of buckets are packed: half floats, compressed, base64."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 1
    weak: str | None
    """`provider:model`; None: the labels did not name it, and a run cannot use it."""
    strong: str | None
    abstains: str | None
    """Why it decides nothing; None: it decides."""
    threshold: float
    """The strong model is asked where the estimate is above it."""
    share: float
    """Of the prompts like those of the labels, that the strong model is then asked."""
    labels: int
    apgr: tuple[float, float, float]
    """Cross-validated: the estimate and its 90 % interval. 0.5 is chance."""
    bias: float
    dense: list[tuple[float, float, float]]
    """Mean, deviation and weight of each feature of the length and the look."""
    categories: dict[str, float]
    words: str
    pieces: str

    @classmethod
    def load(cls, path: Path) -> Router:
        """Read a router's file."""
        try:
            router = cls.model_validate_json(path.read_bytes())
            router.score("")
        except OSError as error:
            raise InputError(f"the router {path} cannot be read: {error.strerror}") from None
        except (ValidationError, ValueError, IndexError, struct.error, zlib.error):
            raise InputError(
                f"{path} is no router: `aideon models learn LABELS -o FILE` writes one"
            ) from None
        return router

    @classmethod
    def configured(cls) -> Router | None:
        """The router that `router` in `[tool.aideon]` of ./pyproject.toml names; None: none, or it abstains."""
        file = Path("pyproject.toml")
        try:
            text = file.read_text("utf-8")
            found: Any = tomllib.loads(text) if "router" in text else {}
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise InputError(f"{file} cannot be read: {error}") from None
        for part in ("tool", "aideon", "router"):
            found = cast("Any", found).get(part) if isinstance(found, dict) else None
        if found is None:
            return None
        if not isinstance(found, str):
            raise InputError(f"{file}: tool.aideon.router is the name of a router's file")
        router = cls.load(Path(found))
        if router.abstains:
            return None
        if not (router.weak and router.strong):
            raise InputError(
                f"the router {found} names no models: learn it again with --weak and --strong"
            )
        return router

    def first(self, prompt: str) -> str | None:
        """The model that is to be asked first."""
        return self.strong if self.prefers_strong(prompt) else self.weak

    def score(self, prompt: str, category: str | None = None) -> float:
        """The estimate of P(strong right) - P(weak right) for a prompt."""
        score = self.bias + self.categories.get(category or "", 0.0)
        for value, (mean, deviation, weight) in zip(look(prompt), self.dense, strict=True):
            score += min(max((value - mean) / deviation, -FAR), FAR) * weight
        for counts, (rarities, weights) in zip(buckets(prompt), self._unpacked, strict=True):
            squares = total = 0.0
            for bucket, count in counts.items():
                value = (1 + math.log(count)) * rarities[bucket]
                squares += value * value
                total += value * weights[bucket]
            score += total / math.sqrt(squares) if squares else 0.0
        return score

    def prefers_strong(self, prompt: str, category: str | None = None) -> bool:
        """Whether the strong model is to be asked."""
        return self.score(prompt, category) > self.threshold

    @lazily
    def _unpacked(self) -> list[tuple[Sequence[float], Sequence[float]]]:
        both = [unpacked(text) for text in (self.words, self.pieces)]
        return [(values[:BUCKETS], values[BUCKETS:]) for values in both]


def packed(*columns: Iterable[float]) -> str:
    """Numbers as half floats, compressed."""
    values = [value for column in columns for value in column]
    return base64.b64encode(zlib.compress(struct.pack(f"<{len(values)}e", *values), 9)).decode()


def unpacked(text: str) -> tuple[float, ...]:
    """What `packed` has packed."""
    raw = zlib.decompress(base64.b64decode(text, validate=True))
    return struct.unpack(f"<{2 * BUCKETS}e", raw)


def buckets(prompt: str) -> tuple[Counter[int], Counter[int]]:
    """How often each bucket of words and of pieces occurs in a prompt."""
    words = _WORD.findall(_read_part(prompt).lower())
    pairs = map("{} {}".format, words, words[1:])
    found = Counter(map(_bucket, words))
    found.update(map(_bucket, pairs))
    pieces = Counter[int]()
    for word, count in Counter(words).items():
        for piece in _pieces(word):
            pieces[piece] += count
    return found, pieces


def _read_part(prompt: str) -> str:
    return prompt if len(prompt) <= _HEAD + _TAIL else f"{prompt[:_HEAD]}\n{prompt[-_TAIL:]}"


@functools.lru_cache(maxsize=1 << 15)
def _bucket(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "replace")) % BUCKETS


@functools.lru_cache(maxsize=1 << 14)
def _pieces(word: str) -> tuple[int, ...]:
    """The buckets of a word's pieces of three and four characters, its ends marked."""
    whole = f"<{word}>"
    return tuple(
        _bucket("#" + whole[at : at + size])
        for size in (3, 4)
        for at in range(len(whole) - size + 1)
    )


def look(prompt: str) -> list[float]:
    """The length and the look of a prompt in numbers."""
    text = _read_part(prompt)
    size = max(len(text), 1)
    words = text.split()
    log_size = math.log(max(len(prompt), 1))
    return [
        log_size,
        log_size**2 / 10,
        math.log(1 + len(prompt.split())),
        sum(map(str.isdigit, text)) / size,
        sum(map(str.isupper, text)) / size,
        sum(not (mark.isalnum() or mark.isspace()) for mark in text) / size,
        sum(map(len, words)) / max(len(words), 1) / 10,
        min(text.count("\n") / 10, 2.0),
        math.log(1 + len(_NUMBER.findall(text))),
        math.log(1 + text.count(".") + text.count("?")),
        float(bool(_CODE.search(text))),
        float(bool(_FORMULA.search(text))),
        float(bool(_QUESTION.match(text))),
        float(bool(_NEGATION.search(text))),
    ]
