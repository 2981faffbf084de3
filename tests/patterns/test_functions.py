"""Plain functions as nodes, and what they may return."""

from __future__ import annotations

import dataclasses
import functools
import json
import threading
from decimal import Decimal

import pytest
from langchain_core.messages import AIMessage
from langgraph.types import Command
from pydantic import BaseModel

from aideon_agents import conditional, creative, iterative, parallel, run, sequential
from aideon_agents.errors import StepFailed
from aideon_agents.state import Decision, Plan, PlanStep, StepResult, Verdict


class Count(BaseModel):
    words: int


@dataclasses.dataclass
class Size:
    name: str
    metres: int


def text(state):
    return f"about {state['task']}"


async def text_later(state):
    return text(state)


class Callable:
    def __call__(self, state):
        return text(state)


class CallableLater:
    async def __call__(self, state):
        return text(state)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (text, "text"),
        (text_later, "text_later"),
        (lambda state: f"about {state['task']}", "lambda"),
        (lambda state: text_later(dict(state)), "lambda"),
        (Callable(), "Callable"),
        (CallableLater(), "CallableLater"),
        (functools.partial(text), "partial"),
        (functools.partial(text_later), "partial"),
    ],
)
async def test_a_functions_text_is_a_result_at_its_path(stage, function, name):
    graph = sequential(sequential(function, name="inner"))
    for played in (await stage.ainvoke(graph, task="heat"), stage.invoke(graph, task="heat")):
        path = f"inner/{name}"
        assert played.results == {
            path: StepResult(
                node_path=path, role="function", content="about heat", round=1, order=1
            )
        }


@pytest.mark.parametrize(
    ("value", "content"),
    [
        (7, "7"),
        (0.5, "0.5"),
        (True, "true"),
        (Decimal("0.10"), '"0.10"'),
        (["a", 1], ["a", 1]),
        ((1, 2), [1, 2]),
        (Count(words=3), {"words": 3}),
        (Size("big", 2), {"name": "big", "metres": 2}),
        ({"words": 3, "found": [Count(words=1)]}, {"words": 3, "found": [{"words": 1}]}),
    ],
)
def test_what_is_no_text_is_kept_as_data_and_written_as_json(stage, value, content):
    graph = sequential(lambda state: value)
    result = stage.invoke(graph).results["lambda"]
    assert result.data == value
    assert type(result.data) is type(value)
    assert json.loads(result.content) == (
        json.loads(content) if isinstance(content, str) else content
    )


def test_a_mapping_is_an_update_of_the_state(stage):
    verdict = Verdict(passed=True, score=1, feedback="")
    values = stage.invoke(sequential(lambda state: {"verdict": verdict})).values
    assert values["verdict"] == verdict
    assert values["results"] == {}


def test_a_function_may_write_results_of_its_own(stage):
    def write(state):
        mine = StepResult(node_path="mine", role="function", content="said", order=5)
        return {"results": {"mine": mine}}

    assert stage.invoke(sequential(write, text)).contents == {
        "mine": "said",
        "text": "about Heat pumps move heat.",
    }


def test_a_function_that_returns_nothing_changes_nothing(stage):
    played = stage.invoke(sequential(creative("a"), lambda state: None, creative("b")))
    assert [*played.contents] == ["a", "b"]


def test_a_function_sees_the_inputs_and_the_results_before_it(stage):
    def look(state):
        return f"{state['inputs']['tone']}: {state['results']['text'].content}"

    played = stage.invoke(sequential(text, look), inputs={"tone": "dry"}, task="heat")
    assert played.contents["look"] == "dry: about heat"


def test_a_function_knows_its_round(stage):
    def check(state):
        return {"verdict": Verdict(passed=state.get("round", 1) == 3, score=0, feedback="")}

    played = stage.invoke(iterative(text, check, max_rounds=5, name="loop"))
    assert played.results["text"].round == 3


async def test_a_synchronous_function_does_not_hold_up_the_event_loop(stage):
    here = threading.get_ident()
    played = await stage.ainvoke(sequential(lambda state: str(threading.get_ident() != here)))
    assert played.contents["lambda"] == "True"


@pytest.mark.parametrize("wrong", [text, text_later])
def test_what_a_function_raises_is_raised(stage, wrong):
    with pytest.raises(KeyError, match="task"):
        sequential(wrong).invoke({"inputs": {}})


def test_keys_of_the_state_update_it_and_the_other_keys_are_data(stage):
    values = {"verdict": {"passed": True, "score": 1, "feedback": ""}, "words": 3}
    played = stage.invoke(sequential(lambda state: values))
    assert played.values["verdict"] == Verdict(passed=True, score=1, feedback="")
    assert played.results["lambda"].data == {"words": 3}


