"""The caller's mistakes, found before anything is called."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast, get_args

from aideon_agents.agents.material import require
from aideon_agents.errors import InputError
from aideon_agents.graphs import Graph
from aideon_agents.graphs.walk import requests, required_keys
from aideon_agents.models import Models
from aideon_agents.models.answers.reply import estimate_tokens
from aideon_agents.state import Context, Role, Tier

if TYPE_CHECKING:
    from collections.abc import Sequence


Room: TypeAlias = "tuple[Role, int]"
"""A role, and the tokens that the roomiest of its models takes, prompt and answer together."""


def check(
    graph: Graph,
    task: str,
    inputs: Mapping[str, Any],
    context: Context,
    timeout: float | None,
) -> None:
    """Find the caller's mistakes before anything is called."""
    _check_words(task, inputs)
    check_time(timeout)
    require(required_keys(graph), {"inputs": dict(inputs)})
    _check_length(task, check_models(graph, context))


@dataclasses.dataclass(frozen=True)
class Demands:
    """What a graph demands of whatever it is given, found once for many tasks."""

    keys: Sequence[str]
    """The inputs that it cannot do without."""
    rooms: Sequence[Room]

    @classmethod
    def of(cls, graph: Graph, context: Context) -> Demands:
        """Find out what a graph demands."""
        return cls(required_keys(graph), check_models(graph, context))

    def check(self, task: str, inputs: Mapping[str, Any]) -> None:
        """Find a mistake in what one run is given."""
        _check_words(task, inputs)
        require(self.keys, {"inputs": dict(inputs)})
        _check_length(task, self.rooms)


def _check_words(task: str, inputs: Mapping[str, Any]) -> None:
    if not isinstance(cast("object", task), str):
        raise InputError(f"the task is a {type(task).__name__}: it must be text")
    if not isinstance(cast("object", inputs), Mapping):
        raise InputError(f"the inputs are a {type(inputs).__name__}: they must be values by key")
    if not task.strip():
        raise InputError("the task is empty: say what to do with --task TEXT or --file PATH")
    try:
        task.encode()
    except UnicodeEncodeError:  # bytes of another encoding, as a shell hands them on
        raise InputError("the task is not text in UTF-8: it must be") from None


def check_time(timeout: float | None) -> None:
    """Refuse a time limit that leaves no time."""
    if timeout is not None and not timeout > 0:  # nan is no time either
        raise InputError(f"a timeout of {timeout:g} s leaves no time: give more than 0")


def _check_length(task: str, rooms: Sequence[Room]) -> None:
    tokens = estimate_tokens(task)
    for role, room in rooms:
        if tokens > room:
            raise InputError(
                f"the task has about {tokens:,} tokens, and the {role}'s models take "
                f"{room:,} at most: shorten it, or name a larger model with --model"
            )


def check_models(graph: Graph, context: Context) -> list[Room]:
    """Find an agent that no model can answer."""
    rooms: list[Room] = []
    models = cast("Models", context.models)
    for request in requests(graph):
        chosen = context.model.get(request.role) or request.model
        wanted = dataclasses.replace(request, model=chosen)
        models.chat(wanted, context)
        room = models.roomiest(wanted, context)
        if room is not None:
            rooms.append((request.role, room))
    return rooms


def known_tier(tier: str) -> Tier:
    if tier not in get_args(Tier):
        raise InputError(f"there is no tier {tier!r}: one of {', '.join(get_args(Tier))}")
    return cast("Tier", tier)


def chains(model: Mapping[str, str | Sequence[str]] | None) -> dict[str, tuple[str, ...]]:
    unknown = [role for role in model or {} if role not in get_args(Role)]
    if unknown:
        raise InputError(f"there is no role {unknown[0]!r}: one of {', '.join(get_args(Role))}")
    return {
        role: (chain,) if isinstance(chain, str) else tuple(chain)
        for role, chain in (model or {}).items()
    }
