"""`aideon run`: where the task comes from, what is printed where, which document scripts get."""

from __future__ import annotations

import io
import re
import sys
from decimal import Decimal
from types import SimpleNamespace

import pytest

from aideon_agents.testing import SimulatedProvider

REHEARSING = "rehearsing: {}; a dry run with made-up answers, nothing is paid\n"
PUMPS = "Heat pumps move heat."


def test_the_result_alone_is_on_stdout(aideon):
    done = aideon("run", "two.py", "--task", PUMPS)
    assert done.code == 0
    assert done.out == f"{PUMPS}\n"
    assert done.err.startswith(REHEARSING.format("no provider has a key (set TOGETHER_API_KEY)"))
    assert re.search(r"facts +\S+ +1 +\d+ +\d+ +\$0\.0000\d\d", done.err)
    assert re.search(r"rehearsed +2 +\d+", done.err)
    assert re.search(r"run [0-9A-Z]{26} completed\n$", done.err)


def test_a_workflow_that_asks_no_model_needs_no_key_and_is_no_rehearsal(aideon, folder):
    (folder / "checked.py").write_text(
        "from aideon_agents import iterative, validator\n"
        "graph = iterative(lambda state: 'text', validator(checks=[str.isupper]), max_rounds=1)\n",
        encoding="utf-8",
    )
    done = aideon("run", "checked.py", "--task", PUMPS, "--json")
    assert "rehearsing" not in done.err
    assert (done.document["rehearsed"], done.document["stop_reason"]) == (False, "max_rounds")
    assert done.document["results"]["validator"]["data"]["passed"] is False
    estimated = aideon("run", "checked.py", "--task", PUMPS, "--rehearse").err
    assert estimated.endswith("the same routes, no retries)\n")


def test_the_json_document_has_the_fields_of_the_contract(aideon):
    done = aideon("run", "two.py", "--task", PUMPS, "--json")
    document = done.document
    assert list(document) == [
        "run_id", "workflow", "status", "stop_reason", "output", "results", "cost", "nodes",
        "rehearsed", "error", "failed_node", "questions",
    ]  # fmt: skip
    assert list(document["cost"]) == [
        "usd", "complete", "calls", "failed_calls", "input_tokens", "output_tokens",
    ]  # fmt: skip
    assert list(document["nodes"][0]) == [
        "node_path", "role", "calls", "failed_calls", "input_tokens", "output_tokens", "usd",
        "complete", "models", "duration_ms", "truncated",
    ]  # fmt: skip
    assert list(document["results"]) == ["facts", "text"]
    assert document["results"]["text"] == {
        "role": "creative",
        "content": PUMPS,
        "data": None,
        "round": 1,
        "models": ["together:openai/gpt-oss-120b"],
        "truncated": False,
        "artifacts": [],
    }
    assert (document["workflow"], document["status"], document["output"]) == (
        "two",
        "completed",
        PUMPS,
    )
    assert (document["stop_reason"], document["error"], document["questions"]) == (None, None, [])
    assert document["rehearsed"] is True


def test_money_is_a_decimal_string_and_nodes_add_up_to_the_run(aideon):
    document = aideon("run", "two.py", "--task", PUMPS, "--json").document
    amounts = [node["usd"] for node in document["nodes"]]
    assert all(re.fullmatch(r"\d+\.\d{6,9}", amount) for amount in amounts)
    assert isinstance(document["cost"]["usd"], str)
    assert sum(map(Decimal, amounts)) == Decimal(document["cost"]["usd"]) > 0


def test_a_file_is_the_task_without_its_byte_order_mark(aideon, folder):
    (folder / "task.txt").write_bytes("Wärme\n".encode("utf-8-sig"))
    assert aideon("run", "echo.py", "--file", "task.txt").out == "Wärme\n"


def test_a_dash_reads_the_task_from_stdin(aideon, monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"from stdin")))
    assert aideon("run", "echo.py", "-").out == "from stdin\n"


@pytest.mark.parametrize(
    "words",
    [[], ["--task", "x", "-"], ["--task", "x", "--file", "one.py"], ["-", "--file", "one.py"]],
    ids=["none", "task and stdin", "task and file", "stdin and file"],
)
def test_the_task_comes_in_exactly_one_way(aideon, words):
    done = aideon("run", "one.py", *words)
    assert done.code == 2
    assert done.complaint == ("give the task in one way: --task TEXT, --file PATH, or - for stdin")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["surprise"],
            "unexpected argument 'surprise': give the task with --task TEXT, or - for stdin",
        ),
        (["--task", " \n"], "the task is empty"),
        (["--file", "empty.txt"], "the task is empty"),
        (["--file", "missing.txt"], "missing.txt cannot be read: No such file or directory"),
        (["--file", "/dev/zero"], "/dev/zero is longer than 16 MB, more than a model takes"),
        (["--file", "."], ". cannot be read: Is a directory"),
        (["--file", "latin.txt"], "latin.txt is not text in UTF-8: convert it to UTF-8"),
        (["--task", "\udcff"], "the task is not text in UTF-8: correct it"),
    ],
    ids=lambda value: " ".join(map(ascii, value)) if isinstance(value, list) else "",
)
def test_a_task_that_is_none_is_code_2(aideon, folder, words, says):
    (folder / "empty.txt").touch()
    (folder / "latin.txt").write_bytes("Wärme".encode("latin-1"))
    done = aideon("run", "one.py", *words)
    assert done.code == 2
    assert says in done.complaint
    assert aideon("runs", "list", "--json").document == []


