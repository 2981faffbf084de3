"""Names of models, which of them are gone, and a catalog of one's own."""

from __future__ import annotations

import pytest

from aideon_agents import Settings, errors
from aideon_agents.ledger.pricing import context_window
from aideon_agents.models import Models, catalog
from aideon_agents.models.catalog import ModelName
from aideon_agents.models.providers import PROVIDERS

OWN = """
[profiles.current]
small = ["local:tiny"]
medium = ["local:middling"]
large = ["openai:gpt-4o-mini"]
"""


def test_a_name_is_split_at_its_first_colon():
    assert ModelName.parse("huggingface:org/model:together") == ModelName(
        "huggingface", "org/model:together"
    )
    assert str(ModelName.parse(" openai:gpt-4o-mini ")) == "openai:gpt-4o-mini"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("togther:m", "did you mean together:m?"),
        ("gpt-4o-mini", "write provider:model with one of together, openai, huggingface, local"),
        ("acme:claude", "unknown provider 'acme'"),
        ("", "unknown provider ''"),
        ("openai:", "names no model: write openai:MODEL"),
    ],
)
def test_a_name_that_is_none_is_refused_with_what_to_write(name, told):
    with pytest.raises(errors.ModelNameError) as refused:
        ModelName.parse(name)
    assert told in str(refused.value)


def test_a_retired_model_is_refused_with_its_successor():
    current = catalog.load()
    with pytest.raises(errors.ModelNameError) as refused:
        current.checked("together:mistralai/Mixtral-8x7B-Instruct-v0.1")
    assert str(refused.value).endswith("is retired since 2026-04-16: use together:Qwen/Qwen3.5-9B")
    with pytest.raises(errors.ModelNameError, match=r"405B-Instruct-Turbo is retired: use"):
        current.checked("together:meta-llama/Meta-Llama-3.1-405B-Instruct-Turbo")


def test_a_model_that_the_catalog_does_not_know_is_passed_on():
    assert str(catalog.load().checked("together:nobody/knows")) == "together:nobody/knows"


def test_the_seed_profile_may_name_its_own_retired_models():
    seed = catalog.load(profile="seed")
    assert seed.checked("together:meta-llama/Meta-Llama-3.1-8B-Instruct-Turbo")
    with pytest.raises(errors.ModelNameError):
        seed.checked("together:mistralai/Mixtral-8x7B-Instruct-v0.1")


@pytest.mark.parametrize("profile", ["current", "seed"])
def test_every_rung_of_the_shipped_catalog_has_candidates_of_known_providers(profile):
    for names in catalog.load(profile=profile).rungs.values():
        assert names
        assert all(name.provider in PROVIDERS for name in names)


def test_no_current_candidate_is_retired_and_each_has_a_known_window():
    current = catalog.load()
    for names in current.rungs.values():
        for name in names:
            assert str(name) not in current.retired
            assert context_window(name.provider, name.model)


def test_each_successor_is_active():
    current = catalog.load()
    for retired in current.retired.values():
        assert current.checked(retired.partition(": use ")[2])


def test_a_catalog_of_ones_own_replaces_the_shipped_one(tmp_path):
    file = tmp_path / "own.toml"
    file.write_text(OWN)
    assert [str(name) for name in catalog.load(file).rungs["small"]] == ["local:tiny"]
    assert catalog.load(file).retired == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[profiles.current]\nsmall = []\n", r"has no 'medium' in profile current"),
        ("[profiles.other]\n", r"has no 'current' in profile current"),
        ("not TOML", r"cannot be read: "),
        ("[profiles.current]\nsmall = ['gpt']\nmedium = []\nlarge = []", "unknown provider 'gpt'"),
    ],
)
def test_a_catalog_that_cannot_be_used_says_where(tmp_path, text, told):
    file = tmp_path / "own.toml"
    file.write_text(text)
    with pytest.raises(errors.ModelNameError, match=told):
        catalog.load(file)


def test_a_catalog_that_is_not_there_is_a_mistake_of_the_callers(tmp_path):
    with pytest.raises(errors.ModelNameError, match="cannot be read"):
        Models(Settings(catalog=tmp_path / "none.toml"))
