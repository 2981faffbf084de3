from __future__ import annotations

import errno
import gc
import os
import re
import sqlite3
import threading
from pathlib import Path

import pytest
import sqlite_utils
from langgraph.checkpoint.sqlite import SqliteSaver

from aideon_agents.errors import LedgerError
from aideon_agents.ledger.rows import CallEnd, Run
from aideon_agents.ledger.schema import STEPS
from aideon_agents.ledger.sqlite.database import ledger_path
from aideon_agents.ledger.sqlite.faults import explained
from aideon_agents.ledger.store import Ledger


def refusal(path, **options):
    with pytest.raises(LedgerError) as refused, Ledger(path, **options) as ledger:
        ledger.start_run(Run(workflow="w"))
    line = str(refused.value)
    assert "\n" not in line
    assert str(path) in line
    return line


@pytest.fixture
def ledger(tmp_path):
    """A file: this is not about servers."""
    with Ledger(tmp_path / "ledger.db") as opened:
        yield opened


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
    "url", ["mysql://localhost/ledger", "sqlite://ledger.db", "sqlite:///", "sqlite://", ""]
)
def test_another_kind_of_address_says_what_to_write(url):
    with pytest.raises(LedgerError, match="write sqlite:///path/to/ledger"):
        ledger_path(url)


def test_folders_are_made_and_an_existing_ledger_is_opened_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Ledger.from_url("sqlite:///a/b/ledger.db") as first:
        run_id = first.start_run(Run(workflow="w"))
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


def test_an_empty_file_becomes_a_ledger(tmp_path):
    path = tmp_path / "ledger.db"
    path.touch()
    with Ledger(path) as ledger:
        assert ledger.runs() == []


def test_a_damaged_ledger_is_refused(tmp_path):
    path = tmp_path / "ledger.db"
    Ledger(path).close()
    content = bytearray(path.read_bytes())
    content[100:] = b"\xff" * (len(content) - 100)
    path.write_bytes(content)
    assert "is damaged (`sqlite3 FILE .recover` may save its rows): move" in refusal(path)


@pytest.fixture
def filled(tmp_path, record):
    """A closed ledger of many pages: its bytes."""
    path = tmp_path / "filled.db"
    with Ledger(path) as ledger:
        for _ in range(20):
            run_id = ledger.start_run(Run(workflow="w"))
            for _ in range(5):
                record(ledger, run_id, purpose="a long purpose, so that there are more pages" * 4)
    return path.read_bytes()


def test_a_ledger_that_was_cut_off_is_refused(tmp_path, filled):
    path = tmp_path / "ledger.db"
    for length in (50, 99, 100, 4096, 4097, 8192, len(filled) // 2, len(filled) - 4096):
        path.write_bytes(filled[:length])
        assert re.search("is damaged|is not a ledger", refusal(path)), length


def test_a_damaged_page_is_told_of_when_a_row_is_started_or_never_met(tmp_path, filled, record):
    path = tmp_path / "ledger.db"
    told = []
    for start in range(0, len(filled), 4096):
        content = bytearray(filled)
        content[start : start + 4096] = b"\xff" * 4096
        path.write_bytes(content)
        try:
            with Ledger(path) as ledger:
                run_id = ledger.start_run(Run(workflow="w"))
                record(ledger, run_id)
                assert [call.status for call in ledger.calls(run_id)] == ["ok"]
        except LedgerError as refused:
            told.append(str(refused))
    assert 0 < len(told) < len(filled) // 4096
    assert all(re.search("is damaged|is not a ledger", line) for line in told)


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


def others_table(path):
    sqlite_utils.Database(path)["runs"].insert({"id": 1})


def others_view(path):
    sqlite_utils.Database(path).create_view("seen", "SELECT 1")


def others_steps(path):
    theirs = sqlite_utils.Migrations("theirs")
    theirs()(lambda db: db["notes"].insert({"id": 1}))
    theirs.apply(sqlite_utils.Database(path))


def checkpoints(path):
    with SqliteSaver.from_conn_string(str(path)) as saver:
        saver.setup()


@pytest.mark.parametrize("made", [others_table, others_view, others_steps, checkpoints])
def test_a_database_of_something_else_is_refused_and_left_as_it_was(tmp_path, made):
    path = tmp_path / "ledger.db"
    made(path)
    gc.collect()  # sqlite-utils leaves its connection open
    before = path.read_bytes()
    line = refusal(path)
    assert re.search(r"is the database of something else \(it has a (table|view|index) \w+\)", line)
    assert "name another file with AIDEON_LEDGER" in line
    assert path.read_bytes() == before


def test_a_ledger_cannot_be_kept_in_memory():
    line = refusal(Path(":memory:"))
    assert "name a file on a local disk" in line


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
    migrations = sqlite_utils.Migrations("aideon_agents")
    migrations()(STEPS[0])
    migrations.apply(older)
    older.close()
    with Ledger(path) as ledger:
        run_id = ledger.start_run(Run(workflow="w"))
        assert ledger.calls(run_id) == []


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "cannot grow, its disk is full: free some space"),
        (errno.EDQUOT, "cannot grow, its disk is full: free some space"),
        (errno.EFBIG, "cannot grow, files may not be so large: raise that limit"),
        (errno.EROFS, "is read-only: make it and its folder writable"),
        (errno.EACCES, "is read-only: make it and its folder writable"),
        (errno.EMFILE, "cannot be used (Too many open files): name another file"),
    ],
)
def test_what_the_system_says_is_told_with_what_to_do(number, advice):
    line = str(explained(Path("l.db"), OSError(number, os.strerror(number))))
    assert line.startswith(f"the ledger l.db {advice}")


