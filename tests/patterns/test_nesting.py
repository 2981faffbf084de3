"""Patterns inside patterns: paths and rounds stay right, and nothing stale survives."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aideon_agents import creative, executor, iterative, parallel, planner, sequential, validator
from aideon_agents.state import Verdict
from aideon_agents.testing import GivenModels, ScriptedChatModel

FAILED = Verdict(passed=False, score=0.5, feedback="More.")
PASSED = Verdict(passed=True, score=1, feedback="")


def deep():
    """Every pattern, four levels down."""
    refine = iterative(
        parallel(creative("text"), creative("title"), name="write"),
        validator("check"),
        max_rounds=2,
        name="refine",
    )
    gather = parallel(
        sequential(executor("facts"), refine, name="left"),
        iterative(creative("angle"), validator("check"), max_rounds=1, name="right"),
        name="gather",
    )
    return sequential(planner(), gather, creative("end"), name="brief")


def deep_models():
    writer = ScriptedChatModel(answers=["said"] * 20)
    plan = ScriptedChatModel(answers=[{"steps": []}])
    judge = ScriptedChatModel(answers=[FAILED] * 3)
    return GivenModels(writer, roles={"planner": plan, "validator": judge})


DEEP_PLACES = sorted(
    [
        ("planner", "planner", 1),
        ("gather/left/facts", "executor", 1),
        ("gather/left/refine/write/text", "creative", 1),
        ("gather/left/refine/write/title", "creative", 1),
        ("gather/left/refine/check", "validator", 1),
        ("gather/left/refine/write/text", "creative", 2),
        ("gather/left/refine/write/title", "creative", 2),
        ("gather/left/refine/check", "validator", 2),
        ("gather/right/angle", "creative", 1),
        ("gather/right/check", "validator", 1),
        ("end", "creative", 1),
    ]
)


def test_four_levels_of_patterns_have_their_paths_and_rounds(stage):
    played = stage.invoke(deep(), deep_models())
    assert played.places == DEEP_PLACES
    own = {"gather/left/refine", "gather/right"}
    assert played.results.keys() == {path for path, _, _ in DEEP_PLACES} | own


async def test_four_levels_of_patterns_are_the_same_awaited(stage):
    played = await stage.ainvoke(deep(), deep_models())
    assert played.places == DEEP_PLACES


def test_a_loop_in_a_loop_starts_fresh_each_time(stage):
    verdicts = [FAILED, PASSED, FAILED, FAILED, FAILED, PASSED]  # inner, inner, outer; twice
    writer = ScriptedChatModel(answers=["a1", "a2", "b1", "b2"])
    models = GivenModels(writer, roles={"validator": ScriptedChatModel(answers=verdicts)})
    inner = iterative(creative("draft"), validator("check"), max_rounds=2, name="inner")
    played = stage.invoke(sequential(iterative(inner, validator("check"), name="outer")), models)
    assert [(row.node_path, row.round) for row in played.rows] == [
        ("outer/inner/draft", 1),
        ("outer/inner/check", 1),
        ("outer/inner/draft", 2),
        ("outer/inner/check", 2),
        ("outer/check", 1),
        ("outer/inner/draft", 1),
        ("outer/inner/check", 1),
        ("outer/inner/draft", 2),
        ("outer/inner/check", 2),
        ("outer/check", 2),
    ]
    inside, outside = (played.results[path].data for path in ("outer/inner", "outer"))
    assert [one.content for one in inside.rounds] == ["b1", "b2"]
    assert (inside.stop_reason, outside.stop_reason) == ("max_rounds", "passed")
    assert [one.content for one in outside.rounds] == ["a2", "b1"]


def test_the_inner_judge_sees_the_new_text_when_the_outer_loop_comes_round(stage):
    judge = ScriptedChatModel(answers=[PASSED, FAILED, PASSED, PASSED])
    writer = ScriptedChatModel(answers=["old", "new"])
    inner = iterative(creative("draft"), validator("check"), name="inner")
    stage.invoke(
        iterative(inner, validator("check"), name="outer"),
        GivenModels(writer, roles={"validator": judge}),
    )
    prompts = [str(asked.messages[1].content) for asked in judge.requests]
    assert '<result from="inner/draft">\nold' in prompts[0]
    assert '<result from="inner">\nold' in prompts[1]
    assert prompts[2].index('<result from="inner">\nold') < prompts[2].index(
        '<result from="inner/draft">\nnew'
    )
    assert '<result from="inner">\nnew' in prompts[3]
    assert "old" not in prompts[3]


def test_an_inner_loop_receives_the_feedback_of_the_outer_loop(stage):
    outer_fails = FAILED.model_copy(update={"feedback": "Outer."})
    inner_fails = FAILED.model_copy(update={"feedback": "Inner."})
    judge = ScriptedChatModel(answers=[PASSED, outer_fails, inner_fails, PASSED, PASSED])
    writer = ScriptedChatModel(answers=["draft"] * 3)
    ender = ScriptedChatModel(answers=["end"] * 2)
    inner = iterative(creative("draft"), validator("check"), name="inner")
    outer = iterative(sequential(inner, executor("end")), validator("check"), name="outer")
    stage.invoke(outer, GivenModels(writer, roles={"validator": judge, "executor": ender}))
    prompts = [str(asked.messages[1].content) for asked in (*writer.requests, *ender.requests)]
    contents = [
        text.rpartition("<feedback>\n")[2].removesuffix("\n</feedback>") for text in prompts
    ]
    assert contents[1:3] == ["Outer.", "Inner."]
    assert contents[4] == "Outer."
    assert "Feedback" not in prompts[0] + prompts[3]


def test_an_inner_loop_receives_it_also_when_another_verdict_came_in_between(stage):
    outer_fails = FAILED.model_copy(update={"feedback": "Outer."})
    judge = ScriptedChatModel(answers=[PASSED, PASSED, outer_fails, PASSED, PASSED, PASSED])
    writer = ScriptedChatModel(answers=["draft"] * 2)
    inner = iterative(creative("draft"), validator("check"), name="inner")
    step = sequential(validator("before"), inner)
    outer = iterative(step, validator("check"), name="outer")
    stage.invoke(outer, GivenModels(writer, roles={"validator": judge}))
    assert str(writer.requests[1].messages[1].content).endswith("Outer.\n</feedback>")


def counting(name):
    """A function that says how often it has run."""
    times = itertools.count(1)

    def step(state):
        return f"{name} {next(times)}"

    step.__name__ = name
    return step


def passing_after(rounds):
    """A check that passes at a round."""
    times = itertools.count(1)

    def check(state):
        nth = next(times)
        return {"verdict": Verdict(passed=nth >= rounds, score=nth / 10, feedback="")}

    return check


@settings(
    deadline=None,
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.integers(1, 4), st.integers(1, 4))
def test_no_stale_result_survives_a_merge(stage, left, right):
    def branch(name, rounds):
        pair = parallel(
            counting("a"), sequential(counting("b"), counting("c"), name="chain"), name="pair"
        )
        step = sequential(pair, counting("join"), name="step")
        return iterative(step, passing_after(rounds), max_rounds=5, name=name)

    inner = parallel(branch("left", left), branch("right", right), counting("once"), name="both")
    graph = sequential(counting("before"), iterative(inner, passing_after(1), name="outer"))
    contents = stage.invoke(graph).contents
    assert contents["before"] == "before 1"
    assert contents["outer/both/once"] == "once 1"
    for name, rounds in (("left", left), ("right", right)):
        at = f"outer/both/{name}"
        assert contents[at] == f"join {rounds}"
        assert contents[f"{at}/step/join"] == f"join {rounds}"
        assert contents[f"{at}/step/pair/a"] == f"a {rounds}"
        assert contents[f"{at}/step/pair/chain/b"] == f"b {rounds}"
        assert contents[f"{at}/step/pair/chain/c"] == f"c {rounds}"


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_what_ran_once_outside_a_loop_is_not_lost_inside_it(stage, rounds):
    step = parallel(counting("a"), counting("b"), name="step")
    loop = iterative(step, passing_after(rounds), max_rounds=5, name="loop")
    contents = stage.invoke(sequential(counting("before"), loop, counting("after"))).contents
    assert contents["before"] == "before 1"
    assert contents["after"] == "after 1"
    assert (contents["loop/step/a"], contents["loop/step/b"]) == (f"a {rounds}", f"b {rounds}")


def test_a_loop_can_be_used_in_two_places(stage):
    loop = iterative(counting("a"), passing_after(1))
    contents = stage.invoke(sequential(loop, loop)).contents
    assert contents == {
        "iterative/a": "a 1",
        "iterative/check": "passed, score 0.1",
        "iterative": "a 1",
        "iterative_2/a": "a 2",
        "iterative_2/check": "passed, score 0.2",
        "iterative_2": "a 2",
    }
