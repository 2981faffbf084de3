"""The rules of routing by content: words and patterns from `rules.toml`, and what a user adds to them."""

from __future__ import annotations

import collections
import dataclasses
import functools
import re
import tomllib
from collections.abc import Mapping  # noqa: TC003 - pydantic reads the fields of Rules
from importlib import resources
from typing import TYPE_CHECKING, Any, cast

from aideon_agents.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


_LATIN = "A-Za-z0-9_\u00c0-\u024f"
"""What a word in Latin letters does not touch. Letters of other scripts may touch it."""


@dataclasses.dataclass(frozen=True, eq=False)
class Rules:
    """The rules, compiled."""

    classes: Mapping[str, re.Pattern[str]]
    """What a text is about, by the name of the class; for texts in lower case."""
    password: re.Pattern[str]
    """An announced password; the group `value` holds it."""
    none: frozenset[str]
    """What follows such a word, and is no password; in lower case."""
    ssn: re.Pattern[str]
    card: re.Pattern[str]
    phone: re.Pattern[str]
    """Numbers that words announce; the group `value` holds the number."""
    keys: re.Pattern[str]
    regions: tuple[str, ...]
    own: Mapping[str, re.Pattern[str]]
    marks: tuple[re.Pattern[str], ...]
    stems: tuple[str, ...]
    """One of these is in every text that any other rule finds something in; stems are lower case, and
    both hold for texts in ASCII alone."""


@functools.lru_cache(maxsize=8)
def load(path: Path | None = None, *version: int) -> Rules:
    """Read the rules; `path`: a catalog whose table `routing` adds to them, and `version` that file's."""
    del version
    raw = tomllib.loads(
        (resources.files("aideon_agents.models.routing") / "rules.toml").read_text("utf-8")
    )
    if path is not None:
        try:
            added = tomllib.loads(path.read_text("utf-8")).get("routing", {})
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise UserError(f"the catalog {path} cannot be read: {error}") from None
        _extend(raw, added, str(path))
    announced = {name: _any_of(words) for name, words in raw["announced"].items()}
    classes = {
        name: re.compile(_any_of(words, parts=False)) for name, words in raw["classes"].items()
    }
    own = {name: _compiled(pattern, path) for name, pattern in raw["own"].items()}
    secrets = [*raw["announced"]["password"], *raw["classes"]["privacy"]]
    ends = [word.split()[-1].lower() for word in secrets]
    stems = {*ends, *(one.lower() for one in raw["keys"]["begin"]), "sig=", "auth="}
    return Rules(
        classes=classes,
        password=re.compile(
            rf"(?P<is_element><[\w:.-]{{0,40}})?(?P<word>{announced['password']})[\"'`*_)\]]{{0,3}}"
            r"(?:\s(?:for|of|to|on|at|für|pour|de|para)\s[^\n.:=]{1,40}?)?\s{0,3}"
            rf"(?:(?P<sign>(?::=?|={{1,3}})>?|>)|(?:{announced['is']}))[ \t]{{0,3}}"
            r"(?P<quote>[\"'`*_]{0,3})(?P<value>[^\s\"'`,;]+)"
        ),
        none=frozenset(raw["values"]["none"]),
        ssn=re.compile(f"(?:{announced['ssn']}){_NUMBER}"),
        card=re.compile(f"(?:{announced['card']}){_NUMBER}"),
        phone=re.compile(f"(?:{announced['phone']}){_NUMBER}"),
        keys=re.compile(rf"(?<![A-Za-z0-9_])(?:{'|'.join(raw['keys']['patterns'])})"),
        regions=tuple(raw["phones"]["regions"]),
        own=own,
        marks=(_NETWORK, DIGITS, *own.values()),
        stems=tuple(one for one in stems if not any(two in one for two in stems - {one})),
    )


