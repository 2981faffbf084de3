"""Who answers when the primary of a chain fails, and for how long answers are used again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args

from aideon_agents.errors import InputError
from aideon_agents.ledger.answers import age_seconds
from aideon_agents.state import Context, ModelRequest, Strategy

if TYPE_CHECKING:
    from collections.abc import Sequence

CACHED = "cached"
ONLY_KEPT = 0.0
"""The age of answers that are kept, and are not used while a model answers."""

_KNOWN = get_args(Strategy)
NameT = TypeVar("NameT")


def strategies(given: object, named: str) -> bool | tuple[Strategy, ...]:
    """What a caller gives as `fallback`, in a form that can be compared."""
    if isinstance(given, bool):
        return given
    if not isinstance(given, list | tuple):
        raise InputError(
            f"{named}: fallback must be True or False, not {given!r}, or a list of {', '.join(_KNOWN)}"
        )
    listed = cast("Sequence[Any]", given)
    if wrong := [one for one in listed if one not in _KNOWN]:
        raise InputError(f"{named}: fallback takes a list of {', '.join(_KNOWN)}, not {wrong[0]!r}")
    return tuple(dict.fromkeys(listed))


def max_age(given: object, named: str) -> float | None:
    """What a caller gives as `cache`, in seconds; 0: False, never. None: nothing."""
    if given is None or given is False:
        return given and 0.0
    return age_seconds(given, f"{named}: cache")


def asked(request: ModelRequest, context: Context) -> tuple[Strategy, ...]:
    """The strategies of a call. An agent that has none keeps to its primary."""
    if not (request.fallback and context.fallback):
        return ()
    named = request.fallback if context.fallback is True else context.fallback
    return _KNOWN[:2] if named is True else named


def in_order(names: Sequence[NameT], request: ModelRequest, context: Context) -> Sequence[NameT]:
    """The models to ask, of which the first is the primary."""
    if not (request.fallback and context.fallback):
        return names[:1]
    if request.fallback is True and context.fallback is True:
        return names
    first, *others = cast("Sequence[Any]", names)
    own = {
        "same_provider": [one for one in others if one.provider == first.provider],
        "other_provider": [one for one in others if one.provider != first.provider],
    }
    return [first, *(one for strategy in asked(request, context) for one in own.get(strategy, ()))]


def age_for(request: ModelRequest, context: Context) -> float | None:
    """Seconds for which an answer to a call may be used again; None: no answer is kept."""
    if context.rehearse or request.cache == 0:
        return None
    age = request.cache if context.cache is None else context.cache
    return ONLY_KEPT if age is None and CACHED in asked(request, context) else age
