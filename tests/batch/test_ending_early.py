"""A batch that ends before its end: at a budget, after too many failures, by somebody's wish."""

from __future__ import annotations

import asyncio
import signal

import pytest

from aideon_agents import abatch, aresume, creative, executor, sequential
from aideon_agents.batch.running import BatchRunning
from aideon_agents.errors import RunError
from aideon_agents.ledger import batches
from aideon_agents.ledger.checkpoints import checkpoints_path
from aideon_agents.testing import SimulatedProvider

TEN = [{"id": f"pump-{number}", "task": f"Pump {number} moves heat."} for number in range(10)]
MODEL = {"executor": "together:Qwen/Qwen3.5-9B", "creative": "together:Qwen/Qwen3.5-9B"}


@pytest.fixture
def provider():
    with SimulatedProvider(announce=False) as running:
        yield running


@pytest.fixture
def pay(ledger, provider, keyed):
    """Runs a batch that asks a provider."""

    async def run(items, out="out.jsonl", graph=None, **options):
        graph = graph or sequential(
            executor("facts", max_tokens=64), creative("text", max_tokens=64)
        )
        told = {"settings": keyed(provider), "ledger": ledger, "model": MODEL} | options
        return await abatch(graph, items, out, **told)

    return run


async def test_at_its_budget_no_item_starts_and_more_money_goes_on(pay, written, lines, provider):
    """A call costs about 30 micro-dollars, and may cost 260."""
    stopped = await pay(written(TEN), budget="0.0006", max_concurrency=2)
    assert stopped.stop_reason == "budget"
    assert 0 < stopped.completed < 10
    assert stopped.pending == 10 - stopped.completed
    assert [line["id"] for line in lines()] == [one["id"] for one in TEN][: len(lines())]
    assert stopped.usd <= 0.0006
    again = await pay(written(TEN), budget="0.0006", max_concurrency=2)
    assert (again.stop_reason, again.usd <= 0.0006) == ("budget", True)
    done = await pay(written(TEN), budget="1")
    assert (done.stop_reason, done.completed) == (None, 10)
    assert [line["id"] for line in lines()] == [one["id"] for one in TEN]
    assert len(provider.requests) == 20  # what was paid was not paid again


async def test_without_a_budget_the_next_time_there_is_none(pay, written):
    assert (await pay(written(TEN), budget="0.0002")).stop_reason == "budget"
    assert (await pay(written(TEN))).completed == 10


async def test_a_budget_that_was_not_there_before_counts_what_is_spent(pay, written, ledger):
    first = await pay(written(TEN), max_failures=None)
    with ledger.database.transaction() as tx:
        tx.write("UPDATE items SET status = 'pending' WHERE position > 4", {})
    result = await pay(written(TEN), budget=first.usd)
    assert (result.stop_reason, result.usd) == ("budget", first.usd)


async def test_an_item_at_its_own_budget_has_failed_and_the_others_go_on(pay, written, lines):
    items = [*TEN[:3], {"id": "long", "task": "Pumps move heat. " * 200}, *TEN[3:]]
    result = await pay(written(items), item_budget="0.0004")
    assert (result.completed, result.failed, result.stop_reason) == (10, 1, None)
    (failed,) = [line for line in lines() if line["status"] == "failed"]
    assert failed["id"] == "long"
    assert "item:" in failed["error"]
    again = await pay(written(items), item_budget="0.0004")
    assert again.failed == 1
    more = await pay(written(items), item_budget="0.1")
    assert (more.completed, more.failed) == (11, 0)
    assert [line["attempts"] for line in lines()] == [
        2 if one["id"] == "long" else 1 for one in items
    ]


async def test_an_items_budget_counts_all_of_its_runs(pay, written, ledger, lines):
    broken = [True]

    def breaks(state):
        if broken:
            raise ValueError("no luck")
        return "fine"

    graph = sequential(executor("facts", max_tokens=64), breaks, creative("text", max_tokens=64))
    options = {"graph": graph, "item_budget": "0.0001", "checkpoint": False}
    await pay(written(TEN[:1]), **options)
    broken.clear()
    await pay(written(TEN[:1]), retry_failed=True, **options)
    (line,) = lines()
    assert (line["status"], line["attempts"]) == ("failed", 2)
    assert "spent" in line["error"]


async def test_a_standing_budget_of_the_day_stops_a_batch_and_keeps_its_state(
    pay, written, ledger, provider
):
    ledger.set_budget("day", "0.0006")
    stopped = await pay(written(TEN))
    assert (stopped.stop_reason, stopped.failed) == ("budget", 0)
    ledger.set_budget("day", "1")
    assert (await pay(written(TEN))).completed == 10
    assert len(provider.requests) == 20


