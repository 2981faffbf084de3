"""How the candidates of a request are chosen: hard filters, then the use, the size and the providers."""

from __future__ import annotations

import logging
from decimal import Decimal

import pytest

from aideon_agents import Context, Settings, errors
from aideon_agents.models import Models, catalog
from aideon_agents.models.choosing import Asked, can_step_up, choose, rung_for
from aideon_agents.models.providers import providers
from aideon_agents.state import ModelRequest

KEYS = {"together_api_key": "a", "openai_api_key": "b", "hf_token": "c"}


@pytest.fixture
def choice(tmp_path):
    """The choice for an executor; `own` is the text of a catalog of one's own."""

    def made(*, own="", tier="premium", modality=None, asked=None, settings=None, **request):
        path = tmp_path / "own.toml"
        path.write_text(own, encoding="utf-8")
        with_own = (settings or Settings(**KEYS)).model_copy(update={"catalog": path})
        listed = catalog.load(path, with_own.profile)
        catalog._read.cache_clear()
        known = providers(with_own)
        given = ModelRequest(**{"role": "executor", **request})
        return choose(given, tier, listed, known, modality=modality, asked=asked)

    return made


def names(choice):
    return [str(one) for one in choice.chain]


def entry(name, **fields):
    lines = [f"{key.replace('__', '.')} = {value}" for key, value in fields.items()]
    return "\n".join([f'[models."{name}"]', *lines, ""])


PROFILE = '[profiles.current]\nsmall = ["together:a", "together:b", "openai:c"]\n'


@pytest.mark.parametrize(
    ("fields", "request_", "why"),
    [
        ({"capabilities": "{tools = false}"}, {"needs": ("tools",)}, "needs tools"),
        ({"capabilities": "{vision = false}"}, {"needs": ("vision",)}, "needs vision"),
        (
            {"capabilities": "{json_schema = false}"},
            {"needs": ("json_schema",)},
            "needs json_schema",
        ),
        ({"context": 8192}, {"asked": Asked(tokens=10_976)}, "context 8,192 < 12,000 tokens"),
        ({}, {"asked": Asked(private="an email address")}, "private prompt: an email address"),
        (
            {},
            {"asked": Asked(budget=Decimal("0.01"))},
            "its price is unknown, and there is a budget",
        ),
        (
            {"lifecycle": '{status = "ending", date = 2999-01-14, replaced_by = "openai:c"}'},
            {},
            "ends 2999-01-14: use openai:c",
        ),
        (
            {"lifecycle": '{status = "ending", date = 2020-01-14, replaced_by = "openai:c"}'},
            {},
            "retired since 2020-01-14: use openai:c",
        ),
    ],
)
def test_a_model_that_a_filter_stops_is_rejected_with_the_reason(choice, fields, request_, why):
    own = PROFILE + entry("together:a", **fields)
    local = Settings(**KEYS, local_base_url="http://127.0.0.1:1/v1")
    made = choice(own=own, settings=local, **request_)
    assert dict(made.rejected)["together:a"] == why
    assert "together:a" not in names(made)
    assert made.chain


def test_a_price_over_the_budget_is_the_reason(choice):
    made = choice(role="creative", tier="enterprise", asked=Asked(budget=Decimal("0.003")))
    assert made.chain
    reasons = dict(made.rejected)
    assert reasons["together:deepseek-ai/DeepSeek-V4-Pro-0813"].startswith(
        "more expensive than the budget: up to $0.00"
    )


def test_the_other_reasons_name_the_key_the_tier_and_the_size(choice):
    reasons = dict(choice(settings=Settings(together_api_key="a")).rejected)
    assert reasons["openai:gpt-6-luna"] == "no OPENAI_API_KEY"
    assert reasons["together:deepseek-ai/DeepSeek-V4-Pro-0813"] == "tier premium stops at medium"
    assert reasons["together:openai/gpt-oss-120b"] == "medium, and small is wanted"
    assert reasons["together:Qwen/Qwen3.8-Flash"] == "others come before it"
    retired = reasons["together:mistralai/Mixtral-8x7B-Instruct-v0.1"]
    assert retired.startswith("retired since 2026-04-16: use together:")


def test_every_model_of_the_modality_is_in_the_chain_or_rejected(choice):
    for tier in ("free", "premium", "enterprise"):
        made = choice(tier=tier)
        known = {
            one.name for one in catalog.load().entries.values() if one.modality == "text" and one.id
        }
        assert {*names(made), *dict(made.rejected)} >= known - {"local:any"}
        assert not {*names(made)} & {*dict(made.rejected)}


def test_what_can_be_done_without_is_no_reason_where_no_other_model_is_left(choice):
    small = '[profiles.current]\nsmall = ["together:a"]\n'
    only = Settings(together_api_key="a")
    without = "{json_schema = false, streaming = false}"
    own = small + entry("together:a", capabilities=without)
    made = choice(own=own, settings=only, needs=("json_schema", "streaming"))
    assert made.chain
    given = choice(own=own, settings=only, needs=("json_schema",), model=("together:a",))
    assert names(given) == ["together:a"]


