"""The caller's mistakes, found before anything is called."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast, get_args

from aideon_agents.agents.material import require
from aideon_agents.errors import InputError
from aideon_agents.models.answers.tokens import estimate_tokens
from aideon_agents.patterns.required import required_keys
from aideon_agents.patterns.walk import requests
from aideon_agents.state import Role, Tier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aideon_agents.models import Models
    from aideon_agents.patterns.nodes import Graph
    from aideon_agents.state import Context


def check(
    graph: Graph,
    task: str,
    inputs: Mapping[str, Any],
    context: Context,
    timeout: float | None,
) -> None:
    """Find the caller's mistakes before anything is called."""
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
    if timeout is not None and not timeout > 0:  # nan is no time either
        raise InputError(f"a timeout of {timeout:g} s leaves no time: give more than 0")
    require(required_keys(graph), {"inputs": dict(inputs)})
    models = cast("Models", context.models)
    tokens = estimate_tokens(task)
    for request in requests(graph):
        chosen = context.model.get(request.role) or request.model
        wanted = dataclasses.replace(request, model=chosen)
        models.chat(wanted, context)
        room = models.roomiest(wanted, context)
        if room is not None and tokens > room:
            raise InputError(
                f"the task has about {tokens:,} tokens, and the {request.role}'s models take "
                f"{room:,} at most: shorten it, or name a larger model with --model"
            )


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
