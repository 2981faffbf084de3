"""A batch that providers answer in batches of their own: the same results, at their price of a batch."""

from __future__ import annotations

from decimal import Decimal

import pytest
from langchain_core.tools import tool
from pydantic import BaseModel

from aideon_agents import abatch, creative, executor, iterative, parallel, sequential, validator
from aideon_agents.errors import InputError
from aideon_agents.ledger.money import usd

LUNA, QWEN = "openai:gpt-6-luna", "together:Qwen/Qwen3.5-9B"
ITEMS = [f"Heat pumps move heat {number}." for number in range(6)]
HOUR = 3600.0


class Note(BaseModel):
    """A typed answer."""

    title: str


@pytest.mark.parametrize("model", [LUNA, QWEN])
async def test_a_batch_is_left_at_the_provider_and_the_same_call_writes_its_results(
    ask, serving, lines, rows, model
):
    provider = serving(seconds=HOUR)
    graph = executor("facts", model=model)
    first = await ask(provider, graph)
    assert (first.stop_reason, first.pending, len(first.jobs)) == ("provider", 6, 1)
    assert first.held > 0
    assert [row["status"] for row in rows()] == ["started"] * 6
    assert {row["provider_job"] for row in rows()} == set(first.jobs)
    assert {row["processing"] for row in rows()} == {"batch"}
    again = await ask(provider, graph)
    assert (again.stop_reason, provider.batches.submitted, len(rows())) == ("provider", 1, 6)
    provider.clock.advance(HOUR)
    done = await ask(provider, graph)
    assert (done.stop_reason, done.completed, done.held) == (None, 6, 0)
    assert [line["output"] for line in lines()] == ITEMS
    assert {row["status"] for row in rows()} == {"ok"}
    assert done.usd == usd(provider.bill.nanousd)
    assert sum(row["cost_nanousd"] for row in rows()) == provider.bill.nanousd


@pytest.mark.parametrize("model", [LUNA, QWEN])
async def test_two_steps_are_two_batches_with_the_results_of_the_live_engine(
    ask, serving, settings, lines, model
):
    provider = serving()
    graph = sequential(executor("facts", model=model), creative("text", output=Note, model=model))
    done = await ask(provider, graph)
    assert (done.stop_reason, done.completed, provider.batches.submitted) == (None, 6, 2)
    assert done.usd == usd(provider.bill.nanousd)
    await abatch(graph, ITEMS, "live.jsonl", settings=settings(provider), ledger="live.db")
    own = {"run_id", "usd"}
    batched, live = (
        [{key: one for key, one in line.items() if key not in own} for line in lines(name)]
        for name in ("out.jsonl", "live.jsonl")
    )
    assert batched == live


async def test_the_list_price_and_what_is_saved_are_known_and_never_assumed(ask, serving, paid):
    provider = serving(discount=0.5)
    half = await ask(provider)
    assert half.saved == half.usd == usd(paid())
    full = await ask(serving(), executor("facts", model=QWEN), out="other.jsonl")
    assert full.saved == Decimal(0)


@tool
def look(what: str) -> str:
    """Look something up."""
    return what


@pytest.mark.parametrize(
    ("graph", "why"),
    [
        (executor("facts", tools=[look], model=LUNA), "facts calls tools"),
        (iterative(creative("draft"), validator("judge")), "runs other nodes itself"),
        (parallel(creative("one"), creative("two")), "runs several nodes at once"),
        (sequential(creative("draft", approve=True), creative("end")), "asks a person"),
        (executor("facts", quality=0.8), "judged"),
        (
            executor("facts", model="huggingface:openai/gpt-oss-20b"),
            "no provider of these takes batches",
        ),
    ],
)
async def test_what_batches_cannot_run_is_refused_before_anything_is_sent(ask, serving, graph, why):
    provider = serving()
    with pytest.raises(InputError, match="use --engine local") as refused:
        await ask(provider, graph)
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not provider.requests


async def test_a_server_without_batches_is_refused_before_anything_is_sent(
    ask, serving, monkeypatch
):
    async def none(*_):
        return None

    provider = serving()
    monkeypatch.setattr(provider.batches, "route", none)
    with pytest.raises(InputError, match="has no batches: use --engine local"):
        await ask(provider)
    assert [one.path for one in provider.requests] == ["/v1/batches"]
