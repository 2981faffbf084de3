"""Pruning removes what was said, and keeps what was spent."""

from __future__ import annotations

import asyncio

import pytest
import warm
from langgraph.checkpoint.base import empty_checkpoint

from aideon_agents.ledger.checkpoints import (
    checkpoints_path,
    conversation_name,
    graph_name,
    open_checkpointer,
    prune,
    questions_name,
)
from aideon_agents.ledger.costs import run_cost
from aideon_agents.ledger.rows import Call, Run
from aideon_agents.ledger.store import Ledger

DIES = """
import os, signal, sys
from aideon_agents.ledger.rows import Call, Run
from aideon_agents.ledger.store import Ledger
Ledger.from_url(sys.argv[1]).start_run(Run(workflow="dead", run_id="DEAD"))
os.kill(os.getpid(), signal.SIGKILL)
"""
LATER = "2999-01-01T00:00:00.000Z"


def keep(ledger, *names):
    """Keep something under some names."""

    async def keeps():
        async with open_checkpointer(ledger, []) as saver:
            for name in names:
                place = {"configurable": {"thread_id": name, "checkpoint_ns": ""}}
                await saver.aput(place, empty_checkpoint(), {}, {})

    asyncio.run(keeps())


def left(ledger, *names):
    """Under which of some names something is kept still; what other tests left is not theirs."""

    async def those():
        async with open_checkpointer(ledger, []) as saver:
            return await saver.names() & set(names)

    return asyncio.run(those())


@pytest.fixture
def start(ledger):
    def begin(run_id, status=None, **fields):
        ledger.start_run(Run(workflow="w", run_id=run_id, **fields))
        if status:
            ledger.finish_run(run_id, status, output="said", results={"a": {"content": "said"}})

    return begin


def pruned(ledger, before=LATER):
    return asyncio.run(prune(ledger, before))


def test_states_questions_and_content_go_and_rows_and_costs_stay(ledger, start, record):
    start("RUN")
    record(ledger, "RUN", nanousd=7)
    call = Call(
        call_id="asked",
        run_id="RUN",
        node_path="draft",
        role="creative",
        provider="together",
        requested_model="small",
        started_at="2026-11-20T09:00:00.000Z",
    )
    ledger.start_call(call, prompt='"asked"')
    ledger.finish_run("RUN", "waiting", output="said", results={"a": {"content": "said"}})
    start("DONE", "completed")
    keep(ledger, "RUN", questions_name("RUN"))
    event = "INSERT INTO run_events (run_id, number, at, kind, document) VALUES"
    ledger.database.write(f"{event} ('RUN', 1, 'now', 'token', 'said')", {})
    assert pruned(ledger) == {
        "runs": 2,
        "checkpoints": 1,
        "conversations": 0,
        "contents": 1,
        "results": 2,
    }
    assert left(ledger, "RUN", questions_name("RUN")) == set()
    run = ledger.find_run("RUN")
    assert (run.status, run.output, run.results) == ("waiting", None, None)
    assert ledger.contents("RUN") == []
    assert ledger.select("SELECT * FROM run_events WHERE run_id = 'RUN'") == []
    assert run_cost(ledger, "RUN").calls == 2
    assert pruned(ledger) == {
        "runs": 2,
        "checkpoints": 0,
        "conversations": 0,
        "contents": 0,
        "results": 0,
    }


def test_what_ended_later_or_still_runs_is_left_alone(ledger, start):
    start("RUNS")
    start("ENDS", "stopped")
    keep(ledger, "RUNS", "ENDS")
    ended = ledger.find_run("ENDS").ended_at
    assert pruned(ledger, ended)["runs"] == 0
    assert left(ledger, "RUNS", "ENDS") == {"RUNS", "ENDS"}
    assert pruned(ledger)["runs"] == 1
    assert left(ledger, "RUNS", "ENDS") == {"RUNS"}


def test_a_killed_run_counts_by_its_start(ledger, ledger_url):
    killed = warm.run(["-c", DIES, ledger_url])
    assert killed.returncode == -9
    keep(ledger, "DEAD")
    assert pruned(ledger, ledger.find_run("DEAD").started_at)["runs"] == 0
    assert pruned(ledger)["checkpoints"] == 1


def test_a_conversation_goes_when_all_its_runs_do(ledger, start):
    old = conversation_name("old", rehearsed=False)
    both = conversation_name("both", rehearsed=False)
    elsewhere = graph_name("w", "old", rehearsed=False)
    rehearsed = conversation_name("old", rehearsed=True)
    start("A", "completed", thread="old")
    start("B", "completed", thread="both")
    start("C", thread="both")
    start("D", thread="old", rehearsed=True)
    names = (old, both, elsewhere, rehearsed)
    keep(ledger, *names)
    assert pruned(ledger)["conversations"] == 2
    assert left(ledger, *names) == {both, rehearsed}


def test_a_ledger_beside_which_nothing_was_kept_gets_no_file(tmp_path):
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.start_run(Run(workflow="w", run_id="DONE"))
        ledger.finish_run("DONE", "completed")
        assert pruned(ledger)["runs"] == 1
        assert not checkpoints_path(ledger).exists()
