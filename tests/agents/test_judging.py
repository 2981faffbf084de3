"""How a validator judges: the scale that a model is asked for, and exact criteria."""

from __future__ import annotations

import pytest

from aideon_agents import Context, creative, iterative, run, sequential, validator
from aideon_agents.agents.validator import Judgement
from aideon_agents.errors import Malformed, StepFailed, UserError
from aideon_agents.state import Verdict
from aideon_agents.testing import GivenModels, ScriptedChatModel

PASSED = Verdict(passed=True, score=0.8, feedback="")


def judgement(**changes):
    return {"reasons": "Two flaws.", "score": 7, "passed": False, "feedback": "Mend.", **changes}


@pytest.mark.parametrize(
    ("score", "share"), [(0, 0), (1, 0.1), (7, 0.7), (10, 1), (7.0, 0.7), ("8", 0.8), ("8/10", 0.8)]
)
def test_a_whole_number_of_ten_becomes_a_share_of_one(ask, score, share):
    verdict = ask(validator(), judgement(score=score)).values["verdict"]
    assert verdict == Verdict(passed=False, score=share, feedback="Mend.")


@pytest.mark.parametrize("score", [85, 11, -1, 0.7, 7.5, True, "good", "8/100"])
def test_what_is_not_on_the_scale_is_malformed(ask, score):
    with pytest.raises((Malformed, ValueError), match="score must be a whole number from 0 to 10"):
        Judgement.model_validate(judgement(score=score))


def test_an_answer_in_the_form_of_a_verdict_is_one(ask):
    assert ask(validator(), PASSED).values["verdict"] == PASSED
    with pytest.raises(ValueError, match="reasons is missing"):
        Judgement.model_validate({"score": 7, "passed": True, "feedback": ""})


def test_the_reasons_are_the_feedback_where_there_is_none(ask):
    verdict = ask(validator(), judgement(feedback=" ")).values["verdict"]
    assert verdict.feedback == "Two flaws."


def test_reasons_come_first_and_the_scale_is_anchored(ask):
    shape = ask(validator(), PASSED).options["response_format"]["json_schema"]["schema"]
    assert list(shape["properties"]) == ["reasons", "score", "passed", "feedback"]
    assert shape["properties"]["score"]["enum"] == [10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert "8: meets every criterion" in shape["properties"]["score"]["description"]


def is_short(text):
    """The text has at most three words."""
    return len(text.split()) <= 3


async def has_heat(text, state):
    return "heat" in text or f"say what {state['task']} is about"


def judge(graph, *answers):
    model = ScriptedChatModel(answers=list(answers))
    values = graph.invoke({"task": "it"}, context=Context(models=GivenModels(model)))
    return values["verdict"], model


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("about heat", Verdict(passed=True, score=1, feedback="")),
        (
            "one two three four",
            Verdict(
                passed=False,
                score=0,
                feedback="This is not met: The text has at most three words.\nsay what it is about",
            ),
        ),
    ],
)
def test_checks_alone_ask_no_model(text, verdict):
    graph = sequential(creative(), validator(checks=[is_short, has_heat]))
    found, model = judge(graph, text)
    assert found == verdict
    assert len(model.requests) == 1


def test_functions_among_criteria_are_checks_and_the_model_judges_the_rest():
    graph = sequential(creative(), validator(criteria=["one voice", is_short]))
    found, model = judge(graph, "one two three four", PASSED)
    assert (found.passed, found.score) == (False, 0.4)
    assert found.feedback == "This is not met: The text has at most three words."
    assert "- one voice\n</instructions>" in str(model.requests[1].messages[-1].content)


@pytest.mark.parametrize(
    ("returned", "passed"),
    [
        (True, True),
        ("", True),
        ((True, "fine"), True),
        (PASSED, True),
        (False, False),
        ((False, "no"), False),
    ],
)
def test_a_check_returns_what_a_loops_check_may_return(returned, passed):
    found, _ = judge(sequential(creative(), validator(checks=[lambda _: returned])), "text")
    assert found.passed is passed
    assert passed or found.feedback


def test_a_check_that_fails_names_itself_and_its_agent():
    def broken(text):
        return {}[text]

    with pytest.raises(StepFailed, match=r"gate: the check broken failed: KeyError: 'text'"):
        judge(sequential(creative(), validator("gate", checks=[broken])), "text")
    with pytest.raises(StepFailed, match=r"gate: the check lambda returned 3: return True"):
        judge(sequential(creative(), validator("gate", checks=[lambda _: 3])), "text")


@pytest.mark.parametrize("wrong", [3, "short", lambda: True, lambda a, b, c: True])
def test_what_is_no_check_is_refused_when_the_agent_is_made(wrong):
    with pytest.raises(UserError, match=r"gate: .* cannot be a check"):
        validator("gate", checks=[wrong])


def test_a_loop_ends_when_its_exact_criteria_are_met():
    graph = iterative(creative("draft"), validator(checks=[is_short]), name="loop")
    model = ScriptedChatModel(answers=["one two three four", "one two"])
    values = graph.invoke({"task": "it"}, context=Context(models=GivenModels(model)))
    assert values["results"]["loop"].content == "one two"
    assert "has at most three words" in str(model.requests[1].messages[-1].content)


def test_a_rehearsal_does_not_check_its_made_up_texts(tmp_path):
    graph = iterative(creative("draft"), validator(checks=[lambda _: False]), name="loop")
    done = run(graph, "Heat moves.", rehearse=True, ledger=tmp_path / "ledger.db")
    assert done.stop_reason == "passed"
    assert done.cost.calls == 1
