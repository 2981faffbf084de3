"""The same tokens at another model's price: exact, and honest about what it does not know."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices.data import providers
from hypothesis import given, settings
from hypothesis import strategies as st

from aideon_agents.errors import ModelNameError
from aideon_agents.ledger.pricing import PricedModel, Usage, price
from aideon_agents.ledger.reports import Against, report, reports
from aideon_agents.ledger.selection import DIMENSIONS, Selection
from aideon_agents.ledger.store import Ledger

COUNTS = st.one_of(st.sampled_from([0, 1, 1000, 200_000, 200_001]), st.integers(0, 10**12))
PARTS = st.none() | COUNTS
USAGES = st.builds(
    Usage,
    input_tokens=COUNTS,
    output_tokens=COUNTS,
    cache_read_tokens=PARTS,
    cache_creation_tokens=PARTS,
    reasoning_tokens=PARTS,
)
MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone


def listed():
    """A name for every model in the price list."""
    for provider in providers:
        seller, ours = provider.id.partition("_")[2], provider.id.startswith("huggingface_")
        for model in provider.models:
            yield f"huggingface:{model.id}:{seller}" if ours else f"{provider.id}:{model.id}"


NAMES = sorted(listed())


def agree(name, usage, at):
    """Whether a model prices many calls as it prices each."""
    provider, _, model = name.partition(":")
    one_by_one = price(provider, model, usage, at).nanousd
    try:
        return PricedModel(name).nanousd(usage, at) == one_by_one
    except ModelNameError:
        return one_by_one is None


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(NAMES), USAGES, MOMENTS)
def test_pricing_many_calls_gives_what_pricing_each_gives(name, usage, at):
    assert agree(name, usage, at)


@pytest.mark.parametrize(
    "usage",
    [
        Usage(
            input_tokens=1001,
            output_tokens=77,
            cache_read_tokens=333,
            cache_creation_tokens=5,
            reasoning_tokens=13,
        ),
        Usage(input_tokens=5, output_tokens=7, reasoning_tokens=9),
    ],
    ids=["every kind", "contradicting itself"],
)
def test_every_model_of_the_list_prices_many_calls_as_each(usage):
    at = datetime(2026, 11, 20, 17, tzinfo=UTC)
    assert [name for name in NAMES if not agree(name, usage, at)] == []


def test_a_price_that_depends_on_the_prompts_size_is_asked_for_each_call():
    model = PricedModel("openai:gpt-5.4")
    at = datetime(2026, 11, 20, tzinfo=UTC)
    small, large = (
        model.nanousd(Usage(input_tokens=tokens, output_tokens=0), at) / tokens
        for tokens in (1000, 500_000)
    )
    assert large == 2 * small


@pytest.mark.parametrize("name", ["openai:gpt-nobody", "together:", "huggingface:a/b:nobody", "x"])
def test_a_model_without_a_price_cannot_be_compared_with(name):
    with pytest.raises(ModelNameError, match=f"^{name} has no known price"):
        PricedModel(name)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.none() | USAGES, MOMENTS),
        max_size=8,
    )
)
def test_a_model_compared_with_itself_is_what_was_spent(tmp_path_factory, record, calls):
    with Ledger(tmp_path_factory.mktemp("again") / "ledger.db") as ledger:
        for node, usage, at in calls:
            nanousd = price("openai", "gpt-4o", usage, at).nanousd
            record(
                ledger,
                "01A",
                node_path=node,
                provider="openai",
                requested_model="gpt-4o",
                usage=usage,
                nanousd=nanousd,
                at=f"{at:%Y-%m-%dT%H:%M:%S}.000Z",
            )
        for found in reports(ledger, DIMENSIONS, Selection(), against=PricedModel("openai:gpt-4o")):
            for one in (*found.rows, found.total):
                expected = Against(model="openai:gpt-4o", usd=one.usd, complete=one.complete)
                assert one.against == expected


AT_4O = PricedModel("openai:gpt-4o")
USAGE = Usage(input_tokens=1000, output_tokens=100, cache_read_tokens=400, reasoning_tokens=30)
DOLLARS = Decimal("0.0030")
"""600 fresh tokens at $2.50, 400 cached ones at $1.25 and 100 out at $10 a million."""


def test_cached_and_reasoning_tokens_have_their_own_price(ledger, record):
    record(ledger, "01A", usage=USAGE, nanousd=5)
    assert report(ledger, "node", against=AT_4O).total.against == Against(
        model="openai:gpt-4o", usd=DOLLARS, complete=True
    )


@pytest.mark.parametrize(
    ("status", "nanousd", "complete"),
    [
        ("started", None, False),
        ("cancelled", None, False),
        ("ok", None, False),
        ("error", 0, True),
        ("cached", 0, True),
    ],
)
def test_a_call_without_tokens_is_unknown_unless_nothing_was_used(
    ledger, record, status, nanousd, complete
):
    record(ledger, "01A", usage=USAGE, nanousd=5)
    record(ledger, "01A", status=status, nanousd=nanousd)
    found = report(ledger, "node", against=AT_4O).total.against
    assert (found.usd, found.complete) == (DOLLARS, complete)


def test_an_own_server_costs_nothing_but_what_it_used_is_not_known(ledger, record):
    record(ledger, "01A", provider="local", nanousd=0)
    assert not report(ledger, "node", against=AT_4O).total.against.complete
    record(ledger, "01B", usage=USAGE, nanousd=5)
    own = report(ledger, "node", run_id="01B", against=PricedModel("local:any")).total.against
    assert (own.usd, own.complete) == (0, True)


def test_a_call_is_priced_by_its_own_time(ledger, record):
    usage = Usage(input_tokens=10**6, output_tokens=0)
    record(ledger, "01A", usage=usage, nanousd=5, at="2025-06-01T00:00:00.000Z")
    record(ledger, "01B", usage=usage, nanousd=5, at="2025-06-30T00:00:00.000Z")
    found = report(ledger, "run", against=PricedModel("openai:o3"))
    assert {row.key: row.against.usd for row in found.rows} == {"01A": 10, "01B": 2}


def test_without_a_comparison_there_is_none(ledger, record):
    record(ledger, "01A", usage=USAGE, nanousd=5)
    found = report(ledger, "node")
    assert (found.total.against, found.rows[0].against) == (None, None)
