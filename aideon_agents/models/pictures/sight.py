"""Which models see pictures, and how many tokens a picture is for them.

A budget holds the bound, which is never less than what the provider bills. Nothing bounds a picture
by its bytes: the base64 of a photo has a million characters, and is billed as a few thousand tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from aideon_agents.errors import NoModel
from aideon_agents.state import GivenModel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aideon_agents.models.candidates import Candidate
    from aideon_agents.models.catalog import Catalog
    from aideon_agents.models.providers import ModelName, Provider

Size: TypeAlias = "tuple[int | None, int | None]"
"""Width and height of a picture in pixels; None: unknown."""

_TILE, _TOKENS_PER_TILE, _MOST_TILES = 560, 1601, 4
_OPENAI_BOUND = 16_000
"""What OpenAI bills at most for a picture, as long as it is not known more exactly."""
_OPENAI: Mapping[str, tuple[int, int]] = {"gpt-4o-mini": (2833, 5667)}
"""Tokens of a picture, and of each of its tiles, where they are not the usual ones."""
_OPENAI_USUAL = 85, 170
_OPENAI_TILE, _LONG_SIDE, _SHORT_SIDE, _OPENAI_MOST_TILES = 512, 2048, 768, 8

EXAMPLE = "together:Qwen/Qwen3.5-9B"
"""A model that sees, for messages."""


class Sight(NamedTuple):
    """What the catalog says about a model and pictures; the names are those of `Candidate`."""

    sees: bool | None = None
    image_tokens: int | None = None


def sight(
    catalog: Catalog, name: ModelName | GivenModel, provider: Provider | None = None
) -> Sight:
    """What is known about a model and pictures: by its provider, else by the catalog.

    The catalog lists what a model can do: one whose list lacks vision takes no pictures.
    """
    if isinstance(name, GivenModel):
        return Sight((getattr(name.inner, "profile", None) or {}).get("image_inputs"))
    row, known = provider and provider.row, catalog.entries.get(str(name))
    sees, tokens = (row.vision, row.image_tokens) if row else (None, None)
    if known is not None:
        able = known.capabilities
        is_listed = able.model_dump(exclude_none=True) != {}
        listed = False if is_listed and able.vision is None else able.vision
        sees, tokens = listed if sees is None else sees, tokens or known.image_tokens
    return Sight(sees, tokens)


def that_see(
    names: Sequence[ModelName | GivenModel], catalog: Catalog, known: Mapping[str, Provider]
) -> Sequence[ModelName | GivenModel]:
    """The models of a chain without those that are known to take no pictures."""
    seeing = [one for one in names if _sees(one, catalog, known) is not False]
    if not seeing:
        raise NoModel(f"{takes_none(names)}: name one that does, such as {EXAMPLE}")
    return seeing


def _sees(
    name: ModelName | GivenModel, catalog: Catalog, known: Mapping[str, Provider]
) -> bool | None:
    provider = None if isinstance(name, GivenModel) else known[name.provider]
    return sight(catalog, name, provider).sees


def takes_none(names: Sequence[object]) -> str:
    """That models take no pictures, in words."""
    return f"{', '.join(map(str, names))} {'takes' if len(names) == 1 else 'take'} no pictures"


def bound(candidate: Candidate, size: Size) -> int | None:
    """The most tokens that a provider bills for a picture; None: nothing is known that bounds them."""
    known, model = candidate.image_tokens, candidate.model
    if candidate.provider == "together":
        return tiled(size)
    if candidate.provider == "openai":
        return max(known or _OPENAI_BOUND, openai_tiled(size, model))
    return known


def estimate(provider: str, model: str, size: Size) -> int:
    """About how many tokens a picture is, by the rule of the provider where it is known."""
    return openai_tiled(size, model) if provider == "openai" else tiled(size)


def tiled(size: Size) -> int:
    """The tokens of a picture as Together documents them; the most, where its size is unknown."""
    width, height = size
    if width is None or height is None:
        return _TOKENS_PER_TILE * _MOST_TILES
    across, down = (min(2, max(side // _TILE, 1)) for side in (width, height))
    return _TOKENS_PER_TILE * across * down


def openai_tiled(size: Size, model: str = "") -> int:
    """The tokens of a picture as OpenAI documents them for models that count tiles."""
    base, per_tile = _OPENAI.get(model, _OPENAI_USUAL)
    width, height = size
    if width is None or height is None:
        return base + per_tile * _OPENAI_MOST_TILES
    scale = min(1.0, _LONG_SIDE / max(width, height))
    scale = min(scale, _SHORT_SIDE / min(width, height))
    across, down = (-(-int(side * scale) // _OPENAI_TILE) for side in (width, height))
    return base + per_tile * max(1, across) * max(1, down)
