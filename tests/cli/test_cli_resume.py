"""`aideon runs resume`: go on after a stop, a failure, or a question."""

from __future__ import annotations

import json
import shlex
import sqlite3

import pytest

from aideon_agents import Ledger
from aideon_agents.testing import SimulatedProvider

HEAD = """
import pathlib
from langgraph.types import interrupt
from pydantic import BaseModel, Field
from aideon_agents import creative, executor, iterative, parallel, planner, sequential, validator
from aideon_agents.errors import TimeLimit
"""
GATE = (
    HEAD
    + """
def gate(state):
    if not pathlib.Path("open").exists():
        raise TimeLimit(1, what="the gate")
    return "went on"
graph = sequential(executor("facts"), gate, creative("text"))
"""
)
ASKS = (
    HEAD
    + """
class Review(BaseModel):
    fine: bool
    remark: str | None = None
def review(state):
    return f"{interrupt('Is it fine? ' * 12, response_schema=Review).fine}"
graph = sequential(creative("draft"), review)
"""
)
TYPED = (
    HEAD
    + """
class Fact(BaseModel):
    text: str
class Facts(BaseModel):
    facts: list[Fact] = Field(min_length=1)
class Note(BaseModel):
    text: str
def notes(state):
    return Note(text="noted")
def gate(state):
    if not pathlib.Path("open").exists():
        raise TimeLimit(1)
    return " ".join(type(one.data).__name__ for one in state["results"].values())
graph = sequential(
    planner(), executor("facts", output=Facts),
    iterative(creative("draft"), validator(criteria="short"), max_rounds=1, name="loop"),
    notes, gate,
)
"""
)


@pytest.fixture
def write(folder):
    def file(name, source):
        (folder / name).write_text(source, encoding="utf-8")

    return file


@pytest.fixture
def stopped(write, aideon):
    """The id of a run that stopped at its gate."""
    write("gate.py", GATE)
    done = aideon("run", "gate.py", "--task", "Pumps move heat.", "--json")
    assert done.code == 3
    return done.document["run_id"]


def test_a_stop_says_why_and_how_to_go_on(write, aideon):
    write("gate.py", GATE)
    done = aideon("run", "gate.py", "--task", "Pumps move heat.")
    assert done.code == 3
    assert done.out == "Pumps move heat.\n"  # what there is
    run_id = aideon("runs", "list", "--json").document[0]["run_id"]
    assert done.err.splitlines()[-2:] == [
        "aideon: the gate reached its time limit of 1 s",
        f"continue with: aideon runs resume {run_id}",
    ]


def test_a_run_goes_on_and_prints_and_exits_like_a_run(stopped, aideon, folder):
    again = aideon("runs", "resume", "last", "--json")
    assert (again.code, again.document["status"]) == (3, "stopped")
    (folder / "open").touch()
    done = aideon("runs", "resume", stopped[:12].lower(), "--json")
    assert done.code == 0
    assert (done.document["run_id"], done.document["status"]) == (stopped, "completed")
    assert list(done.document["results"]) == ["facts", "gate", "text"]
    assert done.document["rehearsed"] is True
    assert done.err == ("rehearsing: as before; a dry run with made-up answers, nothing is paid\n")
    assert len(aideon("runs", "list", "--json").document) == 1


def test_a_run_that_goes_on_can_be_watched(stopped, aideon, folder):
    (folder / "open").touch()
    done = aideon("runs", "resume", stopped, "--stream")
    assert done.code == 0
    shown = done.err.splitlines()
    assert "gate (done)" in shown
    assert "text (creative)" in shown
    assert not any(line.startswith("facts (") for line in shown)


def test_a_file_that_changed_in_its_words_alone_is_noted(stopped, aideon, folder, write):
    (folder / "open").touch()
    write("gate.py", GATE.replace("went on", "went on well"))
    done = aideon("runs", "resume", stopped)
    assert done.code == 0
    assert done.err.startswith("gate.py has changed since the run began; its nodes and edges")
    assert done.out.strip().endswith("went on well.")


def test_of_a_run_whose_file_was_not_written_down_nobody_says_that_it_changed(
    stopped, aideon, folder
):
    with Ledger(".aideon/ledger.db") as ledger:
        ledger.database.write("UPDATE runs SET target_hash = NULL, graph = NULL", {})
    (folder / "open").touch()
    done = aideon("runs", "resume", stopped)
    assert (done.code, "has changed" in done.err) == (0, False)


