"""A person in the middle of a run: `approve: true` and a tool that asks, one process after another."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from aideon_agents.models.answers import Answer
from aideon_agents.testing import SimulatedProvider

if TYPE_CHECKING:
    from collections.abc import Iterator

PUMPS = "Heat pumps move heat from outdoor air into a house."
YES = json.dumps({"approved": True})
NO = json.dumps({"approved": False})
SHORTER = json.dumps({"approved": False, "feedback": "Shorter."})

FLOW = """\
type: sequential
steps:
  - {agent: creative, name: draft, approve: true, model: "openai:m"}
  - {agent: executor, model: "openai:m"}
"""
ROUTED = """\
from aideon_agents import conditional, executor, sequential, validator

gate = validator("gate", approve=True)
graph = sequential(conditional(gate, {"cat": executor(), "dog": executor()}, name="choose"))
"""
LOOP = """\
type: iterative
step: {agent: creative, name: draft, approve: true, model: "openai:m"}
max_rounds: 2
"""
WORK = """\
agent: executor
model: "openai:m"
tools: [tools.py:note, tools.py:ask, tools.py:die]
"""
TOOLS = """\
import os, pathlib, signal
from langgraph.types import interrupt

RAN = pathlib.Path("ran")


def note(topic: str) -> str:
    \"\"\"Note a topic.\"\"\"
    with RAN.open("a") as file:
        file.write(topic + "\\n")
    return "noted " + topic


def ask(topic: str) -> str:
    \"\"\"Ask the boss.\"\"\"
    return "the boss says " + interrupt("May I " + topic + "?")