@pytest.fixture
def moved(tmp_path):
    """A ledger in use in a folder of its own, and an opened run."""
    with Ledger(tmp_path / "folder" / "ledger.db") as ledger:
        yield ledger, ledger.start_run(Run(workflow="w"))


def deletes(ledger):
    ledger.path.unlink()


def replaces(ledger):
    ledger.path.unlink()
    Ledger(ledger.path).close()


def moves_its_folder(ledger):
    ledger.path.parent.rename(ledger.path.parent.with_name("moved"))


@pytest.mark.parametrize("gone", [deletes, replaces, moves_its_folder])
def test_a_ledger_that_is_gone_takes_no_more_rows(moved, record, gone):
    ledger, run_id = moved
    call = record(ledger, run_id, status="started")
    gone(ledger)
    with pytest.raises(LedgerError, match="was moved, deleted or replaced while it was in use"):
        record(ledger, run_id)
    with pytest.raises(LedgerError, match="put it back, or start again"):
        ledger.finish_call(call, CallEnd(status="ok", duration_ms=1))


def test_a_ledger_that_is_put_back_is_written_to_again(moved, record):
    ledger, run_id = moved
    away = ledger.path.with_name("away.db")
    ledger.path.rename(away)
    with pytest.raises(LedgerError, match="was moved"):
        record(ledger, run_id)
    away.rename(ledger.path)
    record(ledger, run_id)
    assert len(ledger.calls(run_id)) == 1


def test_another_working_directory_changes_nothing_for_an_open_ledger(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Ledger("ledger.db") as ledger:
        (tmp_path / "inside").mkdir()
        monkeypatch.chdir(tmp_path / "inside")
        ledger.start_run(Run(workflow="w"))
        ledger.database.check()
    assert list((tmp_path / "inside").iterdir()) == []


MODES = {"ledger.db", "ledger.db-wal", "ledger.db-shm", "checkpoints.db", "notes"}


@pytest.mark.parametrize("is_older", [False, True], ids=["new", "of an older version"])
def test_what_lies_in_the_folder_of_the_ledger_is_for_its_user_alone(tmp_path, is_older):
    folder = tmp_path / ".aideon"
    if is_older:
        folder.mkdir(mode=0o755)
        with Ledger(folder / "ledger.db"):
            pass
        for name in ("ledger.db", "checkpoints.db", "notes"):
            (folder / name).touch()
            (folder / name).chmod(0o644)
        folder.chmod(0o755)
    with Ledger(folder / "ledger.db") as ledger:
        ledger.start_run(Run(workflow="w"))
        found = {one.name: one.stat().st_mode & 0o777 for one in folder.iterdir()}
        assert {"ledger.db", "ledger.db-wal"} <= set(found) <= MODES
        assert set(found.values()) == {0o600}
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_ledger_elsewhere_is_made_private_and_keeps_the_mode_that_it_was_given(tmp_path):
    file = tmp_path / "shared.db"
    with Ledger(file):
        assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o660)
    with Ledger(file):
        assert file.stat().st_mode & 0o777 == 0o660


def test_a_ledger_that_can_only_be_read_is_reported_on(tmp_path, monkeypatch):
    """As in a folder, or on a disk, that is read-only: SQLite cannot make the files beside it."""
    file = tmp_path / "ledger.db"
    with Ledger(file) as ledger:
        run_id = ledger.start_run(Run(workflow="w"))
    connect = sqlite3.connect

    def refusing(address, **options):
        if address.endswith("immutable=1"):
            return connect(address, **options)
        error = sqlite3.OperationalError("unable to open database file")
        error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
        raise error

    monkeypatch.setattr(sqlite3, "connect", refusing)
    with Ledger(file) as ledger:
        assert [run.run_id for run in ledger.runs()] == [run_id]
        with pytest.raises(LedgerError, match="is read-only: make it and its folder writable"):
            ledger.start_run(Run(workflow="w"))
    file.with_name("ledger.db-wal").write_bytes(b"rows that are not in the file yet")
    with pytest.raises(LedgerError, match=r"cannot be opened|is read-only"):
        Ledger(file)


@pytest.mark.parametrize(
    "url",
    [
        "host=db user=me password=hunter2 dbname=x",
        "password = hunter2",
        "me:hunter2@db/x",
        "postgres//me:hunter2@db:5432/x",
    ],
)
def test_the_address_of_a_server_in_another_form_is_refused_and_not_repeated(url):
    with pytest.raises(LedgerError, match=r"write sqlite:///.* or postgresql://") as refused:
        ledger_path(url)
    assert "hunter2" not in str(refused.value)
