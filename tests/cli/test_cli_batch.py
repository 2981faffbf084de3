"""`aideon batch`: one JSON line at the end, a summary for people, one line for each mistake."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest
import warm
from rich.console import Console

from aideon_agents.batch.progress import Progress
from aideon_agents.cli import batch_summary
from aideon_agents.ledger.money import usd
from aideon_agents.testing import SimulatedProvider

FIELDS = [
    *("batch_id", "items", "completed", "failed", "invalid", "pending", "waiting"),
    *("carried", "usd", "list_usd", "saved_usd", "complete"),
    *("stop_reason", "wall_s", "held_usd"),
]


@pytest.fixture
def items(folder):
    """Five tasks."""
    lines = [json.dumps({"id": f"i{number}", "task": f"Pump {number}."}) for number in range(5)]
    (folder / "items.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return "items.jsonl"


def out_lines():
    return [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]


def test_the_last_line_is_the_document_and_the_rest_is_for_people(aideon, items):
    done = aideon("batch", "two.py", items, "-o", "out.jsonl")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert list(document) == FIELDS
    assert (document["completed"], document["stop_reason"]) == (5, None)
    assert done.out.count("\n") == 1
    for word in ("facts", "text", "total", " s: 5 completed", "results in out.jsonl (batch "):
        assert word in done.err
    assert [line["id"] for line in out_lines()] == ["i0", "i1", "i2", "i3", "i4"]


def test_json_leaves_the_summary_out(aideon, items):
    done = aideon("batch", "two.py", items, "-o", "out.jsonl", "--json")
    assert list(json.loads(done.out)) == FIELDS
    assert done.err.startswith("rehearsing: ")
    assert done.err.count("\n") == 1


def test_progress_can_be_a_json_line(aideon, items):
    done = aideon("batch", "two.py", items, "-o", "out.jsonl", "--json", "--progress", "json")
    *_, last = done.err.splitlines()
    assert json.loads(last)["completed"] == 5
    assert list(json.loads(last)["nodes"][0]) == ["node_path", "usd"]


def test_failed_and_invalid_items_end_with_1_and_say_how_to_go_on(aideon, folder, items):
    with (folder / items).open("a") as file:
        file.write("nonsense\n")
    done = aideon("batch", "boom.py", items, "-o", "out.jsonl")
    assert done.code == 1
    assert (json.loads(done.out)["failed"], json.loads(done.out)["invalid"]) == (5, 1)
    assert "run failed items again: repeat the command with --retry-failed" in done.err
    only_invalid = aideon("batch", "echo.py", items, "-o", "other.jsonl")
    assert only_invalid.code == 1
    assert "--retry-failed" not in only_invalid.err


def test_a_table_and_inputs_for_all(aideon, folder):
    (folder / "items.csv").write_text("task,city\nx,Ulm\ny,Bonn\n")
    done = aideon("batch", "inputs.py", "items.csv", "-o", "out.jsonl", "-p", "year=1", "-p", "a=")
    assert done.code == 0, done.err
    assert [line["output"] for line in out_lines()] == [
        "[('a', ''), ('city', 'Ulm'), ('year', '1')]",
        "[('a', ''), ('city', 'Bonn'), ('year', '1')]",
    ]


def test_stdin_gives_the_items(folder, environment):
    done = warm.run(
        ["-m", "aideon_agents", "batch", "echo.py", "-", "-o", "out.jsonl"],
        cwd=folder,
        env=environment,
        input='\ufeff"Wärme"\n'.encode(),
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert out_lines()[0]["output"] == "Wärme"


def test_a_budget_ends_with_3_and_more_of_it_goes_on(aideon, items, monkeypatch):
    with SimulatedProvider() as provider:
        monkeypatch.setenv("TOGETHER_API_KEY", "key")
        monkeypatch.setenv("TOGETHER_BASE_URL", provider.base_url)
        words = ("batch", "two.py", items, "-o", "out.jsonl", "--tier", "free", "--user", "bob")
        stopped = aideon(*words, "--budget", "0.00000001")
        assert stopped.code == 3
        assert json.loads(stopped.out)["stop_reason"] == "budget"
        assert "stopped at a budget: repeat the command with a higher --budget" in stopped.err
        assert len(provider.requests) == 0
        assert aideon(*words, "--budget", "1").code == 0
        assert len(provider.requests) == 10
    run = aideon("runs", "list", "--json").document[0]
    assert run["user"] == "bob"


def test_items_that_ask_end_with_4_and_say_whom_to_answer(aideon, folder, items):
    source = (
        "from aideon_agents import creative, sequential\n"
        'graph = sequential(creative("draft", approve=True))\n'
    )
    (folder / "asks.py").write_text(source)
    done = aideon("batch", "asks.py", items, "-o", "out.jsonl")
    assert done.code == 4
    document = json.loads(done.out)
    assert (document["stop_reason"], document["waiting"], document["pending"]) == ("waiting", 5, 5)
    command = f"`aideon batches approve {document['batch_id']}`"
    assert f"5 items wait for an answer:\n{command}, or\n" in done.err
    run_id = aideon("runs", "list", "--json").document[0]["run_id"]
    yes = '{"approved": true, "feedback": null}'
    assert aideon("runs", "resume", run_id, "--answer", yes).code == 0
    again = aideon("batch", "asks.py", items, "-o", "out.jsonl")
    assert (json.loads(again.out)["completed"], again.code) == (1, 4)


def test_a_workflow_that_prints_does_not_spoil_the_document(aideon, folder, items):
    source = (
        "from aideon_agents import sequential\nprint('loaded')\n"
        "def says(state):\n    print('working')\n    return 'x'\ngraph = sequential(says)\n"
    )
    (folder / "prints.py").write_text(source)
    done = aideon("batch", "prints.py", items, "-o", "out.jsonl")
    assert list(json.loads(done.out)) == FIELDS
    assert done.err.count("working") == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["two.py", "none.jsonl", "-o", "o"], "none.jsonl cannot be read: No such file"),
        (["two.py", ".", "-o", "o"], ". is a folder: name a file of items"),
        (["two.py", "binary", "-o", "o"], "binary is not text in UTF-8"),
        (["two.py", "empty", "-o", "o"], "there is no item in empty"),
        (["two.py", "no_task.csv", "-o", "o"], "no_task.csv:1: there is no column task, only a, b"),
        (["two.py", "items.jsonl", "-o", "items.jsonl"], "is the file of the items"),
        (["two.py", "items.jsonl", "-o", "link"], "link is the file of the items"),
        (["two.py", "items.jsonl", "-o", "no/o"], "there is no folder "),
        (["two.py", "items.jsonl", "-o", "."], ". is a folder: name a file for the results"),
        (["two.py", "items.jsonl"], "Missing option '-o'"),
        (
            ["two.py", "items.jsonl", "-o", "o", "--max-failures", "x"],
            "max_failures is 'x': give a number",
        ),
        (["two.py", "items.jsonl", "-o", "o", "--budget", "x"], "'x' is not a budget"),
        (
            ["two.py", "items.jsonl", "-o", "o", "--engine", "distributed"],
            "needs a ledger on Postgres",
        ),
        (["two.py", "items.jsonl", "-o", "o", "--engine", "cloud"], "'cloud' is not one of"),
        (["two.py", "items.jsonl", "-o", "o", "-p", "x"], "-p takes KEY=VALUE, not 'x'"),
        (["none.py", "items.jsonl", "-o", "o"], "there is no file none.py"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_makes_nothing(aideon, folder, items, words, message):
    (folder / "binary").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    (folder / "empty").touch()
    (folder / "no_task.csv").write_text("a,b\n1,2\n")
    (folder / "link").symlink_to("items.jsonl")
    done = aideon("batch", *words)
    assert done.code == 2
    assert message in done.complaint
    assert not (folder / "o").exists()
    assert len((folder / "items.jsonl").read_text().splitlines()) == 5


def shown(**changes):
    """How far a batch has come, somewhere."""
    known = {
        "batch_id": "x", "items": 2000, "completed": 1200, "failed": 12, "invalid": 3,
        "in_flight": 50, "items_per_s": 12.34, "seconds_left": 3725.0, "wall_s": 9.0,
        "spent": usd(123_456_789), "complete": True, "budget": usd(5_000_000_000),
        "held": usd(0),
        "top_nodes": [("refine/draft", usd(100_000_000)), ("[red]facts", usd(23_456_789))],
    }  # fmt: skip
    return Progress(**known | changes)


def test_progress_is_told_in_words():
    assert batch_summary.lines(shown(), 64) == [
        "1,200 completed, 12 failed, 3 invalid, 50 in flight; 12.3 items/s, 1:02:05 left",
        "$0.123457 of $5.0000 spent",
    ]
    plain = shown(failed=0, invalid=0, budget=None, complete=False, seconds_left=59.6)
    assert batch_summary.lines(plain, 64) == [
        "1,200 completed, 50 in flight; 12.3 items/s, 1:00 left",
        ">= $0.123457 spent",
    ]
    assert batch_summary.lines(shown(seconds_left=12), 64)[0].endswith(", 12 s left")
    assert batch_summary.lines(shown(seconds_left=None), 64)[0].endswith("items/s")


def test_progress_says_what_limits_it():
    assert batch_summary.lines(shown(), 50)[1] == "--max-concurrency is 50: other items wait"
    slow = shown(slowed_by="together limits its rate; 3 of 9 waiting")
    assert batch_summary.lines(slow, 50)[1] == "together limits its rate; 3 of 9 waiting"
    at_the_end = shown(completed=1935)
    assert len(batch_summary.lines(at_the_end, 50)) == 2, "all items that are left are in flight"


def test_the_summary_fits_80_columns(aideon, folder):
    tasks = ["fine", "", "no"]
    lines = [json.dumps({"id": f"i{place}", "task": task}) for place, task in enumerate(tasks)]
    (folder / "mixed.jsonl").write_text("\n".join(lines))
    (folder / "breaks.py").write_text(
        "from aideon_agents import sequential\n"
        "def check(state):\n"
        "    return {'fine': 'good'}[state['task']]\n"
        "graph = sequential(check)\n"
    )
    done = aideon("batch", "breaks.py", "mixed.jsonl", "-o", "out.jsonl")
    batch = aideon("batches", "show", "last", "--json").document["batch_id"]
    assert "s: 1 completed, 1 failed, 1 invalid\n" in done.err
    assert f"what is wrong: `aideon batches show {batch} --failed`\n" in done.err
    assert max(map(len, done.err.splitlines())) <= 80


def test_progress_is_drawn_with_the_most_expensive_nodes():
    console = Console(record=True, width=80, file=open(os.devnull, "w"), highlight=False)  # noqa: SIM115, PTH123 - what is recorded is looked at
    console.print(batch_summary._picture(shown(), 50))
    console.file.close()
    text = console.export_text()
    assert "1,215 of 2,000 (60 %)" in text
    assert "refine/draft" in text
    assert "[red]facts" in text


def test_progress_is_drawn_on_a_terminal(folder, items, environment):
    reading, writing = pty.openpty()
    with warm.Process(
        ["-m", "aideon_agents", "batch", "two.py", items, "-o", "out.jsonl"],
        cwd=folder,
        env=environment | {"TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=writing,
        text=True,
    ) as running:
        os.close(writing)
        seen = b""
        try:
            while part := os.read(reading, 65536):
                seen += part
        except OSError:  # Linux says so of a terminal that nobody writes to any more
            pass
        os.close(reading)
        document = json.loads(running.stdout.read())
    assert document["completed"] == 5
    assert b"5 of 5 (100 %)" in seen
    assert b"items/s" in seen
    assert b"results in out.jsonl" in seen


def test_nothing_is_drawn_in_a_pipe(process, items):
    done = process("batch", "two.py", items, "-o", "out.jsonl")
    assert "items/s" not in done.err
