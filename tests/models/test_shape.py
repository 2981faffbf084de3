"""Answers of a shape: a wrong one is complained about once, then the next candidate is asked."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage

from aideon_agents import Context, CostHandler, Settings, errors
from aideon_agents.ledger.rows import Run
from aideon_agents.models import Models
from aideon_agents.models.features import response_format
from aideon_agents.models.shape import parse
from aideon_agents.state import ModelRequest, Plan, Verdict
from aideon_agents.testing import SimulatedProvider

PRIMARY = "together:openai/gpt-oss-120b"
OTHER = "openai:gpt-4o-mini"
GOOD = '{"passed": true, "score": 0.5, "feedback": "fine"}'
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


class Desk:
    """Asks for a verdict, given what each model says in turn."""

    def __init__(self, ledger):
        self.ledger = ledger
        self.requests = []
        self.rows = []

    async def verdict(self, answers, *, stream=False, **request):
        says = {model: iter(said) for model, said in answers.items()}
        with SimulatedProvider(answer=lambda asked: next(says[asked.model])) as provider:
            settings = Settings(
                together_api_key="key",
                together_base_url=provider.base_url,
                openai_api_key="other",
                openai_base_url=provider.base_url,
            )
            asked = ModelRequest(role="validator", model=(PRIMARY, OTHER), **request)
            chain = Models(settings).chat(asked, Context(stream=stream))
            run_id = self.ledger.start_run(Run(workflow="verdict"))
            config = {"callbacks": [CostHandler(self.ledger, run_id=run_id)]}
            try:
                return await chain.with_structured_output(Verdict).ainvoke("Judge.", config)
            finally:
                self.requests = provider.requests
                self.rows = self.ledger.calls(run_id)


@pytest.fixture
def desk(ledger):
    return Desk(ledger)


@STREAMED
async def test_a_right_answer_is_typed_and_one_row(desk, stream):
    verdict = await desk.verdict({"openai/gpt-oss-120b": [GOOD]}, stream=stream)
    assert verdict == Verdict(passed=True, score=0.5, feedback="fine")
    assert [row.status for row in desk.rows] == ["ok"]
    assert desk.requests[0].body["response_format"]["json_schema"]["name"] == "Verdict"


@STREAMED
async def test_a_wrong_answer_is_complained_about_once_to_the_same_model(desk, stream):
    said = {"openai/gpt-oss-120b": ['{"passed": "perhaps"}', GOOD]}
    assert (await desk.verdict(said, stream=stream)).passed
    assert [(row.candidate, row.attempt, row.status) for row in desk.rows] == [
        (0, 1, "ok"),
        (0, 2, "ok"),
    ]
    assert all(row.cost_nanousd for row in desk.rows)
    *_, answer, complaint = desk.requests[1].body["messages"]
    assert answer["content"] == '{"passed": "perhaps"}'
    assert "passed" in complaint["content"]


async def test_a_second_wrong_answer_goes_to_the_next_candidate(desk):
    said = {"openai/gpt-oss-120b": ["no", "still no"], "gpt-4o-mini": [GOOD]}
    assert (await desk.verdict(said)).passed
    assert [(row.candidate, row.attempt) for row in desk.rows] == [(0, 1), (0, 2), (1, 1)]


async def test_when_nobody_gets_it_right_each_answers_beginning_is_shown(desk):
    said = {"openai/gpt-oss-120b": ["one", "two"], "gpt-4o-mini": ["three", "x" * 500]}
    with pytest.raises(errors.AllModelsFailed) as failed:
        await desk.verdict(said)
    assert len(failed.value.attempts) == len(desk.rows) == 4
    for line, asked, begins in zip(
        failed.value.attempts,
        [PRIMARY, PRIMARY, OTHER, OTHER],
        ['"one"', '"two"', '"three"', '"' + "x" * 120 + '…"'],
        strict=True,
    ):
        assert line.startswith(f"{asked}: the answer is no Verdict")
        assert line.endswith(begins)


async def test_an_answer_that_met_its_token_limit_is_paid_for_and_repaired(desk):
    said = {"openai/gpt-oss-120b": [GOOD, GOOD], "gpt-4o-mini": [GOOD, GOOD]}
    with pytest.raises(errors.AllModelsFailed):
        await desk.verdict(said, max_tokens=4)
    assert [(row.finish_reason, row.cost_nanousd is not None) for row in desk.rows] == [
        ("length", True)
    ] * 4


async def test_raw_answers_cannot_be_asked_for_beside_the_typed_one():
    settings = Settings(together_api_key="key")
    chain = Models(settings).chat(ModelRequest(role="planner", model=(PRIMARY,)), Context())
    with pytest.raises(errors.UserError, match="include_raw"):
        chain.with_structured_output(Verdict, include_raw=True)


def test_a_synchronous_caller_gets_the_same(counter):
    chain = Models(counter.settings()).chat(
        ModelRequest(role="planner", model=(PRIMARY,)), Context()
    )
    assert isinstance(chain.with_structured_output(Plan).invoke("Plan it."), Plan)


@pytest.mark.parametrize("fence", ["```json\n{}\n```", "```\n{}\n```", "  {}\n"])
def test_a_code_fence_around_the_json_is_forgiven(fence):
    assert parse(AIMessage(fence.format(GOOD)), Verdict).score == 0.5


def test_the_error_names_the_place():
    with pytest.raises(errors.Malformed, match=r"no Verdict: score: Input should be less"):
        parse(AIMessage('{"passed": true, "score": 7, "feedback": ""}'), Verdict)


def test_every_object_of_the_schema_is_closed():
    schema = response_format(Plan)["json_schema"]["schema"]
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["PlanStep"]["additionalProperties"] is False
