"""How many tokens a picture is, and which models see."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from aideon_agents.models import catalog
from aideon_agents.models.pictures.sight import bound, estimate, openai_tiled, sight, tiled
from aideon_agents.models.providers import ModelName


def candidate(name: str):
    """A candidate, as far as bounds read it."""
    known = ModelName.parse(name)
    tokens = sight(catalog.load(), known).image_tokens
    return SimpleNamespace(provider=known.provider, model=known.model, image_tokens=tokens)


@pytest.mark.parametrize(
    ("size", "tokens"),
    [
        ((1, 1), 1601),
        ((559, 5000), 3202),
        ((1119, 1119), 1601),
        ((1120, 1119), 3202),
        ((1120, 1120), 6404),
        ((9000, 9000), 6404),
        ((None, None), 6404),
    ],
)
def test_together_bills_tiles(size, tokens):
    assert tiled(size) == bound(candidate("together:any/model"), size) == tokens


def test_openai_bills_tiles_and_its_bound_is_never_less():
    assert openai_tiled((1024, 1024)) == 765
    assert openai_tiled((512, 512)) == 255
    assert openai_tiled((1024, 1024), "gpt-4o-mini") == 25501
    for size in ((1, 1), (2048, 4096), (768, 8000), (None, None), (100, 2048)):
        for model in ("gpt-6-luna", "gpt-4o", "gpt-4o-mini", "gpt-unknown"):
            most = bound(candidate(f"openai:{model}"), size) or 0
            assert 0 < estimate("openai", model, size) <= most
            assert most >= 16_000


def test_the_catalog_says_who_sees_and_nothing_of_models_that_it_does_not_know():
    known = catalog.load()
    names = ("together:Qwen/Qwen3.5-9B", "together:openai/gpt-oss-120b", "local:llava")
    assert [sight(known, ModelName.parse(name)).sees for name in names] == [True, False, None]
    assert bound(candidate("local:llava"), (10, 10)) is None


def test_every_model_of_together_and_openai_that_sees_has_a_bound():
    for name, entry in catalog.load().entries.items():
        if entry.capabilities.vision and not name.startswith("huggingface:"):
            assert bound(candidate(name), (None, None)), name
