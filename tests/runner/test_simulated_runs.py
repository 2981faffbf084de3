"""Runs against a simulated provider, which says so: their rows are marked, and stay out of budgets."""

from __future__ import annotations

import pytest

from aideon_agents import arun, creative, executor, sequential
from aideon_agents.errors import RunError
from aideon_agents.ledger.budgets.accounts import limits
from aideon_agents.models import wire
from aideon_agents.models.protocol.ways import is_loopback
from aideon_agents.testing import Fault, SimulatedProvider

MODEL = "together:Qwen/Qwen3.5-9B"
GRAPH = sequential(executor("facts", model=MODEL, max_tokens=64), creative("text", model=MODEL))


async def rows_of(keyed, provider, ledger, **options):
    settings = keyed(provider)
    result = await arun(GRAPH, "Pumps.", settings=settings, ledger=ledger, **options)
    return result, ledger.calls(result.run_id)


def spent(ledger):
    """What each standing limit counts, and what is held under it."""
    return {
        one.scope: (one.spent_nanousd, one.held_nanousd)
        for one in limits(ledger.database)
        if one.spent_nanousd is not None
    }


@pytest.mark.parametrize("announce", [True, False])
@pytest.mark.parametrize("stream", [True, False])
async def test_only_rows_of_a_provider_that_announces_itself_are_simulated(
    keyed, ledger, announce, stream
):
    ledger.set_budget("user:ada", 1)
    with SimulatedProvider(announce=announce) as provider:
        options = {"stream": stream, "user": "ada", "budget": 1}
        result, rows = await rows_of(keyed, provider, ledger, **options)
    assert [row.simulated for row in rows] == [announce] * 2
    assert ledger.find_run(result.run_id).simulated is announce
    nanousd = sum(row.cost_nanousd for row in rows)
    assert result.cost.usd > 0, "what it costs is worked out all the same"
    assert set(spent(ledger).values()) == {(0 if announce else nanousd, 0)}
    own = ledger.select("SELECT spent_nanousd FROM accounts WHERE limit_nanousd IS NOT NULL")
    assert [row["spent_nanousd"] for row in own] == [nanousd]


@pytest.mark.parametrize("kind", [400, 500, "reset_after", "cut_after_first_token", "garbage"])
@pytest.mark.parametrize("stream", [True, False])
async def test_whatever_becomes_of_an_answer_its_row_is_simulated(keyed, ledger, kind, stream):
    with SimulatedProvider() as provider:
        await rows_of(keyed, provider, ledger)
    with SimulatedProvider(port=provider.port, faults=Fault(kind)) as broken:
        result, rows = await rows_of(keyed, broken, ledger, stream=stream)
    assert result.status == "failed"
    assert {row.simulated for row in rows} == {True}
    assert set(spent(ledger).values()) == {(0, 0)}


async def test_a_simulated_provider_that_is_gone_is_still_one(keyed, ledger):
    with SimulatedProvider() as provider:
        await rows_of(keyed, provider, ledger)
    result, rows = await rows_of(keyed, provider, ledger)
    assert result.status == "failed"
    assert {row.simulated for row in rows} == {True}


async def test_another_server_at_the_same_address_is_no_simulated_one(keyed, ledger):
    with SimulatedProvider() as provider:
        await rows_of(keyed, provider, ledger)
    with SimulatedProvider(port=provider.port, announce=False) as real:
        _, rows = await rows_of(keyed, real, ledger)
    answered = [row for row in rows if row.status == "ok"]
    assert [row.simulated for row in answered] == [False, False]
    assert spent(ledger)["day"] == (sum(row.cost_nanousd for row in answered), 0)


async def test_another_server_at_the_same_address_is_held_to_every_limit_after_a_while(
    keyed, ledger, monkeypatch
):
    monkeypatch.setattr(wire, "SIMULATED_FOR", 0)
    with SimulatedProvider() as provider:
        _, rows = await rows_of(keyed, provider, ledger)
    assert [row.simulated for row in rows] == [True, True]
    ledger.set_budget("day", "0.00000001")
    with SimulatedProvider(port=provider.port, announce=False) as real:
        result, rows = await rows_of(keyed, real, ledger)
    assert (result.stop_reason, rows, real.requests) == ("budget", [], [])
    ledger.set_budget("day", 1)
    with SimulatedProvider(port=provider.port, announce=False, faults=Fault("reset_after")) as real:
        _, rows = await rows_of(keyed, real, ledger)
    assert {row.simulated for row in rows} == {False}
    assert spent(ledger)["day"][0] > 0


async def test_a_proxy_on_this_machine_leads_to_a_provider_that_charges(keyed, ledger, monkeypatch):
    with SimulatedProvider() as provider:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{provider.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        elsewhere = keyed(provider).model_copy(
            update={"together_base_url": "http://charges.example/v1"}
        )
        result = await arun(GRAPH, "Pumps.", settings=elsewhere, ledger=ledger)
        assert provider.requests, "it came this way"
    with pytest.raises(RunError):
        result.raise_for_status()
    assert {row.simulated for row in ledger.calls(result.run_id)} == {False}


@pytest.mark.parametrize(
    ("host", "answer"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("169.254.1.1", False),
        ("::ffff:8.8.8.8", False),
        ("localhost.example", False),
    ],
)
def test_only_an_address_of_this_machine_is_believed(host, answer):
    assert is_loopback(host) is answer


async def test_a_budget_of_the_run_can_be_tried_out(keyed, ledger):
    ledger.set_budget("day", 0)
    with SimulatedProvider() as provider:
        await rows_of(keyed, provider, ledger)  # the first call finds out
        assert provider.requests == [], "until then, the limit of the day holds"
        ledger.set_budget("day", "0.01")
        await rows_of(keyed, provider, ledger)
        ledger.set_budget("day", 0)
        result, _ = await rows_of(keyed, provider, ledger, budget="0.01")
        assert (result.status, result.stop_reason) == ("completed", None)
        result, _ = await rows_of(keyed, provider, ledger, budget="0.000001")
        assert (result.status, result.stop_reason) == ("stopped", "budget")
