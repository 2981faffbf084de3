"""What the catalog says decides what calls cost, which names are replaced, and what is warned of."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

import pytest

from aideon_agents import Context, Settings, aresume, arun, errors, executor, sequential
from aideon_agents.ledger.pricing import (
    UNKNOWN,
    PricedModel,
    Usage,
    billed_model,
    highest_price,
    price,
)
from aideon_agents.models import Models, catalog
from aideon_agents.state import ModelRequest

AT = datetime(2026, 11, 30, tzinfo=UTC)
USAGE = Usage(input_tokens=1000, output_tokens=100)
OWN = """
[models."together:openai/gpt-oss-120b"]
prices = {in = "0.10", out = "0.40", date = 2026-11-30, source = "our contract"}

[models."together:acme/tuned"]
context = 4000
prices = {in = "2", out = "3", cache_read = "0.5"}

[models."openai:acme-seed"]
prices = {in = "7", out = "7", billed = false}

[models."openai:acme-ended"]
lifecycle = {status = "retired", date = 2026-01-02, replaced_by = "together:acme/tuned"}
"""
RETIRED = "together:mistralai/Mixtral-8x7B-Instruct-v0.1"


@pytest.fixture
def own(tmp_path):
    """A catalog of the user's own; the process prices as before after the test."""
    file = tmp_path / "own.toml"
    file.write_text(OWN)
    catalog.load(file)
    yield file
    catalog.load()


def test_the_users_price_counts_before_the_price_list(own):
    found = price("together", "openai/gpt-oss-120b", USAGE, AT)
    assert found.nanousd == 1000 * 100 + 100 * 400
    assert found.source == "catalog, the user's own, our contract, 2026-11-30"
    assert highest_price("together", "openai/gpt-oss-120b", USAGE, AT) == found.nanousd
    catalog.load()
    assert price("together", "openai/gpt-oss-120b", USAGE, AT).nanousd == 1000 * 150 + 100 * 600


@pytest.mark.parametrize(
    ("provider", "requested", "response", "is_same"),
    [
        ("together", "acme/tuned", "acme/tuned-2026-11-30", True),
        ("together", "acme/tuned", "acme/tuned-1130", True),
        ("together", "acme/tuned", "acme/tuned-mini", False),
        ("together", "acme/tuned", "acme/tuned-2", False),
        ("huggingface", "acme/tuned", "acme/tuned:novita", True),
        ("openai", "gpt-4o-mini", "gpt-4o-mini-2024-07-18", False),  # the list's, not the user's
    ],
)
def test_the_users_price_is_that_of_the_models_versions(
    own, provider, requested, response, is_same
):
    own.write_text(
        OWN.replace("openai:acme-seed", "huggingface:acme/tuned").replace("false", "true")
    )
    catalog.load(own.rename(own.with_stem("other")))
    assert billed_model(provider, requested, response) == (requested if is_same else response)


def test_the_users_price_makes_an_unlisted_model_known(own):
    cached = Usage(input_tokens=1000, output_tokens=100, cache_read_tokens=400)
    found = price("together", "acme/tuned", cached, AT)
    assert found.nanousd == 600 * 2000 + 400 * 500 + 100 * 3000
    assert PricedModel("together:acme/tuned").nanousd(cached, AT) == found.nanousd
    catalog.load()
    assert price("together", "acme/tuned", cached, AT) == UNKNOWN


@pytest.mark.parametrize(
    "usage",
    [
        Usage(input_tokens=10, output_tokens=1, tier="priority"),
        Usage(input_tokens=10, output_tokens=1, others=(("output_audio_tokens", 5),)),
    ],
)
def test_a_stated_price_is_of_plain_tokens_at_the_list_price_alone(own, usage):
    assert price("together", "acme/tuned", usage, AT) == UNKNOWN


def test_a_price_that_is_kept_for_the_record_is_never_billed(own):
    assert price("openai", "acme-seed", USAGE, AT) == UNKNOWN
    vision = catalog.load().entries["together:meta-llama/Llama-Vision-Free"]
    assert vision.prices
    assert not vision.prices.billed
    assert price("together", "meta-llama/Llama-Vision-Free", USAGE, AT) == UNKNOWN


def test_our_price_counts_where_the_price_list_has_none():
    name = "Qwen/Qwen2.5-7B-Instruct-Turbo"
    entry = catalog.load().entries[f"together:{name}"]
    found = price("together", name, USAGE, AT)
    assert (found.nanousd, entry.prices.input) == (1100 * 300, entry.prices.output)
    assert found.source == "catalog, litellm 1.110.2, 2026-11-30"


