"""A ledger of every schema there has been opens in this one: `schemas/` holds a real file of each.

All steps that a ledger lacks are taken in one transaction, so no ledger stands between two schemas.
"""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest
import sqlite_utils
import warm
from stored_rows import rows_of

from aideon_agents.ledger.costs import run_cost
from aideon_agents.ledger.money import usd
from aideon_agents.ledger.rows import CallEnd, Run
from aideon_agents.ledger.schema import STEPS
from aideon_agents.ledger.store import Ledger

FOLDER = Path(__file__).with_name("schemas")
NAMES = sorted(path.stem for path in FOLDER.glob("*.db"))
STEP_NAMES = [step.__name__ for step in STEPS]
OLDER = [name for name in NAMES if name < "m008"]

NEW_WORDS = {"truncated": "broken"}
"""What the step of this version calls the status of an older call."""

GROWING = ("_sqlite_migrations", "additive_steps")
"""The tables with a row for each step, also for those that this version takes."""

OPENS = """
import sys
from aideon_agents.ledger.store import Ledger

sys.stdin.readline()
with Ledger(sys.argv[1]) as ledger:
    print(len(ledger.runs()), len(ledger.select("SELECT * FROM _sqlite_migrations")))
"""

DIES_HALFWAY = """
import os, signal, sys
from aideon_agents.ledger import schema
from aideon_agents.ledger.store import Ledger

def m998_dies(db):
    db.execute("PRAGMA cache_size = 1")  # pages reach the disk before anything is committed
    db.execute("CREATE TABLE half_done AS SELECT calls.* FROM calls, runs, runs AS more")
    os.kill(os.getpid(), signal.SIGKILL)

schema.STEPS += (m998_dies,)
Ledger(sys.argv[1])
"""


@pytest.fixture(params=NAMES)
def stored(request, tmp_path):
    """A copy of a stored ledger, and its rows as they were when it was made."""
    return a_copy(request.param, tmp_path)


@pytest.fixture(params=OLDER)
def older(request, tmp_path):
    """The same, of an older schema."""
    return a_copy(request.param, tmp_path)


def a_copy(name, folder):
    path = folder / "ledger.db"
    shutil.copy(FOLDER / f"{name}.db", path)
    tables = rows_of(FOLDER / f"{name}.db")
    for call in tables["calls"]:
        call["status"] = NEW_WORDS.get(call["status"], call["status"])
    return path, tables


def shape(connection):
    """Every table and index, as it was made."""
    made = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")
    return sorted(tuple(row) for row in made if row[0] in {"table", "index"})


def steps_taken(path):
    connection = sqlite3.connect(path)
    taken = connection.execute("SELECT name FROM _sqlite_migrations ORDER BY id").fetchall()
    connection.close()
    return [name for (name,) in taken]


def test_the_newest_schema_has_a_stored_ledger():
    assert STEP_NAMES[-1] in NAMES, "run python tests/ledger/schemas/make.py"


@pytest.mark.parametrize("name", NAMES)
def test_the_steps_of_a_stored_ledger_have_not_been_changed_since(name):
    taken = STEP_NAMES[: STEP_NAMES.index(name) + 1]
    stored = sqlite3.connect(f"file:{FOLDER / name}.db?mode=ro&immutable=1", uri=True)
    fresh = sqlite_utils.Database(memory=True)
    migrations = sqlite_utils.Migrations("aideon_agents")  # earlier versions left it to apply them
    for step in STEPS[: len(taken)]:
        migrations()(step)
    migrations.apply(fresh)
    assert steps_taken(FOLDER / f"{name}.db") == taken
    assert shape(stored) == shape(fresh.conn), "released: add a step; else: make its file again"
    stored.close()
    fresh.close()


def test_a_new_ledger_has_the_tables_and_indexes_of_the_newest_stored_one(tmp_path):
    stored = sqlite3.connect(f"file:{FOLDER / STEP_NAMES[-1]}.db?mode=ro&immutable=1", uri=True)
    with Ledger(tmp_path / "ledger.db") as ledger:
        made = ledger.select("SELECT type, name, tbl_name, sql FROM sqlite_master")
        assert sorted(tuple(row) for row in made if row[0] in {"table", "index"}) == shape(stored)
    stored.close()


def test_sqlite_utils_finds_every_step_taken_in_a_ledger_of_this_version(tmp_path):
    path = tmp_path / "ledger.db"
    Ledger(path).close()
    migrations = sqlite_utils.Migrations("aideon_agents")
    for step in STEPS:
        migrations()(step)
    found = sqlite_utils.Database(path)
    assert migrations.pending(found) == []
    assert [taken.name for taken in migrations.applied(found)] == STEP_NAMES
    found.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_ledger_is_one_whole_file_in_the_mode_of_a_real_one(name):
    connection = sqlite3.connect(f"file:{FOLDER / name}.db?mode=ro&immutable=1", uri=True)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    header = (FOLDER / f"{name}.db").read_bytes()[:20]
    assert header[18:20] == b"\x02\x02"  # the write-ahead log is switched on
    assert sorted(path.suffix for path in FOLDER.glob(f"{name}.*")) == [".db"]


def test_every_row_is_there_as_it_was_written(stored):
    path, tables = stored
    with Ledger(path) as ledger:
        for table, rows in tables.items():
            names = ", ".join(f'"{column}"' for column in rows[0])
            found = ledger.select(f"SELECT {names} FROM {table}")  # noqa: S608 - our names
            kept = [dict(row) for row in found if dict(row) in rows]
            assert sorted(kept, key=json.dumps) == sorted(rows, key=json.dumps), table
            assert len(kept) == len(found) or table in GROWING
        assert [row["name"] for row in ledger.select("SELECT name FROM _sqlite_migrations")] == (
            STEP_NAMES
        )