_NUMBER = (
    r"[^\w\n]{0,4}(?:(?:number|no|nr|is|at|on|ist|est|es|是)(?![a-z])[^\w\n]{0,4}){0,3}"
    r"(?P<value>[+(]{0,2}\d[\d\s().\-/]{4,26}\d)"
)
"""What follows a word that announces a number."""
_NETWORK = re.compile(
    r"@|%40|u0040|&#(?:64|x40);|&commat;|[\[({] ?at ?[\])}]|[0-9a-fA-F]{4}\.[0-9a-fA-F]{4}\.|:[0-9a-fA-F]{0,4}:|-[0-9a-fA-F]{2}-[0-9a-fA-F]{2}-|\.\d{1,3}\.\d"
)
"""A part of every address of a network, and of an email address."""
DIGITS = re.compile(
    r"\d(?<!\d\d)(?<!\d-\d)(?!\d{3}-\d\d-\d\d(?!\d|-))(?:[ ().\-/\t\n_*]{0,3}\d){6}"
)
"""As many digits as the shortest number that is looked for has, and no date."""
SECRET_IN_URL = re.compile(
    r"[?&](?:token|access_token|api_?key|key|password|passwd|pwd|secret|client_secret|sig|signature|auth)"
    r"=(?P<value>[^&\s\"'<>)]{8,})",
    re.IGNORECASE,
)
"""A secret in the query of a URL."""


def size(number: str) -> int:
    """How many digits a number has."""
    return sum(mark.isdigit() for mark in number)


def _any_of(words: Iterable[str], *, parts: bool = True) -> str:
    """A pattern for any of some words in lower case, each as a whole; `parts`: or as the end of a name.

    It begins with the set of first letters, with which a search passes over all other text at once.
    """
    rests = collections.defaultdict[str, list[str]](list)
    for word in sorted({word.lower() for word in words}, key=len, reverse=True):
        first, *others = word.split()
        rest = r"[\s_-]{0,3}".join(map(re.escape, (first[1:], *others)))
        rests[first[0]].append(rest + (f"(?![{_LATIN}])" if _is_latin(word.rstrip()[-1]) else ""))
    # `DB_PASSWORD` announces a password as well.
    outside = _LATIN.replace("_", "") if parts else _LATIN
    each = [
        (f"(?<![{outside}]{one})" if _is_latin(one) else "")
        + f"(?<={re.escape(one)})(?:{'|'.join(rest)})"
        for one, rest in rests.items()
    ]
    return f"[{''.join(map(re.escape, rests))}](?:{'|'.join(each)})"


def _is_latin(mark: str) -> bool:
    return re.match(f"[{_LATIN}]", mark) is not None


def _extend(raw: dict[str, Any], added: object, where: str) -> None:
    """Add a user's words and patterns to the rules; an error names what they may add to."""
    known = {"code", "privacy", "complex", "own"}
    given = cast("dict[str, Any]", added) if isinstance(added, dict) else {str(added): None}
    if unknown := sorted(given.keys() - known):
        raise UserError(f"{where}: routing has {unknown[0]!r}: it takes {', '.join(sorted(known))}")
    for name, value in given.items():
        kind = dict if name == "own" else list
        texts: list[Any] = list(value.values() if isinstance(value, dict) else value or ())
        if not isinstance(value, kind) or not all(
            isinstance(one, str) and one.strip() for one in texts
        ):
            form = 'NAME = "regular expression"' if name == "own" else "a list of words"
            raise UserError(f"{where}: routing.{name} takes {form}")
        if name == "own":
            raw["own"] |= value
        else:
            raw["classes"][name] += value


def _compiled(pattern: str, path: Path | None) -> re.Pattern[str]:
    try:
        made = re.compile(pattern)
    except re.error as error:
        raise UserError(
            f"{path}: routing.own: {pattern!r} is no regular expression: {error}"
        ) from None
    if made.match(""):  # it would find something in every prompt
        raise UserError(f"{path}: routing.own: {pattern!r} matches an empty text: make it longer")
    return made
