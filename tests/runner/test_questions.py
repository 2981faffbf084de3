"""A run that asks a person ends waiting, and goes on with the answer."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import threading
from typing import Annotated, TypedDict

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import interrupt
from pydantic import AfterValidator, BaseModel, HttpUrl

from aideon_agents import (
    Question,
    RunEnded,
    aresume,
    astream,
    creative,
    executor,
    iterative,
    parallel,
    resume,
    run,
    sequential,
)
from aideon_agents.errors import InputError, UserError
from aideon_agents.ledger.checkpoints import checkpoints_path, open_checkpointer
from aideon_agents.runner import NOTHING, NodeEnded, recall
from aideon_agents.state import StepResult, Verdict
from aideon_agents.testing import SimulatedProvider

PUMPS = "Heat pumps move heat."


def short(words):
    if len(words) > 1:
        raise ValueError("one word is enough")
    return words


class Review(BaseModel):
    fine: bool
    words: Annotated[list[str], AfterValidator(short)] = []


def review(state):
    answer = interrupt({"is it": "fine?"}, response_schema=Review)
    return f"{type(answer).__name__}: {answer.fine}"


def colour(state):
    return f"painted {interrupt('Which colour?')}"


@pytest.fixture
def names(ledger):
    """Under what names something is kept."""

    async def kept():
        async with open_checkpointer(ledger, []) as saver:
            return await saver.names()

    return lambda: asyncio.run(kept())


def ids(result):
    return {one["node_path"]: one["id"] for one in result.questions}


def test_a_question_ends_the_run_waiting_and_the_answer_goes_on(ledger, keyed, names):
    graph = sequential(creative("draft"), review, creative("end"))
    with SimulatedProvider() as provider:
        options = {"settings": keyed(provider), "ledger": ledger}
        waiting = run(graph, PUMPS, **options)
        assert (waiting.status, waiting.error, waiting.output) == ("waiting", None, PUMPS)
        (asked,) = waiting.questions
        assert (asked["node_path"], asked["question"]) == ("review", {"is it": "fine?"})
        assert asked["schema"] == Review.model_json_schema()
        assert waiting.raise_for_status() is waiting
        assert recall(ledger, ledger.find_run("last")).questions == waiting.questions
        assert names() == {waiting.run_id, f"questions:{waiting.run_id}"}

        done = resume(graph, answer={"fine": True}, **options)
        assert (done.status, done.questions) == ("completed", ())
        assert done.results["review"].content == "Review: True"
        assert len(provider.requests) == 2
    assert names() == set()
    assert recall(ledger, ledger.find_run("last")).questions == ()


class Talk(TypedDict):
    messages: list


async def foreign(state):
    return {"messages": [("ai", f"told {interrupt('Foreign?')}")]}


def elsewhere():
    builder = StateGraph(Talk)
    builder.add_node("inner", foreign)
    builder.add_edge(START, "inner")
    builder.add_edge("inner", END)
    return builder.compile(name="elsewhere")


def several():
    return sequential(
        parallel(sequential(creative("draft"), colour, name="paint"), review, elsewhere()),
        creative("end"),
    )


def test_several_may_ask_at_once_at_any_depth_and_be_answered_one_by_one(ledger, keyed):
    graph = several()
    with SimulatedProvider() as provider:
        options = {"settings": keyed(provider), "ledger": ledger}
        waiting = run(graph, PUMPS, **options)
        open_ = ids(waiting)
        assert set(open_) == {"parallel/paint/colour", "parallel/review", "parallel/elsewhere"}

        answers = {open_["parallel/paint/colour"]: None, open_["parallel/review"]: {"fine": False}}
        waiting = resume(graph, answer=answers, **options)
        assert waiting.status == "waiting"
        assert ids(waiting) == {"parallel/elsewhere": open_["parallel/elsewhere"]}
        assert waiting.results["parallel/paint/colour"].content == "painted None"

        done = resume(graph, answer="so", **options)
        assert (done.status, len(provider.requests)) == ("completed", 2)
    assert done.results["parallel/elsewhere"].content == "told so"
    assert done.results["parallel/review"].content == "Review: False"


def test_one_question_takes_its_answer_by_its_id_as_well(ledger):
    waiting = run(sequential(colour), "x", ledger=ledger)
    done = resume(sequential(colour), answer={ids(waiting)["colour"]: "red"}, ledger=ledger)
    assert done.output == "painted red"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (NOTHING, "waits for an answer, and none was given"),
        ({"fine": "yes"}, "the answer to review does not fit: fine: 'yes' is not of type"),
        ({}, "does not fit: 'fine' is a required property"),
        ({"fine": True, "words": ["a", 2]}, r"words\[1\]: 2 is not of type 'string'"),
        ({"fine": object()}, "cannot be written as JSON"),
        ({"fine": True, "words": ["a", "b"]}, "words: Value error, one word is enough"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused_and_the_run_waits_still(ledger, answer, said):
    graph = sequential(review, creative("end"))
    waiting = run(graph, PUMPS, rehearse=True, ledger=ledger)
    with pytest.raises(InputError, match=said):
        resume(graph, answer=answer, ledger=ledger)
    assert ledger.find_run("last").status == "waiting"
    assert recall(ledger, ledger.find_run("last")).questions == waiting.questions
    assert ledger.calls(waiting.run_id) == []
    assert resume(graph, answer=Review(fine=True), ledger=ledger).status == "completed"


def test_of_several_questions_an_answer_names_which(ledger):
    graph = sequential(parallel(colour, review))
    waiting = run(graph, "x", ledger=ledger)
    for answer in ("red", {}, None):
        with pytest.raises(InputError, match=r"asks 2 questions: answer with .* \{id: answer\}"):
            resume(graph, answer=answer, ledger=ledger)
    with pytest.raises(InputError, match="asks no question 'colour'"):
        resume(graph, answer={"colour": "red"}, ledger=ledger)
    assert ids(waiting) == ids(recall(ledger, ledger.find_run("last")))


def test_answers_that_fit_stand_beside_one_that_only_its_node_can_refuse(ledger):
    graph = sequential(parallel(sequential(colour, colour, name="twice"), review))
    waiting = run(graph, "x", ledger=ledger)
    first = ids(waiting)
    wrong = {"fine": True, "words": ["a", "b"]}
    given = {first["parallel/twice/colour"]: "red", first["parallel/review"]: wrong}
    with pytest.raises(InputError, match="the answer to parallel/review does not fit: words"):
        resume(graph, answer=given, ledger=ledger)
    left = ids(recall(ledger, ledger.find_run("last")))
    assert set(left) == {"parallel/twice/colour_2", "parallel/review"}
    answers = {left["parallel/twice/colour_2"]: "blue", left["parallel/review"]: {"fine": True}}
    done = resume(graph, answer=answers, ledger=ledger)
    assert done.results["parallel/twice/colour"].content == "painted red"
    assert done.results["parallel/twice/colour_2"].content == "painted blue"


def test_a_node_may_ask_one_thing_after_another(ledger):
    def asks(state):
        return f"{interrupt('One?')} {interrupt('Two?')}"

    graph = sequential(asks)
    first = run(graph, "x", ledger=ledger)
    second = resume(graph, answer=1, ledger=ledger)
    assert [one["question"] for one in (*first.questions, *second.questions)] == ["One?", "Two?"]
    assert resume(graph, answer=2, ledger=ledger).output == "1 2"


def test_a_tool_may_ask(ledger, keyed):
    def permission(what: str) -> str:
        """Ask whether something is permitted.

        Args:
            what: What is.
        """
        return str(interrupt(f"May I {what}?"))

    graph = sequential(executor("asks", tools=[permission]))
    with SimulatedProvider() as provider:
        options = {"settings": keyed(provider), "ledger": ledger}
        waiting = run(graph, PUMPS, **options)
        assert waiting.questions[0]["node_path"] == "asks"
        assert waiting.questions[0]["question"].startswith("May I ")
        assert resume(graph, answer="He may.", **options).status == "completed"
        assert provider.requests[-1].body["messages"][-1]["content"] == "He may."


def test_a_failure_that_is_kept_is_no_question_that_is_swallowed(ledger):
    def breaks(state):
        raise ValueError("broken")

    graph = sequential(parallel(colour, review, breaks, on_failure="keep"))
    waiting = run(graph, "x", ledger=ledger)
    open_ = ids(waiting)
    assert set(open_) == {"parallel/colour", "parallel/review"}
    wrong = {open_["parallel/review"]: {"fine": True, "words": ["a", "b"]}}
    with pytest.raises(InputError, match="one word is enough"):
        resume(graph, answer=wrong, ledger=ledger)
    answers = {open_["parallel/colour"]: "red", open_["parallel/review"]: {"fine": True}}
    done = resume(graph, answer=answers, ledger=ledger)
    roles = {path.rpartition("/")[2]: one.role for path, one in done.results.items()}
    assert (roles["breaks"], done.results["parallel/colour"].content) == ("failed", "painted red")


class AsksFirst(BaseCallbackHandler):
    """Somebody's own check before any model is asked."""

    raise_error = True
    run_inline = True

    def on_chat_model_start(self, serialized, messages, **kwargs):
        interrupt("May it be asked?")


