"""Workers that are killed or stopped: their items go to others, and nothing of them is doubled.

In these processes a worker counts as gone after 3 s, and not after 15.
"""

from __future__ import annotations

import asyncio
import json
import signal

import pytest

from aideon_agents.testing import Fault, Rate, SimulatedProvider

ITEMS = [{"id": f"item-{n}", "task": f"Pumps move heat {n}."} for n in range(4)]
FACTS, TEXT = "Qwen/Qwen3.5-9B", "openai/gpt-oss-120b"
BATCH = (
    *("batch", "two.py", "items.jsonl", "-o", "out.jsonl", "--engine", "distributed", "--json"),
    *("--checkpoint", "--model", f"executor=together:{FACTS}"),
    *("--model", f"creative=together:{TEXT}"),
)


class Slow:
    """A provider whose first four answers of one model come late or never."""

    def __init__(self, model, fault):
        self.seen = 0
        self._model, self._fault = model, fault

    def __call__(self, request):
        if request.body["model"] != self._model:
            return None
        self.seen += 1
        return self._fault if self.seen <= len(ITEMS) else None


@pytest.fixture
def paid(start, written, monkeypatch):
    """Starts a batch that asks a provider, and one worker; gives both."""

    def begun(provider):
        written(ITEMS)
        monkeypatch.setenv("TOGETHER_API_KEY", "key")
        monkeypatch.setenv("TOGETHER_BASE_URL", provider.base_url)
        return start(*BATCH), start("worker")

    return begun


async def result_of(batch):
    out, err = await asyncio.to_thread(batch.communicate, timeout=40)
    assert batch.returncode == 0, err
    return json.loads(out)


async def left(worker):
    """Have a worker leave; returns what it said."""
    worker.send_signal(signal.SIGTERM)
    _, err = await asyncio.to_thread(worker.communicate, timeout=40)
    assert worker.returncode == 0, err
    return err


def calls(ledger):
    """How many calls each node has made, and how many are under way as far as is known."""
    rows = ledger.select("SELECT node_path, status FROM calls")
    nodes = [row["node_path"] for row in rows]
    under_way = sum(row["status"] == "started" for row in rows)
    return nodes.count("facts"), nodes.count("text"), under_way


async def test_a_killed_workers_items_go_on_elsewhere(start, paid, lines, ledger, until):
    slow = Slow(TEXT, Fault("hang"))
    with SimulatedProvider(faults=slow) as provider:
        batch, first = paid(provider)
        await until(lambda: slow.seen == 4)
        first.kill()
        second = start("worker")
        result = await result_of(batch)
        await left(second)
    assert (result["completed"], result["complete"]) == (4, False)  # the killed one may have paid
    assert [line["attempts"] for line in lines()] == [2, 2, 2, 2]
    assert calls(ledger) == (4, 8, 4)


async def test_a_stopped_worker_that_comes_back_adds_nothing(start, paid, lines, ledger, until):
    slow = Slow(FACTS, Fault("delay", seconds=1.5))
    rates = {FACTS: Rate(170, 250), TEXT: Rate(150, 600)}
    with SimulatedProvider(faults=slow, rates=rates) as provider:
        batch, first = paid(provider)
        await until(lambda: slow.seen == 4)
        first.send_signal(signal.SIGSTOP)
        second = start("worker")
        result = await result_of(batch)
        made = lines()
        assert (result["completed"], len(made)) == (4, 4)
        first.send_signal(signal.SIGCONT)  # its answers have long arrived
        await until(lambda: calls(ledger)[2] == 0)
        await left(first)
        await left(second)
    assert calls(ledger) == (8, 4, 0)
    assert lines() == made
    assert ledger.select("SELECT * FROM outputs") == []
    assert ledger.select("SELECT * FROM checkpoints") == []
    assert accounted(ledger, provider)


def accounted(ledger, provider):
    """Whether every request has its row, and every row its price or says that nobody knows."""
    billed = {line.request_id: line.nanousd for line in provider.bill.calls}
    asked = {one.headers["x-aideon-call"]: billed[one.request_id] for one in provider.requests}
    rows = ledger.select("SELECT call_id, cost_nanousd FROM calls")
    known = {row["call_id"]: row["cost_nanousd"] for row in rows}
    return known.keys() == asked.keys() and all(
        cost in (None, asked[call_id]) for call_id, cost in known.items()
    )


async def test_a_killed_follower_leaves_the_workers_at_work(start, paid, lines, ledger, until):
    slow = Slow(TEXT, Fault("delay", seconds=0.5))
    with SimulatedProvider(faults=slow) as provider:
        batch, worker = paid(provider)
        await until(lambda: slow.seen)
        batch.kill()
        done = "SELECT COUNT(*) AS n FROM items WHERE status = 'completed'"
        await until(lambda: ledger.select(done)[0]["n"] == 4)
        await until(lambda: not ledger.select("SELECT * FROM procrastinate_jobs"))
        assert (await result_of(start(*BATCH)))["completed"] == 4
        await left(worker)
        assert len(provider.requests) == 8
    assert [line["id"] for line in lines()] == [item["id"] for item in ITEMS]


async def test_a_node_that_exits_fails_its_item_and_no_more(start, written, folder, lines):
    written(ITEMS)
    source = (
        "import sys\nfrom aideon_agents import sequential\n"
        "def leaves(state):\n    sys.exit(0) if '2' in state['task'] else None\n    return 'x'\n"
        "graph = sequential(leaves)\n"
    )
    (folder / "leaves.py").write_text(source, encoding="utf-8")
    worker = start("worker", "--max-concurrency", "1")
    words = ("items.jsonl", "-o", "out.jsonl", "--engine", "distributed", "--rehearse", "--json")
    batch = start("batch", "leaves.py", *words)
    out, _ = await asyncio.to_thread(batch.communicate, timeout=40)
    assert (batch.returncode, json.loads(out)["failed"]) == (1, 1)
    assert [line["status"] for line in lines()] == ["completed", "completed", "failed", "completed"]
    await left(worker)


async def test_a_worker_outlives_its_server(start, written, folder, postgres_of_its_own, until):
    written(ITEMS)
    ledger = {"AIDEON_LEDGER": postgres_of_its_own.url()}
    source = (
        "import asyncio, pathlib\nfrom aideon_agents import sequential\n"
        "async def waits(state):\n    pathlib.Path('begun').touch()\n"
        "    while not pathlib.Path('go').exists():\n        await asyncio.sleep(0.05)\n"
        "    return 'x'\ngraph = sequential(waits)\n"
    )
    (folder / "waits.py").write_text(source, encoding="utf-8")
    worker = start("worker", **ledger)
    words = ("items.jsonl", "-o", "out.jsonl", "--engine", "distributed", "--rehearse", "--json")
    batch = start("batch", "waits.py", *words, **ledger)
    await until((folder / "begun").exists)
    postgres_of_its_own.stop()
    out, err = await asyncio.to_thread(batch.communicate, timeout=40)
    assert (batch.returncode, out) == (1, "")
    assert "lost its connection" in err or "cannot be reached" in err
    assert worker.poll() is None
    postgres_of_its_own.start()
    (folder / "go").touch()
    out, err = await asyncio.to_thread(
        start("batch", "waits.py", *words, **ledger).communicate, timeout=60
    )
    assert json.loads(out)["completed"] == 4, err
    await left(worker)
