from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal

import genai_prices
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aideon_agents.ledger.money import usd, usd_text
from aideon_agents.ledger.pricing import UNKNOWN, Price, Usage, billed_model, price, top_tiers

AT = datetime(2026, 11, 20, 9, tzinfo=UTC)
USAGE = Usage(input_tokens=1000, output_tokens=100)


def nanousd(provider, model, usage=USAGE):
    return price(provider, model, usage, AT).nanousd


def test_a_price_is_whole_nano_dollars_and_names_its_list():
    assert price("together", "openai/gpt-oss-120b", USAGE, AT) == Price(
        210_000, f"genai-prices {genai_prices.__version__}"
    )


def test_cached_input_costs_its_own_price_and_is_not_counted_twice():
    cached = Usage(input_tokens=1000, output_tokens=0, cache_read_tokens=400)
    assert nanousd("together", "zai-org/GLM-5.3-Flash", cached) == 600 * 150 + 400 * 30


def test_a_reported_zero_costs_zero():
    nothing = Usage(input_tokens=0, output_tokens=0)
    assert nanousd("together", "openai/gpt-oss-120b", nothing) == 0


@pytest.mark.parametrize(("cached", "rounded"), [(1, 38), (3, 112), (5, 188)])
def test_half_a_nano_dollar_is_rounded_to_even(cached, rounded):
    # Cached input at $0.0375 per million tokens is 37.5 nano-dollars a token.
    usage = Usage(input_tokens=cached, output_tokens=0, cache_read_tokens=cached)
    assert nanousd("groq", "openai/gpt-oss-20b", usage) == rounded


@pytest.mark.parametrize(
    ("provider", "model", "usage"),
    [
        ("together", "nobody/knows-this", USAGE),
        ("nobody", "gpt-4o", USAGE),
        ("openai", "gpt-4o", None),
        ("openai", "gpt-4o", Usage(input_tokens=1, output_tokens=0, cache_read_tokens=5)),
        ("huggingface", "openai/gpt-oss-120b", USAGE),
        ("huggingface", "openai/gpt-oss-120b:nobody", USAGE),
        ("huggingface", "command-r:cohere", USAGE),
        ("", "", USAGE),
    ],
)
def test_what_cannot_be_priced_is_unknown(provider, model, usage):
    assert price(provider, model, usage, AT) == UNKNOWN


def test_ones_own_server_costs_nothing_even_without_usage():
    assert price("local", "any", None, AT) == Price(0, "own server")


def test_hugging_face_is_priced_by_who_serves_the_model():
    direct = price("huggingface_together", "openai/gpt-oss-120b", USAGE, AT)
    assert direct.nanousd is not None
    assert price("huggingface", "openai/gpt-oss-120b:together", USAGE, AT) == direct


@pytest.mark.parametrize(
    ("provider", "requested", "response", "billed"),
    [
        ("openai", "gpt-4o", None, "gpt-4o"),
        ("openai", "gpt-4o", "gpt-4o-2024-08-06", "gpt-4o-2024-08-06"),
        ("huggingface", "org/name:groq", "org/name", "org/name:groq"),
        ("huggingface", "org/name:groq", "org/name:novita", "org/name:novita"),
        ("huggingface", "org/name", "org/name", "org/name"),
        # Named as its seller does, which the price list does not know.
        (
            "huggingface",
            "openai/gpt-oss-120b:fastest",
            "accounts/fireworks/models/gpt-oss-120b:fireworks-ai",
            "openai/gpt-oss-120b:fireworks-ai",
        ),
        (
            "huggingface",
            "openai/gpt-oss-120b:groq",
            "gpt-oss-120b",
            "openai/gpt-oss-120b:groq",
        ),
        (
            "huggingface",
            "openai/gpt-oss-120b",
            "openai/gpt-oss-20b:together",
            "openai/gpt-oss-20b:together",
        ),
    ],
)
def test_the_model_that_answered_is_billed(provider, requested, response, billed):
    assert billed_model(provider, requested, response) == billed


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0.000000"),
        (1, "0.000000001"),
        (1_234_000, "0.001234"),
        (1_234_500, "0.0012345"),
        (10**9, "1.000000"),
        (123_456_789_012_345_678, "123456789.012345678"),
    ],
)
def test_money_is_written_exactly(nano, text):
    assert usd_text(usd(nano)) == text


@given(st.integers(0, 2**63 - 1))
def test_written_money_reads_back_to_the_nano_dollar(nano):
    text = usd_text(usd(nano))
    assert "E" not in text
    assert len(text.partition(".")[2]) >= 6
    assert int(Decimal(text).scaleb(9)) == nano


def test_the_price_list_is_read_only_when_something_is_priced():
    code = (
        "import sys, aideon_agents.ledger.pricing, aideon_agents.ledger.pricing;"
        "sys.exit('genai_prices' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("tier", "nanousd"),
    [
        (None, 23_750_000),
        ("default", 23_750_000),
        ("flex", 11_875_000),
        ("priority", 47_500_000),
        ("batch", 11_875_000),
        ("scale", None),
        ("auto", None),
    ],
)
def test_a_service_tier_has_a_price_of_its_own_or_none(tier, nanousd):
    usage = Usage(input_tokens=100_000, output_tokens=0, cache_read_tokens=90_000, tier=tier)
    found = price("openai", "gpt-5", usage, datetime(2026, 11, 30, tzinfo=UTC))
    assert found.nanousd == nanousd
    assert (found.source is None) == (nanousd is None)


def test_a_tier_that_a_model_is_not_sold_in_has_no_price():
    usage = Usage(input_tokens=100, output_tokens=0, tier="flex")
    at = datetime(2026, 11, 30, tzinfo=UTC)
    assert price("openai", "gpt-4o", usage, at) == UNKNOWN
    assert price("together", "openai/gpt-oss-120b", usage, at) == UNKNOWN


@pytest.mark.parametrize("kind", ["input_audio_tokens", "output_audio_tokens", "input_odd_tokens"])
def test_a_kind_of_token_without_a_price_makes_the_cost_unknown(kind):
    usage = Usage(input_tokens=100, output_tokens=100, others=((kind, 5),))
    assert price("openai", "gpt-4o-mini", usage, AT) == UNKNOWN


def test_the_most_expensive_tier_is_the_only_one_to_look_at():
    at = datetime(2026, 11, 30, tzinfo=UTC)
    assert top_tiers("openai", "gpt-5", at) == ("priority",)
    assert top_tiers("openai", "gpt-5", at, "flex") == (None,)
    assert top_tiers("together", "openai/gpt-oss-120b", at) == (None,)
    assert top_tiers("openai", "nobody/knows", at) == (None,)