async def test_a_standing_budget_of_each_run_fails_its_item_alone(pay, written, ledger):
    ledger.set_budget("run", "0.000001")
    result = await pay(written(TEN[:3]))
    assert (result.failed, result.stop_reason) == (3, None)


async def test_too_many_failures_stop_a_batch(rehearse, written):
    def breaks(state):
        raise ValueError("no luck")

    graph = sequential(breaks, name="breaks")
    result = await rehearse(written(TEN), graph=graph, max_failures=3, max_concurrency=1)
    assert (result.failed, result.pending, result.stop_reason) == (3, 7, "max_failures")
    result = await rehearse(written(TEN), graph=graph, max_failures="40%", max_concurrency=1)
    assert (result.failed, result.pending, result.stop_reason) == (7, 3, "max_failures")
    result = await rehearse(written(TEN), graph=graph, max_failures="3", max_concurrency=1)
    assert (result.failed, result.pending, result.stop_reason) == (10, 0, None)


def batch_running(ledger, graph, items, **options):
    return BatchRunning(graph, items, "out.jsonl", ledger=ledger, rehearse=True, **options)


def napping(gate):
    async def nap(state):
        gate.started.append(state["task"])
        gate.at_work.set()
        await gate.open.wait()
        return "rested"

    return sequential(nap, name="nap")


class Gate:
    """Holds items up."""

    def __init__(self):
        self.started = []
        self.at_work = asyncio.Event()
        self.open = asyncio.Event()


async def test_a_drained_batch_finishes_what_is_in_flight(ledger, written, lines):
    gate = Gate()
    running = batch_running(ledger, napping(gate), written(TEN), max_concurrency=2)
    work = asyncio.create_task(running.to_end())
    await gate.at_work.wait()
    running.control.drain()
    gate.open.set()
    result = await work
    assert (result.completed, result.pending, result.stop_reason) == (2, 8, "interrupted")
    assert len(lines()) == 2
    assert batches.find_batch(ledger, "last").stop_reason == "interrupted"
    rest = await batch_running(ledger, napping(gate), written(TEN)).to_end()
    assert (rest.completed, rest.stop_reason) == (10, None)
    assert len(gate.started) == 10


async def test_a_cancelled_batch_cuts_off_what_is_in_flight(ledger, written, lines):
    gate = Gate()
    running = batch_running(ledger, napping(gate), written(TEN), max_concurrency=2)
    work = asyncio.create_task(running.to_end())
    await gate.at_work.wait()
    running.control.cancel()
    result = await work
    assert (result.completed, result.pending, result.stop_reason) == (0, 10, "interrupted")
    assert {run.status for run in ledger.runs()} == {"cancelled"}
    gate.open.set()
    assert (await batch_running(ledger, napping(gate), written(TEN)).to_end()).completed == 10
    assert [line["attempts"] for line in lines()] == [2, 2, *[1] * 8]


async def test_a_caller_that_is_cancelled_leaves_a_batch_that_goes_on(ledger, written, lines):
    gate = Gate()
    work = asyncio.create_task(batch_running(ledger, napping(gate), written(TEN)).to_end())
    await gate.at_work.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    found = batches.find_batch(ledger, "last")
    assert (found.status, found.stop_reason) == ("stopped", "interrupted")
    gate.open.set()
    assert (await batch_running(ledger, napping(gate), written(TEN)).to_end()).completed == 10


async def test_somebody_else_can_end_a_batch(ledger, written):
    gate = Gate()
    running = batch_running(ledger, napping(gate), written(TEN), max_concurrency=2)
    work = asyncio.create_task(running.to_end())
    await gate.at_work.wait()
    batches.cancel(ledger, batches.find_batch(ledger, "last").batch_id)
    while not running.control.is_over:
        await asyncio.sleep(0.01)
    gate.open.set()
    result = await work
    assert (result.pending, result.stop_reason) == (8, "cancelled")
    assert (await batch_running(ledger, napping(gate), written(TEN)).to_end()).completed == 10


async def test_a_ledger_that_fails_midway_ends_a_batch_and_loses_nothing(ledger, written, lines):
    started = []

    async def count(state):
        started.append(state["task"])
        if len(started) == 4:
            with ledger.database.transaction() as tx:
                tx.write(
                    "CREATE TRIGGER full BEFORE INSERT ON runs BEGIN SELECT RAISE(ABORT, 'full'); END",
                    {},
                )
        return "done"

    graph = sequential(count, name="count")
    with pytest.raises(RunError, match="cannot be used"):
        await batch_running(ledger, graph, written(TEN), max_concurrency=1).to_end()
    assert len(lines()) == 4
    with ledger.database.transaction() as tx:
        tx.write("DROP TRIGGER full", {})
    assert (await batch_running(ledger, graph, written(TEN)).to_end()).completed == 10
    assert len(started) == 10


