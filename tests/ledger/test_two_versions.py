"""Two versions on one ledger: a step that only adds lets an older version go on.

The newer version is this one with one step more, which adds a table, an index and a column to each table.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import warm

from aideon_agents import Budget
from aideon_agents.errors import LedgerError
from aideon_agents.ledger import batch_items, batches, schema
from aideon_agents.ledger.budgets.limits import CallDimensions
from aideon_agents.ledger.costs import run_cost
from aideon_agents.ledger.documents import losses
from aideon_agents.ledger.models.states import states
from aideon_agents.ledger.reports import report
from aideon_agents.ledger.rows import Call, CallEnd, Run
from aideon_agents.ledger.store import Ledger
from aideon_agents.ledger.tool_calls import tool_calls

STORED = sorted(Path(__file__).with_name("schemas").glob("*.db"))
AT = "2026-11-20T09:00:00.000Z"
TABLES = schema.table_names()

NEWER = """
import sys
from aideon_agents.ledger import schema
from aideon_agents.ledger.store import Ledger

def m998_wonders(db):
    db.execute("CREATE TABLE wonders (name TEXT PRIMARY KEY)")
    for table in sys.argv[2].split():
        db.execute(f"ALTER TABLE {table} ADD COLUMN wonder TEXT")
        db.execute(f"ALTER TABLE {table} ADD COLUMN begun_late INTEGER NOT NULL DEFAULT 0")
    db.execute("CREATE INDEX runs_wonder ON runs (wonder)")

schema.STEPS += (m998_wonders,)
schema.BREAKING |= set(sys.argv[3:])
Ledger.from_url(sys.argv[1]).close()
"""


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    """The address of a ledger that no other test uses: its tables change."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    return request.getfixturevalue("postgres").new_schema()


def newer(url, *breaking):
    """Open a ledger with the newer version, in a process of its own."""
    done = warm.run(
        ["-c", NEWER, url, " ".join(TABLES), *breaking], stderr=subprocess.PIPE, text=True
    )
    assert done.returncode == 0, done.stderr


def whole_day(ledger):
    """What an ordinary version does with a ledger: runs, calls, budgets, batches, reports."""
    run = Run(workflow="article", user="grace", tier="free")
    run_id = ledger.start_run(run, Budget("1"))
    place = CallDimensions(at=AT, run=run_id, user="grace", node="draft", provider="together")
    ends = ((f"{run_id}-1", 5), (f"{run_id}-2", None))
    for call_id, cost in ends:
        row = Call(
            call_id=call_id,
            run_id=run_id,
            node_path="draft",
            role="creative",
            provider="together",
            requested_model="m",
            started_at=AT,
        )
        assert ledger.budgets.take(call_id, place, 7, row=row) is None
        assert ledger.finish_call(call_id, CallEnd(status="ok", duration_ms=1, cost_nanousd=cost))
    assert ledger.finish_run(run_id, "failed", error="a node is broken")
    ledger.resume_run(ledger.find_run(run_id))
    assert ledger.finish_run(run_id, "completed")
    ledger.budgets.forfeit_dead()
    ledger.set_budget("day:user:grace", "2")
    batch = batches.Batch(
        batch_id=f"B-{run_id}",
        identity=None,
        workflow="article",
        target=None,
        rehearsed=False,
        engine="local",
        items=1,
        item_limit_nanousd=None,
        out_path="out.jsonl",
    )
    batches.take(ledger, batch, None)
    assert batches.find_batch(ledger, batch.batch_id).workflow == "article"
    with ledger.database.transaction() as tx:
        batch_items.mark_invalid(tx, batch.batch_id, 0, "1", "no task")
    assert [one.error for one in batch_items.rows(ledger, batch.batch_id, 0, 9)] == ["no task"]
    assert batch_items.failures(ledger, batch.batch_id)[0].items == 1
    assert [call.cost_nanousd for call in ledger.calls(run_id)] == [5, None]
    assert run_cost(ledger, run_id).calls == 2
    assert losses(ledger, run_id) == {f"{run_id}-2": 7}
    assert tool_calls(ledger, run_id) == []
    assert report(ledger, "user").total.calls >= 2
    assert ledger.runs()[0].status == "completed"
    assert isinstance(states(ledger.database), list)
    ledger.database.check()


def test_an_older_version_opens_and_works_on_a_ledger_with_an_additive_step_of_a_newer(url):
    with Ledger.from_url(url) as ledger:
        whole_day(ledger)
    newer(url)
    with Ledger.from_url(url) as ledger:
        whole_day(ledger)


def test_an_older_version_that_has_the_ledger_open_works_on_after_a_newer_has_added_a_step(
    url,
):
    with Ledger.from_url(url) as ledger:
        for _ in range(7):  # a server keeps the plan of a statement that it has run five times
            whole_day(ledger)
        newer(url)
        for _ in range(2):
            whole_day(ledger)


def test_an_older_version_leaves_a_ledger_alone_whose_newer_step_is_not_additive(url):
    newer(url, "m998_wonders")
    with pytest.raises(LedgerError, match=r"newer version \(m998_wonders\): upgrade"):
        Ledger.from_url(url)


@pytest.mark.parametrize("stored", STORED, ids=lambda path: path.stem)
def test_an_older_version_works_on_every_stored_ledger_that_a_newer_has_brought_up_to_date(
    stored, tmp_path
):
    path = tmp_path / "ledger.db"
    shutil.copy(stored, path)
    newer(str(path))
    with Ledger(path) as ledger:
        assert ledger.find_run("01M7Z000000000000000000001").user == "ada"
        assert len(ledger.calls("01M7Z000000000000000000001")) == 7
        whole_day(ledger)


def test_the_ledger_says_which_of_its_steps_are_additive(ledger):
    named = {row["name"] for row in ledger.select("SELECT name FROM additive_steps")}
    assert named == {step.__name__ for step in schema.STEPS} - schema.BREAKING


@pytest.mark.parametrize("step", schema.STEPS, ids=lambda step: step.__name__)
def test_a_step_that_counts_as_additive_only_adds(step):
    said = []
    step(SimpleNamespace(execute=said.append))
    made = re.findall(r"CREATE TABLE (\w+)", " ".join(said))
    adding = (
        r"CREATE TABLE|CREATE INDEX"
        r"|ALTER TABLE \w+ ADD COLUMN \w+ [A-Z ]*?(?:NOT NULL DEFAULT .*)?$"
        rf"|(?:INSERT INTO|CREATE UNIQUE INDEX \w+ ON) (?:{'|'.join(made) or '-'})\b"
    )
    others = [sql for sql in said if not re.match(adding, sql.strip())]
    assert bool(others) == (step.__name__ in schema.BREAKING), others