async def test_a_run_is_billed_at_the_users_price_and_kept_within_its_window(provider, ledger, own):
    settings = Settings(together_api_key="any", together_base_url=provider.base_url, catalog=own)
    node = executor("facts", model="together:acme/tuned", max_tokens=64)
    result = await arun(node, "Task.", settings=settings, ledger=ledger, budget="0.05")
    (row,) = ledger.calls(result.run_id)
    assert row.cost_nanousd == row.input_tokens * 2000 + row.output_tokens * 3000
    assert row.price_source == "catalog, the user's own"
    request = ModelRequest(role="executor", model=("together:acme/tuned",))
    assert Models(settings).roomiest(request, Context()) == 4000


async def test_a_retired_model_is_an_error_or_replaced_and_the_row_says_so(provider, ledger):
    settings = Settings(together_api_key="any", together_base_url=provider.base_url)
    node = executor("facts", model=[RETIRED, "together:openai/gpt-oss-120b"])
    with pytest.raises(errors.ModelNameError, match=r"use together:Qwen/Qwen3\.5-9B"):
        await arun(node, "Task.", settings=settings, ledger=ledger)
    result = await arun(node, "Task.", settings=settings, ledger=ledger, replace_retired=True)
    (row,) = ledger.calls(result.run_id)
    assert row.requested_model == "Qwen/Qwen3.5-9B"
    assert json.loads(row.choice)["replaces"] == RETIRED


async def test_a_run_that_replaces_retired_models_does_so_when_it_resumes(provider, ledger):
    settings = Settings(together_api_key="any", together_base_url=provider.base_url)
    node = sequential(executor("facts", model=[RETIRED], approve=True))
    result = await arun(node, "Task.", settings=settings, ledger=ledger, replace_retired=True)
    assert result.status == "waiting"
    result = await aresume(node, result.run_id, settings=settings, ledger=ledger, answer=True)
    assert result.status == "completed"


async def test_only_the_calls_of_a_replaced_model_name_what_it_replaces(provider, ledger):
    settings = Settings(together_api_key="any", together_base_url=provider.base_url)
    node = executor("facts", model="together:openai/gpt-oss-120b")
    given = {"executor": [f" {RETIRED} "]}
    for model, replaces in ((given, RETIRED), ({}, None)):
        result = await arun(
            node, "Task.", settings=settings, ledger=ledger, model=model, replace_retired=True
        )
        (row,) = ledger.calls(result.run_id)
        assert json.loads(row.choice).get("replaces") == replaces


def test_a_successor_is_followed_to_one_that_is_offered(tmp_path):
    file = tmp_path / "own.toml"
    file.write_text(
        OWN
        + """
[models."openai:acme-first"]
lifecycle = {status = "retired", replaced_by = "openai:acme-ended"}
[models."openai:acme-lost"]
lifecycle = {status = "retired"}
[models."openai:acme-ring"]
lifecycle = {status = "retired", replaced_by = "openai:acme-ring"}
[models."openai:acme-past"]
lifecycle = {status = "ending", date = 2026-01-14, replaced_by = "openai:acme-first"}
[models."openai:acme-late"]
lifecycle = {status = "ending", date = 2999-01-14, replaced_by = "openai:acme-first"}
"""
    )
    own = catalog.load(file)
    catalog.load()
    assert own.successor("openai:acme-first") == "together:acme/tuned"
    assert own.successor("openai:acme-past") == "together:acme/tuned"
    assert own.successor("openai:acme-late") == "openai:acme-late"
    for name in ("openai:acme-lost", "openai:acme-ring"):
        with pytest.raises(errors.ModelNameError, match=f"{name} is retired"):
            own.checked(own.successor(name))


def test_a_model_that_ends_is_warned_of_once_with_its_day_and_successor(caplog, tmp_path):
    file = tmp_path / "own.toml"
    life = 'status = "ending", replaced_by = "openai:gpt-6-luna"'
    file.write_text(
        f"[models.'openai:acme-late']\nlifecycle = {{{life}, date = 2999-01-14}}\n"
        f"[models.'openai:acme-past']\nlifecycle = {{{life}, date = 2026-01-14}}\n"
    )
    models = Models(Settings(openai_api_key="any", catalog=file))
    with caplog.at_level(logging.WARNING, "aideon_agents.models"):
        for role in ("planner", "executor"):
            request = ModelRequest(role=role, model=("openai:acme-late", "openai:acme-past"))
            models.roomiest(request, Context(rehearse=True))
    assert [record.getMessage() for record in caplog.records] == [
        "openai:acme-late ends 2999-01-14: use openai:gpt-6-luna",
        "openai:acme-past was to end 2026-01-14: use openai:gpt-6-luna",
    ]