async def test_an_end_that_cannot_be_written_down_is_told_of_and_comes_again(
    ledger, written, caplog
):
    async def fills(state):
        with ledger.database.transaction() as tx:
            tx.write(
                "CREATE TRIGGER IF NOT EXISTS full BEFORE INSERT ON outputs"
                " BEGIN SELECT RAISE(ABORT, 'full'); END",
                {},
            )
        return "done"

    graph = sequential(executor("facts"), fills, name="fills")
    running = batch_running(ledger, graph, written(TEN[:1]), checkpoint=True)
    why = r"the end of item pump-0 cannot be written \(the ledger .* cannot be used"
    with pytest.raises(RunError, match=why):
        await running.to_end()
    assert caplog.messages == []  # it is said once, however many items are in flight
    assert checkpoints_path(ledger).exists()
    with ledger.database.transaction() as tx:
        tx.write("UPDATE runs SET pid = 1, process_start = 'gone'", {})
        tx.write("DROP TRIGGER full", {})
    calls = len(ledger.calls(ledger.runs()[0].run_id))
    result = await batch_running(ledger, graph, written(TEN[:1]), checkpoint=True).to_end()
    assert result.completed == 1
    assert len(ledger.calls(ledger.runs()[0].run_id)) == calls  # its state was kept


async def test_a_ledger_that_takes_nothing_any_more_is_told_of_by_what_failed_first(
    ledger, written
):
    async def fills(state):
        abort = "BEGIN SELECT RAISE(ABORT, 'full'); END"
        with ledger.database.transaction() as tx:
            tx.write(f"CREATE TRIGGER no_end BEFORE INSERT ON outputs {abort}", {})
            tx.write(f"CREATE TRIGGER no_finish BEFORE UPDATE ON batches {abort}", {})
        return "done"

    with pytest.raises(RunError, match="the end of item pump-0"):
        await batch_running(ledger, sequential(fills), written(TEN[:1])).to_end()


async def test_items_that_ask_wait_and_their_answers_are_taken(ledger, written, lines):
    graph = sequential(creative("draft", approve=True), creative("text"), name="asks")
    result = await batch_running(ledger, graph, written(TEN[:3])).to_end()
    assert (result.pending, result.stop_reason, len(result.waiting)) == (3, "waiting", 3)
    assert lines() == []
    again = await batch_running(ledger, graph, written(TEN[:3])).to_end()
    assert (again.stop_reason, len(ledger.runs())) == ("waiting", 3)
    for run_id in result.waiting:
        yes = {"approved": True, "feedback": None}
        assert (await aresume(graph, run_id, answer=yes, ledger=ledger)).status == "completed"
    done = await batch_running(ledger, graph, written(TEN[:3])).to_end()
    assert (done.completed, done.stop_reason) == (3, None)
    assert [line["id"] for line in lines()] == ["pump-0", "pump-1", "pump-2"]
    assert [list(line["results"]) for line in lines()] == [["draft", "text"]] * 3


async def test_an_item_that_asks_without_a_checkpoint_has_failed(ledger, written, lines):
    graph = sequential(creative("draft", approve=True), name="asks")
    result = await batch_running(ledger, graph, written(TEN[:1]), checkpoint=False).to_end()
    assert result.failed == 1
    assert "waits for an answer" in lines()[0]["error"]


NAP = """
import asyncio, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from aideon_agents import sequential

async def nap(state):
    print("napping", file=sys.stderr, flush=True)
    await asyncio.sleep(float(state["inputs"]["seconds"]))
    return "rested"

graph = sequential(nap)
"""


@pytest.fixture
def nap(start, folder, written):
    """Starts a batch of ten naps, two at once, and waits until both nap."""

    def run(seconds):
        (folder / "nap.py").write_text(NAP, encoding="utf-8")
        written([{**item, "seconds": seconds} for item in TEN])
        words = ("nap.py", "items.jsonl", "-o", "out.jsonl", "--max-concurrency", "2")
        process = start(*words)
        seen = 0
        while seen < 2:
            line = process.stderr.readline()
            assert line
            seen += "napping" in line
        return process

    return run


def test_an_interrupt_drains_and_ends_with_130(nap, ended, lines):
    process = nap(0.3)
    process.send_signal(signal.SIGINT)
    done = ended(process)
    assert done.code == 130, done.err
    assert (done.document["completed"], done.document["stop_reason"]) == (2, "interrupted")
    assert "interrupted: waiting for 2 items in progress" in done.err
    assert len(lines()) == 2


def test_a_second_interrupt_cuts_off_what_is_in_flight(nap, ended, lines):
    process = nap(60)
    process.send_signal(signal.SIGINT)
    while "items in progress" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    done = ended(process)
    assert done.code == 130, done.err
    assert (done.document["completed"], done.document["pending"]) == (0, 10)
    assert lines() == []
