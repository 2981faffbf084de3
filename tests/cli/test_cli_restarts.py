"""A server that restarts in the middle of commands: they wait, and nothing is lost or failed."""

from __future__ import annotations

import json
import signal
import time

import pytest

from aideon_agents import Ledger
from aideon_agents.testing import Rate, SimulatedProvider

ITEMS = 60
RATES = {"Qwen/Qwen3.5-9B": Rate(170, 250), "openai/gpt-oss-120b": Rate(150, 600)}
BATCH = ("batch", "two.py", "items.jsonl", "-o", "out.jsonl", "--max-concurrency", "8", "--json")
DISTRIBUTED = (*BATCH[:5], "--engine", "distributed", "--json")


@pytest.fixture
def server(postgres_of_its_own, monkeypatch, folder):
    lines = (json.dumps({"id": f"i{n}", "task": f"Pumps move heat {n}."}) for n in range(ITEMS))
    (folder / "items.jsonl").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setenv("AIDEON_LEDGER", postgres_of_its_own.url())
    monkeypatch.setenv("TOGETHER_API_KEY", "a-key-of-no-provider")
    return postgres_of_its_own


@pytest.fixture
def provider(monkeypatch):
    with SimulatedProvider(announce=False, rates=RATES) as provider:
        monkeypatch.setenv("TOGETHER_BASE_URL", provider.base_url)
        yield provider


def restart(server, provider, process, requests):
    """Stop the server hard once so many requests were made, and start it two seconds later."""
    while len(provider.requests) < requests:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    server.stop()
    time.sleep(2)
    server.start()


def assert_paid_once(ledger, provider):
    """Every request has a row with its price, and no hold is left."""
    billed = {line.request_id: line.nanousd for line in provider.bill.calls}
    asked = {one.headers["x-aideon-call"]: billed[one.request_id] for one in provider.requests}
    rows = ledger.select("SELECT call_id, cost_nanousd FROM calls")
    assert {row["call_id"]: row["cost_nanousd"] for row in rows} == asked
    assert ledger.select("SELECT * FROM holds WHERE status = 'held'") == []
    spent = {row["spent_nanousd"] for row in ledger.select("SELECT * FROM accounts")}
    assert spent <= {sum(asked.values())}


def test_a_batch_waits_for_a_server_that_restarts(server, provider, begin):
    running = begin(*BATCH, "--budget", "10")
    for requests in (10, 50, 90):
        restart(server, provider, running, requests)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    document = json.loads(out)
    assert (document["completed"], document["failed"]) == (ITEMS, 0)
    assert "waiting up to" in err
    assert len(provider.requests) == ITEMS * 2
    with Ledger.from_url(server.url()) as ledger:
        assert_paid_once(ledger, provider)


def test_a_run_waits_for_a_server_that_restarts_and_so_does_the_next_command(
    server, provider, begin
):
    running = begin("run", "two.py", "--task", "Pumps move heat.", "--json")
    restart(server, provider, running, 1)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, json.loads(out)["status"]) == (0, "completed"), err
    server.stop()
    listing = begin("runs", "list", "--json")
    assert "waiting up to" in listing.stderr.readline()
    server.start()
    out, err = listing.communicate(timeout=60)
    assert (listing.returncode, len(json.loads(out)), err) == (0, 1, "")
    with Ledger.from_url(server.url()) as ledger:
        assert_paid_once(ledger, provider)


def test_a_worker_and_the_batch_it_runs_wait_for_a_server_that_restarts(server, provider, begin):
    worker = begin("worker", "--max-concurrency", "8")
    running = begin(*DISTRIBUTED)
    for requests in (10, 60):
        restart(server, provider, running, requests)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    document = json.loads(out)
    assert (document["completed"], document["failed"]) == (ITEMS, 0)
    worker.send_signal(signal.SIGTERM)
    _, said = worker.communicate(timeout=60)
    assert worker.returncode == 0, said
    with Ledger.from_url(server.url()) as ledger:
        assert_paid_once(ledger, provider)
