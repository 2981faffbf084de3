"""Streamed answers: cut ones are never mended in silence, and tokens are counted once."""

from __future__ import annotations

import pytest

from aideon_agents import Context, CostHandler, Settings, creative, errors, sequential, validator
from aideon_agents.errors import AllModelsFailed
from aideon_agents.ledger.costs import run_cost
from aideon_agents.ledger.rows import Run
from aideon_agents.models import Models
from aideon_agents.models.candidates import RESTART
from aideon_agents.state import ModelRequest
from aideon_agents.testing import Fault, SimulatedProvider, UsageDetails

PRIMARY = "together:openai/gpt-oss-120b"
OTHER = "openai:gpt-4o-mini"
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
TEXT = "Heat pumps move heat from outdoor air into a house. Installers are scarce."


async def watch(graph, settings, ledger):
    """Run a graph with a viewer; returns what it showed, and the rows."""
    run_id = ledger.start_run(Run(workflow="watched"))
    context = Context(models=Models(settings), stream=True)
    shown = [
        part
        async for part in graph.astream(
            {"task": TEXT},
            {"callbacks": [CostHandler(ledger, run_id=run_id)]},
            context=context,
            stream_mode=["messages", "custom"],
            subgraphs=True,
        )
    ]
    return shown, ledger.calls(run_id)


async def test_a_cut_stream_is_announced_before_the_next_candidate_begins(counter, ledger):
    settings = counter.settings(Fault("cut_after_first_token", after_tokens=3))
    graph = sequential(creative("draft", model=[PRIMARY, OTHER]), name="piece")
    shown, rows = await watch(graph, settings, ledger)

    assert [(row.status, row.candidate) for row in rows] == [("broken", 0), ("ok", 1)]
    modes = [mode for _, mode, _ in shown]
    place = modes.index("custom")
    assert shown[place][2] == {RESTART: "draft"}
    before = "".join(part[0].text for _, _, part in shown[:place])
    after = "".join(part[0].text for _, _, part in shown[place + 1 :])
    assert before
    assert "Heat pumps" in after
    assert modes.count("custom") == 1


async def test_a_wrong_shape_is_announced_before_it_is_asked_again(ledger):
    answers = iter(["not JSON", '{"passed": true, "score": 1, "feedback": ""}'])
    with SimulatedProvider(answer=lambda _request: next(answers)) as provider:
        settings = settings_for(provider)
        shown, rows = await watch(sequential(validator("judge", model=PRIMARY)), settings, ledger)
    assert [row.status for row in rows] == ["ok", "ok"]
    assert [part for _, mode, part in shown if mode == "custom"] == [{RESTART: "judge"}]


async def test_an_error_before_the_first_token_needs_no_announcement(counter, ledger, quick):
    settings = counter.settings([Fault(500), Fault("cut_before_first_token")])
    shown, rows = await watch(sequential(creative("draft", model=PRIMARY)), settings, ledger)
    assert [row.status for row in rows] == ["error", "error", "ok"]
    assert [mode for _, mode, _ in shown if mode == "custom"] == []


async def test_whoever_streams_a_chain_is_told_of_the_cut_by_an_error(counter):
    chain = Models(counter.settings(Fault("cut_after_first_token"))).chat(
        ModelRequest(role="planner", model=(PRIMARY, OTHER)), Context(stream=True)
    )
    shown = []

    async def listen():
        async for chunk in chain.astream(TEXT):
            shown.append(chunk.text)  # noqa: PERF401 - what came before it raised

    with pytest.raises(errors.Partial) as cut:
        await listen()
    why = "it broke the connection off (the end of the answer is missing)"
    assert str(cut.value) == f"{PRIMARY} broke off in the middle: {why}"
    assert "".join(shown)


async def test_a_streamed_chain_moves_on_when_nothing_was_shown_yet(counter, quick):
    chain = Models(counter.settings(Fault("cut_before_first_token"))).chat(
        ModelRequest(role="planner", model=(PRIMARY, OTHER)), Context(stream=True)
    )
    assert "".join([chunk.text async for chunk in chain.astream(TEXT)]) == TEXT


# What the answers cost


def settings_for(provider, **given):
    from aideon_agents import Settings

    return Settings(together_api_key="key", together_base_url=provider.base_url, **given)


async def price_of(ledger, details, stream, faults=()):
    """One call's row beside the provider's own line for it."""
    with SimulatedProvider(details=details, faults=faults) as provider:
        run_id = ledger.start_run(Run(workflow="question"))
        chain = Models(settings_for(provider)).chat(
            ModelRequest(role="planner", model=(PRIMARY,)), Context(stream=stream)
        )
        await chain.ainvoke(TEXT * 40, {"callbacks": [CostHandler(ledger, run_id=run_id)]})
        return ledger.calls(run_id)[0], provider.bill.calls[0]


@STREAMED
@pytest.mark.parametrize("top_level", [False, True], ids=["inside", "top level"])
async def test_cached_tokens_are_counted_wherever_they_are_reported(ledger, stream, top_level):
    details = UsageDetails(cache_read_tokens=500, top_level=top_level)
    row, billed = await price_of(ledger, details, stream)
    assert (row.cache_read_tokens, row.input_tokens) == (500, billed.input_tokens)
    assert row.usage_source == "reported"


