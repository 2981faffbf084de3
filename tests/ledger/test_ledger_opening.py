from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
import sqlite_utils

from aideon_agents.errors import LedgerError
from aideon_agents.ledger.migrations import MIGRATIONS
from aideon_agents.ledger.opening import explained, ledger_path
from aideon_agents.ledger.rows import RunStart
from aideon_agents.ledger.store import Ledger


def refusal(path, **options):
    with pytest.raises(LedgerError) as refused, Ledger(path, **options) as ledger:
        ledger.start_run(RunStart(workflow="w"))
    line = str(refused.value)
    assert "\n" not in line
    assert str(path) in line
    return line


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///.aideon/ledger.db", ".aideon/ledger.db"),
        ("sqlite:////var/ledger.db", "/var/ledger.db"),
        ("ledger.db", "ledger.db"),
        ("/var/ledger.db", "/var/ledger.db"),
    ],
)
def test_an_address_names_a_file(url, path):
    assert ledger_path(url) == Path(path)


@pytest.mark.parametrize(
    "url", ["postgresql://localhost/ledger", "sqlite://ledger.db", "sqlite:///", "sqlite://", ""]
)
def test_another_kind_of_address_says_what_to_write(url):
    with pytest.raises(LedgerError, match="write sqlite:///path/to/ledger"):
        ledger_path(url)


def test_folders_are_made_and_an_existing_ledger_is_opened_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Ledger.from_url("sqlite:///a/b/ledger.db") as first:
        run_id = first.start_run(RunStart(workflow="w"))
    with Ledger(tmp_path / "a" / "b" / "ledger.db") as second:
        assert second.find_run("last").run_id == run_id


def test_the_file_is_written_ahead_and_synced_normally(ledger):
    (mode,) = ledger.select("PRAGMA journal_mode")
    (synchronous,) = ledger.select("PRAGMA synchronous")
    assert (mode[0], synchronous[0]) == ("wal", 1)


def test_a_folder_in_its_place_is_named(tmp_path):
    assert "is a folder: name a file in it" in refusal(tmp_path)


def test_a_file_in_the_place_of_its_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    assert "AIDEON_LEDGER" in refusal(tmp_path / "file" / "ledger.db")


def test_a_text_file_is_no_ledger(tmp_path):
    path = tmp_path / "ledger.db"
    path.write_text("this is not a database, and long enough to be looked at " * 40)
    assert "is not a ledger: move the file away" in refusal(path)
    assert path.read_text().startswith("this is not"), "it is left as it was"


def test_a_damaged_ledger_is_refused(tmp_path):
    path = tmp_path / "ledger.db"
    Ledger(path).close()
    content = bytearray(path.read_bytes())
    content[100:] = b"\xff" * (len(content) - 100)
    path.write_bytes(content)
    assert "is damaged: move the file away" in refusal(path)


def test_a_ledger_of_a_newer_version_is_left_alone(tmp_path):
    path = tmp_path / "ledger.db"
    Ledger(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
            " VALUES ('aideon_agents', 'm999_wonders', '2030-01-01')"
        )
    connection.close()
    assert "newer version (m999_wonders): upgrade aideon-agents" in refusal(path)


def test_a_database_of_something_else_is_refused(tmp_path):
    path = tmp_path / "ledger.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE runs (id INTEGER)")
    connection.close()
    assert "table runs already exists" in refusal(path)


def test_a_locked_ledger_is_named_after_a_wait(tmp_path):
    path = tmp_path / "ledger.db"
    Ledger(path).close()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    assert "is locked by another process" in refusal(path, busy_seconds=0.02)
    holder.close()


@pytest.mark.parametrize("lock", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_new_file_that_is_locked_is_named_after_a_wait(tmp_path, lock):
    path = tmp_path / "ledger.db"
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute(f"BEGIN {lock}")
    assert "is locked by another process" in refusal(path, busy_seconds=0.02)
    holder.close()


@pytest.mark.parametrize("lock", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_new_file_that_is_locked_for_a_moment_is_waited_for(tmp_path, lock):
    path = tmp_path / "ledger.db"
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute(f"BEGIN {lock}")
    release = threading.Timer(0.03, holder.rollback)
    release.start()
    with Ledger(path) as ledger:
        assert ledger.runs() == []
    release.join()
    holder.close()


def test_a_full_disk_stops_the_next_row(ledger, run_id, record):
    pages = ledger.select("PRAGMA page_count")[0][0]
    ledger.select(f"PRAGMA max_page_count = {pages}")
    purpose = "a purpose that needs more than one page" * 200
    with pytest.raises(LedgerError, match="cannot grow, its disk is full"):
        record(ledger, run_id, purpose=purpose)


def test_a_read_only_ledger_says_so(ledger, run_id, record):
    ledger.select("PRAGMA query_only = 1")
    with pytest.raises(LedgerError, match="is read-only: make it and its folder writable"):
        record(ledger, run_id)


def test_an_error_nobody_foresaw_keeps_its_own_words():
    error = OSError(5, "Input/output\nerror")
    line = str(explained(Path("l.db"), error))
    assert line.startswith("the ledger l.db cannot be used (Input/output error): ")


def test_a_ledger_of_an_older_version_is_brought_up_to_date(tmp_path):
    path = tmp_path / "ledger.db"
    older = sqlite_utils.Database(path)
    MIGRATIONS.apply(older, stop_before="m002_calls")
    older.close()
    with Ledger(path) as ledger:
        run_id = ledger.start_run(RunStart(workflow="w"))
        assert ledger.calls(run_id) == []
