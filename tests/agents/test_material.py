"""The prompt of an agent, and the order of its parts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aideon_agents import creative, executor, validator
from aideon_agents.errors import InputError
from aideon_agents.graphs.material import messages, require
from aideon_agents.state import StepResult, Verdict

FAILED = Verdict(passed=False, score=0.2, feedback="Shorter.")
PASSED = Verdict(passed=True, score=1, feedback="Fine.")


def step(path, order, content=None, role="executor"):
    return StepResult(node_path=path, role=role, content=content or f"{path}!", order=order)


def by_path(*results):
    return {one.node_path: one for one in results}


def titles(prompt):
    return re.findall(r"^<(\w.*)>$", prompt, re.MULTILINE)


def test_the_task_alone_is_all_there_is_to_say(ask):
    assert ask(creative()).prompt == "<task>\nHeat pumps.\n</task>"


def test_task_inputs_results_and_the_step_come_in_this_order(ask):
    prompt = ask(
        creative(description="Write."),
        inputs={"audience": "engineers", "limit": 200},
        results=by_path(step("facts", 1)),
    ).prompt
    assert titles(prompt) == [
        "task",
        'given name="audience"',
        'given name="limit"',
        'result from="facts"',
        "instructions",
    ]
    assert '<given name="limit">\n200\n</given>\n\n<result from="facts">\nfacts!' in prompt


def test_earlier_results_come_in_the_order_in_which_they_were_made(ask):
    results = by_path(step("third", 3), step("first", 1), step("second", 2))
    assert titles(ask(creative(), results=results).prompt)[1:] == [
        'result from="first"',
        'result from="second"',
        'result from="third"',
    ]


def test_a_description_is_filled_with_the_task_and_the_inputs(ask):
    prompt = ask(
        creative(description="{task} for {reader}, not {other}, as {'json'}."),
        inputs={"reader": "engineers"},
    ).prompt
    assert prompt.endswith("Heat pumps. for engineers, not {other}, as {'json'}.\n</instructions>")


def test_what_is_filled_in_is_not_filled_again(ask):
    prompt = ask(creative(description="{a} {b}"), inputs={"a": "{b} {task}", "b": "{a}"}).prompt
    assert prompt.endswith("<instructions>\n{b} {task} {a}\n</instructions>")


def test_the_task_is_the_task_whatever_the_inputs_say(ask):
    assert ask(creative(description="{task}"), inputs={"task": "no"}).prompt.endswith(
        "<instructions>\nHeat pumps.\n</instructions>"
    )


def test_a_patterns_own_result_replaces_what_is_inside_it(ask):
    results = by_path(
        step("refine/draft", 1),
        step("refine/inner/deep", 2),
        step("refine", 3, role="iterative"),
        step("refinery", 4),
    )
    assert titles(ask(executor("next"), results=results).prompt)[1:] == [
        'result from="refine"',
        'result from="refinery"',
    ]


def test_what_ran_again_since_then_is_not_replaced(ask):
    results = by_path(
        step("refine", 3, role="iterative"), step("refine/facts", 2), step("refine/draft", 4)
    )
    prompt = ask(executor("next"), results=results).prompt
    assert titles(prompt)[1:] == ['result from="refine"', 'result from="refine/draft"']


def test_verdicts_are_not_results(ask):
    results = by_path(step("draft", 1), step("check", 2, role="validator"))
    assert titles(ask(executor("next"), results=results).prompt)[1:] == ['result from="draft"']


def test_an_agent_knows_its_earlier_version_and_the_feedback_on_it(ask):
    prompt = ask(creative("draft"), results=by_path(step("draft", 1)), feedback="Shorter.").prompt
    assert titles(prompt)[1:] == ["earlier_version", "feedback"]
    assert prompt.endswith("Shorter.\n</feedback>")


def test_feedback_is_for_those_who_have_an_earlier_version(ask):
    prompt = ask(creative("new"), results=by_path(step("draft", 1)), feedback="Shorter.").prompt
    assert titles(prompt)[1:] == ['result from="draft"']


def test_feedback_is_not_for_the_one_who_gave_it(ask):
    earlier = by_path(step("draft", 1), step("check", 2, role="validator"))
    prompt = ask(validator("check"), PASSED, results=earlier, feedback="Shorter.").prompt
    assert titles(prompt)[1:] == ['result from="draft"', "instructions"]


def test_in_a_loop_made_elsewhere_a_failed_verdict_is_the_feedback(ask):
    earlier = by_path(step("draft", 1))
    assert ask(creative("draft"), results=earlier, verdict=FAILED).prompt.endswith(
        "Shorter.\n</feedback>"
    )
    assert "<feedback>" not in ask(creative("draft"), results=earlier, verdict=PASSED).prompt
    assert "<feedback>" not in ask(creative("draft"), results=earlier, verdict=None).prompt


def test_the_loops_word_comes_before_another_loops_verdict(ask):
    earlier = by_path(step("draft", 1))
    prompt = ask(creative("draft"), results=earlier, verdict=FAILED, feedback="Longer.").prompt
    assert prompt.endswith("Longer.\n</feedback>")
    assert (
        "<feedback>"
        not in ask(creative("draft"), results=earlier, verdict=FAILED, feedback="").prompt
    )


def test_missing_inputs_that_a_text_names_are_refused_by_name():
    with pytest.raises(InputError, match="the inputs lack tone, reader"):
        require(["task", "tone", "limit", "reader"], {"inputs": {"limit": 200}})


def test_the_task_needs_no_input():
    require(["task", "limit"], {"inputs": {"limit": 0}})
    with pytest.raises(InputError, match="the inputs lack limit"):
        require(["task", "limit"], {"inputs": {"limit": None}})
    require(["task"], {})


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("\ud83d", "the input s is not text in UTF-8"),
        ("a\0b", "the input s has a NUL character"),
        ({"deep": [1, {"k": "\udc00"}]}, "the input s.deep.1.k is not text in UTF-8"),
        ({"\ud83d": 1}, "a key of the input s is not text in UTF-8"),
        (float("nan"), "the input s is NaN, which JSON does not have"),
        ([float("-inf")], "the input s.0 is -Infinity, which JSON does not have"),
    ],
)
def test_an_input_that_no_prompt_can_hold_is_refused_by_its_key(value, why):
    with pytest.raises(InputError, match=re.escape(why)):
        require([], {"task": "x", "inputs": {"fine": "ä", "s": value}})


def test_what_is_no_json_but_has_a_text_is_an_input():
    require([], {"task": "a \\u0000 in words", "inputs": {"path": Path("x"), "no": None, "n": 1.5}})


def test_a_null_among_the_inputs_is_no_part_of_the_prompt():
    state = {"task": "x", "inputs": {"tone": None, "size": True, "who": {"a": None}}}
    _, message = messages(state, instructions="", step="{size} {tone}", node_path="a")
    assert 'name="tone"' not in message.text
    assert "true {tone}" in message.text
    assert '{"a": null}' in message.text