@STREAMED
async def test_cached_tokens_cost_what_cached_tokens_cost(ledger, stream):
    model = "together:MiniMaxAI/MiniMax-M3"  # cached input at a fifth of the price
    details = UsageDetails(cache_read_tokens=500, top_level=True)
    with SimulatedProvider(details=details) as provider:
        run_id = ledger.start_run(Run(workflow="question"))
        chain = Models(settings_for(provider)).chat(
            ModelRequest(role="planner", model=(model,)), Context(stream=stream)
        )
        await chain.ainvoke(TEXT * 40, {"callbacks": [CostHandler(ledger, run_id=run_id)]})
    (row,) = ledger.calls(run_id)
    fresh = row.input_tokens - 500
    assert row.cost_nanousd == fresh * 300 + 500 * 60 + row.output_tokens * 1200


@STREAMED
async def test_reasoning_tokens_are_part_of_the_output_and_paid_once(ledger, stream):
    row, billed = await price_of(ledger, UsageDetails(reasoning_tokens=70), stream)
    assert (row.reasoning_tokens, row.output_tokens) == (70, billed.output_tokens)
    assert row.cost_nanousd == row.input_tokens * 150 + row.output_tokens * 600


async def test_usage_that_each_chunk_repeats_is_not_added_up(ledger):
    row, billed = await price_of(ledger, None, stream=True, faults=Fault("cumulative_usage"))
    assert (row.input_tokens, row.output_tokens) == (billed.input_tokens, billed.output_tokens)


async def test_usage_of_a_stream_that_breaks_off_is_unknown_however_often_it_came(ledger):
    fault = Fault("cut_with_cumulative_usage", after_tokens=5)
    with SimulatedProvider(faults=fault) as provider:
        run_id = ledger.start_run(Run(workflow="question"))
        chain = Models(settings_for(provider)).chat(
            ModelRequest(role="planner", model=(PRIMARY,)), Context(stream=True)
        )
        with pytest.raises(AllModelsFailed):
            await chain.ainvoke(TEXT, {"callbacks": [CostHandler(ledger, run_id=run_id)]})
    for row in ledger.calls(run_id):
        assert (row.status, row.cost_nanousd, row.output_tokens) == ("broken", None, None)
        assert row.usage_source == "none"
    assert not run_cost(ledger, run_id).complete


# gpt-5: input 1,250, cached 125, output 10,000 nano-dollars a token.
@STREAMED
@pytest.mark.parametrize(
    ("tier", "part"),
    [(None, 2), ("default", 2), ("standard", 2), ("flex", 1), ("priority", 4)],
)
async def test_the_service_tier_that_answered_sets_the_price(ledger, stream, tier, part):
    details = UsageDetails(cache_read_tokens=500, reasoning_tokens=7, service_tier=tier)
    row = await asked_at_openai(ledger, details, stream)
    assert (row.cache_read_tokens, row.reasoning_tokens) == (500, 7)
    full = (row.input_tokens - 500) * 1250 + 500 * 125 + row.output_tokens * 10_000
    assert row.cost_nanousd == round(full * part / 2)


@STREAMED
@pytest.mark.parametrize("tier", ["scale", "auto", "tomorrow"])
async def test_a_service_tier_without_a_known_price_makes_the_cost_unknown(ledger, stream, tier):
    row = await asked_at_openai(ledger, UsageDetails(service_tier=tier), stream)
    assert (row.status, row.cost_nanousd, row.usage_source) == ("ok", None, "reported")
    assert not run_cost(ledger, row.run_id).complete


async def asked_at_openai(ledger, details, stream):
    with SimulatedProvider(details=details) as provider:
        run_id = ledger.start_run(Run(workflow="question"))
        settings = Settings(openai_api_key="key", openai_base_url=provider.base_url)
        chain = Models(settings).chat(
            ModelRequest(role="planner", model=("openai:gpt-5",)), Context(stream=stream)
        )
        await chain.ainvoke(TEXT * 40, {"callbacks": [CostHandler(ledger, run_id=run_id)]})
    (row,) = ledger.calls(run_id)
    return row


@STREAMED
async def test_the_model_that_answered_is_priced(ledger, stream):
    alias = {"openai/gpt-oss-120b": "MiniMaxAI/MiniMax-M3"}
    with SimulatedProvider(aliases=alias) as provider:
        run_id = ledger.start_run(Run(workflow="question"))
        chain = Models(settings_for(provider)).chat(
            ModelRequest(role="planner", model=(PRIMARY,)), Context(stream=stream)
        )
        await chain.ainvoke(TEXT, {"callbacks": [CostHandler(ledger, run_id=run_id)]})
    (row,) = ledger.calls(run_id)
    assert (row.requested_model, row.response_model) == tuple(*alias.items())
    assert row.cost_nanousd == row.input_tokens * 300 + row.output_tokens * 1200