@pytest.mark.filterwarnings("ignore:coroutine 'ahandle_event' was never awaited:RuntimeWarning")
def test_a_chain_of_fallbacks_lets_a_question_through(ledger, keyed):
    chain = ["together:some/model", "together:other/model"]
    graph = sequential(creative("draft", model=chain)).with_config(callbacks=[AsksFirst()])
    with SimulatedProvider() as provider:
        options = {"settings": keyed(provider), "ledger": ledger}
        waiting = run(graph, PUMPS, checkpoint=True, **options)
        assert (waiting.status, waiting.questions[0]["node_path"]) == ("waiting", "draft")
        assert provider.requests == []
        assert resume(graph, answer="yes", **options).status == "completed"
        assert [request.model for request in provider.requests] == ["some/model"]
    gc.collect()  # LangChain leaves a coroutine where a callback raises


def test_a_question_beside_a_stop_comes_again(ledger):
    from aideon_agents.errors import TimeLimit

    limits = [TimeLimit(1)]

    def stops(state):
        if limits:
            raise limits.pop()
        return "went on"

    graph = sequential(parallel(colour, stops))
    stopped = run(graph, "x", ledger=ledger)
    assert (stopped.status, stopped.questions) == ("stopped", ())
    with pytest.raises(InputError, match="is stopped and waits for no answer"):
        resume(graph, answer="red", ledger=ledger)
    waiting = resume(graph, ledger=ledger)
    assert (waiting.status, list(ids(waiting))) == ("waiting", ["parallel/colour"])
    assert resume(graph, answer="red", ledger=ledger).status == "completed"


