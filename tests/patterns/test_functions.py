"""Plain functions as nodes, and what they may return."""

from __future__ import annotations

import functools
import threading

import pytest
from pydantic import BaseModel

from aideon_agents import creative, iterative, sequential
from aideon_agents.state import StepResult, Verdict


class Count(BaseModel):
    words: int


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


@pytest.mark.parametrize("value", [7, ["a"], Count(words=3)])
def test_what_is_no_text_is_kept_as_data(stage, value):
    result = stage.invoke(sequential(lambda state: value)).results["lambda"]
    assert (result.content, result.data) == (repr(value), value)


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
