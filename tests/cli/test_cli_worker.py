"""Workers, and batches that they run, at the command line."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from aideon_agents import Ledger, Settings
from aideon_agents.cli.options import rehearsed_if_needed
from aideon_agents.errors import NoModel
from aideon_agents.ledger import batch_items, batches

BATCH = ("two.py", "items.jsonl", "-o", "out.jsonl", "--engine", "distributed", "--rehearse")
WAITS = (
    "import asyncio, pathlib\nfrom aideon_agents import sequential\n"
    "async def waits(state):\n    pathlib.Path('begun').touch()\n    await asyncio.sleep(60)\n"
    "graph = sequential(waits)\n"
)


@pytest.fixture
def items(folder):
    (folder / "items.jsonl").write_text('{"task": "Pumps move heat."}\n' * 3, encoding="utf-8")


@pytest.fixture
def server(postgres_url, monkeypatch):
    monkeypatch.setenv("AIDEON_LEDGER", postgres_url)
    return postgres_url


@pytest.fixture
def unfollowed(server, items):
    """A batch whose follower is gone, with three items of which one has ended."""
    start = batches.Batch(
        batch_id="01M7ZAAAAAAAAAAAAAAAAAAAAA",
        identity=None,
        workflow="two",
        target="two.py",
        rehearsed=True,
        engine=batches.DISTRIBUTED,
        items=3,
        item_limit_nanousd=None,
        out_path="out.jsonl",
        work={"target": "two.py"},
    )
    with Ledger.from_url(server) as ledger:
        batches.take(ledger, start, None)
        ledger.database.write("UPDATE batches SET pid = 1, process_start = 'long ago'", {})
        with ledger.database.transaction() as tx:
            batch_items.mark_invalid(tx, start.batch_id, 0, "1", "no task")
        batches.refuse(ledger, start.batch_id, "two.py here is another version")
    return start.batch_id


@pytest.mark.parametrize("words", [("worker",), ("batch", *BATCH)])
def test_a_ledger_in_a_file_is_refused_in_one_line(aideon, items, words):
    done = aideon(*words)
    assert done.code == 2
    assert done.complaint == (
        "the distributed engine needs a ledger on Postgres, and .aideon/ledger.db is a file: "
        "set AIDEON_LEDGER=postgresql://user:password@host:5432/database"
    )


def test_a_worker_that_may_run_nothing_is_refused(aideon, server):
    done = aideon("worker", "--max-concurrency", "0")
    assert (done.code, done.complaint) == (2, "the concurrency is 0: give at least 1")


def test_an_address_out_of_the_folder_is_refused_before_anything_is_queued(
    aideon, server, items, folder
):
    elsewhere = folder.parent / "elsewhere.py"
    elsewhere.write_text((folder / "two.py").read_text(encoding="utf-8"), encoding="utf-8")
    done = aideon("batch", str(elsewhere), *BATCH[1:])
    assert done.code == 2
    assert "leads out of the working directory" in done.err
    assert aideon("batches", "list", "--json").document == []


def test_a_batch_that_nobody_follows_is_shown_as_running(aideon, unfollowed):
    shown = aideon("batches", "show", "last", "--json").document
    assert (shown["status"], shown["followed"], shown["pending"]) == ("running", False, 2)
    (refusal,) = shown["refusals"]
    assert refusal["reason"] == "two.py here is another version"
    text = aideon("batches", "show", "last").out
    assert "its command has ended: repeat the command to write the results there" in text
    assert f"worker {os.getpid()} on" in text
    assert "refused it: two.py here is another version" in text


def test_a_batch_that_nobody_follows_is_cancelled_at_once(aideon, unfollowed):
    assert aideon("batches", "cancel", "last").code == 0
    shown = aideon("batches", "show", "last", "--json").document
    assert (shown["status"], shown["stop_reason"]) == ("stopped", "cancelled")
    assert shown["followed"] is None


def test_a_batch_with_workers_is_neither_forgotten_nor_run_here(aideon, server, items, folder):
    assert aideon("batch", *BATCH[:4], "--rehearse").code == 0
    with Ledger.from_url(server) as ledger:
        change = "UPDATE batches SET status = 'running', engine = 'distributed', pid = 1"
        ledger.database.write(f"{change}, process_start = 'long ago'", {})
    for words in (("batches", "forget", "last"), ("batch", *BATCH[:4], "--rehearse")):
        done = aideon(*words)
        assert done.code == 2
        assert "is run by workers: continue it with --engine distributed" in done.err


def test_a_second_interrupt_gives_back_what_is_in_flight(server, items, folder, begin):
    (folder / "waits.py").write_text(WAITS, encoding="utf-8")

    with begin("worker", "--json") as worker, begin("batch", "waits.py", *BATCH[1:]) as batch:
        while not (folder / "begun").exists():
            assert worker.poll() is None
            time.sleep(0.05)
        worker.send_signal(signal.SIGTERM)
        assert "interrupt again to give them back" in said(worker, "stopping")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 130
        assert json.loads(worker.stdout.read())["pid"] == worker.pid
        with Ledger.from_url(server) as ledger:
            jobs = ledger.select("SELECT status FROM procrastinate_jobs")
            items_now = ledger.select("SELECT status FROM items")
        assert {row["status"] for row in jobs} == {"todo"}
        assert {row["status"] for row in items_now} == {"pending"}
        batch.send_signal(signal.SIGINT)
        assert batch.wait(30) == 130


def said(process, word):
    """The next line on a process's stderr that has a word in it."""
    for line in process.stderr:
        if word in line:
            return line
    raise AssertionError(word)


def test_help_names_the_worker(aideon):
    assert "--max-concurrency" in aideon("worker", "--help").out


def test_a_key_is_needed_only_where_a_model_is_asked():
    def make(*, rehearse):
        if not rehearse:
            raise NoModel("set TOGETHER_API_KEY")
        return "rehearsal"

    nobody, somebody = Settings(ledger="x"), Settings(ledger="x", together_api_key="key")
    made, why = rehearsed_if_needed(make, nobody, asked=False)
    assert made == "rehearsal"
    assert "no provider has a key" in why
    assert rehearsed_if_needed(make, nobody, asked=True)[1] == "as asked"
    assert rehearsed_if_needed(lambda **_: "real", nobody, asked=False) == ("real", None)
    with pytest.raises(NoModel):
        rehearsed_if_needed(make, somebody, asked=False)
