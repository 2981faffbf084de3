"""Which chain a request gets: role, complexity, tier, names given, keys at hand."""

from __future__ import annotations

import pytest

from aideon_agents import Context, Settings, errors
from aideon_agents.models import Models, catalog
from aideon_agents.models.choosing import choose, rung_for
from aideon_agents.models.providers import providers
from aideon_agents.state import ModelRequest

BY_ROLE = {"planner": "medium", "executor": "small", "validator": "small", "creative": "large"}
BY_COMPLEXITY = {"low": "small", "medium": "medium", "high": "large"}
LADDER = ["small", "medium", "large"]
TOP = {"free": "small", "premium": "medium", "enterprise": "large"}
TABLE = [
    (role, complexity, tier)
    for role in BY_ROLE
    for complexity in (None, *BY_COMPLEXITY)
    for tier in TOP
]


@pytest.mark.parametrize(("role", "complexity", "tier"), TABLE)
def test_the_rung_is_the_complexitys_else_the_roles_and_never_above_the_tiers(
    role, complexity, tier
):
    wanted = BY_COMPLEXITY[complexity] if complexity else BY_ROLE[role]
    top = "large" if (tier, complexity) == ("premium", "high") else TOP[tier]
    request = ModelRequest(role=role, complexity=complexity)
    assert rung_for(request, tier) == min(wanted, top, key=LADDER.index)


def chosen(settings, request=None, tier="premium"):
    known = providers(settings)
    listed = catalog.load(settings.catalog, settings.profile)
    choice = choose(request or ModelRequest(role="planner"), tier, listed, known)
    return [str(name) for name in choice.chain]


def test_a_rung_is_asked_in_its_order_and_without_those_who_have_no_key():
    both = Settings(together_api_key="a", openai_api_key="b")
    assert chosen(both) == [
        "together:openai/gpt-oss-120b",
        "together:MiniMaxAI/MiniMax-M3",
        "openai:gpt-6.1-terra",
    ]
    assert chosen(Settings(openai_api_key="b")) == ["openai:gpt-6.1-terra"]
    assert chosen(Settings(hf_token="h")) == ["huggingface:openai/gpt-oss-120b:together"]


def test_a_local_server_stands_behind_the_others():
    local = Settings(local_base_url="http://127.0.0.1:1/v1")
    assert chosen(local) == ["local:any"]
    settings = Settings(together_api_key="a", local_base_url="http://127.0.0.1:1/v1")
    assert chosen(settings)[-1] == "local:any"


def test_names_that_are_given_are_the_whole_chain():
    settings = Settings(together_api_key="a", openai_api_key="b")
    request = ModelRequest(role="creative", model=("openai:gpt-4o-mini", "together:some/model"))
    assert chosen(settings, request, "free") == ["openai:gpt-4o-mini", "together:some/model"]


def test_of_names_that_are_given_those_without_a_key_are_left_out():
    request = ModelRequest(role="creative", model=("openai:gpt-4o-mini", "together:some/model"))
    assert chosen(Settings(together_api_key="a"), request) == ["together:some/model"]


def test_without_any_key_the_error_names_the_variables():
    with pytest.raises(errors.NoModel) as refused:
        chosen(Settings())
    message = str(refused.value)
    for variable in ("TOGETHER_API_KEY", "OPENAI_API_KEY", "HF_TOKEN", "AIDEON_LOCAL_BASE_URL"):
        assert message.count(variable) == 1
    assert "planner" in message


def test_the_error_names_only_what_the_given_chain_needs():
    with pytest.raises(errors.NoModel) as refused:
        chosen(Settings(openai_api_key="b"), ModelRequest(role="creative", model=("together:m",)))
    assert "TOGETHER_API_KEY" in str(refused.value)
    assert "HF_TOKEN" not in str(refused.value)


def test_the_seed_profile_has_the_founding_models():
    settings = Settings(together_api_key="a", profile="seed")
    assert chosen(settings) == ["together:meta-llama/Meta-Llama-3.1-70B-Instruct-Turbo"]


def test_a_rehearsal_assumes_every_key_and_asks_the_primary_alone():
    chain = Models(Settings()).chat(ModelRequest(role="creative"), Context(rehearse=True))
    assert [str(one) for one in chain.candidates] == ["together:openai/gpt-oss-120b"]
    assert chain.fallbacks == []