def test_a_file_whose_nodes_changed_is_refused_and_the_change_named(stopped, aideon, folder, write):
    write("gate.py", GATE.replace('creative("text")', 'creative("other"), creative("last")'))
    done = aideon("runs", "resume", stopped)
    assert done.code == 2
    assert done.complaint == (
        f"run {stopped} cannot resume: its workflow has other nodes or edges than when it began "
        "(+ other (creative), + last (creative), - text (creative)): put them back, or start a "
        "new run"
    )
    assert aideon("runs", "show", "last", "--json").document["status"] == "stopped"


def test_the_row_keeps_the_graph_as_it_is_drawn_and_the_files_hash(stopped, aideon):
    with Ledger(".aideon/ledger.db") as ledger:
        row = ledger.find_run(stopped)
    assert row.graph == aideon("graph", "gate.py", "-f", "json").document
    assert len(row.target_hash) == 64
    assert (row.batch_id, row.item_id) == (None, None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE runs SET target = NULL", "resume it in Python with aideon_agents.resume(graph, "),
        ("UPDATE runs SET status = 'completed'", "is completed: there is nothing left to do"),
        ("UPDATE runs SET target = 'gone.py'", "there is no file gone.py"),
    ],
    ids=["a graph at hand", "completed", "its file is gone"],
)
def test_a_run_that_cannot_go_on_says_so_in_one_line(stopped, aideon, change, said):
    with Ledger(".aideon/ledger.db") as ledger:
        ledger.database.write(change, {})
    done = aideon("runs", "resume", stopped)
    assert done.code == 2
    assert said in done.complaint


def test_a_failure_says_how_to_go_on_once_it_is_mended(write, aideon):
    broken = HEAD + (
        "def boom(state):\n    raise ValueError('broken')\n"
        "graph = sequential(creative('draft'), boom)\n"
    )
    write("broken.py", broken)
    failed = aideon("run", "broken.py", "--task", "Pumps move heat.")
    assert failed.code == 1
    assert failed.err.splitlines()[-2] == "aideon: boom: ValueError: broken (broken.py:8)"
    command = failed.err.splitlines()[-1].removeprefix("continue with: aideon ")
    write("broken.py", broken.replace("raise ValueError('broken')", "return 'mended'"))
    mended = aideon(*shlex.split(command))
    assert (mended.code, mended.out) == (0, "mended\n")


def test_a_budget_says_how_to_go_on_and_a_new_one_is_the_new_total(aideon, monkeypatch):
    with SimulatedProvider() as provider:
        monkeypatch.setenv("TOGETHER_API_KEY", "key")
        monkeypatch.setenv("TOGETHER_BASE_URL", provider.base_url)
        stopped = aideon("run", "one.py", "--task", "Pumps move heat.", "--budget", "0.000001")
        assert stopped.code == 3
        hint = stopped.err.splitlines()[-1]
        assert hint.startswith("continue with: aideon runs resume ")
        assert hint.endswith(" --budget MORE")
        more = hint.removeprefix("continue with: aideon ").replace("MORE", "1")
        done = aideon(*more.split(), "--json")
        assert (done.code, len(provider.requests)) == (0, 1)
        assert done.document["status"] == "completed"


@pytest.mark.parametrize("scope", ["run", "day:user", "user:ada"])
def test_what_a_standing_budget_says_to_raise_is_what_lets_the_run_go_on(
    aideon, monkeypatch, scope
):
    with SimulatedProvider() as provider:
        monkeypatch.setenv("TOGETHER_API_KEY", "key")
        monkeypatch.setenv("TOGETHER_BASE_URL", provider.base_url)
        aideon("budget", "set", scope, "0.000001")
        stopped = aideon("run", "one.py", "--task", "Pumps move heat.")
        hint = stopped.err.splitlines()[-1].removeprefix("continue with: aideon ")
        resume, _, raising = hint.removesuffix(")").partition("  (after: aideon ")
        assert aideon(*raising.replace("MORE", "1").split()).code == 0
        assert aideon(*resume.split()).code == 0


def test_a_run_that_ended_before_its_end_is_shown_with_how_to_go_on(stopped, aideon, folder):
    assert aideon("runs", "show", "last").err == f"continue with: aideon runs resume {stopped}\n"
    (folder / "open").touch()
    aideon("runs", "resume", "last")
    assert aideon("runs", "show", "last").err == ""


