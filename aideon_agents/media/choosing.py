"""Which models are asked for media, in which order: the catalog's, up to the tier, that can do it.

A model that lacks something that a request needs is left out before anything is paid.
"""

from __future__ import annotations

import collections
import functools
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from aideon_agents import errors
from aideon_agents.media.dialects.openai_style import OpenAIStyle, TogetherVideo
from aideon_agents.media.dialects.videos import Replicate, Runway
from aideon_agents.media.jobs import Jobs
from aideon_agents.media.rehearsal import Rehearsed
from aideon_agents.models import catalog
from aideon_agents.models.chain import candidate_of
from aideon_agents.models.choosing import Choice, choose
from aideon_agents.models.pictures.sight import sight
from aideon_agents.models.protocol.ways import check_way
from aideon_agents.models.providers import ModelName, providers
from aideon_agents.state import GivenModel, ModelRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pydantic import SecretStr

    from aideon_agents.media.shapes import Kind, MediaRequest
    from aideon_agents.models.candidates import Candidate
    from aideon_agents.models.catalog.entries import Entry
    from aideon_agents.models.choosing import AnyModel
    from aideon_agents.models.providers import Provider
    from aideon_agents.settings import Settings
    from aideon_agents.state import Context, ModelChoice, Use

WORDS: Mapping[Kind, str] = {
    "image": "pictures",
    "tts": "speech",
    "stt": "transcription",
    "video": "videos",
}
"""What is made, for people."""

_MAKERS: Mapping[str, Callable[[str], Any]] = {
    "together": OpenAIStyle,
    "openai": OpenAIStyle,
    "compatible": OpenAIStyle,
}
"""What asks a provider, by the dialect in its row; see `dialects` for what it can do."""

_VIDEO_MAKERS: Mapping[str, Callable[[], Any]] = {
    "runway": Runway,
    "together": TogetherVideo,
    "replicate": Replicate,
}
"""The same for videos."""

_MOST_OF_PROVIDER: Mapping[Kind, int] = {"image": 2, "tts": 2, "stt": 2, "video": 1}
"""Models of one provider that a chain has besides the primary ones of their tiers."""


class Link(NamedTuple):
    """A model of a chain, and what asks it."""

    candidate: Candidate
    maker: Any
    """One of the classes in `dialects`."""
    key: SecretStr | None
    entry: Entry | None
    """What the catalog says of the model; None: it does not know it."""


class Chosen(NamedTuple):
    """The models for a request, primary first."""

    kind: Kind
    links: tuple[Link, ...]
    choice: Choice


def chosen(
    kind: Kind,
    request: MediaRequest | None,
    settings: Settings,
    context: Context,
    *,
    model: Sequence[ModelChoice] = (),
    purpose: str | None = None,
    use: Use | None = None,
) -> Chosen:
    """The models for a request, or without one for any of the kind; `model` replaces the choice.

    Raises NoModel if none can be asked, and CallerError if none of them can do it.
    """
    known_models = catalog.load(settings.catalog, settings.profile)
    rehearse = context.rehearse or settings.rehearses
    known = providers(settings, pretend=rehearse)
    asked = ModelRequest(role="creative", model=tuple(model), purpose=purpose, use=use)
    asked, _ = known_models.up_to_date(asked, replaces=context.replace_retired)
    try:
        choice = choose(asked, context.tier, known_models, known, modality=kind)
    except errors.NoModel as none:
        raise _renamed(none, kind) from None
    makers = [(name, _maker(kind, name, known)) for name in choice.chain]
    able = [(name, maker) for name, maker in makers if maker is not None]
    lacking: dict[AnyModel, str] = {
        name: why
        for name, maker in able
        if request is not None and (why := maker.lacks(request, name.model))
    }
    names = [cast("ModelName", name) for name, _ in able if name not in lacking]
    if not names:
        raise _unable(kind, choice.chain, lacking)
    if not model:
        names = _spread(names, known_models.entries, kind)
    if context.fallback is False or rehearse:
        names = names[:1]
    made = dict(able)
    links = [
        _link(name, made[name], known[name.provider], known_models, settings, rehearse=rehearse)
        for name in names
    ]
    return Chosen(kind, tuple(links), choice)


def _maker(kind: Kind, name: AnyModel, known: Mapping[str, Provider]) -> Any:
    """What asks a model; None: nothing here can."""
    if isinstance(name, GivenModel):
        return None
    dialect = known[name.provider].row.dialect
    if kind == "video":
        return _videos(dialect) if dialect in _VIDEO_MAKERS else None
    make = _MAKERS.get(dialect)
    maker = _made(make, name.provider) if make else None
    return maker if hasattr(maker, kind) else None


@functools.lru_cache(maxsize=64)
def _made(make: Callable[[str], Any], provider: str) -> Any:
    return make(provider)


@functools.cache
def _videos(dialect: str) -> Jobs:
    return Jobs(_VIDEO_MAKERS[dialect]())


def _spread(
    names: Sequence[ModelName], entries: Mapping[str, Entry], kind: Kind
) -> list[ModelName]:
    """The first models of each provider, and the primary ones: no request waits for all others."""
    kept, counts = list[ModelName](), collections.Counter[str]()
    for name in names:
        entry = entries.get(str(name))
        counts[name.provider] += 1
        if counts[name.provider] <= _MOST_OF_PROVIDER[kind] or (entry and "primary" in entry.uses):
            kept.append(name)
    return kept


def _link(
    name: ModelName,
    maker: Any,
    provider: Provider,
    known: catalog.Catalog,
    settings: Settings,
    *,
    rehearse: bool,
) -> Link:
    entry = known.entries.get(str(name))
    seeing = sight(known, name, provider)
    candidate = candidate_of(name, provider, settings.model_concurrency, seeing, None)
    if rehearse:
        return Link(candidate, Rehearsed(), None, entry)
    check_way(str(provider.base_url))
    return Link(candidate, maker, provider.key, entry)


def _renamed(none: errors.NoModel, kind: Kind) -> errors.NoModel:
    named = errors.NoModel(str(none).replace("for the creative", f"for {WORDS[kind]}"))
    named.missing = none.missing
    return named


def _unable(
    kind: Kind, chain: Sequence[AnyModel], lacking: Mapping[AnyModel, str]
) -> errors.AideonError:
    """Why no model of a chain can meet a request."""
    if not lacking:
        names = ", ".join(map(str, chain))
        return errors.ModelNameError(
            f"{names} cannot be asked for {WORDS[kind]}: name another model"
        )
    why = "; ".join(f"{name}: {reason}" for name, reason in lacking.items())
    return errors.CallerError(f"no model can do this ({why}): ask for less", billed=False)
