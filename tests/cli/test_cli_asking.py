"""A person at a terminal is asked, and their answer continues the run in the same command."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from aideon_agents.testing import SimulatedProvider

if TYPE_CHECKING:
    from collections.abc import Iterator

    from terminals import Terminal

pytestmark = pytest.mark.usefixtures("provider")

FLOW = """\
type: sequential
steps:
  - {agent: creative, name: draft, approve: true, model: "openai:m"}
  - {agent: executor, name: end, model: "openai:m"}
"""
PLAIN = """\
from langgraph.types import interrupt
from aideon_agents import sequential


def ask(state):
    return "sent" if interrupt("Send it?", response_schema=bool) else "kept"


graph = sequential(ask)
"""
PROMPT = "[y]es, [n]o, [e]dit, [v]iew: "
LONG = "\n".join(f"line {number}" for number in range(1, 41))
ESCAPES = "A \x1b[2J\x1b]0;owned\x07text\x9b31m."


@pytest.fixture
def provider(monkeypatch, folder) -> Iterator[SimulatedProvider]:
    (folder / "flow.yaml").write_text(FLOW, encoding="utf-8")
    (folder / "plain.py").write_text(PLAIN, encoding="utf-8")
    told = folder / "told.txt"  # what the model answers
    told.write_text("Text.")
    with SimulatedProvider(answer=lambda _: told.read_text("utf-8")) as made:
        monkeypatch.setenv("OPENAI_API_KEY", "key-1")
        monkeypatch.setenv("OPENAI_BASE_URL", made.base_url)
        yield made


def run(terminal) -> Terminal:
    return terminal("run", "flow.yaml", "--task", "Heat pumps.")


def sent(provider: SimulatedProvider) -> list[str]:
    return [seen.body["messages"][-1]["content"] for seen in provider.requests]


def test_a_yes_at_the_terminal_continues_the_run(terminal, provider):
    shown = run(terminal)
    assert "Is the result of draft right?" in shown.until(PROMPT)
    assert len(provider.requests) == 1
    shown.type("y\n")
    assert shown.ends() == 0
    assert "completed" in shown.shown
    assert len(provider.requests) == 2


def test_a_no_asks_what_should_change_and_shows_the_new_version(terminal, provider):
    shown = run(terminal)
    shown.until(PROMPT)
    shown.type("n\n")
    shown.until("What should change?")
    shown.type("Shorter.\n")
    assert ", version 2, right?" in shown.until(PROMPT)
    assert "Shorter." in sent(provider)[1]
    shown.type("yes\n")
    assert shown.ends() == 0
    assert len(provider.requests) == 3


def test_a_no_without_a_word_ends_the_run(terminal, provider):
    shown = run(terminal)
    shown.until(PROMPT)
    shown.type("n\n")
    shown.until("What should change?")
    shown.type("\n")
    assert shown.ends() == 3
    assert "stopped (declined)" in shown.shown
    assert len(provider.requests) == 1


def test_a_run_that_is_watched_asks_as_well(terminal, provider):
    shown = terminal("run", "flow.yaml", "--task", "Heat pumps.", "--watch")
    assert "watch: http" in shown.until(PROMPT)
    shown.type("y\n")
    assert shown.ends() == 0
    assert len(provider.requests) == 2


@pytest.mark.parametrize("variable", ["VISUAL", "EDITOR"])
def test_edit_opens_the_editor_and_the_next_node_gets_the_edited_text(
    terminal, provider, monkeypatch, folder, variable
):
    (folder / "edit.py").write_text(
        "import pathlib, sys\nfile = pathlib.Path(sys.argv[-1])\n"
        "file.write_text(file.read_text().replace('Text', 'My own text'))\n"
    )
    for name in ("VISUAL", "EDITOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, f"{sys.executable} edit.py")
    shown = run(terminal)
    shown.until(PROMPT)
    shown.type("e\n")
    assert shown.ends() == 0
    assert "My own text." in sent(provider)[1]


def test_an_editor_that_changes_nothing_or_fails_leaves_the_question_open(
    terminal, provider, monkeypatch
):
    monkeypatch.setenv("VISUAL", "true")
    shown = run(terminal)
    shown.until(PROMPT)
    shown.type("e\n")
    assert "nothing was changed" in shown.until(PROMPT)
    shown.type("maybe\n")
    assert "answer with y, n, e or v" in shown.until(PROMPT)
    shown.type("\x04")  # the end of input
    assert shown.ends() == 4
    assert "aideon runs approve" in shown.shown
    assert len(provider.requests) == 1


def test_a_long_result_is_shortened_and_view_shows_all_of_it(terminal, provider, folder):
    (folder / "told.txt").write_text(LONG, encoding="utf-8")
    shown = run(terminal)
    first = shown.until(PROMPT)
    assert "line 20\n" in first
    assert "line 21\n" not in first
    shown.type("v\n")
    assert "line 40\n" in shown.until(PROMPT)


def test_a_models_text_cannot_control_the_terminal(terminal, provider, folder):
    (folder / "told.txt").write_text(ESCAPES, encoding="utf-8")
    shown = terminal("run", "flow.yaml", "--task", "Heat pumps.", "--record-content")
    assert "owned" in shown.until(PROMPT)
    shown.type("y\n")
    assert shown.ends() == 0
    kept = [terminal("runs", "show", "last", word) for word in ("--content", "--json")]
    assert [one.ends() for one in kept] == [0, 0]
    for one in (shown, *kept):
        assert "owned" in one.shown
        assert not {"\x07", "\x9b"} & set(one.shown)
        assert "\x1b[2J" not in one.shown


def test_any_other_question_takes_words_too(terminal):
    shown = terminal("run", "plain.py", "--task", "x")
    assert "Send it?" in shown.until("[y]es, [n]o: ")
    shown.type("perhaps\n")
    assert "this does not fit" in shown.until("[y]es, [n]o: ")
    shown.type("no\n")
    assert shown.ends() == 0
    assert "kept" in shown.shown


def test_a_run_that_waits_is_asked_about_when_it_is_resumed_at_a_terminal(
    terminal, provider, process
):
    waits = process("run", "flow.yaml", "--task", "Heat pumps.")
    assert waits.code == 4
    assert "approve with: aideon runs approve " in waits.err
    shown = terminal("runs", "resume", "last")
    shown.until(PROMPT)
    shown.type("y\n")
    assert shown.ends() == 0
    assert len(provider.requests) == 2