def test_of_given_models_those_that_cannot_do_it_are_left_out_if_another_can(choice):
    own = entry("together:blind", capabilities="{vision = false}")
    both = choice(own=own, needs=("vision",), model=("together:blind", "openai:any"))
    assert names(both) == ["openai:any"]
    assert dict(both.rejected) == {"together:blind": "needs vision"}
    alone = choice(own=own, needs=("vision",), model=("together:blind",))
    assert names(alone) == ["together:blind"]


def test_without_any_model_that_passes_the_error_says_why(choice):
    asked = Asked(private="an email address")
    with pytest.raises(errors.NoModel) as refused:
        choice(asked=asked)
    assert "together:Qwen/Qwen3.5-9B: private prompt: an email address" in str(refused.value)
    assert "AIDEON_LOCAL_BASE_URL" in str(refused.value)


def test_a_private_prompt_goes_to_ones_own_server_alone(choice):
    local = Settings(**KEYS, local_base_url="http://127.0.0.1:1/v1")
    made = choice(asked=Asked(private="a phone number"), settings=local)
    assert (names(made), made.rule) == (["local:any"], "privacy")


def test_where_no_model_of_the_size_can_do_it_the_nearest_size_is_asked(choice):
    own = PROFILE + "".join(
        entry(name, capabilities="{vision = false}")
        for name in ("together:a", "together:b", "openai:c")
    )
    made = choice(own=own, needs=("vision",), settings=Settings(together_api_key="a"))
    listed = catalog.load().entries
    assert made.chain
    assert all(listed[name].capabilities.vision is not False for name in names(made))


def test_a_chain_has_two_providers_where_two_have_keys(choice):
    own = '[profiles.current]\nsmall = ["together:a", "together:b"]\n'
    assert {one.provider for one in choice(own=own).chain} > {"together"}
    assert names(choice(own=own, settings=Settings(together_api_key="a"))) == [
        "together:a",
        "together:b",
    ]


USES = {
    ("free", None): "small",
    ("free", "critical"): "small",
    ("free", "high_quality"): "small",
    ("premium", None): "small",
    ("premium", "critical"): "large",
    ("premium", "complex"): "large",
    ("premium", "high_quality"): "medium",
    ("enterprise", "high_quality"): "large",
    ("enterprise", "quick"): "small",
}


@pytest.mark.parametrize(("tier", "use"), USES)
def test_a_use_chooses_the_size_within_the_tier(tier, use):
    request = ModelRequest(role="executor", use=use)
    assert rung_for(request, tier) == USES[tier, use]


def test_a_use_counts_before_complexity_and_role():
    request = ModelRequest(role="creative", complexity="high", use="quick")
    assert rung_for(request, "enterprise") == "small"


def test_models_that_the_catalog_has_for_a_use_come_first(choice):
    quick = choice(use="quick")
    assert catalog.load().entries[names(quick)[0]].uses == ("quick",)
    assert (quick.rule, quick.use, quick.rung) == ("use", "quick", "small")
    best = choice(use="high_quality", tier="enterprise")
    assert "high_quality" in catalog.load().entries[names(best)[0]].uses


@pytest.mark.parametrize("use", ["fallback", "secondary"])
def test_a_fallback_is_not_the_primary_model(choice, use):
    first = names(choice())[0]
    assert names(choice(use=use))[0] != first
    assert first in names(choice(use=use))


def test_coding_prefers_the_models_for_code_and_falls_back_on_text(choice):
    made = choice(purpose="coding")
    listed = catalog.load().entries
    kinds = [listed[name].modality for name in names(made)]
    assert kinds[0] == "code"
    assert kinds == sorted(kinds)
    assert "text" in kinds
    assert names(choice(purpose="research")) == names(choice())


def test_one_size_up_ends_at_the_tiers_largest():
    small = ModelRequest(role="executor")
    assert [can_step_up(small, tier) for tier in ("free", "premium", "enterprise")] == [
        False,
        True,
        True,
    ]
    up = ModelRequest(role="executor", steps_up=1)
    assert rung_for(up, "premium") == "medium"
    assert not can_step_up(up, "premium")
    given = ModelRequest(role="executor", model=("openai:a", "openai:b"))
    assert can_step_up(given, "free")


def test_a_candidate_that_ends_is_said_once(caplog, tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(
        entry("openai:old", lifecycle='{status = "ending", date = 2999-01-14}'), encoding="utf-8"
    )
    models = Models(Settings(**KEYS, catalog=path))
    request = ModelRequest(role="executor", model=("openai:old",))
    with caplog.at_level(logging.WARNING):
        for tokens in (10, 20):
            models.chat(
                ModelRequest(role="executor", model=("openai:old",), max_tokens=tokens), Context()
            )
    assert request.model
    assert caplog.text.count("openai:old ends 2999-01-14") == 1
