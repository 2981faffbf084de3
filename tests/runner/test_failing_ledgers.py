"""A ledger that gives up while a run is under way: what is paid for is kept, and no more is paid."""

from __future__ import annotations

import asyncio
import resource
import sqlite3

import pytest

from aideon_agents import Ledger, abatch, creative, executor, run, sequential
from aideon_agents.errors import LedgerError, RunError
from aideon_agents.ledger.checkpoints import open_checkpointer
from aideon_agents.testing import SimulatedProvider

PUMPS = "Pumps move heat."


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "folder" / "ledger.db", busy_seconds=0.02) as opened:
        yield opened


@pytest.fixture
def locks(ledger):
    """Locks the ledger until the test is over."""
    connection = sqlite3.connect(ledger.path, isolation_level=None, check_same_thread=False)
    yield lambda: connection.execute("BEGIN IMMEDIATE")
    connection.close()


@pytest.fixture
def deletes(ledger):
    return ledger.path.unlink


@pytest.fixture
def damages(ledger):
    """Takes a table away, so that not even what was spent can be read."""

    def damages():
        connection = sqlite3.connect(ledger.path)
        connection.execute("DROP TABLE calls")
        connection.close()

    return damages


@pytest.fixture
def fills():
    """Leaves no room on the disk until the test is over."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(params=["locks", "deletes", "damages", "fills"])
def fault(request):
    """Makes the ledger unusable."""
    return request.getfixturevalue(request.param)


@pytest.mark.filterwarnings("ignore:coroutine 'ahandle_event' was never awaited:RuntimeWarning")
def test_between_two_calls_the_second_is_not_made(ledger, keyed, fault):
    def breaks(state):
        fault()
        return "broken"

    graph = sequential(executor("facts"), breaks, creative("draft"))
    with SimulatedProvider() as provider:
        result = run(graph, PUMPS, settings=keyed(provider), ledger=ledger)
        assert len(provider.requests) == 1
    assert (result.status, list(result.results)) == ("failed", ["facts", "breaks"])
    assert isinstance(result.exception, LedgerError)
    assert result.error.startswith(f"the ledger {ledger.path} ")


@pytest.mark.parametrize("records", [False, True])
def test_during_a_call_its_answer_is_kept(ledger, keyed, fault, records, caplog):
    def answer(request):
        fault()
        return "Heat moves pumps."

    with SimulatedProvider(answer=answer) as provider:
        options = {"settings": keyed(provider), "ledger": ledger, "record_content": records}
        result = run(sequential(creative("draft")), PUMPS, **options)
        assert len(provider.requests) == 1
    assert (result.status, result.output) == ("completed", "Heat moves pumps.")
    assert not result.cost.complete
    lines = [record.getMessage() for record in caplog.records]
    assert "stays started: the ledger " in lines[0]
    assert not any("\n" in line for line in lines)


def test_a_call_whose_prompt_cannot_be_kept_is_not_made_and_has_no_row(ledger, keyed):
    ledger.database.write("DROP TABLE contents", {})
    with SimulatedProvider() as provider:
        options = {"settings": keyed(provider), "ledger": ledger, "record_content": True}
        with pytest.raises(LedgerError, match="no such table: contents"):
            run(sequential(creative("draft")), PUMPS, **options)
        assert provider.requests == []
    assert ledger.calls(ledger.find_run("last").run_id) == []


def test_a_run_whose_row_is_gone_keeps_its_answer(ledger, keyed, caplog):
    def forgets(state):
        ledger.database.write("DELETE FROM runs", {})
        return "gone"

    with SimulatedProvider() as provider:
        graph = sequential(executor("facts"), forgets)
        result = run(graph, PUMPS, settings=keyed(provider), ledger=ledger)
    assert (result.status, result.output) == ("completed", "gone")
    assert not result.cost.complete
    assert "cost is unknown: no run" in caplog.text


@pytest.fixture
def refuses_to_commit(ledger):
    """Makes the ledger fail where the end of a run is committed, after every statement succeeded."""
    for statement in (
        "CREATE TABLE parents (id INTEGER PRIMARY KEY)",
        "CREATE TABLE children (id INTEGER REFERENCES parents DEFERRABLE INITIALLY DEFERRED)",
        """
        CREATE TRIGGER ends AFTER UPDATE OF status ON runs
        BEGIN INSERT INTO children (id) VALUES (1); END
        """,
        "PRAGMA foreign_keys = ON",
    ):
        ledger.database.write(statement, {})


def state_of(ledger):
    """The names under which something is kept beside the ledger."""

    async def names():
        async with open_checkpointer(ledger, []) as checkpointer:
            return await checkpointer.names()

    return asyncio.run(names())


@pytest.mark.usefixtures("refuses_to_commit")
def test_a_run_whose_end_is_not_committed_can_resume(ledger, keyed, caplog):
    with SimulatedProvider() as provider:
        options = {"settings": keyed(provider), "ledger": ledger, "checkpoint": True}
        result = run(sequential(creative("draft")), PUMPS, **options)
    assert result.status == "completed"
    assert (
        f"run {result.run_id} stays running: the ledger {ledger.path} cannot be used" in caplog.text
    )
    assert ledger.find_run(result.run_id).status == "running"
    assert state_of(ledger) == {result.run_id}


@pytest.mark.usefixtures("refuses_to_commit")
def test_an_item_whose_end_is_not_committed_is_not_done(ledger, keyed):
    with SimulatedProvider() as provider:
        options = {"settings": keyed(provider), "ledger": ledger, "checkpoint": True}
        batch = abatch(sequential(creative("draft")), [PUMPS], "out.jsonl", **options)
        with pytest.raises(RunError, match="cannot be written"):
            asyncio.run(batch)
    (row,) = ledger.select("SELECT status FROM items")
    assert row["status"] == "running"
    assert state_of(ledger) == {ledger.find_run("last").run_id}
