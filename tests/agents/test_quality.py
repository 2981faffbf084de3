"""A second try at an answer whose quality is too low, by the next larger model."""

from __future__ import annotations

import json

import pytest

from aideon_agents import (
    Ledger,
    Settings,
    arun,
    astream,
    creative,
    executor,
    iterative,
    run,
    sequential,
    validator,
)
from aideon_agents.errors import InputError, UserError
from aideon_agents.state import Context
from aideon_agents.testing import GivenModels, ScriptedChatModel, SimulatedProvider

SMALL, MEDIUM = "Qwen/Qwen3.5-9B", "openai/gpt-oss-120b"


def judged(score):
    return {"reasons": "r", "score": score, "passed": score >= 8, "feedback": "f"}


@pytest.fixture
def tried():
    """Runs an agent whose answers and scores are given, in order."""

    def go(agent, answers, scores, **options):
        writer, judge = ScriptedChatModel(answers=answers), ScriptedChatModel(answers=scores)
        models = GivenModels(writer, roles={"validator": judge})
        context = Context(models=models, **options)
        values = sequential(agent).invoke({"task": "Heat pumps."}, context=context)
        return values["results"][agent.name], models.requests, judge.requests

    return go


def test_an_answer_under_the_threshold_is_tried_again_one_size_larger(tried):
    agent = executor("facts", quality=True, description="Collect facts about {task}")
    result, requests, judgements = tried(agent, ["poor", "good"], [judged(4), judged(9)])
    assert result.content == "good"
    assert [(one.role, one.steps_up) for one in requests] == [
        ("executor", 0),
        ("validator", 0),
        ("executor", 1),
        ("validator", 0),
    ]
    first, second = (str(one.messages[1].content) for one in judgements)
    assert ("poor" in first, "good" in second) == (True, True)
    assert "it does what these instructions ask for: Collect facts about Heat pumps." in first


@pytest.mark.parametrize(("quality", "score"), [(True, 8), (0.5, 5), (0.8, 10)])
def test_an_answer_that_reaches_the_threshold_is_not_tried_again(tried, quality, score):
    result, requests, _ = tried(executor(quality=quality), ["fine"], [judged(score)])
    assert (result.content, len(requests)) == ("fine", 2)


def test_the_better_answer_is_kept_and_its_models_are_named(tried):
    agent = executor(quality=0.9)
    assert tried(agent, ["first", "second"], [judged(6), judged(5)])[0].content == "first"
    assert tried(agent, ["first", "second"], [judged(6), judged(6)])[0].content == "second"


def test_nothing_is_judged_unless_the_agent_or_the_run_asks_for_it(tried):
    for agent, options in (
        (executor(), {}),
        (executor(quality=False), {"quality": 0.8}),
        (validator("v"), {"quality": 0.8}),
    ):
        answers = [judged(2)] if agent.role == "validator" else ["poor"]
        _, requests, _ = tried(agent, answers, answers, **options)
        assert len(requests) == 1
    result, requests, _ = tried(executor(), ["poor", "good"], [judged(1), judged(9)], quality=0.8)
    assert (result.content, len(requests)) == ("good", 4)


@pytest.mark.parametrize(
    ("agent", "tier"),
    [
        (creative("draft", quality=True), "premium"),
        (executor("draft", quality=True), "free"),
        (executor("draft", quality=True, model="openai:gpt-4o-mini"), "premium"),
    ],
)
def test_where_there_is_no_larger_model_the_run_says_so(tried, caplog, agent, tier):
    result, requests, _ = tried(agent, ["only"], [], tier=tier)
    assert (result.content, len(requests)) == ("only", 1)
    assert "draft: its quality was not judged, because there is no larger model" in caplog.text


@pytest.mark.parametrize("wrong", ["high", 1.5, -1, "0.8"])
def test_a_threshold_is_a_score(wrong):
    with pytest.raises(UserError, match=r"draft: quality is .*: give True, False, or a score"):
        creative("draft", quality=wrong)
    with pytest.raises(InputError, match="quality is"):
        run(creative(), "t", rehearse=True, quality=wrong)


def served(request):
    """Whatever the medium model writes scores 9, and the rest 4."""
    if request.ask.response_format:
        return judged(9 if MEDIUM in request.ask.turns[-1].text else 4)
    return f"Written by {request.model}."


@pytest.fixture
def provider():
    with SimulatedProvider(answer=served, announce=False) as running:
        yield running