def test_stdin_that_is_no_text_is_named(aideon, monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"\xff\xfe")))
    assert aideon("run", "one.py", "-").complaint.startswith("stdin is not text in UTF-8")


def test_parameters_are_the_inputs_of_the_run(aideon):
    done = aideon("run", "inputs.py", "--task", "x", "-p", "city=Ulm", "-p", "sum=1+1=2")
    assert done.out == "[('city', 'Ulm'), ('sum', '1+1=2')]\n"


def test_an_input_may_be_empty(aideon):
    done = aideon("run", "inputs.py", "--task", "x", "-p", "city=")
    assert done.out == "[('city', '')]\n"


@pytest.mark.parametrize(
    ("flag", "word"),
    [
        ("-p", "city"),
        ("-p", "=Ulm"),
        ("--model", "city"),
        ("--model", "=Ulm"),
        ("--model", "city="),
    ],
)
def test_a_pair_needs_a_key_and_a_value(aideon, flag, word):
    done = aideon("run", "one.py", "--task", "x", flag, word)
    assert done.code == 2
    assert done.complaint == f"{flag} takes KEY=VALUE, not {word!r}"


def test_the_user_and_the_tier_of_a_run_can_be_given(aideon):
    document = aideon(
        "run", "one.py", "--task", "x", "--user", "bob", "--tier", "free", "--json"
    ).document
    assert document["nodes"][0]["models"] == ["together:Qwen/Qwen3.5-9B"]
    assert aideon("runs", "list", "--json").document[0]["user"] == "bob"


def test_an_unknown_tier_names_the_tiers(aideon):
    done = aideon("run", "one.py", "--task", "x", "--tier", "gold")
    assert done.code == 2
    assert done.complaint == "there is no tier 'gold': one of free, premium, enterprise"


def test_a_node_that_raises_is_code_1_and_keeps_what_there_was(aideon):
    done = aideon("run", "boom.py", "--task", PUMPS, "--json")
    assert done.code == 1
    assert done.err.splitlines()[-1] == "aideon: boom: ValueError: the node is broken (boom.py:3)"
    document = done.document
    assert (document["status"], document["stop_reason"]) == ("failed", None)
    assert document["error"] == "boom: ValueError: the node is broken (boom.py:3)"
    assert document["failed_node"] == "boom boom.py:3"
    assert list(document["results"]) == ["draft"]
    assert document["output"] == PUMPS
    assert document["cost"]["calls"] == 1


def test_a_run_without_a_result_prints_nothing_on_stdout(aideon, folder):
    source = "def graph(state):\n    raise KeyError('x')\n"
    (folder / "early.py").write_text(source, encoding="utf-8")
    done = aideon("run", "early.py", "--task", "x")
    assert (done.code, done.out) == (1, "")


def test_data_that_json_has_no_word_for_does_not_lose_the_result(aideon, folder):
    source = (
        "from aideon_agents import StepResult\n\n"
        "def graph(state):\n"
        "    odd = [object, float('nan')]\n"
        "    one = StepResult(node_path='graph', role='function', content='x', data=odd)\n"
        "    return {'results': {'graph': one}}\n"
    )
    (folder / "odd.py").write_text(source, encoding="utf-8")
    document = aideon("run", "odd.py", "--task", "x", "--json").document
    assert document["results"]["graph"]["data"] == ["<class 'object'>", None]


@pytest.mark.parametrize(
    ("words", "variables", "why"),
    [
        (["--rehearse"], {"TOGETHER_API_KEY": "k"}, "as asked"),
        ([], {"AIDEON_OFFLINE": "1", "TOGETHER_API_KEY": "k"}, "AIDEON_OFFLINE is set"),
        ([], {"TOGETHER_API_KEY": " "}, "no provider has a key (set TOGETHER_API_KEY)"),
    ],
    ids=["asked", "offline", "blank key"],
)
def test_a_rehearsal_says_so_and_why_in_one_line(aideon, monkeypatch, words, variables, why):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    done = aideon("run", "one.py", "--task", "x", "--json", *words)
    assert done.code == 0
    told, estimate = done.err.split("\n", 1)
    assert f"{told}\n" == REHEARSING.format(why)
    assert estimate.startswith("estimate: ") is ("--rehearse" in words)
    assert estimate.count("\n") == ("--rehearse" in words)
    assert done.document["rehearsed"] is True


def test_offline_a_local_server_is_asked_and_nobody_else(aideon, monkeypatch):
    with SimulatedProvider() as local, SimulatedProvider() as other:
        monkeypatch.setenv("AIDEON_OFFLINE", "1")
        monkeypatch.setenv("AIDEON_LOCAL_BASE_URL", local.base_url)
        monkeypatch.setenv("TOGETHER_API_KEY", "k")
        monkeypatch.setenv("TOGETHER_BASE_URL", other.base_url)
        words = ("run", "one.py", "--task", "x", "--json")
        done = aideon(*words)
        refused = aideon(*words, "--model", "creative=together:openai/gpt-oss-120b")
    assert (done.code, done.document["rehearsed"]) == (0, False)
    assert local.requests
    assert (refused.code, other.requests) == (2, [])
