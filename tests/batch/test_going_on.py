"""The same command again: nothing is lost, nothing is there twice, and what is paid is not paid again."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from aideon_agents import Ledger, abatch, creative, executor, sequential
from aideon_agents.errors import InputError, UserError
from aideon_agents.ledger import batch_items, batches
from aideon_agents.testing import Fault, SimulatedProvider

TEN = [{"id": f"pump-{number}", "task": f"Pump {number} moves heat."} for number in range(10)]
BOTH = ["--model", "executor=together:openai/gpt-oss-120b"]
BOTH += ["--model", "creative=together:openai/gpt-oss-120b"]


@pytest.fixture
def paid(start, monkeypatch):
    """Starts a batch of two.py that asks a provider."""

    def run(provider, *words, target="two.py"):
        monkeypatch.setenv("TOGETHER_API_KEY", "key")
        monkeypatch.setenv("TOGETHER_BASE_URL", provider.base_url)
        return start(target, "items.jsonl", "-o", "out.jsonl", *BOTH, *words)

    return run


def killed(process, provider, requests):
    """Kill a batch when its provider has been asked so often."""
    with process:
        while len(provider.requests) < requests:
            assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGKILL)


def half_done(lines):
    """A provider that answers only the first requests, and is silent for the others."""
    seen = []

    def fault(request):
        seen.append(request)
        return Fault("hang") if len(seen) > lines else None

    return SimulatedProvider(faults=fault)


def test_after_a_kill_finished_items_are_not_run_again(paid, ended, written, lines):
    written(TEN)
    with half_done(9) as provider:
        killed(paid(provider, "--max-concurrency", "2"), provider, 11)
    begun = {line["id"] for line in lines()}
    with SimulatedProvider() as provider:
        done = ended(paid(provider))
        assert done.code == 0, done.err
        asked = [str(request.body) for request in provider.requests]
    assert [line["id"] for line in lines()] == [item["id"] for item in TEN]
    assert done.document["completed"] == 10
    assert not any(f"Pump {one[-1]} " in prompt for one in begun for prompt in asked)


def test_an_item_in_flight_goes_on_at_its_unfinished_node(paid, ended, written, lines):
    written(TEN[:1])
    with half_done(1) as provider:
        killed(paid(provider, "--checkpoint"), provider, 2)
    with SimulatedProvider() as provider:
        done = ended(paid(provider, "--checkpoint"))
        assert done.document["completed"] == 1, done.err
        assert len(provider.requests) == 1  # the second node alone
    (line,) = lines()
    assert line["attempts"] == 2
    with Ledger(".aideon/ledger.db") as ledger:
        (run,) = ledger.runs()
        assert [call.status for call in ledger.calls(run.run_id)] == ["ok", "started", "ok"]
        assert line["run_id"] == run.run_id
    assert line["complete"] is False  # what the call that was killed cost nobody knows
    assert done.document["complete"] is False


def test_without_checkpoints_it_runs_again_and_its_money_stays(paid, ended, written, lines):
    written(TEN[:1])
    with half_done(1) as provider:
        killed(paid(provider), provider, 2)
    with SimulatedProvider() as provider:
        done = ended(paid(provider))
        assert len(provider.requests) == 2
    (line,) = lines()
    with Ledger(".aideon/ledger.db") as ledger:
        newest, oldest = ledger.runs()
        known = [
            call.cost_nanousd
            for run in (newest, oldest)
            for call in ledger.calls(run.run_id)
            if call.cost_nanousd is not None
        ]
    assert (line["attempts"], line["run_id"]) == (2, newest.run_id)
    assert (oldest.status, oldest.item_id, newest.item_id) == ("crashed", "pump-0", "pump-0")
    assert len(known) == 3
    assert int(line["usd"].replace(".", "").ljust(10, "0")) == sum(known)
    assert done.document["usd"] == line["usd"]


def test_a_checkpoint_is_removed_with_success(paid, ended, written):
    written(TEN[:2])
    with SimulatedProvider() as provider:
        ended(paid(provider, "--checkpoint"))
    with Ledger(".aideon/ledger.db") as ledger:
        file = ledger.path.with_name("checkpoints.db")
    assert b"moves heat" not in file.read_bytes()


async def test_a_torn_line_is_cut_off(rehearse, written, lines, ledger):
    await rehearse(written(TEN))
    whole = Path("out.jsonl").read_bytes()
    undone(ledger, 7)
    Path("out.jsonl").write_bytes(whole[: whole.index(b'"pump-7"') + 40])
    await rehearse(written(TEN))
    assert [line["id"] for line in lines()] == [item["id"] for item in TEN]
    assert Path("out.jsonl").read_bytes().startswith(whole[: whole.index(b'{"id": "pump-7"')])


async def test_a_first_line_that_is_torn_is_cut_off(rehearse, written, lines, ledger):
    await rehearse(written(TEN))
    undone(ledger, 0)
    Path("out.jsonl").write_bytes(b'{"id": "pump')
    await rehearse(written(TEN))
    assert [line["id"] for line in lines()] == [item["id"] for item in TEN]


def undone(ledger, first):
    """Have the ledger know what it knew before items from one on had ended."""
    gone = {"first": first}
    with ledger.database.transaction() as tx:
        tx.write("UPDATE items SET status = 'running' WHERE position >= :first", gone)
        tx.write("DELETE FROM outputs WHERE position >= :first", gone)


async def test_lines_that_the_ledger_does_not_know_are_written_anew(
    rehearse, written, lines, ledger
):
    await rehearse(written(TEN))
    undone(ledger, 5)
    result = await rehearse(written(TEN))
    assert result.completed == 10
    assert [line["id"] for line in lines()] == [item["id"] for item in TEN]
    assert [line["attempts"] for line in lines()] == [1] * 5 + [2] * 5


async def test_another_out_takes_what_there_is(rehearse, written, lines, ledger):
    first = await rehearse(written(TEN))
    undone(ledger, 5)
    again = await rehearse(written(TEN), out="other.jsonl")
    assert again.batch_id == first.batch_id
    assert [line["id"] for line in lines("other.jsonl")] == [item["id"] for item in TEN]
    assert lines("other.jsonl")[:5] == lines()[:5]
    assert batches.find_batch(ledger, "last").out_path.endswith("other.jsonl")


async def test_an_out_that_was_renamed_is_gone_on_with(rehearse, written, lines, ledger):
    await rehearse(written(TEN))
    undone(ledger, 5)
    Path("out.jsonl").rename("renamed.jsonl")
    await rehearse(written(TEN), out="renamed.jsonl")
    assert [line["id"] for line in lines("renamed.jsonl")] == [item["id"] for item in TEN]


async def test_results_that_are_gone_are_told_of_and_nothing_is_called(rehearse, written, ledger):
    first = await rehearse(written(TEN))
    Path("out.jsonl").unlink()
    with pytest.raises(UserError, match="are missing there from line 1 on: put that file"):
        await rehearse(written(TEN))
    assert len(ledger.runs()) == 10
    batches.forget(ledger, first.batch_id)
    again = await rehearse(written(TEN))
    assert again.batch_id != first.batch_id
    assert again.completed == 10


async def test_an_out_that_was_shortened_is_told_of(rehearse, written):
    await rehearse(written(TEN))
    kept = Path("out.jsonl").read_bytes().splitlines(keepends=True)[:4]
    Path("out.jsonl").write_bytes(b"".join(kept))
    with pytest.raises(UserError, match="from line 5 on"):
        await rehearse(written(TEN))


async def test_an_out_with_anything_else_in_it_is_refused(rehearse, written):
    for content in (b"my notes\n", b"half a line", b'{"id": "pump-0"}\n', b"[1]\n", b"\n"):
        Path("out.jsonl").write_bytes(content)
        with pytest.raises(InputError, match=r"out\.jsonl already has other content"):
            await rehearse(written(TEN))
        assert Path("out.jsonl").read_bytes() == content


async def test_a_line_that_somebody_changed_is_told_with_its_place(rehearse, written, ledger):
    await rehearse(written(TEN))
    held = Path("out.jsonl").read_text().splitlines()
    held[4] = json.dumps({**json.loads(held[4]), "run_id": "mine"})
    Path("out.jsonl").write_text("\n".join(held) + "\n")
    with pytest.raises(InputError, match=r"out\.jsonl:5 is not a line of batch"):
        await rehearse(written(TEN))


async def test_other_inputs_tier_models_or_content_make_another_batch(written, ledger, folder):
    def graph(text):
        return sequential(creative("draft", instructions=text), name="one")

    first, second = graph("Write."), graph("Write well.")
    options = {"rehearse": True, "ledger": ledger}
    ids = [
        (await abatch(made, written(TEN[:2]), f"{number}.jsonl", **options, **more)).batch_id
        for number, (made, more) in enumerate(
            [
                (first, {}),
                (first, {"inputs": {"a": "b"}}),
                (first, {"tier": "free"}),
                (first, {"model": {"creative": "openai:gpt-4o-mini"}}),
                (first, {"version": "2"}),
                (second, {}),
                (first, {"target": "one.py:graph", "target_hash": "ab"}),
                (first, {"target": "one.py:other", "target_hash": "ab"}),
            ]
        )
    ]
    assert len(set(ids)) == len(ids)
    same = await abatch(graph("Write."), written(TEN[:2]), "0.jsonl", user="ada", **options)
    assert same.batch_id == ids[0]


async def test_failed_items_stay_failed_unless_they_are_to_be_retried(rehearse, written, lines):
    broken = {"2", "5", "6"}

    def breaks(state):
        if state["task"].split()[1] in broken:
            raise ValueError("no luck")
        return f"fine {len(broken)}"

    graph = sequential(breaks, name="breaks")
    assert (await rehearse(written(TEN), graph=graph)).failed == 3
    broken.clear()
    assert (await rehearse(written(TEN), graph=graph)).failed == 3
    result = await rehearse(written(TEN), graph=graph, retry_failed=True)
    assert (result.completed, result.failed) == (10, 0)
    assert [line["id"] for line in lines()] == [item["id"] for item in TEN]
    assert [line["attempts"] for line in lines()] == [1, 1, 2, 1, 1, 2, 2, 1, 1, 1]
    assert [line["output"] for line in lines()] == [
        "fine 0" if number in {2, 5, 6} else "fine 3" for number in range(10)
    ]


async def test_a_failed_item_goes_on_at_the_node_that_failed(written, lines, ledger, keyed):
    broken = [True]

    def breaks(state):
        if broken:
            raise ValueError("no luck")
        return "fine"

    graph = sequential(executor("facts"), breaks, name="breaks")
    with SimulatedProvider() as provider:
        options = {"settings": keyed(provider), "ledger": ledger, "checkpoint": True}
        await abatch(graph, written(TEN[:2]), "out.jsonl", **options)
        broken.clear()
        result = await abatch(graph, written(TEN[:2]), "out.jsonl", retry_failed=True, **options)
        assert len(provider.requests) == 2
    assert result.completed == 2
    assert [list(line["results"]) for line in lines()] == [["facts", "breaks"]] * 2


async def test_a_kill_between_the_ledger_and_out_doubles_nothing(rehearse, written, lines, ledger):
    result = await rehearse(written(TEN))
    (held,) = [Path("out.jsonl").read_text().splitlines()]
    with ledger.database.transaction() as tx:  # as if lines had been written, and not forgotten
        for position in range(4, 10):
            tx.write(
                "INSERT INTO outputs VALUES (:batch, :position, :document)",
                {"batch": result.batch_id, "position": position, "document": held[position]},
            )
    await rehearse(written(TEN))
    assert [line["id"] for line in lines()] == [item["id"] for item in TEN]
    assert ledger.select("SELECT * FROM outputs") == []


async def test_a_kill_between_a_retry_and_its_cut_doubles_nothing(rehearse, written, lines, ledger):
    def breaks(state):
        if "2" in state["task"]:
            raise ValueError("no luck")
        return "fine"

    graph = sequential(breaks, name="breaks")
    result = await rehearse(written(TEN), graph=graph)
    held = Path("out.jsonl").read_text().splitlines()
    with ledger.database.transaction() as tx:
        for position in range(3, 10):
            tx.write(
                "INSERT INTO outputs VALUES (:batch, :position, :document)",
                {"batch": result.batch_id, "position": position, "document": held[position]},
            )
    batch_items.reset_failed(ledger, result.batch_id, None)  # and here it was killed
    await rehearse(written(TEN), graph=graph)
    assert [line["id"] for line in lines()] == [item["id"] for item in TEN]
    assert [line["attempts"] for line in lines()][2] == 2


async def test_a_batch_that_another_process_runs_is_refused(
    rehearse, written, start, ended, folder
):
    (folder / "nap.py").write_text(
        "import asyncio\nfrom aideon_agents import sequential\n"
        "async def nap(state):\n    print('napping', flush=True)\n    await asyncio.Event().wait()\n"
        "graph = sequential(nap)\n"
    )
    written(TEN)
    words = ("nap.py", "items.jsonl", "-o", "out.jsonl")
    with start(*words) as first:
        try:
            while "napping" not in first.stderr.readline():
                assert first.poll() is None
            second = ended(start(*words))
            third = ended(start("nap.py", "items.jsonl", "-o", "out.jsonl", "-p", "a=b"))
        finally:
            first.kill()
    assert second.code == 2
    assert f"is running in process {first.pid} on " in second.err
    assert third.code == 2
    assert f"is running in process {first.pid} on " in third.err
    assert ended(start(*words, "--timeout", "0.1")).document["failed"] == 10


async def test_what_somebody_else_is_going_on_with_is_not_said_to_be_done(
    rehearse, written, ledger
):
    items = written(TEN)
    await rehearse(items)
    ledger.database.write(  # as `aideon runs resume` does, in a process that lives
        "UPDATE runs SET status = 'running' WHERE item_id = :item", {"item": TEN[9]["id"]}
    )
    ledger.database.write("UPDATE items SET status = 'pending' WHERE position = 9", {})
    again = await rehearse(items)
    assert (again.completed, again.pending, again.stop_reason) == (9, 1, "interrupted")


async def test_what_another_machine_left_is_run_again(rehearse, written, lines, ledger):
    """A container has another name each time, and of its processes nobody here knows anything."""
    await rehearse(written(TEN))
    undone(ledger, 5)
    ledger.database.write("UPDATE runs SET status = 'running', ended_at = NULL, host = 'gone'", {})
    again = await rehearse(written(TEN))
    assert (again.completed, again.pending) == (10, 0)
    assert [line["attempts"] for line in lines()] == [1] * 5 + [2] * 5