@pytest.fixture
def settings(provider):
    return Settings(together_api_key="k", together_base_url=provider.base_url)


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.db") as opened:
        yield opened


def rows(ledger, run_id):
    return [
        (row.node_path, row.role, row.requested_model, json.loads(row.choice)["rule"])
        for row in ledger.calls(run_id)
    ]


TRIED_TWICE = [
    ("facts", "executor", SMALL, "role"),
    ("facts", "validator", SMALL, "role"),
    ("facts", "executor", MEDIUM, "quality"),
    ("facts", "validator", SMALL, "role"),
]


def test_both_answers_and_their_judgements_have_rows_and_are_paid(settings, ledger):
    result = run(executor("facts", quality=True), "t", settings=settings, ledger=ledger)
    assert result.output == f"Written by {MEDIUM}."
    assert rows(ledger, result.run_id) == TRIED_TWICE
    assert result.cost.by_node["facts"].calls == 4
    assert result.cost.usd == sum(row.usd for row in ledger.calls(result.run_id))
    assert result.results["facts"].models == [f"together:{SMALL}", f"together:{MEDIUM}"]


def outcomes(ledger):
    rows = ledger.select("SELECT task_class, model, score, source FROM outcomes")
    return [tuple(dict(row).values()) for row in rows]


def test_a_judgement_is_an_outcome_of_the_model_that_another_one_judged(settings, ledger):
    run(executor("facts", quality=True), "t", settings=settings, ledger=ledger)
    # The judge is the small model, which also wrote the first answer.
    assert outcomes(ledger) == [("executor", f"together:{MEDIUM}", 0.9, "verdict")]


async def test_the_threshold_of_a_run_holds_for_agents_that_do_not_say(settings, ledger):
    graph = sequential(executor("facts"), creative("plan", quality=False))
    result = await arun(graph, "t", settings=settings, ledger=ledger, quality=0.8)
    assert rows(ledger, result.run_id)[:4] == TRIED_TWICE
    assert result.cost.by_node["plan"].calls == 1


def test_where_the_budget_has_no_room_the_first_answer_is_kept_and_the_run_says_so(
    settings, ledger, caplog
):
    agent = executor("facts", quality=True, model=[f"together:{SMALL}", "together:nobody/knows"])
    result = run(agent, "t", settings=settings, ledger=ledger, budget="0.5")
    assert (result.status, result.output) == ("completed", f"Written by {SMALL}.")
    assert [row[2] for row in rows(ledger, result.run_id)] == [SMALL, SMALL]
    assert "facts: its first answer was kept" in caplog.text
    assert "budget" in caplog.text


async def test_a_stream_restarts_before_the_second_answer(settings, ledger):
    agent = executor("facts", quality=True)
    seen = []
    async for event in astream(agent, "t", settings=settings, ledger=ledger):
        kind = type(event).__name__
        if kind in ("Token", "Restart"):
            seen.append(event.text if kind == "Token" else None)
    assert seen.count(None) == 1
    restarted = seen.index(None)
    shown = "".join(seen[:restarted]), "".join(seen[restarted + 1 :])
    assert shown == (f"Written by {SMALL}.", f"Written by {MEDIUM}.")


def test_a_rehearsal_judges_and_its_worst_case_tries_again(ledger):
    agent = executor("facts", quality=True)
    done = run(agent, "Pumps move heat.", rehearse=True, ledger=ledger, settings=Settings())
    assert [row[1] for row in rows(ledger, done.run_id)] == ["executor", "validator"]


def test_a_run_that_resumes_keeps_its_threshold(settings, ledger):
    result = run(executor("facts"), "t", settings=settings, ledger=ledger, quality=True)
    assert ledger.find_run(result.run_id).options["quality"] is True


def test_a_loop_judges_its_rounds_apart_from_the_quality_of_each_answer():
    draft = executor("draft", quality=True)
    loop = iterative(draft, validator("check", criteria="short"), max_rounds=1, name="loop")
    writer = ScriptedChatModel(answers=["poor", "good"])
    judge = ScriptedChatModel(answers=[judged(4), judged(9), judged(10)])
    context = Context(models=GivenModels(writer, roles={"validator": judge}))
    values = loop.invoke({"task": "t"}, context=context)
    assert [one.content for path, one in values["results"].items() if "draft" in path] == ["good"]
    assert values["verdict"].score == 1
