"""What a batch has spent and holds: its progress, its summary and `batches show` say the same."""

from __future__ import annotations

import asyncio
import functools
import json
import threading
from decimal import Decimal

import pytest

from aideon_agents.ledger.store import Ledger
from aideon_agents.testing import Fault, SimulatedProvider

MODEL = ("--model", "executor=together:Qwen/Qwen3.5-9B")
HEAD = "from aideon_agents import creative, executor, sequential\n"
WORK = HEAD + 'graph = sequential(executor("facts"), executor("text"))\n'
HOW = ("--max-concurrency", "3", "--progress", "json", "--json")
MONEY = ("usd", "complete", "held_usd")
FAULTS = [None, Fault("no_usage"), None, Fault(500), None, Fault("reset_after"), None, None]


class Answering:
    """Answers requests, each as its turn has it, until it is told to let them wait."""

    def __init__(self):
        self.requests = 0
        self.most = 10**9
        self.waiting = threading.Semaphore(0)
        self.goes_on = threading.Event()

    async def answer(self, _request):
        self.requests += 1
        if self.requests > self.most and not self.goes_on.is_set():
            self.waiting.release()
            while not self.goes_on.is_set():
                await asyncio.sleep(0.01)
        return "Heat pumps move heat."


@pytest.fixture
def answering():
    return Answering()


@pytest.fixture
def provider(folder, monkeypatch, answering):
    (folder / "work.py").write_text(WORK)
    items = [json.dumps({"id": f"i{nth}", "task": f"Pump {nth}."}) for nth in range(9)]
    (folder / "items.jsonl").write_text("\n".join(items))
    turns = iter(range(10**9))
    with SimulatedProvider(
        faults=lambda _: FAULTS[next(turns) % len(FAULTS)], answer=answering.answer
    ) as running:
        monkeypatch.setenv("TOGETHER_API_KEY", "any")
        monkeypatch.setenv("TOGETHER_BASE_URL", running.base_url)
        yield running


@pytest.fixture
def begin_batch(begin):
    """Begins the batch in a process of its own."""
    command = ("batch", "work.py", "items.jsonl", "-o", "out.jsonl", *MODEL)
    return functools.partial(begin, *command, *HOW)


def money(document):
    return {name: document[name] for name in MONEY}


def counted(batch_id):
    """What counts against the budget of the batch, in nano-dollars."""
    with Ledger(".aideon/ledger.db") as ledger:
        (row,) = ledger.select(
            "SELECT spent_nanousd + held_nanousd AS counted FROM accounts WHERE account = :key",
            {"key": f"batch:{batch_id}"},
        )
    return row["counted"]


def nanousd(document):
    return int((Decimal(document["usd"]) + Decimal(document["held_usd"])) * 10**9)


@pytest.mark.parametrize("budget", [(), ("--budget", "1"), ("--item-budget", "1")], ids=" ".join)
def test_the_progress_the_summary_and_what_is_shown_agree(
    aideon, provider, answering, begin_batch, budget
):
    answering.most = 5
    running = begin_batch(*budget)
    for _ in range(3):
        assert answering.waiting.acquire(timeout=60), "three calls are in progress, and wait"
    shown = aideon("batches", "show", "last", "--json").document
    for _ in range(60):  # the first lines may be from before that
        line = running.stderr.readline()
        if line.startswith("{") and money(json.loads(line)) == money(shown):
            break
    else:
        pytest.fail(f"{line} is not {money(shown)}")
    assert (Decimal(shown["held_usd"]) > 0, shown["complete"]) == (True, False)
    if "--budget" in budget:
        assert nanousd(shown) == counted(shown["batch_id"])
    running.kill()
    running.communicate()
    left = aideon("batches", "show", "last", "--json").document
    assert money(left) == money(shown), "what it held may be spent"

    answering.goes_on.set()
    again = begin_batch(*budget, "--retry-failed")
    out, err = again.communicate(timeout=120)
    last = [json.loads(line) for line in err.splitlines() if line.startswith("{")][-1]
    result = json.loads(out)
    shown = aideon("batches", "show", "last", "--json").document
    assert result["items"] == result["completed"] + result["failed"]
    assert money(last) == money(result) == money(shown)
    if "--budget" in budget:
        assert nanousd(shown) == counted(shown["batch_id"])
    said = aideon("batches", "show", "last").out
    assert f"spent (held ${Decimal(shown['held_usd']):.6f})" in said