def test_a_run_that_a_budget_stopped_is_shown_with_both_ways_to_go_on(aideon, monkeypatch):
    monkeypatch.setenv("TOGETHER_API_KEY", "key")
    aideon("run", "one.py", "--task", "Pumps move heat.", "--budget", "0")
    assert aideon("runs", "show", "last").err.endswith(
        " --budget MORE  (or raise the standing limit: aideon budget list)\n"
    )


def test_a_standing_budget_says_which_to_raise(aideon, monkeypatch):
    with SimulatedProvider() as provider:
        monkeypatch.setenv("TOGETHER_API_KEY", "key")
        monkeypatch.setenv("TOGETHER_BASE_URL", provider.base_url)
        with Ledger(".aideon/ledger.db") as ledger:
            ledger.set_budget("day", "0.000001")
        stopped = aideon("run", "one.py", "--task", "Pumps move heat.")
    assert stopped.code == 3
    assert stopped.err.splitlines()[-1].endswith("  (after: aideon budget set day MORE)")


def test_a_question_is_shown_with_the_command_that_answers_it(write, aideon):
    write("asks.py", ASKS)
    asked = aideon("run", "asks.py", "--task", "Pumps move heat.")
    assert (asked.code, asked.out) == (4, "Pumps move heat.\n")
    lines = asked.err.splitlines()
    start = lines.index("review asks:")
    assert "Is it fine? Is it fine?" in lines[start + 1]
    assert max(map(len, lines[start:-1])) <= 80
    shown = aideon("runs", "show", "last")
    assert shown.out.splitlines()[-4:] == lines[-4:]
    command = lines[-1].removeprefix("answer with: aideon ")
    done = aideon(*shlex.split(command))
    assert (done.code, done.out) == (0, "True\n")


def test_a_question_in_the_json_can_be_answered_by_another_process(write, process):
    write("asks.py", ASKS)
    asked = process("run", "asks.py", "--task", "Pumps move heat.", "--json")
    assert asked.code == 4
    (question,) = asked.document["questions"]
    assert set(question) == {"id", "node_path", "question", "schema"}
    shown = process("runs", "show", "last", "--json").document
    assert (shown["status"], shown["questions"]) == ("waiting", [question])
    wrong = process("runs", "resume", "last", "--answer", '{"fine": 1}')
    assert wrong.code == 2
    assert wrong.complaint == "the answer to review does not fit: fine: 1 is not of type 'boolean'"
    done = process("runs", "resume", "last", "--answer", '{"fine": false}', "--json")
    assert (done.code, done.document["output"]) == (0, "False")
    assert done.document["questions"] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "waits for an answer, and none was given"),
        (
            ("--answer", '{"approved": yes}'),
            "--answer begins as JSON and is not JSON (Expecting value: line 1 column 14",
        ),
    ],
)
def test_a_missing_or_unreadable_answer_is_one_line(write, aideon, words, said):
    write("asks.py", ASKS)
    assert aideon("run", "asks.py", "--task", "Pumps move heat.").code == 4
    done = aideon("runs", "resume", "last", *words)
    assert done.code == 2
    assert said in done.complaint
    assert aideon("runs", "show", "last", "--json").document["status"] == "waiting"


def test_several_questions_are_shown_with_their_ids(write, aideon):
    write(
        "both.py",
        HEAD
        + """
def one(state):
    return f"{interrupt({'text': 'One?', 'lines': 'a' + chr(10) + chr(27) + 'b', 'n': [1]})}"
def two(state):
    return f"{interrupt(2, response_schema={'type': 'no such type'})}"
graph = sequential(parallel(one, two))
""",
    )
    asked = aideon("run", "both.py", "--task", "x")
    assert asked.code == 4
    lines = asked.err.splitlines()
    ids = [line.split("(")[1].rstrip("):") for line in lines if " asks (" in line]
    assert len(ids) == 2
    start = lines.index(f"parallel/one asks ({ids[0]}):")
    assert lines[start + 1 : start + 6] == [
        "  text: One?",
        "  lines:",
        "    a",
        "    b",
        "  n: [1]",
    ]
    command = lines[-1].removeprefix("answer with: aideon ")
    assert set(json.loads(shlex.split(command)[-1])) == set(ids)
    assert aideon(*shlex.split(command)).code == 0


def test_a_watched_run_says_that_a_node_waits(write, aideon):
    write("asks.py", ASKS)
    asked = aideon("run", "asks.py", "--task", "Pumps move heat.", "--stream")
    assert "review (waits for an answer)" in asked.err.splitlines()


