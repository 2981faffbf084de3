"""A run on its way, as the pages that show it are told."""

from __future__ import annotations

import datetime as dt
import threading
import time

import pytest

from aideon_agents.drawing.page import live as page_live
from aideon_agents.drawing.page.live import Live
from aideon_agents.graphs.topology import read
from aideon_agents.ledger.rows import CallEnd, Run

PATIENCE = 20


@pytest.fixture
def begun(scripted, ledger, a_graph):
    """A run that has begun, and what follows it."""
    run_id = scripted.run({"path": "plan"}, graph=a_graph(), status="running")
    live = Live(f"sqlite:///{ledger.database.path}", run_id, read(a_graph()))
    yield run_id, live
    live.close()


def next_change(live, seen):
    """The next thing that a page is told."""
    while (change := live.changes(seen, PATIENCE)) is None:
        pass
    return change


def test_a_page_gets_what_is_known_and_then_what_changes(begun, scripted, ledger, elements):
    run_id, live = begun
    data = elements(live.page(1)).data
    assert (data["run"]["status"], data["viewer"]) == ("running", 1)
    assert [row[1] for row in data["calls"]] == ["plan"]
    began = dt.datetime.fromisoformat(data["run"]["started_at"])
    scripted.call(run_id, began, path="gather/facts", at=1000)
    live.started("gather/facts", "executor", 1)
    seen, values, ended = next_change(live, data["seen"])
    assert seen > data["seen"]
    assert not ended
    assert [row[1] for row in values["calls"]] == ["gather/facts"]
    assert values["totals"]["calls"] == 2
    ((path, role, number, _, end, error),) = values["spans"]
    assert (path, role, number, end, error) == ("gather/facts", "executor", 1, None, None)
    assert "run" not in values


def test_a_call_that_ends_is_told_again(begun, scripted, ledger, elements):
    run_id, live = begun
    began = dt.datetime.now(dt.UTC)
    scripted.call(run_id, began, path="gather/facts", took=None)
    data = elements(live.page(1)).data
    place = data["fields"].index("status")
    assert [row[place] for row in data["calls"]] == ["ok", "started"]
    ledger.finish_call(data["calls"][1][0], end_of("error"))
    live.ended("gather/facts", 1, "it broke")
    _, values, _ = next_change(live, data["seen"])
    assert [row[place] for row in values["calls"]] == ["error"]
    assert values["spans"][0][-1] == "it broke"


def test_the_last_change_says_how_it_ended_and_folds_every_way(begun, ledger, elements):
    run_id, live = begun
    data = elements(live.page(1)).data
    ledger.finish_run(run_id, "failed", error="no more")
    live.over()
    seen, values, ended = next_change(live, data["seen"])
    assert ended
    assert values["run"]["error"] == "no more"
    assert len(values["views"]) > len(data["views"])
    *_, ended = live.changes(seen, 0)
    assert ended
    assert elements(live.page(2)).data["run"]["status"] == "failed"
    assert live.is_final


def test_nothing_new_is_nothing_to_tell(begun, elements):
    _, live = begun
    data = elements(live.page(1)).data
    assert live.changes(data["seen"], 0) is None


def test_whoever_comes_back_is_told_what_he_missed(begun, elements):
    _, live = begun
    first = elements(live.page(1)).data
    for number in (1, 2):
        live.started("gather/facts", "executor", number)
        next_change(live, first["seen"])
    _, values, _ = live.changes(0, 0)
    assert [row[1] for row in values["calls"]] == ["plan"]
    assert [span[2] for span in values["spans"]] == [1, 2]


def test_a_page_waits_for_the_run_to_begin(ledger, elements):
    waiting = Live(f"sqlite:///{ledger.database.path}", "01NOBODY", None)
    assert waiting.page(1, patience=0) is None
    waiting.over()
    assert waiting.page(1) is None
    start, made = Run(workflow="late"), []
    late = Live(f"sqlite:///{ledger.database.path}", start.run_id, None)
    asking = threading.Thread(target=lambda: made.append(late.page(1, patience=PATIENCE)))
    asking.start()
    while late._ledger is None:  # it has not looked yet
        time.sleep(0.01)
    ledger.start_run(start)
    asking.join(PATIENCE)
    assert elements(made[0]).data["views"] == []
    late.close()
    waiting.close()


def test_what_is_recorded_on_the_way_is_told_too(begun, scripted, elements):
    run_id, live = begun
    data = elements(live.page(1)).data
    began = dt.datetime.now(dt.UTC)
    scripted.call(run_id, began, path="plan", prompt='["hm?"]', answer='"ah"')
    live.started("plan", "planner", 2)
    _, values, _ = next_change(live, data["seen"])
    (line,) = values["contents"]
    assert line.endswith('["hm?"], "ah"]')


def test_who_waits_for_an_answer_is_marked(begun, ledger, elements):
    run_id, live = begun
    live.asked("gather/facts")
    ledger.finish_run(run_id, "waiting")
    live.over()
    assert '<g class="badge busy">' in elements(live.page(1)).data["views"][0]["svg"]


def test_many_pages_are_told_of_one_reading(begun, elements, monkeypatch):
    _, live = begun
    seen = elements(live.page(1)).data["seen"]
    readings, told = [], []
    read_it = page_live.recorded
    monkeypatch.setattr(page_live, "recorded", lambda *of: readings.append(of) or read_it(*of))
    live.started("gather/facts", "executor", 1)
    pages = [threading.Thread(target=lambda: told.append(live.changes(seen, 0))) for _ in range(8)]
    for page in pages:
        page.start()
    for page in pages:
        page.join()
    assert [values["spans"][0][0] for _, values, _ in told] == ["gather/facts"] * 8
    assert len(readings) < len(pages)


def test_reading_writes_nothing(begun, ledger):
    _, live = begun
    (before,) = ledger.select("SELECT total_changes() AS count")
    (version,) = ledger.select("PRAGMA data_version")
    live.page(1)
    live.started("plan", "planner", 1)
    live.changes(0, 0)
    assert ledger.select("PRAGMA data_version") == [version]
    assert ledger.select("SELECT total_changes() AS count") == [before]


def end_of(status):
    return CallEnd(status=status, duration_ms=5, error="late", error_type="Transient")