def die(topic: str) -> str:
    \"\"\"Lose the process, once.\"\"\"
    if not pathlib.Path("died").exists():
        pathlib.Path("died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"
"""


@pytest.fixture
def start(folder, monkeypatch):
    """Starts a provider that answers by rule or by a test's own, and writes a workflow down."""

    @contextlib.contextmanager
    def started(source: str, **options: Any) -> Iterator[SimulatedProvider]:
        (folder / "flow.yaml").write_text(source, encoding="utf-8")
        (folder / "tools.py").write_text(TOOLS, encoding="utf-8")
        with SimulatedProvider(**options) as provider:
            monkeypatch.setenv("OPENAI_API_KEY", "key-1")
            monkeypatch.setenv("OPENAI_BASE_URL", provider.base_url)
            yield provider

    return started


def tool(name: str, topic: str) -> Answer:
    return Answer(tool=name, arguments=json.dumps({"topic": topic}), finish_reason="tool_calls")


def in_turn(*answers: Any):
    """Answers by how many results of tools have been told: the same to the same question."""

    def answer(request: Any) -> Any:
        told = [one for one in request.body["messages"] if one["role"] == "tool"]
        return answers[len(told)]

    return answer


def test_a_run_waits_for_a_person_and_goes_on_in_another_process(process, start):
    with start(FLOW) as provider:
        waits = process("run", "flow.yaml", "--task", PUMPS, "--json")
        assert waits.code == 4
        assert waits.document["status"] == "waiting"
        (asked,) = waits.document["questions"]
        assert asked["node_path"] == "draft/approval"
        assert asked["question"]["node_path"] == "draft"
        assert asked["question"]["result"] == waits.document["results"]["draft"]["content"]
        assert asked["schema"]["required"] == ["approved"]
        assert len(provider.requests) == 1
        done = process("runs", "resume", "last", "--answer", YES, "--json")
        assert (done.code, done.document["status"]) == (0, "completed")
        assert list(done.document["results"]) == ["draft", "executor"]
        assert [node["node_path"] for node in done.document["nodes"]] == ["draft", "executor"]
        assert len(provider.requests) == 2


def test_a_no_ends_the_run_as_stopped(aideon, start):
    with start(FLOW) as provider:
        aideon("run", "flow.yaml", "--task", PUMPS)
        done = aideon("runs", "resume", "last", "--answer", NO, "--json")
        assert (done.code, done.document["status"]) == (3, "stopped")
        assert done.document["stop_reason"] == "declined"
        assert list(done.document["results"]) == ["draft"]
        assert len(provider.requests) == 1


def test_an_answer_that_does_not_fit_is_told_in_one_line_and_the_run_still_waits(aideon, start):
    with start(FLOW) as provider:
        aideon("run", "flow.yaml", "--task", PUMPS)
        wrong = aideon("runs", "resume", "last", "--answer", '{"approve": true}')
        assert wrong.code == 2
        assert "approve" in wrong.complaint
        assert len(provider.requests) == 1
        assert aideon("runs", "resume", "last", "--answer", YES).code == 0


def test_a_no_with_feedback_has_a_loop_go_round_again(aideon, start):
    with start(LOOP) as provider:
        aideon("run", "flow.yaml", "--task", PUMPS)
        again = aideon("runs", "resume", "last", "--answer", SHORTER, "--json")
        assert again.code == 4
        assert "version 2" in again.document["questions"][0]["question"]["question"]
        assert "Shorter." in provider.requests[1].body["messages"][-1]["content"]
        assert aideon("runs", "resume", "last", "--answer", NO).code == 3
        assert len(provider.requests) == 2


def test_approve_continues_the_run_and_asks_no_model_again(process, start):
    with start(FLOW) as provider:
        waits = process("run", "flow.yaml", "--task", PUMPS)
        run_id = waits.err.split("aideon runs approve ")[1].split(",")[0]
        assert waits.code == 4
        done = process("runs", "approve", run_id, "--json")
        assert (done.code, done.document["status"]) == (0, "completed")
        assert len(provider.requests) == 2
        again = process("runs", "approve", "last")
        assert again.code == 2
        assert "is completed and waits for no approval" in again.complaint


def test_approve_takes_an_edited_result_from_a_file(aideon, start, folder):
    with start(FLOW) as provider:
        aideon("run", "flow.yaml", "--task", PUMPS)
        assert (
            "gone.md cannot be read" in aideon("runs", "approve", "last", "--edit", "gone.md").err
        )
        (folder / "mine.md").write_text("My own text.\n", encoding="utf-8")
        done = aideon("runs", "approve", "last", "draft", "--edit", "mine.md", "--json")
        assert done.document["results"]["draft"]["content"] == "My own text."
        assert "My own text." in provider.requests[1].body["messages"][-1]["content"]
        assert len(provider.requests) == 2


def test_an_edited_decision_names_one_of_the_routes_or_the_question_stays(aideon, folder):
    (folder / "flow.py").write_text(ROUTED, encoding="utf-8")
    (folder / "bad.json").write_text('{"route": "fish", "reason": "So."}', encoding="utf-8")
    (folder / "good.json").write_text('{"route": "dog", "reason": "So."}', encoding="utf-8")
    assert aideon("run", "flow.py", "--task", PUMPS, "--rehearse").code == 4
    refused = aideon("runs", "approve", "last", "--edit", "bad.json")
    assert refused.code == 2
    assert "route is 'fish': give one of cat, dog" in refused.complaint
    assert aideon("runs", "show", "last", "--json").document["status"] == "waiting"
    done = aideon("runs", "approve", "last", "--edit", "good.json", "--json")
    assert (done.code, done.document["status"]) == (0, "completed")
    assert "choose/dog" in done.document["results"]


def test_decline_with_feedback_has_a_new_version_made_three_times_at_most(aideon, start):
    with start(FLOW) as provider:
        aideon("run", "flow.yaml", "--task", PUMPS)
        for number in (2, 3, 4):
            again = aideon("runs", "decline", "last", "--feedback", "Shorter.", "--json")
            assert again.code == 4
            assert f"version {number}" in again.document["questions"][0]["question"]["question"]
            assert "Shorter." in provider.requests[-1].body["messages"][-1]["content"]
        ended = aideon("runs", "decline", "last", "--feedback", "Shorter.", "--json")
        assert (ended.code, ended.document["stop_reason"]) == (3, "declined")
        assert len(provider.requests) == 4
        assert "was declined: start it again" in aideon("runs", "resume", "last").err


def test_a_task_file_may_say_that_any_no_ends_the_run(aideon, start):
    with start(FLOW.replace("approve: true", "approve: true, on_decline: stop")) as provider:
        aideon("run", "flow.yaml", "--task", PUMPS)
        assert aideon("runs", "decline", "last", "draft", "--feedback", "Shorter.").code == 3
        assert len(provider.requests) == 1


BRANCHES = """\
type: sequential
steps:
  - type: parallel
    name: both
    branches:
      - {agent: creative, name: a, approve: true, model: "openai:m"}
      - {agent: creative, name: b, approve: true, model: "openai:m"}
  - {agent: executor, name: end, model: "openai:m"}
"""


def test_of_several_results_one_is_named_and_the_other_still_waits(aideon, start):
    with start(BRANCHES) as provider:
        aideon("run", "flow.yaml", "--task", PUMPS)
        wrong = aideon("runs", "approve", "last")
        assert wrong.code == 2
        assert "waits for 2 answers: name one: both/a, both/b" in wrong.complaint
        assert "not ask about 'c', but about both/a" in aideon("runs", "approve", "last", "c").err
        assert aideon("runs", "approve", "last", "both/a").code == 4
        assert aideon("runs", "decline", "last", "b", "--feedback", "Shorter.").code == 4
        assert len(provider.requests) == 3  # b alone was asked again
        assert aideon("runs", "approve", "last").code == 0
        assert len(provider.requests) == 4


@pytest.mark.parametrize(
    ("answer", "code", "requests"),
    [("yes", 0, 2), ("Y", 0, 2), ("true", 0, 2), ("no", 3, 1), ("Shorter, please", 4, 2)],
)
def test_an_approval_is_answered_in_plain_words(aideon, start, answer, code, requests):
    with start(FLOW) as provider:
        aideon("run", "flow.yaml", "--task", PUMPS)
        assert aideon("runs", "resume", "last", "--answer", answer).code == code
        assert len(provider.requests) == requests
        if code == 4:
            assert answer in provider.requests[1].body["messages"][-1]["content"]


def test_a_question_that_is_no_yes_no_question_is_not_approved(aideon, start):
    with start(WORK, answer=in_turn(tool("ask", "go"), "Done.")) as provider:
        aideon("run", "flow.yaml", "--task", PUMPS)
        wrong = aideon("runs", "approve", "last")
        assert wrong.code == 2
        assert "executor asks for another answer" in wrong.complaint
        assert aideon("runs", "resume", "last", "--answer", "you may").code == 0
        assert provider.requests[-1].body["messages"][-1]["content"] == "the boss says you may"


def test_a_rehearsed_run_asks_as_well(aideon, start):
    with start(FLOW) as provider:
        assert aideon("run", "flow.yaml", "--task", PUMPS, "--rehearse").code == 4
        done = aideon("runs", "resume", "last", "--answer", YES, "--json")
        assert (done.code, done.document["rehearsed"]) == (0, True)
        assert provider.requests == []


def test_what_a_tool_asks_costs_no_second_answer(process, start, folder):
    answer = in_turn(tool("note", "one"), tool("ask", "go"), "Done.")
    with start(WORK, answer=answer) as provider:
        waits = process("run", "flow.yaml", "--task", PUMPS, "--json")
        assert [one["question"] for one in waits.document["questions"]] == ["May I go?"]
        assert [one["node_path"] for one in waits.document["questions"]] == ["executor"]
        done = process("runs", "resume", "last", "--answer", '"yes"', "--json")
        assert (done.code, done.document["output"]) == (0, "Done.")
        assert len(provider.requests) == 3
        assert provider.requests[-1].body["messages"][-1]["content"] == "the boss says yes"
    assert (folder / "ran").read_text().split() == ["one"]


def test_after_a_kill_an_agent_goes_on_with_what_its_tools_have_done(process, start, folder):
    answer = in_turn(tool("note", "one"), tool("note", "two"), tool("die", "now"), "Done.")
    with start(WORK, answer=answer) as provider:
        assert process("run", "flow.yaml", "--task", PUMPS).code == -9
        done = process("runs", "resume", "last", "--json")
        assert (done.code, done.document["output"]) == (0, "Done.")
        first = [seen for seen in provider.requests if len(seen.body["messages"]) == 2]
        assert len(first) == 1
    assert (folder / "ran").read_text().split() == ["one", "two"]
