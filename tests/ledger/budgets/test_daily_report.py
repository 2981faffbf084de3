"""The daily report: what it says, and that one is sent a day, over real HTTP."""

from __future__ import annotations

import concurrent.futures
import datetime as dt
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from aideon_agents.ledger.budgets import daily
from aideon_agents.ledger.identity import utc_text
from aideon_agents.ledger.rows import Call, CallEnd, Run
from aideon_agents.ledger.store import Ledger

# apprise still asks for a module that Python is about to drop, and does without it.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

ROOT = Path(__file__).parents[3]
TODAY, YESTERDAY = dt.datetime(2026, 11, 22, 9, tzinfo=dt.UTC), dt.date(2026, 11, 21)
SEND = """
import datetime, sys
from aideon_agents.ledger.budgets import daily
daily.now = lambda: datetime.datetime(2026, 11, 22, 9, tzinfo=datetime.UTC)
from aideon_agents.ledger.store import Ledger
with Ledger.from_url(sys.argv[1]) as ledger:
    print(daily.send_due(ledger))
"""


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    monkeypatch.setattr(daily, "now", lambda: TODAY)
    with Ledger.from_url(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


def spend(ledger, workflow, user, nanousd, *, days_ago=1, status="ok", **start):
    """A run with one call."""
    at = utc_text(TODAY - dt.timedelta(days=days_ago))
    run_id = ledger.start_run(Run(workflow=workflow, user=user))
    ledger.database.write(
        "UPDATE runs SET started_at = :at WHERE run_id = :run_id", {"at": at, "run_id": run_id}
    )
    call_id = f"call-{run_id}"
    given = {"role": "creative", "provider": "together", "requested_model": "m", **start}
    call = Call(call_id=call_id, run_id=run_id, node_path="draft", started_at=at, **given)
    ledger.start_call(call)
    ledger.finish_call(call_id, CallEnd(status=status, duration_ms=500, cost_nanousd=nanousd))
    ledger.finish_run(run_id, "completed" if status == "ok" else "failed")


def test_a_report_says_what_was_spent_and_how_well_it_went(ledger):
    spend(ledger, "article", "ada", 1_500_000_000)
    spend(ledger, "article", "bob", 500_000_000, candidate=1)
    spend(ledger, "brief", "ada", 250_000_000)
    spend(ledger, "brief", "ada", None, status="error")
    spend(ledger, "old", "eve", 9_000_000_000, days_ago=3)
    assert daily.report_of(ledger, YESTERDAY).splitlines()[1:] == [
        "Spent: at least $2.2500",
        "Calls: 4, 1 failed",
        "Success rate: 75.0%",
        "Completed runs: 75.0%",
        "Mean response time: 0.50 s",
        "Fallback rate: 33.3%",
        "Top workflows: article $2.0000, brief at least $0.2500",
        "Top users: ada at least $1.7500, bob $0.5000",
    ]


def test_a_day_without_a_call_has_a_report_as_well(ledger):
    found = daily.report_of(ledger, YESTERDAY)
    assert "Calls: 0, 0 failed" in found
    assert "Top users: none" in found


def test_one_of_several_processes_sends_it_once(ledger, tmp_path, endpoint):
    (tmp_path / "apprise.conf").write_text(f"{endpoint.address}/first\n{endpoint.address}/second\n")
    spend(ledger, "article", "ada", 1_500_000_000)
    others = [Ledger.from_url(f"sqlite:///{tmp_path / 'ledger.db'}") for _ in range(4)]
    together = threading.Barrier(4)

    def send(one):
        together.wait(60)
        return daily.send_due(one)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        sent = list(pool.map(send, others))
    assert sorted(sent) == [False, False, False, True]
    assert daily.send_due(ledger) is False
    for one in others:
        one.close()
    posted = endpoint.all()
    assert [path for path, _ in posted] == ["/first", "/second"]
    assert posted[0][1]["title"] == f"Aideon Agents: report of {YESTERDAY}"
    assert "Spent: $1.5000" in posted[0][1]["message"]


def test_a_report_that_no_channel_took_is_tried_again(ledger, tmp_path, endpoint):
    channels = tmp_path / "apprise.conf"
    channels.write_text(f"{endpoint.address}/no")
    assert daily.send_due(ledger) is False
    channels.write_text(f"{endpoint.address}/no\n{endpoint.address}/yes")
    assert daily.send_due(ledger) is True
    assert daily.send_due(ledger) is False
    assert [path for path, _ in endpoint.all()] == ["/no", "/no", "/yes"]


def test_a_process_that_is_killed_while_it_sends_leaves_no_second_report(
    ledger, tmp_path, endpoint
):
    (tmp_path / "apprise.conf").write_text(f"{endpoint.address}/hang")
    words = [sys.executable, "-c", SEND, f"sqlite:///{tmp_path / 'ledger.db'}"]
    killed = subprocess.Popen(words, cwd=ROOT, env=os.environ)
    path, _ = endpoint.posted.get(timeout=60)
    killed.send_signal(signal.SIGKILL)
    killed.wait(60)
    endpoint.go_on.set()
    assert daily.send_due(ledger) is False
    assert (path, endpoint.all()) == ("/hang", [])
