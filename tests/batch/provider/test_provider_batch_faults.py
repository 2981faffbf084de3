"""What goes wrong with batches at a provider: nothing is bought twice, and nothing finished is lost."""

from __future__ import annotations

import contextlib

import pytest

from aideon_agents import abatch, aresume, creative, executor, sequential
from aideon_agents.errors import RunError, Transient, UserError
from aideon_agents.ledger import batches
from aideon_agents.testing import SimulatedProvider

LUNA, QWEN = "openai:gpt-6-luna", "together:Qwen/Qwen3.5-9B"
ITEMS = [f"Heat pumps move heat {number}." for number in range(6)]
BOTH = pytest.mark.parametrize("model", [LUNA, QWEN])


def settled(provider: SimulatedProvider, rows, done) -> None:
    """The ledger has what the bill has, to the nano-dollar."""
    assert sum(row["cost_nanousd"] for row in rows()) == provider.bill.nanousd
    assert (done.complete, done.held) == (True, 0)


@BOTH
async def test_what_an_expired_batch_has_finished_is_kept_and_the_rest_is_asked_again(
    ask, serving, lines, rows, model
):
    provider = serving(faults=("expired",))
    done = await ask(provider, executor("facts", model=model), wait=True)
    assert (done.completed, provider.batches.submitted) == (6, 2)
    assert [line["attempts"] for line in lines()] == [1] * 6
    assert sorted(row["status"] for row in rows()) == ["error"] * 3 + ["ok"] * 6
    assert provider.bill.requests == 6
    settled(provider, rows, done)


@BOTH
async def test_a_batch_that_was_cancelled_at_the_provider_stops_and_continues(
    ask, serving, rows, model
):
    provider = serving(faults=("cancelled",))
    graph = executor("facts", model=model)
    first = await ask(provider, graph)
    assert (first.stop_reason, first.failed, first.held) == ("cancelled", 0, 0)
    done = await ask(provider, graph, wait=True)
    assert (done.completed, provider.batches.submitted) == (6, 2)
    settled(provider, rows, done)


@pytest.mark.parametrize("fault", ["shuffled", "duplicate"])
async def test_lines_in_any_order_and_twice_are_counted_once(ask, serving, lines, rows, fault):
    provider = serving(faults=(fault, fault))
    done = await ask(provider, wait=True)
    assert [line["output"] for line in lines()] == ITEMS
    assert len(rows()) == 6
    settled(provider, rows, done)


async def test_a_line_that_is_missing_may_have_been_charged_and_is_asked_again(
    ask, serving, lines, rows
):
    provider = serving(faults=("missing",))
    done = await ask(provider, wait=True)
    assert (done.completed, done.complete, len(rows())) == (6, False, 7)
    assert [row["cost_nanousd"] for row in rows() if row["status"] == "error"] == [None]
    assert done.held > 0
    assert provider.bill.nanousd > sum(row["cost_nanousd"] or 0 for row in rows())


async def test_a_line_that_is_always_missing_fails_its_item_after_three_batches(ask, serving):
    provider = serving(faults=("missing",) * 9)
    done = await ask(provider, items=ITEMS[:1], wait=True)
    assert (done.failed, provider.batches.submitted) == (1, 3)


async def test_a_line_that_is_refused_fails_its_item_and_no_other(ask, serving, lines, rows):
    provider = serving(refuses=frozenset({1}))
    done = await ask(provider, wait=True)
    assert (done.completed, done.failed) == (5, 1)
    (failed,) = [line for line in lines() if line["status"] == "failed"]
    assert "This is refused" in failed["error"]
    settled(provider, rows, done)
    again = await ask(serving(), wait=True, retry_failed=True)
    assert (again.completed, again.failed) == (6, 0)


async def test_a_batch_that_the_provider_does_not_take_costs_nothing(ask, serving, rows):
    provider = serving(faults=("failed",))
    with pytest.raises(RunError, match="refused batch batch_0002: The input file is not valid"):
        await ask(provider, wait=True)
    assert {row["cost_nanousd"] for row in rows()} == {0}
    done = await ask(provider, wait=True)
    assert done.completed == 6
    settled(provider, rows, done)


async def test_an_answer_of_the_wrong_shape_is_asked_for_once_more_in_another_batch(
    ask, serving, rows
):
    from pydantic import BaseModel

    class Note(BaseModel):
        title: str

    asked = list[str]()

    def answer(request):
        asked.append(request.request_id)
        return "no JSON" if len(asked) == 1 else '{"title": "Heat"}'

    provider = serving(answer=answer)
    graph = executor("facts", output=Note, model=LUNA)
    done = await ask(provider, graph, items=ITEMS[:2], wait=True)
    assert (done.completed, provider.batches.submitted, len(rows())) == (2, 2, 3)
    settled(provider, rows, done)


