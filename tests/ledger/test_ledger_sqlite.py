"""What only a ledger in a file can meet: locks, files that cannot grow, damage, odd values."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import threading

import pytest

from aideon_agents.errors import LedgerError
from aideon_agents.ledger.rows import Run
from aideon_agents.ledger.store import Ledger

ADDS = "UPDATE runs SET pid = :pid WHERE run_id = :run_id"
READS = "SELECT pid FROM runs WHERE run_id = :run_id"


def set_pid(tx, run_id, pid):
    assert tx.write(ADDS, {"run_id": run_id, "pid": pid}) == 1


def pid_of(ledger, run_id):
    with Ledger(ledger.path) as another:  # what is not committed cannot be seen from there
        return another.select(READS, {"run_id": run_id})[0]["pid"]


@pytest.fixture
def ledger(tmp_path):
    """A file: this is not about servers."""
    with Ledger(tmp_path / "ledger.db") as opened:
        yield opened


@pytest.fixture
def counter(ledger):
    """A run whose process id counts, from 0."""
    run_id = ledger.start_run(Run(workflow="counter"))
    ledger.database.write(ADDS, {"run_id": run_id, "pid": 0})
    return run_id


@pytest.fixture
def no_growth():
    """Files that may not grow while it is on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def switch(on):
        resource.setrlimit(resource.RLIMIT_FSIZE, (0 if on else soft, hard))

    yield switch
    switch(on=False)


def test_a_transaction_that_finds_the_ledger_locked_leaves_nothing_behind(tmp_path):
    with Ledger(tmp_path / "ledger.db", busy_seconds=0.02) as ledger:
        run_id = ledger.start_run(Run(workflow="w"))
        holder = sqlite3.connect(ledger.path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with (
            pytest.raises(LedgerError, match="is locked by another process"),
            ledger.database.transaction(),
        ):
            pytest.fail("it was not given the lock")
        holder.close()
        with ledger.database.transaction() as tx:
            set_pid(tx, run_id, 5)
        assert pid_of(ledger, run_id) == 5


def test_a_lock_that_is_let_go_of_is_waited_for(ledger, counter):
    holder = sqlite3.connect(ledger.path, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.05, holder.rollback)
    release.start()
    with ledger.database.transaction() as tx:
        set_pid(tx, counter, 1)
    assert pid_of(ledger, counter) == 1
    release.join()
    holder.close()


def test_a_commit_that_fails_undoes_the_transaction(ledger, counter, no_growth):
    def write():
        with ledger.database.transaction() as tx:
            set_pid(tx, counter, 1)
            no_growth(on=True)

    with pytest.raises(LedgerError, match="cannot grow, files may not be so large"):
        write()
    no_growth(on=False)
    assert ledger.select(READS, {"run_id": counter})[0]["pid"] == 0
    with ledger.database.transaction() as tx:
        set_pid(tx, counter, 2)
    assert pid_of(ledger, counter) == 2


def test_the_check_leaves_the_version_as_it_is(ledger):
    ledger.database.write("PRAGMA user_version = 3", {})
    ledger.database.check()
    assert ledger.select("PRAGMA user_version")[0][0] == 3


@pytest.mark.parametrize("value", [2**63, "\ud800"])
def test_a_value_that_no_row_can_hold_is_an_error_of_the_ledger(ledger, counter, value):
    with pytest.raises(LedgerError, match=r"ledger\.db cannot hold a value: "):
        ledger.database.write(ADDS, {"run_id": counter, "pid": value})
    with pytest.raises(LedgerError, match="cannot hold a value: "):
        ledger.select(READS, {"run_id": value})


def test_the_check_finds_that_a_ledger_cannot_grow(ledger, no_growth):
    no_growth(on=True)
    with pytest.raises(LedgerError, match="cannot grow"):
        ledger.database.check()


def test_the_check_finds_that_rows_cannot_be_written(ledger):
    ledger.select("PRAGMA query_only = 1")
    with pytest.raises(LedgerError, match="is read-only"):
        ledger.database.check()


def test_the_check_finds_damage_that_nothing_has_met_yet(ledger, run_id, record):
    for _ in range(100):
        record(ledger, run_id)
    (page,) = ledger.select("SELECT rootpage FROM sqlite_master WHERE name = 'contents'")
    ledger.close()
    content = bytearray(ledger.path.read_bytes())
    content[(page[0] - 1) * 4096 : page[0] * 4096] = b"\xff" * 4096
    ledger.path.write_bytes(content)
    with (
        Ledger(ledger.path) as damaged,
        pytest.raises(LedgerError, match="is damaged"),
    ):
        damaged.database.check()


def test_the_check_finds_an_index_that_has_lost_its_rows(ledger, run_id):
    (table,) = ledger.select("SELECT rootpage FROM sqlite_master WHERE name = 'runs'")
    (index,) = ledger.select("SELECT rootpage FROM sqlite_master WHERE name = 'runs_started_at'")
    ledger.close()
    content = bytearray(ledger.path.read_bytes())
    pages = [slice((row[0] - 1) * 4096, row[0] * 4096) for row in (table, index)]
    content[pages[1]] = content[pages[0]]  # a page that is whole, and the wrong one
    ledger.path.write_bytes(content)
    with Ledger(ledger.path) as damaged, pytest.raises(LedgerError, match="is damaged"):
        damaged.database.check()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_process_says_of_a_ledger_that_is_gone_and_works_with_the_others(ledger, tmp_path):
    kept = [Ledger(tmp_path / f"{number}" / "ledger.db") for number in range(9)]
    for one in kept[::2]:
        shutil.rmtree(one.path.parent)
    kept[1].close()
    shutil.rmtree(kept[1].path.parent)
    child = os.fork()
    if child == 0:
        told = []
        for one in [*kept, ledger]:
            try:
                one.select("SELECT count(*) FROM runs", {})
            except LedgerError as error:
                told.append("was moved, deleted or replaced" in str(error))
            else:
                told.append(None)
        os._exit(0 if told == [True, True, True, *[None, True] * 3, None] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
