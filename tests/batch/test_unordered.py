"""With `unordered`, OUT gets each line as its item ends, and every item exactly once in the end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from pathlib import Path

import pytest

from aideon_agents import aresume, creative, sequential
from aideon_agents.batch import output
from aideon_agents.errors import InputError, UserError
from aideon_agents.ledger import batches, outputs
from aideon_agents.testing import Fault, SimulatedProvider

TEN = [{"id": f"pump-{number}", "task": f"Pump {number} moves heat."} for number in range(10)]
IDS = [item["id"] for item in TEN]
SOURCE = """
from pathlib import Path
from langgraph.types import interrupt
from aideon_agents import sequential

def work(state):
    if "Pump 3 " in state["task"] and not Path("mended").exists():
        raise ValueError("broken")
    if "Pump 0 " in state["task"]:
        return f"sent {interrupt('Send it?')}"
    return state["task"]

graph = sequential(work)
"""
BOTH = ["--model", "executor=together:openai/gpt-oss-120b"]
BOTH += ["--model", "creative=together:openai/gpt-oss-120b"]


def text(state):
    return state["task"]


def gated(gate: asyncio.Event, *held: str):
    """A graph whose items with these tasks end when the gate opens."""

    async def work(state):
        if state["task"] in held:
            await gate.wait()
        return state["task"]

    return sequential(work, name="gated")


@pytest.fixture
def ids(lines):
    def read(name="out.jsonl"):
        return [line["id"] for line in lines(name)]

    return read


@pytest.fixture
def asked(start, ended, folder, written):
    """Runs a batch whose first item asks, and whose fourth fails until it is mended."""
    (folder / "work.py").write_text(SOURCE, encoding="utf-8")

    def run(*words, out="out.jsonl"):
        return ended(start("work.py", str(written(TEN)), "-o", out, *words))

    return run


async def test_a_slow_item_keeps_no_other_line_back(rehearse, written, ids):
    gate = asyncio.Event()

    def watch(progress):
        # Ten items are in flight, and OUT holds all that have ended by the time of a later report.
        if progress.completed == 9 and len(Path("out.jsonl").read_text().splitlines()) == 9:
            gate.set()

    graph = gated(gate, TEN[0]["task"])
    result = await rehearse(written(TEN), graph=graph, unordered=True, watch=watch)
    assert (result.completed, result.stop_reason) == (10, None)
    assert ids()[-1] == "pump-0"
    assert sorted(ids()) == IDS


def test_an_item_that_waits_keeps_no_other_line_back(asked, lines, ids, ledger):
    waits = asked("--unordered")
    assert (waits.code, waits.document["stop_reason"]) == (4, "waiting")
    assert sorted(ids()) == IDS[1:]
    assert {line["line"] for line in lines()} == set(range(2, 11))
    assert asked("--unordered").code == 4
    assert sorted(ids()) == IDS[1:]


def test_in_order_it_keeps_them_back(asked, ids):
    assert asked().code == 4
    assert ids() == []


async def test_an_answered_item_is_added_at_the_end(rehearse, written, ids, ledger):
    graph = sequential(creative("draft", approve=True), name="asks")
    result = await rehearse(written(TEN[:3]), graph=graph, unordered=True)
    for run_id in reversed(result.waiting):
        yes = {"approved": True}
        assert (await aresume(graph, run_id, answer=yes, ledger=ledger)).status == "completed"
        await rehearse(written(TEN[:3]), graph=graph, unordered=True)
    assert ids() == ["pump-2", "pump-1", "pump-0"]


def test_failed_items_are_run_again_and_their_lines_replaced(asked, lines, ids):
    assert asked("--unordered").document["failed"] == 1
    Path("mended").touch()
    again = asked("--unordered", "--retry-failed")
    assert (again.document["failed"], again.document["completed"]) == (0, 9)
    assert sorted(ids()) == IDS[1:]
    assert {line["status"] for line in lines()} == {"completed"}


def test_an_ordered_command_goes_on_with_an_unordered_out(asked, ids, ledger, ended):
    asked("--unordered")
    before = Path("out.jsonl").read_text(encoding="utf-8").splitlines()
    assert asked().code == 4
    assert ids() == []  # the first item waits
    done = asked("--unordered")
    assert done.code == 4
    assert sorted(Path("out.jsonl").read_text(encoding="utf-8").splitlines()) == sorted(before)


async def test_an_ordered_command_keeps_the_ordered_lines(rehearse, written, ids, ledger):
    gate = asyncio.Event()

    def watch(progress):
        if progress.completed == 8:
            gate.set()

    graph = gated(gate, TEN[2]["task"], TEN[5]["task"])
    await rehearse(written(TEN), graph=graph, unordered=True, watch=watch)
    shuffled = Path("out.jsonl").read_text(encoding="utf-8").splitlines()
    assert sorted(ids()) == IDS
    kept = next(number for number, name in enumerate(ids()) if name != IDS[number])
    await rehearse(written(TEN), graph=graph)
    assert ids() == IDS
    now = Path("out.jsonl").read_text(encoding="utf-8").splitlines()
    assert now[:kept] == shuffled[:kept]
    assert sorted(now) == sorted(shuffled)


async def test_an_unordered_command_goes_on_with_an_ordered_out(rehearse, written, ids, ledger):
    graph = sequential(text, name="plain")
    await rehearse(written(TEN), graph=graph)
    before = Path("out.jsonl").read_bytes()
    await rehearse(written(TEN), graph=graph, unordered=True)
    assert Path("out.jsonl").read_bytes() == before


async def test_another_out_takes_what_there_is(rehearse, written, ids, ledger):
    graph = sequential(text, name="plain")
    await rehearse(written(TEN), graph=graph, unordered=True)
    lines = Path("out.jsonl").read_text(encoding="utf-8").splitlines()
    shuffled = "".join(f"{line}\n" for line in reversed(lines))
    Path("out.jsonl").write_text(shuffled, encoding="utf-8")
    await rehearse(written(TEN), out="other.jsonl", graph=graph, unordered=True)
    assert Path("other.jsonl").read_text(encoding="utf-8") == shuffled
    await rehearse(written(TEN), out="third.jsonl", graph=graph)
    assert ids("third.jsonl") == IDS


async def test_invalid_items_with_one_id_have_a_line_each(rehearse, written, lines, ledger):
    items = [TEN[0], TEN[0], "nonsense", TEN[0], *TEN[1:]]
    graph = sequential(text, name="plain")
    result = await rehearse(written(items), graph=graph, unordered=True)
    assert (result.completed, result.invalid) == (10, 3)
    texts = Path("out.jsonl").read_text(encoding="utf-8").splitlines()
    Path("out.jsonl").write_text("".join(f"{line}\n" for line in texts[::-1]), encoding="utf-8")
    await rehearse(written(items), graph=graph, unordered=True)
    assert Path("out.jsonl").read_text(encoding="utf-8").splitlines() == texts[::-1]
    await rehearse(written(items), graph=graph)
    assert [line["line"] for line in lines()] == list(range(1, 14))


async def test_lines_that_are_changed_missing_or_doubled_are_told(rehearse, written, ledger):
    graph = sequential(text, name="plain")
    await rehearse(written(TEN), graph=graph, unordered=True)
    texts = Path("out.jsonl").read_text(encoding="utf-8").splitlines()[::-1]
    changed = json.dumps({**json.loads(texts[4]), "run_id": "mine"})
    for content, error, message in (
        ([*texts[:4], changed, *texts[5:]], InputError, r"out\.jsonl:5 is not a line of batch"),
        ([*texts, texts[4]], InputError, r"out\.jsonl:11 is not a line of batch"),
        ([*texts, "note"], InputError, r"out\.jsonl:11 is not a line of batch"),
        (texts[1:], UserError, "are missing there from line 10 on"),
        (["note"], InputError, "already has other content"),
    ):
        whole = "".join(f"{line}\n" for line in content)
        Path("out.jsonl").write_text(whole, encoding="utf-8")
        with pytest.raises(error, match=message):
            await rehearse(written(TEN), graph=graph, unordered=True)
        assert Path("out.jsonl").read_text(encoding="utf-8") == whole


async def test_lines_of_items_that_run_again_are_cut_off(rehearse, written, lines, ids, ledger):
    """The ledger has lost its last writes, as after a power failure, and OUT has not."""
    graph = sequential(text, name="plain")
    await rehearse(written(TEN), graph=graph, unordered=True)
    texts = Path("out.jsonl").read_text(encoding="utf-8").splitlines()[::-1]
    Path("out.jsonl").write_text("".join(f"{line}\n" for line in texts), encoding="utf-8")
    with ledger.database.transaction() as tx:
        tx.write("UPDATE items SET status = 'running' WHERE position IN (3, 7)", {})
    await rehearse(written(TEN), graph=graph, unordered=True)
    assert sorted(ids()) == IDS
    attempts = {line["id"]: line["attempts"] for line in lines()}
    assert attempts == {**dict.fromkeys(IDS, 1), "pump-3": 2, "pump-7": 2}


def test_after_a_kill_every_item_has_one_line(start, ended, written, ids, monkeypatch):
    monkeypatch.setenv("TOGETHER_API_KEY", "key")
    words = (str(written(TEN)), "-o", "out.jsonl", *BOTH, "--unordered", "--max-concurrency", "4")

    def hangs(request):
        return Fault("hang") if "Pump 1 " in str(request.body) else None

    with SimulatedProvider(faults=hangs) as provider:
        monkeypatch.setenv("TOGETHER_BASE_URL", provider.base_url)
        with start("two.py", *words) as process:
            while not Path("out.jsonl").exists() or len(ids()) < 9:
                assert process.poll() is None, process.communicate()
            process.send_signal(signal.SIGKILL)
    begun = Path("out.jsonl").read_bytes()
    Path("out.jsonl").write_bytes(begun + b'{"id": "pump-1", "sta')
    with SimulatedProvider() as provider:
        monkeypatch.setenv("TOGETHER_BASE_URL", provider.base_url)
        done = ended(start("two.py", *words))
        assert done.code == 0, done.err
        assert len(provider.requests) == 2
    assert Path("out.jsonl").read_bytes().startswith(begun)
    assert sorted(ids()) == IDS


async def test_lines_that_the_ledger_still_has_are_not_added_again(rehearse, written, ids, ledger):
    """The process was killed after a line was on the disk, and before the ledger deleted it."""
    graph = sequential(text, name="plain")
    await rehearse(written(TEN), graph=graph, unordered=True)
    texts = Path("out.jsonl").read_text(encoding="utf-8").splitlines()
    batch_id = batches.batches(ledger, 1)[0].batch_id
    outputs.put_back(ledger, batch_id, list(enumerate(texts)))
    await rehearse(written(TEN), graph=graph, unordered=True)
    assert Path("out.jsonl").read_text(encoding="utf-8").splitlines() == texts
    assert outputs.kept(ledger, batch_id, 1) == []


async def test_a_write_that_is_cancelled_in_its_thread_doubles_nothing(monkeypatch):
    begun, may_end = threading.Event(), threading.Event()

    def slowly(descriptor, fsync=os.fsync):
        begun.set()
        may_end.wait(60)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", slowly)
    held = [(at, json.dumps({"id": f"pump-{at}", "status": "completed"})) for at in (4, 1, 7)]
    with output.opened(Path("out"), lambda at: at + 1, is_unordered=True) as out:
        first = asyncio.create_task(asyncio.to_thread(out.add, held))
        await asyncio.to_thread(begun.wait, 60)
        first.cancel()
        may_end.set()
        more = (2, json.dumps({"id": "pump-2", "status": "completed"}))
        await asyncio.to_thread(out.add, [*held, more])
        assert out.lines == 4
        out.deleted([4, 1, 7, 2])
    found = [json.loads(line)["line"] for line in Path("out").read_text().splitlines()]
    assert found == [5, 2, 8, 3]
