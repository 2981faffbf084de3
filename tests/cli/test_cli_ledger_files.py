"""Ledgers that older versions made are read; what is no ledger, or cannot be one, is refused.

Each refusal is one line that says where and what to do, before anything is called.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from stored_rows import rows_of

from aideon_agents.ledger.store import Ledger
from aideon_agents.testing import SimulatedProvider

STORED = sorted((Path(__file__).parents[1] / "ledger" / "schemas").glob("*.db"))
LEDGER = Path(".aideon/ledger.db")
RUN = ("run", "one.py", "--task", "Pumps move heat.")

# Root may write where permissions say no, unless it has given up two capabilities before.
WITH_PERMISSIONS = """
import ctypes, os, runpy
libc = ctypes.CDLL(None)
header, sets = (ctypes.c_uint32 * 2)(0x20080522), (ctypes.c_uint32 * 6)()
if os.geteuid() == 0:
    assert libc.capget(header, sets) == 0
    sets[0] &= ~0b110  # effective
    sets[1] &= ~0b110  # permitted: access(2) asks for these
    assert libc.capset(header, sets) == 0
runpy.run_module("aideon_agents", run_name="__main__", alter_sys=True)
"""

# What measures coverage writes a file at the end.
WITHOUT_GROWTH = """
import atexit, resource, runpy, sys
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
atexit.register(resource.setrlimit, resource.RLIMIT_FSIZE, (soft, hard))
resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
runpy.run_module("aideon_agents", run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def provider(folder, monkeypatch):
    """A provider that would be paid."""
    with SimulatedProvider() as serving:
        monkeypatch.setenv("TOGETHER_API_KEY", "a-key-of-no-provider")
        monkeypatch.setenv("TOGETHER_BASE_URL", serving.base_url)
        yield serving


@pytest.fixture
def ledger(folder):
    """A ledger with one run, closed."""
    with Ledger(LEDGER):
        return LEDGER


def text(path):
    path.write_text("these are notes, and no database " * 200, encoding="utf-8")


def somebody_elses(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE notes (text)")
    connection.close()


def newer(path):
    Ledger(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
            " VALUES ('aideon_agents', 'm999_wonders', '2030-01-01')"
        )
    connection.close()


def cut_off(path):
    Ledger(path).close()
    os.truncate(path, path.stat().st_size // 2)


def damaged(table):
    def make(path):
        with Ledger(path) as ledger:
            (row,) = ledger.select(
                "SELECT rootpage FROM sqlite_master WHERE name = :name", {"name": table}
            )
        content = bytearray(path.read_bytes())
        content[(row[0] - 1) * 4096 : row[0] * 4096] = b"\xff" * 4096
        path.write_bytes(content)

    make.__name__ = f"damaged {table}"
    return make


NO_LEDGERS = [
    (text, "is not a ledger: move the file away"),
    (somebody_elses, "is the database of something else (it has a table notes)"),
    (newer, "was made by a newer version (m999_wonders): upgrade aideon-agents"),
    (cut_off, "is damaged ("),
    (damaged("runs"), "is damaged ("),
    (damaged("calls"), "is damaged ("),
    (damaged("calls_run_id"), "is damaged ("),
    (Path.mkdir, "is a folder: name a file in it"),
]


@pytest.mark.parametrize(("make", "said"), NO_LEDGERS, ids=lambda one: getattr(one, "__name__", ""))
def test_what_is_no_ledger_is_refused_before_anything_is_called(aideon, provider, make, said):
    LEDGER.parent.mkdir()
    make(LEDGER)
    done = aideon(*RUN)
    assert done.code == 2
    assert done.complaint.startswith(f"the ledger {LEDGER} {said}")
    assert provider.requests == []


@pytest.mark.parametrize(
    ("make", "said"),
    [*NO_LEDGERS, (damaged("contents"), "is damaged (")],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_the_doctor_finds_what_is_wrong_with_a_ledger(aideon, folder, make, said):
    LEDGER.parent.mkdir()
    make(LEDGER)
    done = aideon("doctor", "--json")
    assert done.code == 1
    (finding,) = (one for one in done.document if one["what"] == "ledger")
    assert finding["state"] == "broken"
    assert finding["detail"].startswith(f"the ledger {LEDGER} {said}")


@pytest.mark.parametrize("stored", STORED, ids=lambda path: path.stem)
def test_the_reports_read_a_ledger_of_every_schema_and_runs_go_on_in_it(aideon, stored):
    LEDGER.parent.mkdir()
    shutil.copy(stored, LEDGER)
    rows = rows_of(stored)
    first = rows["runs"][0]["run_id"]
    listed = aideon("runs", "list", "--json")
    assert (listed.code, listed.err) == (0, "")
    assert {run["run_id"] for run in listed.document} == {run["run_id"] for run in rows["runs"]}
    shown = aideon("runs", "show", first, "--json").document
    assert [call["call_id"] for call in shown["calls"]] == [
        call["call_id"] for call in rows["calls"] if call["run_id"] == first
    ]
    assert (shown["cost"]["usd"], shown["cost"]["complete"]) == ("9007199.254970993", False)
    costs = aideon("costs", "--by", "run", "--json").document
    assert costs["total"]["calls"] == sum(
        not (call["rehearsed"] or call.get("simulated")) for call in rows["calls"]
    )
    for words in (["runs", "list"], ["runs", "show", first], ["costs"]):
        assert aideon(*words).code == 0
    assert aideon(*RUN).code == 0
    assert len(aideon("runs", "list", "--json").document) == len(rows["runs"]) + 1


def file_is_read_only(ledger):
    ledger.chmod(0o444)


def file_is_unreadable(ledger):
    ledger.chmod(0)


def folder_is_read_only(ledger):
    ledger.parent.chmod(0o555)


def new_in_a_read_only_folder(ledger):
    ledger.unlink()
    ledger.parent.chmod(0o555)


def new_folder_in_a_read_only_folder(ledger):
    shutil.rmtree(ledger.parent)
    Path.cwd().chmod(0o555)


@pytest.fixture
def writable_again():
    """Lets pytest remove what a test has made read-only."""
    yield
    for path in (Path.cwd(), LEDGER.parent, LEDGER):
        if path.exists():
            path.chmod(0o755)


@pytest.mark.parametrize(
    "forbid",
    [
        file_is_read_only,
        file_is_unreadable,
        folder_is_read_only,
        new_in_a_read_only_folder,
        new_folder_in_a_read_only_folder,
    ],
)
def test_a_ledger_without_permission_is_one_line_and_code_2(
    process, ledger, provider, writable_again, forbid
):
    forbid(ledger)
    done = process(*RUN, source=WITH_PERMISSIONS)
    assert done.code == 2
    assert done.complaint.startswith(f"the ledger {LEDGER} is read-only: make it and its folder")
    assert provider.requests == []


@pytest.fixture
def on_a_full_disk():
    """Begins a command whose `.aideon` lies on a disk with so many kilobytes, as far as possible.

    Where no disk can be mounted files may not grow at all instead.
    """

    def begin(kilobytes):
        mount = f"mount -t tmpfs -o size={kilobytes}k none .aideon"
        copied = f"cp -r .aideon kept && {mount} && cp kept/* .aideon; "
        for way in (["unshare", "-m"], ["unshare", "-Urm"]):
            if shutil.which("unshare") and _works([*way, "sh", "-c", mount]):
                run = [*way, "sh", "-c", copied + 'exec "$@"', "sh"]
                return [*run, sys.executable, "-m", "aideon_agents"]
        return [sys.executable, "-c", WITHOUT_GROWTH]

    return begin


def _works(command):
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_new_ledger_on_a_full_disk_is_one_line_and_code_2(command, provider, on_a_full_disk):
    LEDGER.parent.mkdir()
    (LEDGER.parent / "other").write_bytes(bytes(1000))
    done = command(*on_a_full_disk(16), *RUN)
    assert done.code == 2
    assert done.complaint.startswith(f"the ledger {LEDGER} cannot grow, ")
    assert provider.requests == []


@pytest.mark.parametrize("room", [4, 44])
def test_a_ledger_on_a_full_disk_is_one_line_and_code_2(
    command, ledger, provider, on_a_full_disk, room
):
    done = command(*on_a_full_disk(ledger.stat().st_size // 1024 + room), *RUN)
    assert done.code == 2
    assert done.complaint.startswith(f"the ledger {LEDGER} cannot grow, ")
    assert provider.requests == []


def test_a_limit_on_the_size_of_files_is_one_line_and_code_2(process, ledger, provider):
    done = process(*RUN, source=WITHOUT_GROWTH)
    assert done.code == 2
    assert "cannot grow, files may not be so large: raise that limit" in done.complaint
    assert provider.requests == []


def test_a_ledger_that_stays_locked_is_one_line_and_code_2(aideon, ledger, provider):
    holder = sqlite3.connect(ledger, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    done = aideon(*RUN)
    holder.close()
    assert done.code == 2
    assert done.complaint.startswith(f"the ledger {LEDGER} is locked by another process: wait for")
    assert provider.requests == []
