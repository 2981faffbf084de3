"""A step and its judge: rounds, feedback, the best round, and why it stops."""

from __future__ import annotations

import pytest

from aideon_agents import creative, executor, iterative, sequential, validator
from aideon_agents.errors import StepFailed, UserError
from aideon_agents.state import Verdict
from aideon_agents.testing import GivenModels, ScriptedChatModel


def judged(score, *, passed=False, feedback="More."):
    return Verdict(passed=passed, score=score, feedback=feedback)


class Loop:
    """The models of a loop: what is written, and what is thought of it."""

    def __init__(self, *verdicts, texts=None):
        written = texts or [f"text {number}" for number in range(1, len(verdicts) + 1)]
        self.writer = ScriptedChatModel(answers=list(written))
        self.judge = ScriptedChatModel(answers=list(verdicts))
        self.models = GivenModels(self.writer, roles={"validator": self.judge})

    def writer_prompt(self, number):
        return str(self.writer.requests[number].messages[1].content)

    def judge_prompt(self, number):
        return str(self.judge.requests[number].messages[1].content)


def refine(**bounds):
    return iterative(creative("draft"), validator("check"), name="refine", **bounds)


def test_a_loop_stops_at_the_first_round_that_passes(stage):
    loop = Loop(judged(0.2), judged(0.9, passed=True))
    played = stage.invoke(sequential(refine(max_rounds=5)), loop.models)
    own = played.results["refine"]
    assert (own.data.stop_reason, own.data.best, own.content) == ("passed", 2, "text 2")
    assert (own.role, own.round) == ("iterative", 2)
    assert [one.content for one in own.data.rounds] == ["text 1", "text 2"]


def test_a_loop_stops_when_its_rounds_are_used_up(stage):
    loop = Loop(judged(0.2), judged(0.3), judged(0.4))
    played = stage.invoke(refine(), loop.models)
    assert played.results["refine"].data.stop_reason == "max_rounds"
    assert len(loop.writer.requests) == 3


def test_one_round_is_enough_when_it_is_all_there_is(stage):
    loop = Loop(judged(0.2))
    played = stage.invoke(refine(max_rounds=1), loop.models)
    assert played.results["refine"].data.stop_reason == "max_rounds"
    assert played.contents["refine"] == "text 1"


@pytest.mark.parametrize(
    ("scores", "best"), [((0.2, 0.7, 0.4), 2), ((0.7, 0.7, 0.1), 1), ((0.1, 0.2, 0.3), 3)]
)
def test_the_best_round_is_the_one_with_the_highest_score(stage, scores, best):
    loop = Loop(*(judged(score) for score in scores))
    own = stage.invoke(refine(), loop.models).results["refine"]
    assert (own.data.best, own.round, own.content) == (best, best, f"text {best}")


def test_a_round_that_passed_is_better_than_one_with_a_higher_score(stage):
    loop = Loop(judged(0.9), judged(0.6, passed=True))
    assert stage.invoke(refine(), loop.models).results["refine"].data.best == 2


def test_a_score_below_pass_score_does_not_pass(stage):
    loop = Loop(judged(0.7, passed=True), judged(0.8, passed=True))
    played = stage.invoke(refine(pass_score=0.8, max_rounds=5), loop.models)
    own = played.results["refine"].data
    assert (own.stop_reason, own.best) == ("passed", 2)
    assert [one.verdict.passed for one in own.rounds] == [False, True]


def test_a_score_of_pass_score_is_not_enough_where_the_criteria_are_not_met(stage):
    loop = Loop(judged(1), judged(1))
    played = stage.invoke(refine(pass_score=0.5, max_rounds=2), loop.models)
    assert played.results["refine"].data.stop_reason == "max_rounds"
    assert played.values["verdict"].passed is False


def test_the_verdict_that_leaves_a_loop_is_as_strict_as_the_loop(stage):
    loop = Loop(judged(0.7, passed=True))
    played = stage.invoke(refine(pass_score=0.8, max_rounds=1), loop.models)
    assert played.values["verdict"] == judged(0.7)
    assert played.results["check"].data == judged(0.7, passed=True)


def test_feedback_reaches_the_next_round_with_the_earlier_version(stage):
    loop = Loop(judged(0.2, feedback="Shorter."), judged(0.3, feedback="Longer."), judged(0.4))
    stage.invoke(refine(), loop.models)
    assert "<feedback>" not in loop.writer_prompt(0)
    earlier, feedback = (
        "<earlier_version>\ntext {}\n</earlier_version>",
        "<feedback>\n{}\n</feedback>",
    )
    assert loop.writer_prompt(1).endswith(f"{earlier.format(1)}\n\n{feedback.format('Shorter.')}")
    history = "Longer.\n\nFeedback on earlier rounds, which must stay met:\n- round 1: Shorter."
    history = "Longer.\n\nFeedback on earlier rounds, which must stay met:\n- round 1: Shorter."
    assert loop.writer_prompt(2).endswith(f"{earlier.format(2)}\n\n{feedback.format(history)}")


def test_a_validator_sees_the_new_text_and_not_its_own_feedback(stage):
    loop = Loop(judged(0.2, feedback="Shorter."), judged(0.3))
    stage.invoke(refine(max_rounds=2), loop.models)
    assert '<result from="draft">\ntext 2\n</result>' in loop.judge_prompt(1)
    assert "text 1" not in loop.judge_prompt(1)
    assert "Shorter." not in loop.judge_prompt(1)


