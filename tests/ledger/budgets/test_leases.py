"""Holds live as long as their process does: renewed by a thread, forfeited when nobody renews."""

from __future__ import annotations

import logging
import signal
import subprocess
import time

import pytest
import warm

from aideon_agents.ledger.budgets import holds

HOLDS_AND_WAITS = """
import sys
from aideon_agents.ledger.budgets import holds
from aideon_agents.ledger.budgets.limits import CallDimensions
from aideon_agents.ledger.rows import CallEnd, Call
from aideon_agents.ledger.store import Ledger

holds.LEASE = 0.5
url, run_id, amount = sys.argv[1], sys.argv[2], int(sys.argv[3])
at = "2026-11-21T12:00:00.000Z"
with Ledger.from_url(url) as ledger:
    ledger.budgets._renew_seconds = 0.05
    place = CallDimensions(at=at, run=run_id, user="ada", node="draft", provider="together")
    assert ledger.budgets.take("c1", place, amount) is None
    ledger.start_call(Call(
        call_id="c1", run_id=run_id, node_path="draft", role="", provider="together",
        requested_model="m", started_at=at,
    ))
    print("held", flush=True)
    cost = int(sys.stdin.readline())
    print(ledger.finish_call("c1", CallEnd(status="ok", duration_ms=1, cost_nanousd=cost)))
    ledger.budgets.release("c1")
"""

GRABS = """
import sys
from aideon_agents.ledger.budgets.limits import CallDimensions
from aideon_agents.ledger.store import Ledger

url, run_id, name = sys.argv[1:]
with Ledger.from_url(url) as ledger:
    place = CallDimensions(at="2026-11-21T12:00:00.000Z", run=run_id, node="draft", provider="together")
    print("ready", flush=True)
    sys.stdin.readline()
    taken = [ledger.budgets.take(f"{name}-{n}", place, 3) is None for n in range(40)]
    print(sum(taken), flush=True)
    sys.stdin.readline()
"""


def start(code, *words):
    return warm.Process(
        ["-c", code, *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def till(ledger, till_for):
    return till_for(ledger, 100)


def is_forfeited(till, call_id):
    """Whether that happens while one waits for it."""
    deadline = time.monotonic() + 60
    while till.status(call_id) == "held" and time.monotonic() < deadline:
        time.sleep(0.05)
        till.ledger.budgets.forfeit_dead()
    return till.status(call_id) == "forfeited"


def test_a_process_that_was_stopped_for_too_long_loses_its_hold_and_corrects_it_later(
    till, ledger_url
):
    with start(HOLDS_AND_WAITS, ledger_url, till.run_id, 60) as child:
        assert child.stdout.readline() == "held\n"
        child.send_signal(signal.SIGSTOP)
        assert is_forfeited(till, "c1")
        assert till.own == (60, 0)
        child.send_signal(signal.SIGCONT)
        said, _ = child.communicate("25\n")
    assert said == "True\n"
    assert till.own == (25, 0)
    assert till.status("c1") == "settled"


def test_a_killed_process_loses_its_hold_at_once(till, ledger_url):
    with start(HOLDS_AND_WAITS, ledger_url, till.run_id, 60) as child:
        assert child.stdout.readline() == "held\n"
        child.kill()
        child.wait()
        till.ledger.budgets.forfeit_dead()
        assert till.own == (60, 0)
        child.communicate()


def test_a_live_process_keeps_its_hold_however_long_its_loop_is_busy(till, another, monkeypatch):
    monkeypatch.setattr(holds, "LEASE", 6.0)
    till.ledger.budgets._renew_seconds = 0.05
    call = till.begin(till.take(60))
    time.sleep(6.5)  # this thread does nothing else meanwhile, as a busy loop
    another().budgets.forfeit_dead()
    assert till.own == (0, 60)
    assert till.end(call, 10)


def test_nobody_gives_its_own_calls_up_when_the_clock_has_jumped(till, another):
    call = till.begin(till.take(60))
    jump = {"expires_at": time.time() - 3600}
    till.ledger.database.write("UPDATE holds SET expires_at = :expires_at", jump)
    till.ledger.budgets.forfeit_dead()
    assert till.own == (0, 60)
    another().budgets.forfeit_dead()  # nor does anybody else from then on
    assert till.own == (0, 60)
    assert till.end(call, 10)
    assert till.own == (10, 0)


def test_the_thread_rests_when_nothing_is_held_and_comes_back(till):
    budgets = till.ledger.budgets
    budgets._renew_seconds = 0.01
    for _ in range(2):
        call = till.begin(till.take(10))
        thread = budgets._renewer
        assert thread.is_alive()
        till.end(call, 1)
        thread.join(60)
        assert not thread.is_alive()


def test_a_ledger_that_is_closed_renews_nothing(till):
    budgets = till.ledger.budgets
    budgets._renew_seconds = 0.01
    till.take(10)
    thread = budgets._renewer
    till.ledger.close()
    thread.join(60)
    assert not thread.is_alive()


def test_a_renewal_that_fails_is_said_and_tried_again(till, caplog):
    budgets = till.ledger.budgets
    budgets._renew_seconds = 0.01
    call = till.take(10)
    till.ledger.database.write("ALTER TABLE holds RENAME TO away", {})
    with caplog.at_level(logging.WARNING, "aideon_agents.budgets"):
        deadline = time.monotonic() + 60
        while not caplog.records and time.monotonic() < deadline:
            time.sleep(0.01)
    till.ledger.database.write("ALTER TABLE away RENAME TO holds", {})
    assert caplog.messages[0].startswith("holds are not renewed: the ledger")
    assert budgets._renewer.is_alive()
    till.ledger.budgets.release(call)
    assert till.own == (0, 0)


def test_processes_never_take_more_than_there_is(till, ledger_url):
    children = [start(GRABS, ledger_url, till.run_id, name) for name in "abcd"]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    taken = [int(child.stdout.readline()) for child in children]
    assert sum(taken) == 33
    assert till.own == (0, 99)
    for child in children:
        child.communicate("end\n")
    till.ledger.budgets.forfeit_dead()
    assert till.own == (99, 0)
