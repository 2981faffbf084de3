"""Prompts and answers are kept where somebody asked for it, and nowhere else."""

from __future__ import annotations

import pytest

from aideon_agents import creative, executor, run, sequential
from aideon_agents.models.answers import Answer
from aideon_agents.runner import document, recall
from aideon_agents.testing import Fault, SimulatedProvider

SECRET = "The zeppelin lands at noon."
ANSWER = "Moor it to the marmalade mast."


def files_of(ledger):
    """Everything that stands in the ledger's folder, as bytes."""
    return b"".join(file.read_bytes() for file in ledger.path.parent.glob("ledger.db*"))


@pytest.fixture
def settings(keyed):
    with SimulatedProvider(answer=lambda _: ANSWER) as provider:
        yield keyed(provider)


def test_no_word_of_a_prompt_or_an_answer_is_on_disk_by_default(ledger, settings):
    result = run(
        sequential(executor("facts"), creative("text")), SECRET, settings=settings, ledger=ledger
    )
    assert result.output == ANSWER
    assert b"together" in files_of(ledger)  # the rows are there, also those in the log
    assert b"zeppelin" not in files_of(ledger)
    assert b"marmalade" not in files_of(ledger)
    assert ledger.contents(result.run_id) == []


def test_recorded_content_is_each_calls_prompt_and_answer(ledger, settings):
    graph = sequential(executor("facts"), creative("text"))
    result = run(graph, SECRET, settings=settings, ledger=ledger, record_content=True)
    first, second = ledger.contents(result.run_id)
    calls = [call.call_id for call in ledger.calls(result.run_id)]
    assert [first.call_id, second.call_id] == calls
    assert [message["role"] for message in first.prompt] == ["system", "user"]
    assert SECRET in first.prompt[1]["content"]
    assert ANSWER in second.prompt[1]["content"]  # the first one's answer is what it builds on
    assert (first.answer["role"], first.answer["content"]) == ("assistant", ANSWER)
    assert b"zeppelin" in files_of(ledger)


def test_a_run_that_was_recorded_is_recalled_whole(ledger, settings):
    result = run(creative("text"), SECRET, settings=settings, ledger=ledger, record_content=True)
    recalled = recall(ledger, ledger.find_run(result.run_id))
    assert document(recalled) == document(result)
    assert recalled.output == ANSWER


def test_a_call_that_was_not_answered_has_its_prompt_alone(ledger, keyed):
    with SimulatedProvider(faults=[Fault(422)]) as provider:
        result = run(
            creative("text"), SECRET, settings=keyed(provider), ledger=ledger, record_content=True
        )
    (content,) = ledger.contents(result.run_id)
    assert SECRET in content.prompt[1]["content"]
    assert content.answer is None


def test_a_key_in_a_prompt_is_not_kept(ledger, settings):
    task = 'Say "Bearer sk-abcdefgh12345678" aloud.'
    options = {"settings": settings, "ledger": ledger, "record_content": True, "privacy": "off"}
    result = run(creative("text"), task, **options)
    (content,) = ledger.contents(result.run_id)
    assert 'Say "Bearer [key]" aloud.' in content.prompt[1]["content"]
    assert b"abcdefgh12345678" not in files_of(ledger)


def test_a_key_in_an_answer_is_not_kept_in_what_came_of_the_run_either(ledger, keyed):
    with SimulatedProvider(answer=lambda request: "The key is sk-abcdefgh12345678.") as provider:
        result = run(
            creative("text"), SECRET, settings=keyed(provider), ledger=ledger, record_content=True
        )
    assert result.output == "The key is sk-abcdefgh12345678."
    assert ledger.find_run(result.run_id).output == "The key is [key]."
    assert b"abcdefgh12345678" not in files_of(ledger)


def test_a_tool_call_is_kept_as_an_answer(ledger, keyed):
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    def answers(request):
        asked = request.ask.turns[-1].role
        return "It is 3." if asked == "tool" else Answer(tool="add", arguments='{"a": 1, "b": 2}')

    with SimulatedProvider(answer=answers) as provider:
        result = run(
            executor("sums", tools=[add]),
            "1 + 2?",
            settings=keyed(provider),
            ledger=ledger,
            record_content=True,
        )
    assert result.error is None
    first, second = ledger.contents(result.run_id)
    (called,) = first.answer["tool_calls"]
    assert called["function"]["name"] == "add"
    assert [message["role"] for message in second.prompt][-2:] == ["assistant", "tool"]
