"""An answer of a wrong shape: complained about once, then the next candidate, then an error."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from aideon_agents import Ledger, Settings, arun, executor
from aideon_agents.errors import AllModelsFailed
from aideon_agents.testing import SimulatedProvider

PUMPS = "Heat pumps move heat from outdoor air into a house."
ESSAY = "Let me think about the total: " + "it depends, " * 30
CLIENTS = pytest.mark.parametrize("first", ["together:first", "openai:first", "local:first"])


class Sum(BaseModel):
    total: int


class Run:
    """A run of one agent against a provider that says what a test wrote down, by model."""

    def __init__(self, path, **answers):
        self.ledger = Ledger(path / "ledger.db")
        self.answers = {model: list(texts) for model, texts in answers.items()}
        self.provider = SimulatedProvider(answer=lambda asked: self.answers[asked.model].pop(0))

    async def of(self, node):
        with self.ledger, self.provider:
            settings = Settings(
                together_api_key="key-1",
                together_base_url=self.provider.base_url,
                openai_api_key="key-2",
                openai_base_url=self.provider.base_url,
                local_base_url=self.provider.base_url,
                user="ada",
            )
            self.result = await arun(node, PUMPS, settings=settings, ledger=self.ledger)
            self.calls = self.ledger.calls(self.result.run_id)
        return self.result

    @property
    def rows(self):
        return [
            (call.requested_model, call.candidate, call.attempt, call.status) for call in self.calls
        ]


@CLIENTS
async def test_a_wrong_shape_is_complained_about_once_and_both_answers_are_paid(first, tmp_path):
    run = Run(tmp_path, first=["The total is 3.", {"total": 3}])
    result = await run.of(executor(output=Sum, model=first))
    assert result.raise_for_status().results["executor"].data == Sum(total=3)
    assert run.rows == [("first", 0, 1, "ok"), ("first", 0, 2, "ok")]
    billed = run.provider.bill.total
    assert result.cost.input_tokens == billed.input_tokens
    assert result.cost.output_tokens == billed.output_tokens
    *_, answer, complaint = run.provider.requests[1].body["messages"]
    assert answer == {"role": "assistant", "content": "The total is 3."}
    assert complaint["role"] == "user"
    assert "the answer is no Sum" in complaint["content"]
    assert "it begins" in complaint["content"]


async def test_words_behind_a_shape_are_ignored(tmp_path):
    run = Run(tmp_path, first=['{"total": 3} and more'])
    result = await run.of(executor(output=Sum, model="openai:first"))
    assert result.raise_for_status().results["executor"].data == Sum(total=3)
    assert run.rows == [("first", 0, 1, "ok")]


@pytest.mark.parametrize(
    "wrong",
    [
        "no JSON",
        "3",
        "null",
        "[]",
        '{"total": "three"}',
        '{"totals": 3}',
        '{"total": 3',
        '{"total": 3, and more',
    ],
)
async def test_whatever_is_wrong_with_a_shape_one_complaint_mends_it(wrong, tmp_path):
    run = Run(tmp_path, first=[wrong, {"total": 3}])
    result = await run.of(executor(output=Sum, model="openai:first"))
    assert result.raise_for_status().results["executor"].data == Sum(total=3)
    assert run.rows == [("first", 0, 1, "ok"), ("first", 0, 2, "ok")]


@CLIENTS
async def test_a_shape_that_is_wrong_twice_is_asked_of_the_next_candidate(first, tmp_path):
    run = Run(tmp_path, first=["three", '{"total": "three"}'], second=[{"total": 3}])
    result = await run.of(executor(output=Sum, model=[first, "together:second"]))
    assert result.raise_for_status().results["executor"].data == Sum(total=3)
    assert run.rows == [
        ("first", 0, 1, "ok"),
        ("first", 0, 2, "ok"),
        ("second", 1, 1, "ok"),
    ]
    asked = run.provider.requests[2].body["messages"]
    assert len(asked) == 2  # the next candidate does not read what the first one got wrong


async def test_a_shape_that_is_always_wrong_fails_with_each_attempt_and_how_they_began(tmp_path):
    texts = {"first": [ESSAY, '{"total": "three"}'], "second": ["drei", "vier"]}
    run = Run(tmp_path, **texts)
    result = await run.of(executor(output=Sum, model=["openai:first", "together:second"]))
    assert result.status == "failed"
    with pytest.raises(AllModelsFailed) as caught:
        result.raise_for_status()
    attempts = caught.value.attempts
    assert len(attempts) == 4
    assert attempts[0].startswith("openai:first")
    assert 'it begins "Let me think about the total' in attempts[0]
    assert len(attempts[0]) < 300
    assert 'it begins "{\\"total\\": \\"three\\"}"' in attempts[1]
    assert [attempt.partition(":")[0] for attempt in attempts] == ["openai"] * 2 + ["together"] * 2
    assert 'it begins "vier"' in str(caught.value)
    assert run.rows == [
        ("first", 0, 1, "ok"),
        ("first", 0, 2, "ok"),
        ("second", 1, 1, "ok"),
        ("second", 1, 2, "ok"),
    ]
    assert result.cost.output_tokens == run.provider.bill.total.output_tokens


async def test_a_shape_that_is_wrong_after_the_tools_is_mended_as_well(tmp_path):
    def look_up(topic: str) -> str:
        """Look a topic up."""
        return topic

    run = Run(tmp_path, first=["I need no tool.", "The total is 3.", {"total": 3}])
    result = await run.of(executor(output=Sum, tools=[look_up], model="openai:first"))
    assert result.raise_for_status().results["executor"].data == Sum(total=3)
    assert run.rows == [
        ("first", 0, 1, "ok"),
        ("first", 0, 1, "ok"),
        ("first", 0, 2, "ok"),
    ]
