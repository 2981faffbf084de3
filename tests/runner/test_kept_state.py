"""A run's state is kept until it is done; what cannot be kept costs no result."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import sqlite3
import threading
import time

import pytest
from pydantic import BaseModel

from aideon_agents import arun, creative, executor, parallel, resume, run, sequential
from aideon_agents.errors import LedgerError, TimeLimit
from aideon_agents.ledger.checkpoints import checkpoints_path, open_checkpointer
from aideon_agents.runner.spec import needed_keeping
from aideon_agents.state import StepResult
from aideon_agents.testing import Fault, SimulatedProvider

PUMPS = "Heat pumps move heat, quietly."
KEY = "sk-abcdefghijklmnop1234"


@pytest.fixture
def kept(ledger):
    """Everything in the files of the checkpoints."""

    def read():
        folder = ledger.path.parent
        return b"".join(path.read_bytes() for path in folder.glob("checkpoints.db*"))

    return read


def test_a_run_that_is_done_leaves_no_word_in_the_file(ledger, kept):
    limits = [TimeLimit(1)]

    def stops_once(state):
        if limits:
            raise limits.pop()
        return "done"

    graph = sequential(creative("draft"), stops_once)
    assert run(graph, PUMPS, rehearse=True, ledger=ledger).status == "stopped"
    assert b"quietly" in kept()
    assert resume(graph, ledger=ledger).status == "completed"
    deadline = time.monotonic() + 20
    while b"quietly" in kept() and time.monotonic() < deadline:
        time.sleep(0.05)  # the file is cleared when no run has used it for a second
    assert b"quietly" not in kept()


def test_a_key_is_in_no_state_that_is_kept(ledger, kept, keyed):
    def breaks(state):
        raise ValueError(f"Incorrect API key provided: {KEY}")

    run(sequential(creative("draft"), breaks), PUMPS, rehearse=True, ledger=ledger)
    with SimulatedProvider(faults=Fault(422, message=f"no, {KEY}")) as provider:
        settings = keyed(provider)
        failed = run(creative("draft"), PUMPS, settings=settings, ledger=ledger)
    assert failed.status == "failed"
    assert b"quietly" in kept()
    assert KEY.encode() not in kept()
    assert settings.together_api_key.get_secret_value().encode() + b'"' not in kept()


def test_a_disk_that_is_full_midway_costs_no_result(ledger, keyed, caplog):
    path = checkpoints_path(ledger)

    def fills(state):
        with contextlib.closing(sqlite3.connect(path)) as file:
            for table in ("checkpoints", "writes"):
                file.execute(
                    f"CREATE TRIGGER full_{table} BEFORE INSERT ON {table} "
                    "BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
                )
        return "full"

    with SimulatedProvider() as provider:
        options = {"settings": keyed(provider), "ledger": ledger}
        graph = sequential(executor("facts"), fills, creative("draft"), creative("end"))
        result = run(graph, PUMPS, **options)
        assert (result.status, len(provider.requests)) == ("completed", 3)
    told = [message for message in caplog.messages if "is not kept from here on" in message]
    assert len(told) == 1
    assert "disk is full" in told[0]


def test_a_result_that_has_no_bytes_is_a_result_all_the_same(ledger, caplog):
    @dataclasses.dataclass
    class Odd:
        lock: object

    limits = [TimeLimit(1)]
    asked = []

    def odd(state):
        asked.append("odd")
        data = Odd(threading.Lock())
        return StepResult(node_path="odd", role="function", content="odd", data=data)

    def stops_once(state):
        if limits:
            raise limits.pop()
        return type(state["results"]["odd"].data).__name__

    graph = sequential(odd, stops_once)
    assert run(graph, PUMPS, ledger=ledger).status == "stopped"
    assert "not kept from here on: the result of odd holds a lock" in caplog.text
    done = resume(graph, ledger=ledger)
    assert (done.output, asked) == ("Odd", ["odd", "odd"])  # it had to be done again


def test_a_file_that_cannot_be_used_is_one_line_before_anything_is_paid(ledger, keyed):
    checkpoints_path(ledger).mkdir()
    with SimulatedProvider() as provider:
        with pytest.raises(LedgerError, match=r"checkpoints\.db"):
            run(creative("draft"), PUMPS, settings=keyed(provider), ledger=ledger, budget=1)
        assert provider.requests == []
        options = {"settings": keyed(provider), "ledger": ledger}
        assert run(creative("draft"), PUMPS, **options).status == "completed"


async def test_many_runs_at_the_same_time_keep_out_of_one_anothers_way(ledger, caplog):
    def one(state):
        return state["task"]

    graph = sequential(parallel(one, creative("draft")), one)
    with caplog.at_level(logging.WARNING):
        results = await asyncio.gather(
            *(arun(graph, f"Task {n}.", rehearse=True, ledger=ledger) for n in range(60))
        )
    assert {result.status for result in results} == {"completed"}
    assert [result.results["one"].content for result in results] == [
        f"Task {n}." for n in range(60)
    ]
    assert caplog.records == []
    async with open_checkpointer(ledger, []) as saver:
        assert await saver.names() == set()


def test_a_state_that_cannot_be_removed_is_told_of_and_the_run_is_done(ledger, caplog):
    path = checkpoints_path(ledger)

    def locks(state):
        with contextlib.closing(sqlite3.connect(path)) as file:
            file.execute(
                "CREATE TRIGGER stays BEFORE DELETE ON checkpoints "
                "BEGIN SELECT RAISE(ABORT, 'no'); END"
            )
        return "done"

    result = run(locks, PUMPS, ledger=ledger)
    assert (result.status, ledger.find_run("last").status) == ("completed", "completed")
    assert f"the state of run {result.run_id} is still kept: no" in caplog.text


def test_a_run_of_agents_alone_keeps_no_state_unless_it_is_asked_to(ledger):
    run(sequential(creative("draft"), creative("text")), PUMPS, rehearse=True, ledger=ledger)
    assert not checkpoints_path(ledger).exists()


def asks_a_person(state):
    return "yes"


@pytest.mark.parametrize(
    ("graph", "thread", "budget", "when"),
    [
        (sequential(creative("draft"), parallel(creative("a"), creative("b"))), None, None, None),
        (sequential(creative("draft"), creative("text")), None, 1, "end"),
        (sequential(creative("draft")), "talk", None, "each step"),
        (sequential(creative("draft", approve=True)), None, None, "each step"),
        (sequential(creative("draft"), sequential(asks_a_person)), None, 1, "each step"),
        (sequential(executor("draft", tools=[len])), None, None, "each step"),
    ],
    ids=["agents", "budget", "thread", "approval", "function", "tool"],
)
def test_state_is_kept_where_it_can_be_needed(graph, thread, budget, when):
    assert needed_keeping(graph, thread, budget) == when


class Answer(BaseModel):
    text: str


def test_a_run_that_its_budget_stops_resumes_at_the_node_that_did_not_fit(ledger, keyed):
    graph = sequential(creative("draft"), executor("long", output=Answer, max_tokens=50_000))
    with SimulatedProvider() as provider:
        options = {"settings": keyed(provider), "ledger": ledger}
        stopped = run(graph, PUMPS, budget="0.012", **options)
        assert (stopped.stop_reason, list(stopped.results)) == ("budget", ["draft"])
        assert resume(graph, budget=1, **options).status == "completed"
        assert len(provider.requests) == 2
