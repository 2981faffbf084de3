"""The caller's mistakes, found before any model is called."""

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
"""A role, and the tokens of prompt and answer that the largest of its models takes."""


def check_task(graph: Graph, task: str, inputs: Mapping[str, Any]) -> None:
    """Refuse a task or inputs that the graph cannot run with."""
    if not isinstance(cast("object", task), str):
        raise InputError(f"the task is a {type(task).__name__}: it must be text")
    if not isinstance(cast("object", inputs), Mapping):
        raise InputError(f"the inputs are a {type(inputs).__name__}: they must be values by key")
    if not task.strip():
        raise InputError("the task is empty: say what to do with --task TEXT or --file PATH")
    try:
        task.encode()
    except UnicodeEncodeError:  # bytes of another encoding, as a shell passes them
        raise InputError("the task is not text in UTF-8: it must be") from None
    require(required_keys(graph), {"inputs": dict(inputs)})


def check_length(task: str, rooms: Sequence[Room]) -> None:
    """Refuse a task that is longer than the models of an agent take."""
    tokens = estimate_tokens(task)
    for role, room in rooms:
        if tokens > room:
            raise InputError(
                f"the task has about {tokens:,} tokens, and the {role}'s models take "
                f"{room:,} at most: shorten it, or name a larger model with --model"
            )


def check_time(timeout: float | None) -> None:
    """Refuse a time limit that leaves no time."""
    if timeout is not None and not timeout > 0:  # nan leaves none either
        raise InputError(f"a timeout of {timeout:g} s leaves no time: give more than 0")


def check_models(graph: Graph, context: Context) -> list[Room]:
    """Refuse an agent that no model can answer; returns what models take, where that is known."""
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
    """The chains of models by role, as a run's `model` option gives them."""
    unknown = [role for role in model or {} if role not in get_args(Role)]
    if unknown:
        raise InputError(f"there is no role {unknown[0]!r}: one of {', '.join(get_args(Role))}")
    return {
        role: (chain,) if isinstance(chain, str) else tuple(chain)
        for role, chain in (model or {}).items()
    }