def test_a_breakpoint_says_how_to_go_on(write, aideon):
    write(
        "held.py",
        "from langgraph.graph import END, START, MessagesState, StateGraph\n"
        "b = StateGraph(MessagesState)\n"
        "b.add_node('say', lambda state: {'messages': [('ai', 'said')]})\n"
        "b.add_edge(START, 'say')\nb.add_edge('say', END)\n"
        "graph = b.compile(interrupt_before=['say'])\n",
    )
    held = aideon("run", "held.py", "--task", "x")
    assert held.code == 4
    hint = held.err.splitlines()[-1]
    assert hint.startswith("the run is at a breakpoint; continue with: aideon runs resume ")
    done = aideon(*hint.partition(": aideon ")[2].split())
    assert (done.code, done.out) == (0, "said\n")


def test_what_nodes_gave_has_its_class_still_in_another_process(write, folder, process):
    write("typed.py", TYPED)
    assert process("run", "typed.py", "--task", "Pumps move heat.").code == 3
    (folder / "open").touch()
    done = process("runs", "resume", "last")
    assert done.code == 0
    assert done.out == "Plan Facts NoneType Verdict Rounds Note\n"
    assert "eserializ" not in done.err


def test_an_interrupted_run_says_how_to_go_on(folder, aideon, monkeypatch, write):
    write(
        "stops.py",
        HEAD
        + """
import os, signal
def leaves(state):
    os.kill(os.getpid(), signal.SIGINT)
    import time
    time.sleep(10)
    return "late"
graph = sequential(leaves, creative("draft"))
""",
    )
    done = aideon("run", "stops.py", "--task", "x")
    assert done.code == 130
    run_id = aideon("runs", "list", "--json").document[0]["run_id"]
    assert done.err.splitlines()[-1] == f"continue with: aideon runs resume {run_id}"


CRAFTED = {
    "garbage": "checkpoint = x'ff00c1'",
    "without its version": "checkpoint = x'80'",
    "of another version": 'type = \'json\', checkpoint = CAST(\'{"v": 99, "id": "1", '
    '"channel_values": {}, "channel_versions": {}, "versions_seen": {}}\' AS BLOB)',
    "another class": 'type = \'json\', checkpoint = CAST(\'{"v": 4, "id": "1", '
    '"channel_values": {"results": 5, "text": 7, "exchanges": [1]}, "channel_versions": {}, '
    '"versions_seen": {}}\' AS BLOB)',
    "a list": "checkpoint = x'9101'",
    "a pickle": "type = 'pickle'",
    "wrong metadata": "metadata = CAST('{' AS BLOB)",
}
"""What somebody wrote into the file of the states."""


def craft(folder, change):
    (file,) = folder.rglob("checkpoints.db")
    with sqlite3.connect(file) as connection:
        sql = f"UPDATE checkpoints SET {change}"  # noqa: S608 - from the list above
        assert connection.execute(sql).rowcount > 0
    connection.close()


@pytest.mark.parametrize("kind", CRAFTED)
def test_a_state_that_cannot_be_read_is_one_line_that_says_what_to_do(
    aideon, folder, monkeypatch, kind
):
    monkeypatch.setenv("AIDEON_OFFLINE", "1")
    (folder / "asks.py").write_text(ASKS, encoding="utf-8")
    (folder / "items.jsonl").write_text('{"task": "x"}\n', encoding="utf-8")
    batch = ("batch", "asks.py", "items.jsonl", "-o", "out.jsonl")
    assert aideon("run", "one.py", "--task", "x", "--thread", "t").code == 0
    assert aideon(*batch).code == 4
    assert aideon("run", "asks.py", "--task", "x").code == 4
    craft(folder, CRAFTED[kind])
    done = aideon("runs", "resume", "last", "--answer", "{}")
    assert done.code == 2
    assert done.complaint.startswith("the state that is kept of run 01")
    assert done.complaint.endswith(": start the run again")
    again = aideon("run", "one.py", "--task", "x", "--thread", "t")
    assert again.complaint.startswith("the state that is kept of thread 't (rehearsed)'")
    assert again.complaint.endswith(": use another thread")
    assert aideon("runs", "show", "last").code == 0
    (file,) = folder.rglob("ledger.db")
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE items SET status = 'pending'")
        connection.execute("UPDATE runs SET status = 'failed' WHERE batch_id IS NOT NULL")
    connection.close()
    assert aideon(*batch, "--json").document["waiting"] == 1