@pytest.mark.parametrize(
    ("returned", "wrong"),
    [
        ({"results": {"x": "text"}}, r"a dict as 'results', .* x: .*, not a str"),
        ({"results": ["a"]}, "a list as 'results'"),
        ({"verdict": True}, "a bool as 'verdict'"),
        ({"plan": {"steps": [{"id": "s1"}]}}, "a dict as 'plan', .* steps.0.description: "),
        ({"route": 3}, "an int as 'route'"),
        (object(), "an object: return a text"),
        (Count, "a ModelMetaclass"),
        (threading.Lock(), "a lock"),
        ({"x": threading.Lock()}, "a dict that cannot be written as JSON"),
        ([object()], "a list that cannot be written as JSON"),
        ((one for one in "ab"), "a generator"),
        (Command(goto="b"), "a Command with more than an update"),
        (Command(update={"x": 1}, graph=Command.PARENT), "a Command with more than an update"),
        (Command(update=[("x", 1)]), "a Command whose update is a list"),
    ],
)
@pytest.mark.parametrize("inside", [sequential, parallel])
def test_what_cannot_be_used_names_the_node_and_what_it_returned(stage, returned, wrong, inside):
    def odd(state):
        return returned

    match = rf"^gather/odd: the function odd returned {wrong}"
    with pytest.raises(StepFailed, match=match):
        stage.invoke(sequential(inside(odd, name="gather")))


def test_a_result_that_cannot_be_used_fails_the_run_at_its_node():
    ended = run(sequential(lambda state: object(), name="flow"), "x", rehearse=True)
    assert (ended.status, ended.failed_node) == ("failed", "lambda")
    assert ended.error.startswith("lambda: the function lambda returned an object: return a text")


def test_a_step_result_is_placed_at_its_node(stage):
    mine = StepResult(node_path="elsewhere", role="search", content="said", data=[1], order=99)
    played = stage.invoke(sequential(text, lambda state: mine))
    assert played.results["lambda"] == StepResult(
        node_path="lambda", role="search", content="said", data=[1], order=2
    )


def test_a_message_is_its_text(stage):
    played = stage.invoke(sequential(lambda state: AIMessage("said")))
    assert played.contents == {"lambda": "said"}


def test_a_command_with_an_update_is_that_update(stage):
    played = stage.invoke(sequential(lambda state: Command(update={"route": "a", "words": 3})))
    assert played.values["route"] == "a"
    assert played.results["lambda"].data == {"words": 3}


def test_a_verdict_a_plan_and_a_decision_are_written_to_the_state(stage):
    verdict = Verdict(passed=False, score=0.5, feedback="Shorter.")
    step = PlanStep(id="a", description="b", agent="c", complexity="low", depends_on=[])
    plan, decision = Plan(steps=[step]), Decision(route="x", reason="y")
    values = stage.invoke(
        sequential(lambda state: verdict, lambda state: plan, lambda state: decision)
    ).values
    assert (values["verdict"], values["plan"], values["route"]) == (verdict, plan, "x")
    assert values["results"]["lambda"].role == "validator"
    assert values["results"]["lambda"].content == "not passed, score 0.5: Shorter."


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (Verdict(passed=True, score=0.9, feedback="Good."), (True, 0.9, "Good.")),
        (True, (True, 1, "")),
        (False, (False, 0, "")),
        ((False, "Shorter."), (False, 0, "Shorter.")),
        ((True, None), (True, 1, "")),
        ({"passed": False, "feedback": "Shorter.", "score": 0.4}, (False, 0.4, "Shorter.")),
        ({"passed": True}, (True, 1, "")),
        ({"verdict": Verdict(passed=True, score=1, feedback="")}, (True, 1, "")),
        ({"verdict": False}, (False, 0, "")),
        ({"verdict": (False, "Shorter.")}, (False, 0, "Shorter.")),
        (Command(update={"verdict": False}), (False, 0, "")),
    ],
)
@pytest.mark.parametrize("later", [False, True])
def test_a_loops_check_returns_a_judgement(stage, returned, expected, later):
    async def wait_for(state):
        return returned

    check = wait_for if later else lambda state: returned
    played = stage.invoke(iterative(text, check, max_rounds=1, name="loop"))
    verdict = played.values["verdict"]
    assert (verdict.passed, verdict.score, verdict.feedback) == expected
    judged = next(one for one in played.results.values() if one.role == "validator")
    assert judged.data == verdict
    assert played.results["loop"].content == "about Heat pumps move heat."


@pytest.mark.parametrize(
    ("returned", "wrong"),
    [
        ("fine", "a str"),
        (1, "an int"),
        ((True,), "a tuple"),
        ({"score": 1}, "a dict"),
        ({"verdict": "yes"}, "a str"),
        ((True, 5), "a judgement with feedback: .*, not an int"),
        ({"passed": True, "score": 7}, "a judgement with score: .*, not an int"),
    ],
)
def test_a_check_that_gives_no_judgement_is_named_with_what_it_returned(stage, returned, wrong):
    def check(state):
        return returned

    with pytest.raises(StepFailed, match=rf"^check: the function check returned {wrong}"):
        stage.invoke(iterative(text, check, name="loop"))


def test_feedback_of_a_function_reaches_the_next_round(stage):
    def work(state):
        return f"{state.get('round', 1)}: {state.get('feedback', '')}"

    def check(state, config):
        return state["results"]["work"].content.startswith("2"), "Again."

    played = stage.invoke(iterative(work, check, name="loop"))
    assert played.results["loop"].content == "2: Again."
    assert played.results["loop"].data.stop_reason == "passed"


def test_a_condition_takes_what_a_node_takes(stage):
    def route(state, *, config):
        return bool(config["metadata"])

    played = stage.invoke(conditional(route, {"yes": text, "no": creative()}))
    assert [*played.contents] == ["yes"]
