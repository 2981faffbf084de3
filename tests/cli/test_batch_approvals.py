"""`aideon batches approve` and `decline` answer every item of a batch that waits for a person."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aideon_agents.testing import SimulatedProvider

PROMPT = "[y]es, [n]o, [e]dit, [v]iew, [s]kip, [a]ll: "
FLOW = """\
type: sequential
steps:
  - {agent: creative, name: draft, approve: true, model: "openai:m"}
  - {agent: executor, name: end, model: "openai:m"}
"""
MIXED = """\
from langgraph.types import interrupt
from aideon_agents import sequential


def ask(state):
    if "word" in state["task"]:
        return "told " + interrupt("Which word?")
    if "Break" in state["task"] and interrupt("Go on?", response_schema=bool):
        raise ValueError("broken")
    return "sent" if interrupt("Send it?", response_schema=bool) else "kept"


graph = sequential(ask)
"""


@pytest.fixture
def provider(monkeypatch, folder):
    (folder / "flow.yaml").write_text(FLOW, encoding="utf-8")
    (folder / "mixed.py").write_text(MIXED, encoding="utf-8")
    with SimulatedProvider() as made:
        monkeypatch.setenv("OPENAI_API_KEY", "key-1")
        monkeypatch.setenv("OPENAI_BASE_URL", made.base_url)
        yield made


@pytest.fixture
def batch(aideon, provider):
    """Runs a batch; the same call again goes on."""

    def run(*tasks, target="flow.yaml", out="out.jsonl"):
        items = [{"id": f"i{number}", "task": task} for number, task in enumerate(tasks)]
        text = "".join(f"{json.dumps(item)}\n" for item in items)
        Path("items.jsonl").write_text(text, encoding="utf-8")
        return aideon("batch", target, "items.jsonl", "-o", out, "--unordered", "--json")

    return run


def statuses():
    lines = Path("out.jsonl").read_text(encoding="utf-8").splitlines()
    return {line["id"]: line["status"] for line in map(json.loads, lines)}


def test_yes_approves_all_and_the_same_command_writes_them(aideon, batch, provider):
    waits = batch("One.", "Two.", "Three.")
    assert (waits.code, waits.document["waiting"]) == (4, 3)
    done = aideon("batches", "approve", waits.document["batch_id"], "--yes")
    assert (done.code, done.out) == (0, "")
    assert "3 items answered (3 completed)" in done.err
    command = f"aideon batch flow.yaml ITEMS -o {Path('out.jsonl').resolve()}"
    assert f"with the same options: `{command}`" in done.err
    assert len(provider.requests) == 6  # no draft was written again
    end = batch("One.", "Two.", "Three.")
    assert (end.code, end.document["completed"], end.document["waiting"]) == (0, 3, 0)
    assert statuses() == dict.fromkeys(("i0", "i1", "i2"), "completed")
    assert len(provider.requests) == 6
    again = aideon("batches", "approve", "last", "--yes")
    assert again.code == 2
    assert "no item of batch" in again.complaint


def test_the_command_that_writes_a_table_names_the_table(aideon, batch):
    waits = batch("One.", out="out.csv")
    done = aideon("batches", "approve", waits.document["batch_id"], "--yes")
    assert f"ITEMS -o {Path('out.csv').resolve()}`" in done.err


def test_without_a_terminal_the_items_are_shown_and_none_is_answered(aideon, batch, provider):
    provider.answer = lambda _: "A draft."
    batch_id = batch("One.", "Two.").document["batch_id"]
    for command in ("approve", "decline"):
        shown = aideon("batches", command, "last")
        assert shown.code == 4
        assert "item i0 (run " in shown.out
        assert "item i1 (run " in shown.out
        assert shown.out.count("Is the result of draft right?") == 2
        assert f"2 items wait: approve all with `aideon batches approve {batch_id} --yes`" in (
            shown.err
        )
    listed = aideon("batches", "approve", "last", "--json")
    assert listed.code == 4
    assert (listed.document["answered"], listed.document["waiting"]) == (0, 2)
    assert [item["questions"][0]["node_path"] for item in listed.document["items"]] == [
        "draft/approval",
        "draft/approval",
    ]
    assert len(provider.requests) == 2


def test_a_no_with_feedback_has_each_item_done_again(aideon, batch, provider):
    batch("One.", "Two.")
    done = aideon("batches", "decline", "last", "--feedback", "shorter", "--yes", "--json")
    assert (done.code, done.document["answered"], done.document["waiting"]) == (4, 2, 2)
    assert {item["status"] for item in done.document["items"]} == {"waiting"}
    assert ["shorter" in str(one.body) for one in provider.requests] == [False, False, True, True]


def test_a_no_without_feedback_ends_each_item(aideon, batch, provider):
    batch("One.", "Two.")
    done = aideon("batches", "decline", "last", "--yes")
    assert done.code == 0
    assert "2 items answered (2 declined)" in done.err
    assert batch("One.", "Two.").document["failed"] == 2
    assert len(provider.requests) == 2


def test_questions_that_take_another_answer_still_wait(aideon, batch):
    batch("Send.", "A word.", target="mixed.py")
    done = aideon("batches", "approve", "last", "--yes")
    assert done.code == 4
    assert "item i1 still waits: ask asks for another answer" in done.err
    assert "1 item answered (1 completed)" in done.err
    assert "1 item still waits: `aideon batches approve" in done.err


def test_an_item_that_fails_after_its_answer_is_told(aideon, batch):
    batch("Send.", "Break.", target="mixed.py")
    done = aideon("batches", "approve", "last", "--yes")
    assert done.code == 1
    assert "item i1: ask: ValueError: broken (mixed.py:9)" in done.err
    assert "2 items answered (1 completed, 1 failed)" in done.err


def test_at_a_terminal_each_item_is_asked_about(batch, terminal, aideon):
    batch("One.", "Two.", "Three.", "Four.")
    shown = terminal("batches", "approve", "last")
    assert "item i0 (1 of 4)" in shown.until(PROMPT)
    shown.type("y\n")
    assert "item i1 (2 of 4)" in shown.until(PROMPT)
    shown.type("s\n")
    assert "item i2 (3 of 4)" in shown.until(PROMPT)
    shown.type("nonsense\n")
    shown.until("answer with y, n, e or v, s, a")
    shown.until(PROMPT)
    shown.type("n\n")
    shown.until("(empty: end the run) ")
    shown.type("\n")
    assert "item i3 (4 of 4)" in shown.until(PROMPT)
    shown.type("a\n")
    shown.until("3 items answered (2 completed, 1 declined)")
    shown.until("1 item still waits")
    assert shown.ends() == 4
    assert batch("One.", "Two.", "Three.", "Four.").code == 4
    assert statuses() == {"i0": "completed", "i2": "failed", "i3": "completed"}


def test_what_is_done_again_is_asked_about_again(batch, terminal):
    batch("One.")
    shown = terminal("batches", "approve", "last")
    shown.until(PROMPT)
    shown.type("n shorter\n")
    assert "item i0 (1 of 1)" in shown.until(PROMPT)
    shown.type("y\n")
    shown.until("1 item answered (1 completed)")
    assert shown.ends() == 0


def test_at_the_end_of_input_the_answers_so_far_are_carried_out(batch, terminal):
    batch("One.", "Two.")
    shown = terminal("batches", "approve", "last")
    shown.until(PROMPT)
    shown.type("y\n")
    shown.until(PROMPT)
    shown.type("\x04")
    shown.until("1 item answered (1 completed)")
    assert shown.ends() == 4


def test_a_terminal_is_asked_before_items_are_declined(batch, terminal):
    batch("One.", "Two.", "Three.")
    shown = terminal("batches", "decline", "last")
    shown.until("decline it? [y]es, [s]kip, [a]ll: ")
    shown.type("s\n")
    shown.until("decline it? [y]es, [s]kip, [a]ll: ")
    shown.type("all\n")
    shown.until("2 items answered (2 declined)")
    assert shown.ends() == 4


def test_other_questions_are_answered_at_the_terminal(batch, terminal):
    batch("Send.", "A word.", target="mixed.py")
    shown = terminal("batches", "approve", "last")
    shown.until("[y]es, [n]o, [s]kip, [a]ll: ")
    shown.type("no\n")
    shown.until("answer (empty: skip): ")
    shown.type("heat\n")
    shown.until("2 items answered (2 completed)")
    assert shown.ends() == 0
    batch("Send.", "A word.", target="mixed.py")
    lines = Path("out.jsonl").read_text(encoding="utf-8").splitlines()
    assert {line["output"] for line in map(json.loads, lines)} == {"kept", "told heat"}
