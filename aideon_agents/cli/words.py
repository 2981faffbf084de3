"""What several commands read from the words that follow them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aideon_agents.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aideon_agents.settings import Settings


def pairs(words: Sequence[str] | None, flag: str, *, may_be_empty: bool = False) -> dict[str, str]:
    """Read `KEY=VALUE`, any number of times."""
    found: dict[str, str] = {}
    for word in words or []:
        key, equals, value = word.partition("=")
        if not (key and equals and (value or may_be_empty)):
            raise InputError(f"{flag} takes KEY=VALUE, not {word!r}")
        found[key] = value
    return found


def chains(words: Sequence[str] | None) -> dict[str, list[str]]:
    """Read `--model ROLE=MODEL[,MODEL]`, any number of times."""
    return {role: names.split(",") for role, names in pairs(words, "--model").items()}


def why_rehearsed(settings: Settings, *, asked: bool, elsewhere: bool = False) -> str | None:
    """Why answers are worked out by rule; None: they are not."""
    if asked:
        return "as asked"
    if settings.offline:
        return "AIDEON_OFFLINE is set"
    if not (settings.can_call or elsewhere):
        return "no provider has a key (set TOGETHER_API_KEY)"
    return None


def rehearsing(why: str) -> str:
    """The line that says that nothing is real."""
    return f"rehearsing: {why}; answers are worked out by rule and nothing is paid"