def test_a_loop_may_ask_in_each_round(ledger):
    def judges(state):
        agreed = interrupt(f"Round {state.get('round', 1)}?")
        return {"verdict": Verdict(passed=agreed, score=1, feedback="more")}

    graph = iterative(lambda state: "text", judges, max_rounds=3)
    assert run(graph, "x", ledger=ledger).questions[0]["question"] == "Round 1?"
    again = resume(graph, answer=False, ledger=ledger)
    assert [one["question"] for one in again.questions] == ["Round 2?"]
    done = resume(graph, answer=True, ledger=ledger)
    assert (done.status, done.stop_reason) == ("completed", "passed")
    assert done.results["iterative"].data.best == 2


async def test_whoever_watches_is_told_of_a_question_and_of_no_end_before_the_answer(ledger):
    graph = sequential(parallel(colour, lambda state: "done"))
    events = [event async for event in astream(graph, "x", ledger=ledger)]
    asked = [event for event in events if isinstance(event, Question)]
    ended = [event.node_path for event in events if isinstance(event, NodeEnded)]
    assert [(one.node_path, one.question, one.schema) for one in asked] == [
        ("parallel/colour", "Which colour?", None)
    ]
    assert ended == ["parallel/lambda"]
    assert isinstance(events[-1], RunEnded)
    assert events[-1].result.questions == (asked[0].document(),)
    assert (await aresume(graph, answer="red", ledger=ledger)).status == "completed"


def test_a_breakpoint_that_somebody_compiled_in_waits_without_a_question(ledger):
    builder = StateGraph(MessagesState)
    builder.add_node("say", lambda state: {"messages": [("ai", "said")]})
    builder.add_edge(START, "say")
    builder.add_edge("say", END)
    graph = builder.compile(name="held", interrupt_before=["say"])
    held = run(graph, "x", ledger=ledger)
    assert (held.status, held.questions, held.output) == ("waiting", (), None)
    with pytest.raises(InputError, match="waits for no answer"):
        resume(graph, answer="yes", ledger=ledger)
    done = resume(graph, ledger=ledger)
    assert (done.status, done.output) == ("completed", "said")


def test_a_question_that_a_node_deals_with_itself_is_none(ledger):
    from langgraph.errors import GraphInterrupt

    inner = sequential(colour)

    async def deals(state):
        try:
            await inner.ainvoke({"task": "x"})
        except GraphInterrupt:
            return "dealt with"
        return "asked"

    assert run(sequential(deals), "x", ledger=ledger).status == "completed"


def test_a_question_may_be_anything(ledger):
    questions = {"nan": float("nan"), "half": "\ud800", "own": Review(fine=True)}
    nodes = []
    for name, value in questions.items():

        def asks(state, value=value):
            return str(interrupt(value))

        asks.__name__ = name
        nodes.append(asks)
    waiting = run(sequential(parallel(*nodes)), "x", ledger=ledger)
    said = {one["node_path"].rpartition("/")[2]: one["question"] for one in waiting.questions}
    assert (said["nan"], said["half"]) == (None, "\\ud800")
    assert said["own"] == {"fine": True, "words": []}


