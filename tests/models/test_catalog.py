"""Names of models, which of them are gone, and a catalog of one's own."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from aideon_agents import Settings, errors
from aideon_agents.ledger.pricing import context_window
from aideon_agents.models import Models, catalog
from aideon_agents.models.catalog import ModelName
from aideon_agents.models.providers import PROVIDERS

OWN = """
[profiles.current]
small = ["local:tiny"]
medium = ["openai:gpt-4o-mini"]

[models."together:openai/gpt-oss-120b"]
tier = "enterprise"
capabilities = {vision = true}

[models."together:mistralai/Mixtral-8x7B-Instruct-v0.1"]
lifecycle = {status = "active", evidence = "our own endpoint"}
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


def test_the_seed_profile_may_name_the_retired_models_of_the_documents():
    seed = catalog.load(profile="seed")
    assert seed.checked("together:meta-llama/Meta-Llama-3.1-8B-Instruct-Turbo")
    assert seed.checked("together:mistralai/Mixtral-8x7B-Instruct-v0.1")
    with pytest.raises(errors.ModelNameError, match=r"since 2026-10-22"):
        seed.checked("together:meta-llama/Llama-3.3-70B-Instruct-Turbo")


@pytest.mark.parametrize("profile", ["current", "seed"])
def test_every_rung_of_the_shipped_catalog_has_candidates_of_known_providers(profile):
    known = catalog.load(profile=profile)
    assert set(known.rungs) == {"small", "medium", "large"}
    for rung, names in known.rungs.items():
        assert names
        assert all(name.provider in PROVIDERS for name in names)
        assert all(known.entries[str(name)].rung == rung for name in names)


def test_every_current_candidate_is_active_and_has_a_known_window():
    current = catalog.load()
    for names in current.rungs.values():
        for name in names:
            assert current.entries[str(name)].lifecycle.status == "active"
            assert context_window(name.provider, name.model)


def test_each_successor_is_known_and_active():
    current = catalog.load()
    for one in (*current.entries.values(), *current.families.values()):
        if (successor := one.lifecycle.replaced_by) is not None:
            assert current.entries[successor].lifecycle.status == "active", one.name


def test_whatever_the_catalog_says_of_an_end_or_a_price_has_a_source():
    for one in catalog.load().entries.values():
        if one.lifecycle.status is not None:
            assert one.lifecycle.evidence, one.name
        if one.lifecycle.status in {"ending", "retired"}:
            assert one.lifecycle.replaced_by, one.name
        if one.lifecycle.status == "ending":
            assert one.lifecycle.date, one.name
        if one.prices:
            assert one.prices.source, one.name
            assert one.prices.date or not one.prices.billed, one.name


def test_the_current_open_models_are_at_least_twenty_five():
    current = catalog.load().entries.values()
    open_models = {
        str(one.id).rpartition(":")[0] if one.provider == "huggingface" else one.id
        for one in current
        if one.provider in {"together", "huggingface"}
        and one.origin == "current"
        and one.lifecycle.status == "active"
        and one.modality in {"text", "code", "vision"}
    }
    assert len(open_models) >= 25


def test_the_two_models_of_openai_that_end_in_january_say_so():
    current = catalog.load().entries
    for name in ("openai:gpt-4o", "openai:gpt-4o-mini"):
        ends = current[name].lifecycle
        assert (ends.status, ends.date) == ("ending", date(2027, 1, 14))


def test_a_family_that_the_documents_name_without_an_id_has_a_successor():
    current = catalog.load()
    zephyr = current.families["huggingface:Zephyr 7B"]
    assert (zephyr.id, zephyr.origin, zephyr.listed[0].document) == (None, "seed", "004")
    assert current.entries[str(zephyr.lifecycle.replaced_by)].lifecycle.status == "active"
    assert "huggingface:Zephyr 7B" not in current.entries


def test_a_catalog_of_ones_own_lies_over_the_shipped_one(tmp_path):
    file = tmp_path / "own.toml"
    file.write_text(OWN)
    own = catalog.load(file)
    assert [str(name) for name in own.rungs["small"]] == ["local:tiny"]
    assert own.rungs["large"] == catalog.load().rungs["large"]
    mine = own.entries["together:openai/gpt-oss-120b"]
    assert (mine.origin, mine.tier, mine.capabilities.vision) == ("user", "enterprise", True)
    assert mine.capabilities.tools is True
    assert mine.rung == "medium"
    assert own.entries["openai:gpt-6-luna"] == catalog.load().entries["openai:gpt-6-luna"]
    assert own.checked("together:mistralai/Mixtral-8x7B-Instruct-v0.1")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("not TOML", r"own.toml cannot be read: "),
        ("[profiles.other]\n", r"own.toml: profiles.other: Input should be 'current' or 'seed'"),
        (
            "[profiles.current]\nsmall = []\n",
            r"profiles.current.small: name at least one, or leave it out$",
        ),
        (
            "[models.'together:m']\nlifecycle = {status = 'retired', replaced_by = 'other'}",
            r'models."together:m".lifecycle.replaced_by: write provider:model$',
        ),
        ("[profiles.current]\nhuge = ['local:a']\n", r"profiles.current.huge"),
        ("[profiles.current]\nsmall = ['gpt']", r"profiles.current.small: unknown provider 'gpt'"),
        (
            "[profiles.current]\nsmall = ['together:mistralai/Mixtral-8x7B-Instruct-v0.1']",
            r"profiles.current.small: .* is retired since 2026-04-16: use together:",
        ),
        ("[models.'togther:m']\n", r"models: unknown provider 'togther'"),
        ("[models.'together:m']\ntier = 'gold'", r'models."together:m".tier: Input should be'),
        (
            "[models.'together:m']\nprices = {in = '-1'}",
            r'own.toml: models."together:m".prices.in: Input should be greater',
        ),
        ("[models.'together:m']\ncontext = '8k'", r'models."together:m".context: '),
        (
            "[models.'together:m']\ncolour = 1",
            r'models."together:m".colour: there is no such field$',
        ),
        (
            "[models.'together:m']\ncontexts = 1",
            r"contexts: there is no such field: did you mean cont",
        ),
        ("[models.'together:m']\nprices = {inn = 1}", r"prices.inn: .* did you mean in\?"),
        ("[models.'together:m']\nlifecycle = 'retired'", r"lifecycle: .* a valid dictionary$"),
        ("models = 3", r"own.toml: models: "),
        ("[models]\n'together:m' = 3", r'models."together:m": '),
    ],
)
def test_a_catalog_that_cannot_be_used_says_where(tmp_path, text, told):
    file = tmp_path / "own.toml"
    file.write_text(text)
    with pytest.raises(errors.ModelNameError, match=told) as refused:
        catalog.load(file)
    assert "\n" not in str(refused.value)


def test_a_catalog_that_is_not_there_is_a_mistake_of_the_callers(tmp_path):
    with pytest.raises(
        errors.ModelNameError, match=r"No such file.*: mend it, or unset AIDEON_CATALOG"
    ):
        Models(Settings(catalog=tmp_path / "none.toml"))


def test_a_catalog_that_was_changed_or_belongs_to_another_folder_is_read_again(
    tmp_path, monkeypatch
):
    own = Path("own.toml")
    for number in ("one", "two"):
        (tmp_path / number).mkdir()
        monkeypatch.chdir(tmp_path / number)
        own.write_text(f"[models.'local:{number}']\n")
        assert f"local:{number}" in catalog.load(own).entries
    own.write_text("[models.'local:three']\n[routing]\nregions = ['DE']")
    assert "local:three" in catalog.load(own).entries