@pytest.mark.parametrize(
    "at", [(step, one) for step in ("upload", "begin", "look", "lines") for one in (LUNA, QWEN)]
)
async def test_a_call_that_dies_at_any_step_buys_nothing_twice(ask, serving, rows, monkeypatch, at):
    """The request reaches the provider, and its answer never arrives."""
    from aideon_agents.batch.provider.dialects import Batches

    provider, (step, model) = serving(), at
    graph = sequential(executor("facts", model=model), creative("text", model=model))
    whole = getattr(Batches, step)

    async def dies(self, *given, **named):
        await whole(self, *given, **named)
        raise Transient("the connection broke")

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(Batches, step, cut(whole) if step == "lines" else dies)
            with pytest.raises(Transient):
                await ask(provider, graph)
        if step != "begin":
            break
    done = await ask(provider, graph, wait=True)
    assert (done.completed, provider.batches.submitted) == (6, 2)
    assert len(rows()) == 12
    settled(provider, rows, done)


def cut(whole):
    """The lines of a file, of which only the first arrives."""

    async def lines(self, file_id):
        async with contextlib.aclosing(whole(self, file_id)) as sent:
            async for one in sent:
                yield one
                break
        raise Transient("the connection broke")

    return lines


@BOTH
async def test_a_budget_that_holds_a_part_makes_several_batches(ask, serving, ledger, model):
    provider = serving()
    graph = executor("facts", model=model, max_tokens=256)
    whole = await ask(provider, graph, out="whole.jsonl", rehearse=False, wait=True)
    assert provider.batches.submitted == 1
    (worst,) = {one["amount_nanousd"] for one in ledger.select("SELECT amount_nanousd FROM holds")}
    other = serving()
    done = await ask(
        other,
        graph,
        items=[f"{one}!" for one in ITEMS],
        budget=f"{2.9 * worst / 1e9:.9f}",
        wait=True,
    )
    assert (done.completed, done.stop_reason) == (6, None)
    assert other.batches.submitted >= 2
    assert whole.usd > 0


async def test_a_budget_that_no_line_fits_stops_the_batch_before_anything_is_sent(ask, serving):
    provider = serving()
    done = await ask(provider, budget="0.0000001", wait=True)
    assert (done.stop_reason, done.pending, provider.batches.submitted) == ("budget", 6, 0)


async def test_a_batch_in_progress_is_not_asked_live_and_not_forgotten(
    ask, serving, settings, ledger
):
    provider = serving(seconds=60)
    graph = executor("facts", model=LUNA)
    left = await ask(provider, graph)
    with pytest.raises(UserError, match="add --engine provider, or cancel it with"):
        await abatch(graph, ITEMS, "out.jsonl", settings=settings(provider), ledger=ledger)
    run = ledger.select("SELECT run_id FROM runs")[0]["run_id"]
    with pytest.raises(UserError, match=f"repeat the command of batch {left.batch_id}"):
        await aresume(graph, run, settings=settings(provider), ledger=ledger)
    assert provider.bill.requests == 0


async def test_a_batch_that_another_process_cancels_ends_at_the_provider(
    ask, serving, ledger, rows
):
    provider = serving(seconds=3600)

    def watch(progress):
        batches.cancel(ledger, progress.batch_id)

    done = await ask(provider, wait=True, watch=watch)
    assert (done.stop_reason, done.failed, done.pending) == ("cancelled", 0, 6)
    assert provider.bill.requests == 3
    settled(provider, rows, done)
    again = await ask(provider)
    assert again.stop_reason == "provider"
    provider.clock.advance(3600)
    assert (await ask(provider)).completed == 6
    assert provider.bill.requests == 6


async def test_a_process_that_dies_between_a_cost_and_its_line_leaves_no_item_behind(
    ask, serving, rows, monkeypatch
):
    from aideon_agents.batch.provider.lines import Lines

    def dies(*_):
        raise Transient("killed")

    provider = serving()
    with monkeypatch.context() as patch:
        patch.setattr(Lines, "answered", dies)
        with pytest.raises(Transient):
            await ask(provider)
    done = await ask(provider, wait=True)
    assert (done.completed, provider.batches.submitted) == (6, 1)
    settled(provider, rows, done)
