"""`--cache`, `--fallback` and `aideon cache`, as commands in processes of their own."""

from __future__ import annotations

import json
import threading

import pytest

from aideon_agents.testing import Fault, SimulatedProvider


@pytest.fixture(params=["sqlite", "postgres"])
def anywhere(request, monkeypatch):
    """The command's ledger: a file in the folder, and again a server."""
    if request.param == "postgres":
        monkeypatch.setenv("AIDEON_LEDGER", request.getfixturevalue("postgres_url"))


@pytest.fixture
def faults():
    return []


@pytest.fixture
def provider(monkeypatch, faults):
    """A provider whose next requests meet `faults`; `heard` is set when one of them does."""
    heard = threading.Event()

    def fault_for(_request):
        fault = faults.pop(0) if faults else None
        if fault:
            heard.set()
        return fault

    with SimulatedProvider(faults=fault_for) as running:
        monkeypatch.setenv("TOGETHER_API_KEY", "a-key-of-together")
        monkeypatch.setenv("TOGETHER_BASE_URL", running.base_url)
        running.heard = heard
        yield running


RUN = ("run", "one.py", "--task", "Pumps move heat.", "--json")


def calls(aideon):
    return aideon("runs", "show", "last", "--json").document["calls"]


def test_a_second_run_is_answered_from_the_cache(aideon, provider):
    first = aideon(*RUN, "--cache", "1d").document
    again = aideon(*RUN, "--cache", "1d").document
    assert len(provider.requests) == 1
    assert again["output"] == first["output"]
    assert again["cost"] | {"input_tokens": 0, "output_tokens": 0} == again["cost"]
    assert (float(first["cost"]["usd"]) > 0, float(again["cost"]["usd"])) == (True, 0)
    shown = aideon("runs", "show", "last", "--json").document
    assert shown["saved_usd"] == first["cost"]["usd"] == shown["calls"][0]["saved_usd"]
    assert "saved_usd" not in aideon("runs", "show", first["run_id"], "--json").document
    assert "cached" in aideon("runs", "show", "last").out
    stats = aideon("cache", "stats", "--json").document
    assert (stats["entries"], stats["hits"], stats["complete"]) == (1, 1, True)
    assert stats["saved_usd"] == shown["saved_usd"]


def test_the_table_of_a_run_says_which_nodes_were_answered_from_the_cache(aideon, provider):
    words = (*RUN[:-1], "--cache", "1d")
    first, again = aideon(*words), aideon(*words)
    assert "(cached)" not in first.err
    (line,) = [line for line in again.err.splitlines() if "(cached)" in line]
    assert line.split()[-3:] == ["$0.000000", "0.00", "s"]


def test_a_streamed_run_shows_the_tokens_of_a_kept_answer(aideon, provider):
    words = ("run", "one.py", "--task", "Pumps move heat.", "--stream", "--cache", "1w")
    first, again = aideon(*words), aideon(*words)
    assert len(provider.requests) == 1
    assert again.out == first.out
    assert again.err.splitlines()[:2] == first.err.splitlines()[:2]


def test_the_cache_is_cleared(aideon, provider):
    assert "no answers are kept" in aideon("cache", "stats").err
    aideon(*RUN, "--cache", "1d")
    for words in (("--older", "1h"), ("--model", "openai:gpt")):
        assert aideon("cache", "clear", *words, "--json").document == {"entries": 0, "bytes": 0}
    assert aideon("cache", "clear", "--model", "together:openai/gpt-oss-120b").code == 0
    assert aideon("cache", "stats", "--json").document["entries"] == 0
    aideon(*RUN, "--cache", "1d")
    assert aideon("cache", "clear").err.startswith("deleted 1 answer, ")
    assert len(provider.requests) == 2


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (("cache", "clear", "--older", "1x"), "--older takes an age such as 90s"),
        (("cache", "clear", "--model", "gpt"), "--model takes provider:model, not 'gpt'"),
        ((*RUN, "--cache", "soon"), "cache takes an age such as 90s"),
        (
            (*RUN, "--fallback", "same"),
            "a list of same_provider, other_provider, cached, not 'same'",
        ),
        ((*RUN, "--fallback", ""), "a list of same_provider, other_provider, cached, not ''"),
        ((*RUN, "--fallback", "cached", "--no-fallback"), "exclude each other"),
    ],
    ids=str,
)
def test_a_wrong_value_is_one_line_and_calls_nothing(aideon, provider, words, wrong):
    done = aideon(*words)
    assert done.code == 2
    assert wrong in done.complaint
    assert provider.requests == []


