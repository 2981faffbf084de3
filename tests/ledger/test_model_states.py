"""The states of circuit breakers in the ledger: the newest of each process, as they are when they are read."""

from __future__ import annotations

import itertools
import sqlite3
from datetime import timedelta

import pytest

from aideon_agents.errors import LedgerError
from aideon_agents.ledger.identity import now, this_process, utc_text
from aideon_agents.ledger.models import states as model_states
from aideon_agents.ledger.store import Ledger

NUMBERS = itertools.count(1)
ENDED = {"host": this_process()["host"], "pid": 2**22 + 1, "process_start": "boot:1"}


def change(state="open", *, rests=3600, ago=0, **others):
    known = {
        "breaker": "b" * 16,
        "provider": "together",
        "model": "m",
        "key_name": "TOGETHER_API_KEY",
    }
    rests_until = None if rests is None else utc_text(now() + timedelta(seconds=rests))
    return {
        **known,
        "state": state,
        "reason": "together:m answered 500",
        "rests_until": rests_until,
        "changed_at": utc_text(now() - timedelta(seconds=ago)),
        "number": next(NUMBERS),
        "simulated": 0,
        **others,
    }


def write(ledger, *changes):
    for one in changes:
        model_states.record([ledger.database], one)
        model_states.wait_until_written()


@pytest.fixture
def as_ended(monkeypatch):
    """What is written within is that of a process that has ended."""

    def begin():
        monkeypatch.setattr(model_states, "this_process", lambda: ENDED)

    yield begin
    monkeypatch.undo()


@pytest.fixture(params=["file", "server"])
def ledger(request, tmp_path):
    address = tmp_path / "ledger.db" if request.param == "file" else None
    url = f"sqlite:///{address}" if address else request.getfixturevalue("postgres_url")
    with Ledger.from_url(url) as opened:
        yield opened


def states(ledger, **given):
    return [(one["model"], one["state"]) for one in model_states.states(ledger.database, **given)]


def test_the_newest_change_of_a_process_is_its_state(ledger):
    late = change("half_open")
    write(ledger, change("open"), change("closed", rests=None), late | {"number": 0})
    assert states(ledger) == [("m", "closed")]
    assert len(ledger.select("SELECT * FROM model_states")) == 1


def test_the_worst_state_is_first_and_of_the_same_the_latest(ledger):
    write(
        ledger,
        change("closed", rests=None, breaker="1", model="closed"),
        change("open", breaker="2", model="earlier", ago=9),
        change("open", breaker="3", model="open", ago=1),
        change("half_open", breaker="4", model="half"),
    )
    assert [name for name, _ in states(ledger)] == ["open", "earlier", "half", "closed"]


def test_an_open_breaker_is_half_open_when_its_rest_is_over(ledger):
    write(ledger, change("open", rests=-1))
    assert states(ledger) == [("m", "half_open")]


@pytest.mark.parametrize(
    ("row", "left"),
    [
        (change("open", rests=3600), [("m", "open")]),
        (change("open", rests=-1), []),
        (change("half_open", rests=-1), []),
        (change("closed", rests=None), []),
    ],
    ids=["resting", "rested", "half open", "closed"],
)
def test_a_process_that_has_ended_leaves_what_still_rests(ledger, as_ended, row, left):
    as_ended()
    write(ledger, row)
    assert states(ledger) == left


def test_states_of_a_simulated_provider_are_left_out_unless_asked_for(ledger):
    write(ledger, change(simulated=1))
    assert states(ledger) == []
    assert states(ledger, simulated=True) == [("m", "open")]


def test_states_older_than_a_day_are_deleted(ledger):
    write(ledger, change(breaker="old", ago=24 * 60 * 60 + 9), change(breaker="new"))
    assert [row["breaker"] for row in ledger.select("SELECT breaker FROM model_states")] == ["new"]


def test_a_change_is_in_the_ledger_when_it_is_closed(tmp_path):
    path = tmp_path / "ledger.db"
    with Ledger(path) as ledger:
        model_states.record([ledger.database], change())
    with Ledger(path) as ledger:
        assert states(ledger) == [("m", "open")]


def test_a_ledger_that_is_locked_delays_and_fails_nothing(tmp_path, caplog):
    path = tmp_path / "ledger.db"
    caplog.set_level("INFO", "aideon_agents.ledger.models.states")
    with Ledger(path, busy_seconds=0.1) as ledger:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        model_states.record([ledger.database], change())
        model_states.wait_until_written()
        other.close()
        assert states(ledger) == []
    assert "the state of together is not recorded" in caplog.text


def test_a_ledger_that_cannot_be_written_does_not_keep_another_from_it(ledger):
    class Full:
        def write(self, _sql, _values):
            raise LedgerError("the disk is full")

    model_states.record([Full(), ledger.database], change())
    model_states.wait_until_written()
    assert states(ledger) == [("m", "open")]
