"""On a server, calls that wait for money are served in their order, whichever process they are in.

Two ledgers on one server stand for two processes.
"""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from aideon_agents import Budget
from aideon_agents.ledger.identity import now, utc_text
from aideon_agents.ledger.rows import Call, CallEnd, Run
from aideon_agents.ledger.store import Ledger

PATIENCE = 30
"""Seconds until a test gives up."""


class Process:
    """One process, and the calls that it makes in a run."""

    def __init__(self, ledger, run_id):
        self.ledger, self.budgets = ledger, ledger.budgets
        self.run_id, self.budget = run_id, ledger.run_budget(run_id)

    def take(self, call_id, amount, *, queues=False, provider="together"):
        """What comes of asking: `held`, `waits` or `refused`."""
        place = self.budget.dimensions("draft", provider, now())
        refused = self.budgets.take(call_id, place, amount, queues=queues)
        return ("waits" if refused.waits else "refused") if refused else "held"

    def end(self, call_id, cost):
        start = {"node_path": "draft", "role": "", "provider": "together", "requested_model": "m"}
        start |= {"call_id": call_id, "run_id": self.run_id, "started_at": utc_text(now())}
        self.ledger.start_call(Call(**start))
        self.ledger.finish_call(call_id, CallEnd(status="ok", duration_ms=1, cost_nanousd=cost))


@pytest.fixture
def processes(postgres_url):
    with Ledger.from_url(postgres_url) as here, Ledger.from_url(postgres_url) as there:
        run_id = here.start_run(Run(workflow="w"), Budget("0.000001", providers={"openai": 1}))
        yield Process(here, run_id), Process(there, run_id)


def woken(process, seen):
    """Waits until another process has said that a call may be next."""
    tried = threading.Event()
    for _ in range(PATIENCE * 100):
        if process.budgets.settlements > seen:
            return True
        tried.wait(0.01)
    return False


def test_a_small_call_of_another_process_does_not_overtake_a_large_one_that_waits(processes):
    here, there = processes
    assert here.take("first", 400) == "held"
    assert here.take("large", 700, queues=True) == "waits"
    assert there.take("small", 100) == "waits"
    assert there.take("small", 100, queues=True) == "waits"
    here.end("first", 100)
    assert there.take("small", 100, queues=True) == "waits"
    assert here.take("large", 700, queues=True) == "held"
    assert there.take("small", 100, queues=True) == "held"
    assert here.ledger.select("SELECT * FROM tickets") == []


def test_a_call_that_can_never_fit_is_refused_at_once_and_blocks_nobody(processes):
    here, there = processes
    assert here.take("first", 400) == "held"
    assert here.take("too much", 1001, queues=True) == "refused"
    assert there.take("small", 100) == "held"


def test_a_call_that_costs_nothing_waits_for_nobody(processes):
    here, there = processes
    here.take("first", 400)
    here.take("large", 700, queues=True)
    assert there.take("free", 0) == "held"


def test_those_behind_a_call_that_gives_up_are_served(processes):
    here, there = processes
    here.take("first", 400)
    here.take("large", 700, queues=True)
    assert there.take("small", 100, queues=True) == "waits"
    seen = there.budgets.settlements
    here.budgets.tickets.leave("large")
    assert woken(there, seen)
    assert there.take("small", 100, queues=True) == "held"


def test_money_that_is_given_back_in_one_process_wakes_the_first_that_waits_in_another(processes):
    here, there = processes
    here.take("first", 1000)
    assert there.take("next", 900, queues=True) == "waits"
    seen = there.budgets.settlements
    here.end("first", 50)
    assert woken(there, seen)
    assert there.take("next", 900, queues=True) == "held"


def test_a_ticket_of_a_process_that_was_killed_blocks_nobody(processes):
    here, there = processes
    here.take("first", 400)
    here.take("large", 700, queues=True)
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    here.ledger.database.write(
        "UPDATE tickets SET pid = :pid, process_start = 'boot:1'", {"pid": child.pid}
    )
    there.budgets.forfeit_dead()
    assert there.take("small", 100) == "held"


def test_a_ticket_that_nobody_renews_blocks_nobody_and_keeps_its_place(processes):
    here, there = processes
    here.take("first", 400)
    here.take("large", 700, queues=True)
    here.ledger.database.write("UPDATE tickets SET expires_at = expires_at - 10", {})
    assert there.take("small", 10) == "held"
    assert there.take("medium", 600, queues=True) == "waits"
    assert here.take("large", 700, queues=True) == "waits"
    here.end("first", 0)
    assert there.take("medium", 600, queues=True) == "waits"
    assert here.take("large", 700, queues=True) == "held"


def test_only_the_accounts_that_lack_money_have_a_queue(processes):
    here, there = processes
    here.ledger.set_budget("user", 1)
    other = there.ledger.start_run(Run(workflow="w"), Budget(1))
    here.take("first", 400)
    here.take("large", 700, queues=True)
    assert Process(there.ledger, other).take("small", 100) == "held"


def test_the_listener_ends_with_the_last_call_that_waits(processes):
    here, _ = processes
    here.take("first", 400)
    here.take("large", 700, queues=True)
    listener = here.budgets.tickets._listener
    here.budgets.tickets.leave("large")
    listener.join(PATIENCE)
    assert not listener.is_alive()