def test_items_of_a_batch_that_ask_the_same_pay_once(aideon, provider, folder):
    items = [{"id": str(n), "task": "Pumps move heat."} for n in range(5)]
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, items)), encoding="utf-8")
    done = aideon("batch", "one.py", "items.jsonl", "-o", "out.jsonl", "--cache", "1d", "--json")
    assert (done.code, done.document["completed"]) == (0, 5)
    assert len(provider.requests) == 1


def test_processes_that_ask_the_same_at_once_pay_once(anywhere, begin, provider, faults, aideon):
    aideon(*RUN)  # makes the files, which several processes would make at once
    faults.append(Fault("delay", seconds=1.0))
    several = [begin(*RUN, "--cache", "1d") for _ in range(4)]
    ended = [one.communicate(timeout=60) for one in several]
    assert [one.returncode for one in several] == [0] * 4, ended
    assert len(provider.requests) == 2
    assert len({json.loads(out)["output"] for out, _ in ended}) == 1


def test_a_process_that_is_killed_while_it_asks_does_not_block_the_others(
    anywhere, begin, provider, faults, aideon
):
    faults.append(Fault("hang"))
    killed = begin(*RUN, "--cache", "1d")
    assert provider.heard.wait(60)
    killed.kill()
    killed.communicate()
    assert aideon("cache", "stats", "--json").document["entries"] == 0
    done = aideon(*RUN, "--cache", "1d")
    assert (done.code, len(provider.requests)) == (0, 2)
    assert [call["status"] for call in calls(aideon)] == ["ok"]


def test_a_run_that_resumes_uses_the_answers_that_it_has_kept(
    begin, provider, faults, aideon, folder
):
    source = "from aideon_agents import executor, sequential\n"
    (folder / "judged.py").write_text(source + "graph = sequential(executor('facts'))\n")
    faults += [None, Fault("hang")]  # the answer comes, and its judgement does not
    words = ("run", "judged.py", "--task", "Pumps move heat.", "--quality", "0.1")
    killed = begin(*words, "--cache", "1d")
    assert provider.heard.wait(60)
    killed.kill()
    killed.communicate()
    done = aideon("runs", "resume", "last", "--json")
    assert (done.code, done.document["status"]) == (0, "completed")
    assert [(call["role"], call["status"]) for call in calls(aideon)][:4] == [
        ("executor", "ok"),
        ("validator", "started"),
        ("executor", "cached"),
        ("validator", "ok"),
    ]


def test_an_old_answer_is_used_and_marked_where_all_models_fail(aideon, process, provider, faults):
    words = (*RUN, "--fallback", "same_provider,other_provider,cached")
    first = aideon(*words).document
    assert "stale_s" not in first["results"]["draft"]
    faults += [Fault(503)] * 20
    old = process(*words)
    assert old.code == 0
    result = old.document["results"]["draft"]
    assert result["content"] == first["results"]["draft"]["content"]
    assert isinstance(result["stale_s"], int)
    (line,) = [one for one in old.err.splitlines() if "all models failed" in one]
    assert "an answer of together:openai/gpt-oss-120b is used" in line
    assert calls(aideon)[-1]["choice"]["stale_s"] == result["stale_s"]
    assert calls(aideon)[-1]["status"] == "cached"


FLOW = """
type: sequential
cache: 1d
steps:
  - {agent: executor, name: facts, description: "Collect facts on {task}"}
  - {agent: creative, name: fresh, description: "Write", cache: false}
  - {agent: creative, name: text, description: "Write again", fallback: [same_provider, cached]}
"""


def test_a_task_file_says_which_agents_keep_answers(aideon, provider, folder):
    (folder / "flow.yaml").write_text(FLOW, encoding="utf-8")
    for _ in range(2):
        aideon("run", "flow.yaml", "--task", "Pumps", "--json")
    assert [call["status"] for call in calls(aideon)] == ["cached", "ok", "cached"]


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ("cache: 1d", "cache: 1y", "flow.yaml:3: cache: '1y' is not an age: write 90s, 30m"),
        ("cache: 1d", "cache: true", "cache takes an age such as 90s"),
        ("cache: false", "cache: 0s", "flow.yaml:6: steps.1: fresh: cache takes an age"),
        ("same_provider", "same", "fallback.0: 'same' is not one of same_provider"),
    ],
    ids=str,
)
def test_a_wrong_key_of_a_task_file_is_named(aideon, folder, old, new, wrong):
    (folder / "flow.yaml").write_text(FLOW.replace(old, new), encoding="utf-8")
    done = aideon("run", "flow.yaml", "--task", "Pumps")
    assert done.code == 2
    assert wrong in done.complaint


def test_a_ledger_that_can_only_be_read_is_one_line(aideon, folder):
    done = aideon("cache", "stats")
    assert done.code == 0
    (folder / ".aideon/ledger.db").write_bytes(b"no ledger")
    done = aideon("cache", "stats")
    assert done.code != 0
    assert "is not a ledger" in done.complaint