def test_runs_calls_and_contents_are_read_back_as_they_were(stored):
    path, tables = stored
    with Ledger(path) as ledger:
        runs = ledger.runs()
        calls = [call for run in runs for call in ledger.calls(run.run_id)]
        contents = [one for run in runs for one in ledger.contents(run.run_id)]
    for found, table in ((runs, "runs"), (calls, "calls"), (contents, "contents")):
        by_key = {next(iter(vars(one).values())): vars(one) for one in found}
        rows = tables.get(table, [])
        assert len(by_key) == len(rows)
        for row in rows:
            one = by_key[row["run_id" if table == "runs" else "call_id"]]
            for column in row.keys() & one.keys():
                is_json = isinstance(one[column], dict | list)
                assert one[column] == (json.loads(row[column]) if is_json else row[column])


def test_what_an_older_ledger_says_of_money_stays_exact(stored):
    path, _ = stored
    with Ledger(path) as ledger:
        cost = run_cost(ledger, "01M7Z000000000000000000001")
    assert cost.usd == usd(230_000 + 2**53 + 1)
    assert (cost.calls, cost.complete) == (7, False)


def test_what_an_older_schema_did_not_have_is_unknown_or_off(older):
    path, tables = older
    with Ledger(path) as ledger:
        run = ledger.find_run("01M7Z000000000000000000003")
        (call,) = ledger.calls(run.run_id)
    added = {name: value for name, value in vars(run).items() if name not in tables["runs"][0]}
    assert set(added.values()) <= {None, False}
    added = {name: value for name, value in vars(call).items() if name not in tables["calls"][0]}
    assert set(added.values()) <= {None, False}


def test_a_stream_that_broke_off_in_an_older_ledger_is_broken_and_not_truncated(stored):
    path, _ = stored
    with Ledger(path) as ledger:
        calls = ledger.calls("01M7Z000000000000000000001")
    assert [call.truncated for call in calls if call.status == "broken"] == [False]
    assert "truncated" not in {call.status for call in calls}


@pytest.mark.parametrize("name", [name for name in NAMES if name < "m008"])
def test_an_older_answer_that_met_max_tokens_is_marked_by_its_finish_reason(name, tmp_path):
    path, tables = a_copy(name, tmp_path)
    rows = sqlite3.connect(path)
    reasons = {"length": 1, "MAX_TOKENS": 1, "stop": 0, None: 0}
    ended = [call["call_id"] for call in tables["calls"]][: len(reasons)]
    rows.executemany(
        "UPDATE calls SET finish_reason = ? WHERE call_id = ?", zip(reasons, ended, strict=True)
    )
    rows.commit()
    rows.close()
    with Ledger(path) as ledger:
        found = {row["call_id"]: row["truncated"] for row in ledger.select("SELECT * FROM calls")}
    assert [found[call_id] for call_id in ended] == list(reasons.values())


def test_a_stored_ledger_takes_new_rows_and_the_end_of_an_old_call(stored, record):
    path, tables = stored
    (open_call,) = (
        row["call_id"]
        for row in tables["calls"]
        if row["status"] == "started" and row["run_id"].endswith("5")
    )
    with Ledger(path) as ledger:
        run_id = ledger.start_run(Run(workflow="new"))
        record(ledger, run_id, nanousd=5)
        assert ledger.finish_call(open_call, CallEnd(status="ok", duration_ms=1, cost_nanousd=4))
        assert ledger.finish_run("01M7Z000000000000000000005", "completed")
        assert ledger.finish_run(run_id, "completed")
    with Ledger(path) as ledger:
        assert len(ledger.runs()) == len(tables["runs"]) + 1
        assert [call.cost_nanousd for call in ledger.calls(run_id)] == [5]
        assert [call.cost_nanousd for call in ledger.calls("01M7Z000000000000000000005")] == [4]


def test_processes_that_open_an_older_ledger_at_once_all_can(older):
    path, tables = older
    opening = [
        warm.Process(
            ["-c", OPENS, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in opening:  # all are up before any opens the file
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60) for process in opening]
    assert said == [(f"{len(tables['runs'])} {len(STEPS)}\n", "")] * 3


def test_a_process_killed_while_it_brings_a_ledger_up_to_date_leaves_the_older_one(older):
    path, tables = older
    before = steps_taken(path)
    killed = warm.run(["-c", DIES_HALFWAY, str(path)], stderr=subprocess.PIPE)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert path.with_name("ledger.db-wal").stat().st_size > 0, "it had begun to write"
    assert steps_taken(path) == before
    with Ledger(path) as ledger:
        assert len(ledger.runs()) == len(tables["runs"])
        assert ledger.select("SELECT * FROM sqlite_master WHERE name = 'half_done'") == []
    assert steps_taken(path) == STEP_NAMES


def test_an_older_version_that_still_runs_goes_on_writing(older):
    path, tables = older
    columns = list(tables["calls"][0])
    names = ", ".join(columns)
    values = {**tables["calls"][0], "call_id": "late"}
    still_open = sqlite3.connect(path, isolation_level=None)
    still_open.execute("SELECT * FROM calls").fetchall()
    with Ledger(path) as ledger:
        places = ", ".join(f":{column}" for column in columns)
        still_open.execute(f"INSERT INTO calls ({names}) VALUES ({places})", values)  # noqa: S608 - our names
        assert "late" in {call.call_id for call in ledger.calls(values["run_id"])}
    still_open.close()
