"""`aideon runs prune`: what was said goes, rows and costs stay."""

from __future__ import annotations

import pytest

WAITS = """
from langgraph.types import interrupt
from aideon_agents import creative, sequential
graph = sequential(creative("draft"), lambda state: interrupt("Fine?"))
"""


@pytest.fixture
def ran(folder, aideon):
    """A run that waits and one that recorded what was said."""
    (folder / "waits.py").write_text(WAITS, encoding="utf-8")
    assert aideon("run", "waits.py", "--task", "Pumps move heat quietly.").code == 4
    talk = ("run", "one.py", "--task", "Pumps move heat quietly.")
    assert aideon(*talk, "--record-content", "--thread", "chat").code == 0


def test_pruning_says_what_it_removed(ran, aideon, folder):
    spent = aideon("costs", "--rehearsed", "--json").document["total"]
    done = aideon("runs", "prune", "--before", "2999-01-01")
    assert done.code == 0
    assert done.out == (
        "deleted from 2 runs that ended before 2999-01-01: 1 state to resume from, 1 conversation, "
        "1 recorded prompt with answers, 1 recorded result; rows and costs stay\n"
    )
    assert aideon("costs", "--rehearsed", "--json").document["total"] == spent
    kept = b"".join(path.read_bytes() for path in (folder / ".aideon").glob("checkpoints.db*"))
    assert b"quietly" not in kept


def test_a_run_whose_state_was_pruned_cannot_go_on_and_says_so(ran, aideon):
    aideon("runs", "prune", "--before", "2999-01-01")
    waiting = aideon("runs", "list", "--json").document[1]
    assert waiting["status"] == "waiting"
    shown = aideon("runs", "show", waiting["run_id"], "--json").document
    assert (shown["status"], shown["questions"]) == ("waiting", [])
    done = aideon("runs", "resume", waiting["run_id"], "--answer", "true")
    assert done.code == 2
    assert "was pruned" in done.complaint


def test_what_ended_later_is_left(ran, aideon):
    done = aideon("runs", "prune", "--before", "2026-01-01T08:00", "--json")
    assert done.document == {
        "before": "2026-01-01T08:00:00.000Z",
        "runs": 0,
        "checkpoints": 0,
        "conversations": 0,
        "contents": 0,
        "results": 0,
        "dry_run": False,
    }
    assert aideon("runs", "resume", "last").code == 2  # it is completed
    waiting = aideon("runs", "list", "--json").document[1]
    assert aideon("runs", "resume", waiting["run_id"], "--answer", "true").code == 0


@pytest.mark.parametrize("day", ["soon", "2026-13-01"])
def test_a_day_that_is_none_is_one_line(aideon, day):
    done = aideon("runs", "prune", "--before", day)
    assert done.code == 2
    assert done.complaint.startswith(f"--before {day}: write 2026-11-20")


def test_a_dry_run_says_what_would_go_and_deletes_nothing(ran, aideon):
    would = aideon("runs", "prune", "--older-than", "2999-01-01", "--dry-run")
    assert would.out == (
        "would delete from 2 runs that ended before 2999-01-01: 1 state to resume from, "
        "1 conversation, 1 recorded prompt with answers, 1 recorded result; rows and costs stay\n"
    )
    done = aideon("runs", "prune", "--older-than", "2999-01-01")
    assert done.out == would.out.replace("would delete", "deleted")


@pytest.mark.parametrize("what", ["contents", "checkpoints"])
def test_only_content_or_only_states_can_go(ran, aideon, what):
    def counts(*words):
        found = aideon("runs", "prune", "--before", "2999-01-01", "--json", *words).document
        return {name: found[name] for name in KINDS}

    every = counts("--dry-run")
    theirs = {name: count if KINDS[name] == what else 0 for name, count in every.items()}
    assert counts(f"--{what}") == theirs
    assert counts("--dry-run") == {name: every[name] - theirs[name] for name in every}


KINDS = {
    "checkpoints": "checkpoints",
    "conversations": "checkpoints",
    "contents": "contents",
    "results": "contents",
}