def test_every_node_of_the_step_gets_the_loops_feedback_and_none_of_the_check(stage):
    # The inner validator's verdict comes between the loop's and the next writer.
    loop = Loop(
        judged(0.9, passed=True),
        judged(0.1, feedback="Shorter."),
        *[judged(1, passed=True)] * 2,
        texts="abcdef",
    )
    step = sequential(creative("draft"), validator("self"), creative("polish"), name="step")
    check = sequential(executor("measure"), validator("check"), name="judge")
    played = stage.invoke(iterative(step, check, name="refine"), loop.models)
    drafted, polished, measured = (loop.writer_prompt(number) for number in (3, 4, 5))
    assert drafted.endswith("Shorter.\n</feedback>")
    assert polished.endswith("Shorter.\n</feedback>")
    assert "<feedback>" not in measured
    assert played.results["refine"].content == "e"


def test_a_step_that_ends_with_a_validator_is_known_by_its_text(stage):
    loop = Loop(judged(0.5), judged(1, passed=True), texts=["the text"])
    step = sequential(creative("draft"), validator("self"), name="step")
    assert (
        stage.invoke(iterative(step, validator(), name="refine"), loop.models).contents["refine"]
        == "the text"
    )


def test_every_row_says_which_round_it_was(stage):
    played = stage.invoke(sequential(refine()), Loop(judged(0.1), judged(0.2), judged(0.3)).models)
    assert [(row.node_path, row.round) for row in played.rows] == [
        (f"refine/{name}", number) for number in (1, 2, 3) for name in ("draft", "check")
    ]
    assert played.results["refine/draft"].round == 3


def test_what_comes_after_a_loop_sees_its_best_round_alone(stage):
    loop = Loop(judged(0.9), judged(0.1), texts=["good", "bad", "end"])
    stage.invoke(sequential(refine(max_rounds=2), creative("after")), loop.models)
    assert loop.writer_prompt(2).endswith('<result from="refine">\ngood\n</result>')
    assert "bad" not in loop.writer_prompt(2)


def test_a_check_may_be_a_function(stage):
    async def long_enough(state):
        draft = state["results"]["draft"].content
        return {"verdict": judged(len(draft) / 10, passed=len(draft) > 3)}

    loop = Loop(texts=["ab", "abcd"])
    played = stage.invoke(iterative(creative("draft"), long_enough), loop.models)
    assert [one.verdict.score for one in played.results["iterative"].data.rounds] == [0.2, 0.4]
    assert [*played.contents][-1] == "iterative"


@pytest.mark.parametrize("silent", [lambda state: None, executor("fine")])
def test_a_check_without_a_verdict_is_a_failure_that_names_the_loop(stage, silent):
    with pytest.raises(StepFailed, match=r"refine: .* the check no verdict"):
        stage.invoke(iterative(creative("draft"), silent, name="refine"), Loop(texts="ab").models)


def test_a_verdict_from_elsewhere_does_not_pass_a_check_that_gave_none(stage):
    loop = Loop(judged(1, passed=True), texts="abc")
    second = iterative(creative("text"), sequential(executor("silent")), name="second")
    with pytest.raises(StepFailed, match="second"):
        stage.invoke(sequential(refine(), second), loop.models)


def test_a_step_without_a_result_is_a_failure(stage):
    with pytest.raises(StepFailed, match="the step wrote no result"):
        stage.invoke(iterative(lambda state: None, validator()), Loop(judged(1)).models)


@pytest.mark.parametrize("max_rounds", [0, -1, "3"])
def test_a_loop_needs_a_round(max_rounds):
    with pytest.raises(
        UserError, match=f"refine: max_rounds must be at least 1, not {max_rounds!r}"
    ):
        refine(max_rounds=max_rounds)


@pytest.mark.parametrize("pass_score", [-0.1, 1.1])
def test_a_passing_score_lies_between_0_and_1(pass_score):
    with pytest.raises(
        UserError, match=f"refine: pass_score must be from 0 to 1, not {pass_score}"
    ):
        refine(pass_score=pass_score)


@pytest.mark.parametrize("pass_score", [0, 1])
def test_both_ends_of_the_scores_can_be_asked_for(pass_score):
    assert refine(pass_score=pass_score).name == "refine"


def outcomes(ledger):
    rows = ledger.select("SELECT task_class, score, source, node_path FROM outcomes")
    return [tuple(dict(row).values()) for row in rows]


def test_a_verdict_is_an_outcome_of_the_model_that_another_one_judged(stage, ledger):
    loop = Loop(judged(0.2), judged(0.9, passed=True))
    loop.judge.model = "another"
    stage.invoke(refine(), loop.models)
    assert outcomes(ledger) == [
        ("creative", 0.2, "verdict", "draft"),
        ("creative", 0.9, "verdict", "draft"),
    ]


def test_a_verdict_that_a_model_gave_itself_is_no_outcome(stage, ledger):
    stage.invoke(refine(), Loop(judged(0.9, passed=True)).models)
    assert outcomes(ledger) == []


def test_a_check_in_code_is_an_outcome_of_the_model_that_it_checked(stage, ledger):
    stage.invoke(iterative(creative("draft"), lambda state: True, name="refine"))
    assert outcomes(ledger) == [("creative", 1.0, "code", "draft")]