def test_a_thread_of_a_graph_made_elsewhere_waits_and_goes_on(ledger):
    def asks(state):
        return {"messages": [("ai", f"{len(state['messages'])} {interrupt('Go on?')}")]}

    builder = StateGraph(MessagesState)
    builder.add_node("asks", asks)
    builder.add_edge(START, "asks")
    builder.add_edge("asks", END)
    graph = builder.compile(name="elsewhere")
    first = run(graph, "x", ledger=ledger, thread="chat")
    assert resume(graph, answer="yes", ledger=ledger).output == "1 yes"
    second = run(graph, "y", ledger=ledger, thread="chat")
    third = run(graph, "z", ledger=ledger, thread="chat")
    with pytest.raises(
        UserError, match=f"run {third.run_id} has continued its thread 'chat' since"
    ):
        resume(graph, second.run_id, answer="yes", ledger=ledger)
    assert resume(graph, answer="yes", ledger=ledger).output == "4 yes"
    assert first.run_id != third.run_id


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "no such type"},
        {"pattern": "("},
        {"$ref": "http://127.0.0.1:1/elsewhere.json"},
    ],
    ids=["no schema", "no pattern", "elsewhere"],
)
def test_whoever_answers_is_not_to_blame_for_a_schema_that_is_none(ledger, schema):
    graph = sequential(lambda state: interrupt("?", response_schema=schema))
    assert run(graph, "x", ledger=ledger).status == "waiting"
    assert resume(graph, answer="yes", ledger=ledger).output == "yes"


def test_a_mistake_in_a_node_is_no_wrong_answer(ledger):
    graph = sequential(lambda state: Review.model_validate({}))
    failed = run(graph, "x", ledger=ledger)
    assert (failed.status, failed.error.split(": ")[1]) == ("failed", "ValidationError")


def test_a_run_that_waits_is_shown_also_where_its_questions_are_gone(ledger, caplog):
    run(sequential(colour), "x", ledger=ledger)
    for file in ledger.path.parent.glob("checkpoints.db*"):
        file.unlink()
    assert recall(ledger, ledger.find_run("last")).questions == ()
    checkpoints_path(ledger).mkdir()
    assert recall(ledger, ledger.find_run("last")).questions == ()
    assert "cannot be read" in caplog.text


class Source(BaseModel):
    url: HttpUrl
    found: tuple[str, int]


@dataclasses.dataclass
class Report:
    url: HttpUrl
    sources: list[Source]


@pytest.mark.parametrize("output", [Source, Report, list[Source]])
def test_any_typed_answer_is_kept_while_a_person_is_asked(ledger, output):
    graph = sequential(executor("a", output=output, approve=True), executor("b"))
    waiting = run(graph, "Pumps.", rehearse=True, ledger=ledger)
    assert waiting.status == "waiting"
    done = resume(graph, answer="yes", ledger=ledger)
    assert (done.status, done.cost.calls) == ("completed", 2)  # "a" was not asked again
    assert done.results["a"].data == waiting.results["a"].data


@dataclasses.dataclass
class Holder:
    lock: object


def holds(state):
    held = Holder(threading.Lock())
    return StepResult(node_path="holds", role="function", content="held", data=held)


def asks(state):
    return interrupt("right?")


class Held(TypedDict):
    task: str
    lock: object


def held():
    builder = StateGraph(Held)
    builder.add_node("locks", lambda state: {"lock": threading.Lock()})
    builder.add_node("asks", lambda state: {"task": asks(state)})
    builder.add_edge(START, "locks")
    builder.add_edge("locks", "asks")
    return builder.compile()


@pytest.mark.parametrize(
    ("graph", "inputs", "named"),
    [
        (sequential(holds, asks), {}, "the result of holds holds a lock"),
        (sequential(asks), {"lock": threading.Lock()}, "the input 'lock' holds a lock"),
        (held(), {}, "'lock' in the state, written by locks, holds a lock"),
        (sequential(held()), {}, "'lock' in the state, written by locks, holds a lock"),
    ],
)
def test_a_state_that_cannot_be_kept_fails_when_the_question_is_asked(ledger, graph, inputs, named):
    result = run(graph, "x", inputs=inputs, ledger=ledger)
    assert result.status == "failed"
    assert f"because {named}, which cannot be kept" in result.error
