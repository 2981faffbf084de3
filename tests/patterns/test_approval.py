"""A person's agreement: who is asked, what a yes and a no lead to, and that nothing is paid twice."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.errors import GraphDrained
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from pydantic import BaseModel, ValidationError

from aideon_agents import (
    Context,
    conditional,
    creative,
    executor,
    iterative,
    orchestrated,
    parallel,
    planner,
    sequential,
    validator,
)
from aideon_agents.errors import Declined, LimitError, UserError
from aideon_agents.patterns.iterative import Round
from aideon_agents.state import Approval, Decision, Plan, PlanStep, State, StepResult, Verdict
from aideon_agents.testing import GivenModels, ScriptedChatModel

YES = {"approved": True}
NO = {"approved": False}
SHORTER = {"approved": False, "feedback": "Shorter."}
TWO_STEPS = {
    "steps": [
        {"id": name, "description": "d", "agent": "executor", "complexity": "low", "depends_on": []}
        for name in ("s1", "s2")
    ]
}


def judged(*, passed: bool, score: float) -> Verdict:
    return Verdict(passed=passed, score=score, feedback="From the judge.")


@dataclasses.dataclass
class Waiting:
    """A graph that was run until it asked or ended, and can be answered."""

    graph: Any
    model: ScriptedChatModel
    awaits: bool
    values: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])

    async def go(self, entry: Any) -> Waiting:
        config = {"configurable": {"thread_id": "t"}}
        context = Context(models=GivenModels(self.model))
        if self.awaits:
            self.values = await self.graph.ainvoke(entry, config, context=context)
        else:
            self.values = self.graph.invoke(entry, config, context=context)
        return self

    async def answer(self, *answers: Any) -> Waiting:
        """Answer all that it asks, in the order of the places."""
        ids = [one.id for one in self.interrupts]
        return await self.go(Command(resume=dict(zip(ids, answers, strict=True))))

    @property
    def interrupts(self) -> list[Any]:
        asked = self.values.get("__interrupt__", ())
        return sorted(asked, key=lambda one: one.value["node_path"])

    @property
    def shown(self) -> dict[str, str]:
        return {one.value["node_path"]: one.value["result"] for one in self.interrupts}

    @property
    def contents(self) -> dict[str, str]:
        return {path: one.content for path, one in self.values["results"].items()}

    @property
    def calls(self) -> int:
        return len(self.model.requests)


@pytest.fixture(params=[True, False], ids=["awaited", "invoked"])
def ask(request):
    """Runs a graph on a script until it asks or ends."""

    def waiting(graph: Any, *answers: Any) -> Waiting:
        shapes = [Approval, Decision, Plan, PlanStep, Round, StepResult, Verdict]
        saver = InMemorySaver(serde=JsonPlusSerializer(allowed_msgpack_modules=shapes))
        kept = graph.copy(update={"checkpointer": saver})
        return Waiting(kept, ScriptedChatModel(answers=list(answers)), request.param)

    async def run(graph: Any, *answers: Any) -> Waiting:
        return await waiting(graph, *answers).go({"task": "Heat pumps."})

    return run


async def test_a_result_is_shown_and_the_next_node_waits_until_a_person_agrees(ask):
    run = await ask(sequential(creative("draft", approve=True), executor()), "A text.", "Done.")
    assert run.shown == {"draft": "A text."}
    assert run.calls == 1
    await run.answer(YES)
    assert run.contents == {"draft": "A text.", "executor": "Done."}
    assert run.calls == 2


async def test_the_question_names_the_result_and_says_what_an_answer_must_be(ask):
    run = await ask(sequential(creative("draft", approve=True), name="flow"), "A text.")
    (asked,) = run.interrupts
    assert asked.value == {
        "question": "Is the result of draft right? A no with feedback has it done again, any other "
        "no ends the run.",
        "node_path": "draft",
        "result": "A text.",
    }
    assert asked.response_schema == Approval.model_json_schema()
    assert asked.response_schema["additionalProperties"] is False
    assert asked.response_schema["required"] == ["approved"]
    assert all("description" in one for one in asked.response_schema["properties"].values())


@pytest.mark.parametrize(
    "answer",
    [{"approved": "no"}, {"approved": 1}, {"approved": True, "comment": "ok"}, {}, True, "yes"],
)
async def test_an_invalid_answer_is_an_error_and_the_question_stays(ask, answer):
    run = await ask(sequential(creative("draft", approve=True), executor()), "A text.", "Done.")
    with pytest.raises(ValidationError, match="Approval"):
        await run.answer(answer)
    await run.answer(YES)
    assert (run.contents["executor"], run.calls) == ("Done.", 2)


@pytest.mark.parametrize("answer", [NO, SHORTER, {"approved": False, "feedback": " "}])
async def test_a_no_stops_the_run_where_on_decline_says_so(ask, answer):
    step = creative("draft", approve=True, on_decline="stop")
    run = await ask(sequential(step, executor()), "A text.")
    assert run.interrupts[0].value["question"].endswith("right? A no ends the run.")
    with pytest.raises(Declined) as caught:
        await run.answer(answer)
    feedback = (answer.get("feedback") or "").strip()
    message = f"the result of draft was declined{': Shorter.' if feedback else ''}"
    assert str(caught.value) == message
    assert isinstance(caught.value, LimitError)
    assert isinstance(caught.value, GraphDrained)
    assert (caught.value.kind, caught.value.value) == ("declined", feedback or None)
    assert run.calls == 1


async def test_a_person_who_declined_may_approve_later(ask):
    run = await ask(sequential(creative("draft", approve=True), executor()), "A text.", "Done.")
    with pytest.raises(Declined):
        await run.answer(NO)
    await run.go(None)
    assert run.shown == {"draft": "A text."}
    await run.answer(YES)
    assert (run.contents["executor"], run.calls) == ("Done.", 2)


async def test_feedback_with_a_yes_changes_nothing(ask):
    step = creative("draft", approve=True)
    run = await ask(iterative(step, validator()), "A text.", judged(passed=True, score=1))
    await run.answer({"approved": True, "feedback": "Well done."})
    assert run.values["results"]["iterative"].data.rounds[0].verdict.feedback == "From the judge."


async def test_several_branches_wait_at_once_and_the_others_come_to_their_end(ask):
    branches = creative("a", approve=True), executor("b"), creative("c", approve=True)
    run = await ask(sequential(parallel(*branches), executor("end")), "1", "2", "3", "Done.")
    assert list(run.shown) == ["parallel/a", "parallel/c"]
    assert run.calls == 3
    await run.answer(YES, YES)
    assert (run.contents["end"], run.calls) == ("Done.", 4)


@pytest.mark.parametrize("options", [{}, {"on_failure": "keep"}, {"max_concurrency": 1}])
async def test_a_no_in_a_branch_is_never_kept_and_the_branches_beside_it_are_not_cut_short(
    ask, options
):
    ended: list[str] = []

    def slow(state):
        return interrupt({"node_path": "slow"})

    def after(state):
        ended.append("after")

    branches = creative("a", approve=True), sequential(slow, after, name="b")
    run = await ask(parallel(*branches, **options), "A text.")
    answers = {one.id: {"a": NO, "slow": "x"}[one.value["node_path"]] for one in run.interrupts}
    assert len(answers) == 2
    with pytest.raises(Declined):
        await run.go(Command(resume=answers))
    assert ended == ["after"]


async def test_a_no_with_feedback_is_a_loops_verdict_and_the_judge_is_not_asked(ask):
    step = creative("draft", approve=True)
    graph = iterative(step, validator("check"), name="refine", max_rounds=2)
    run = await ask(graph, "Long.", "Short.", judged(passed=True, score=0))
    assert run.interrupts[0].value["question"] == (
        "Is the result of draft right? A no with feedback has it done again, any other no ends "
        "the run."
    )
    await run.answer(SHORTER)
    assert run.interrupts[0].value["question"] == (
        "Is the result of draft, version 2, right? A no ends the run."
    )
    assert "<feedback>\nShorter.\n</feedback>" in run.model.requests[1].messages[-1].text
    assert run.calls == 2
    await run.answer(YES)
    own = run.values["results"]["refine"].data
    assert [(one.content, one.declined) for one in own.rounds] == [
        ("Long.", True),
        ("Short.", False),
    ]
    assert own.rounds[0].verdict == Verdict(passed=False, score=0, feedback="Shorter.")
    assert (own.stop_reason, own.best) == ("passed", 2)


@pytest.mark.parametrize("answer", [NO, SHORTER])
async def test_a_no_in_the_last_round_stops_the_run(ask, answer):
    graph = iterative(creative("draft", approve=True), validator(), max_rounds=1, name="refine")
    run = await ask(sequential(graph, executor()), "Long.")
    with pytest.raises(Declined, match="the result of refine/draft was declined"):
        await run.answer(answer)
    assert run.calls == 1


async def test_a_no_without_feedback_stops_a_loop_that_has_rounds_left(ask):
    run = await ask(iterative(creative("draft", approve=True), validator()), "Long.")
    with pytest.raises(Declined):
        await run.answer(NO)
    assert run.calls == 1


async def test_a_round_that_a_person_declined_is_never_a_loops_result(ask):
    graph = iterative(creative("draft", approve=True), validator(), max_rounds=2, name="refine")
    run = await ask(graph, "Long.", "Short.", judged(passed=False, score=0))
    await run.answer(SHORTER)
    await run.answer(YES)
    assert run.contents["refine"] == "Short."
    assert run.values["results"]["refine"].data.stop_reason == "max_rounds"


async def test_a_no_to_a_verdict_is_the_verdict(ask):
    graph = iterative(creative("draft"), validator("check", approve=True), name="refine")
    passed = judged(passed=True, score=0.9)
    run = await ask(graph, "Long.", passed, "Short.", passed)
    assert run.shown == {"check": "passed, score 0.9: From the judge."}
    await run.answer(SHORTER)
    assert "Shorter." in run.model.requests[2].messages[-1].text
    await run.answer(YES)
    rounds = run.values["results"]["refine"].data.rounds
    assert [one.verdict.feedback for one in rounds] == ["Shorter.", "From the judge."]
    assert [one.declined for one in rounds] == [True, False]
    assert (run.contents["refine"], run.calls) == ("Short.", 4)


async def test_a_step_and_its_check_may_both_need_a_person(ask):
    graph = iterative(creative("draft", approve=True), validator("check", approve=True))
    run = await ask(graph, "Long.", "Short.", judged(passed=True, score=0.9))
    await run.answer(SHORTER)
    assert run.shown == {"draft": "Short."}
    await run.answer(YES)
    assert run.shown == {"check": "passed, score 0.9: From the judge."}
    await run.answer(YES)
    assert (run.contents["iterative"], run.calls) == ("Short.", 3)


async def test_deeper_in_a_loop_the_node_itself_is_done_again_in_the_same_round(ask):
    inner = sequential(creative("draft", approve=True), executor(), name="both")
    passed = judged(passed=True, score=1)
    run = await ask(iterative(inner, validator(), name="loop"), "Long.", "Short.", "Done.", passed)
    await run.answer(SHORTER)
    assert run.shown == {"both/draft": "Short."}
    await run.answer(YES)
    assert (run.contents["loop"], run.calls) == ("Done.", 4)
    assert len(run.values["results"]["loop"].data.rounds) == 1


async def test_in_a_loop_on_decline_stop_ends_the_run_also_with_feedback(ask):
    step = creative("draft", approve=True, on_decline="stop")
    run = await ask(iterative(step, validator(), name="refine"), "Long.")
    with pytest.raises(Declined, match="draft was declined: Shorter"):
        await run.answer(SHORTER)
    assert run.calls == 1


async def test_a_decision_may_need_a_person_and_so_may_what_it_leads_to(ask):
    gate = validator("gate", question="Which?", approve=True)
    ways = {"yes": creative("write", approve=True), "no": executor()}
    run = await ask(conditional(gate, ways), Decision(route="yes", reason="So."), "A text.")
    assert run.shown == {"gate": "yes: So."}
    assert run.calls == 1
    await run.answer(YES)
    assert run.shown == {"yes": "A text."}
    await run.answer(YES)
    assert run.values["route"] == "yes"
    assert (run.contents["yes"], run.calls) == ("A text.", 2)


async def test_a_no_to_a_decision_stops_the_run_before_the_way_is_gone(ask):
    gate = validator("gate", approve=True)
    run = await ask(conditional(gate, {"yes": creative()}), Decision(route="yes", reason="So."))
    with pytest.raises(Declined):
        await run.answer(NO)
    assert run.calls == 1


async def test_a_declined_decision_is_made_again_with_the_feedback(ask):
    gate = validator("gate", approve=True)
    first, second = Decision(route="no", reason="So."), Decision(route="yes", reason="Better.")
    run = await ask(
        conditional(gate, {"yes": creative(), "no": executor()}), first, second, "Text."
    )
    await run.answer({"approved": False, "feedback": "Take the other way."})
    assert "Take the other way." in run.model.requests[1].messages[-1].text
    assert run.shown == {"gate": "yes: Better."}
    await run.answer(YES)
    assert (run.values["route"], run.contents["yes"], run.calls) == ("yes", "Text.", 3)


async def test_a_plan_that_is_declined_with_feedback_is_made_again_before_any_step_runs(ask):
    graph = orchestrated(planner("plan", approve=True), executor(), name="phase")
    run = await ask(graph, {"steps": []}, TWO_STEPS, TWO_STEPS, "r1", "r2")
    assert run.shown == {"plan": "1. d\n2. d"}  # one that can be followed
    assert run.calls == 2
    await run.answer(SHORTER)
    prompt = run.model.requests[2].messages[-1].text
    assert "<earlier_version>\n1. d" in prompt
    assert "<feedback>\nShorter.\n</feedback>" in prompt
    assert ", version 2, " in run.interrupts[0].value["question"]
    await run.answer(YES)  # both steps run at once, and either may be answered first
    assert (sorted(run.contents["phase"].split()[2::3]), run.calls) == (["r1", "r2"], 5)


async def test_a_plan_is_made_again_three_times_at_most(ask):
    run = await ask(orchestrated(planner(approve=True), executor()), *[TWO_STEPS] * 4)
    for _ in range(3):
        await run.answer(SHORTER)
    assert "A no ends the run." in run.interrupts[0].value["question"]
    with pytest.raises(Declined):
        await run.answer(SHORTER)
    assert run.calls == 4


async def test_on_a_thread_that_is_used_again_the_plans_are_counted_anew(ask):
    run = await ask(orchestrated(planner(approve=True), executor()), *[TWO_STEPS] * 2, "1", "2")
    await run.answer(SHORTER)
    await run.answer(YES)
    run.model.answers += [TWO_STEPS]
    await run.go({"task": "Another."})
    assert run.interrupts[0].value["question"].startswith("Is the result of planner right?")
    assert "Shorter." not in run.model.requests[-1].messages[-1].text


async def test_each_step_of_a_plan_may_need_a_person(ask):
    graph = orchestrated(planner("plan"), executor(approve=True), name="phase")
    run = await ask(graph, TWO_STEPS, "same", "same")
    assert run.shown == {"work/s1": "same", "work/s2": "same"}
    await run.answer(YES, YES)
    assert (run.contents["phase"], run.calls) == ("# d\n\nsame\n\n# d\n\nsame", 3)


async def test_a_declined_step_of_a_plan_is_done_again_and_the_approved_one_is_not(ask):
    graph = orchestrated(planner("plan"), executor(approve=True), name="phase")
    run = await ask(graph, TWO_STEPS, "first", "first", "second")
    await run.answer(YES, SHORTER)
    assert (run.shown, run.calls) == ({"work/s2": "second"}, 4)
    assert "Shorter." in run.model.requests[-1].messages[-1].text
    await run.answer(YES)
    assert (run.contents["phase"], run.calls) == ("# d\n\nfirst\n\n# d\n\nsecond", 4)


async def test_outside_of_a_loop_a_no_with_feedback_has_the_node_done_again_three_times(ask):
    texts = ["One.", "Two.", "Three.", "Four."]
    run = await ask(sequential(creative("draft", approve=True), executor()), *texts)
    for number, wish in enumerate(("Shorter.", "Name the year.", "Warmer."), 1):
        await run.answer({"approved": False, "feedback": wish})
        assert run.shown == {"draft": texts[number]}
        assert f", version {number + 1}, right?" in run.interrupts[0].value["question"]
        prompt = run.model.requests[-1].messages[-1].text
        assert f"<earlier_version>\n{texts[number - 1]}\n" in prompt
        assert prompt.index("Shorter.") <= prompt.index(wish)  # what was wanted before is kept
    assert "A no ends the run." in run.interrupts[0].value["question"]
    with pytest.raises(Declined, match="the result of draft was declined: Shorter"):
        await run.answer(SHORTER)
    assert run.calls == 4


async def test_the_next_node_gets_the_last_version_alone_and_no_feedback(ask):
    run = await ask(
        sequential(creative("draft", approve=True), executor()), "One.", "Two.", "Done."
    )
    await run.answer(SHORTER)
    await run.answer(YES)
    prompt = run.model.requests[-1].messages[-1].text
    assert "Two." in prompt
    assert not {"One.", "Shorter."} & set(prompt.split("\n"))


async def test_on_a_thread_that_is_used_again_the_versions_are_counted_anew(ask):
    run = await ask(sequential(creative("draft", approve=True)), "One.", "Two.")
    await run.answer(SHORTER)
    await run.answer(YES)
    run.model.answers += ["Three."]
    await run.go({"task": "Another."})
    assert run.interrupts[0].value["question"].startswith("Is the result of draft right?")
    assert "Shorter." not in run.model.requests[-1].messages[-1].text


async def test_a_person_may_edit_a_result_and_the_next_node_gets_their_version(ask):
    run = await ask(sequential(creative("draft", approve=True), executor()), "A text.", "Done.")
    await run.answer({"approved": True, "content": "My own text."})
    assert run.contents == {"draft": "My own text.", "executor": "Done."}
    prompt = run.model.requests[-1].messages[-1].text
    assert "My own text." in prompt
    assert "A text." not in prompt


async def test_an_edited_result_of_a_shape_is_read_into_its_class(ask):
    class Facts(BaseModel):
        year: int

    step = executor("facts", output=Facts, approve=True)
    run = await ask(sequential(step, executor()), Facts(year=1), "Done.")
    with pytest.raises(ValidationError, match="year"):
        await run.answer({"approved": True, "content": '{"year": "soon"}'})
    with pytest.raises(ValidationError, match="JSON"):
        await run.answer({"approved": True, "content": "In 2030."})
    assert run.calls == 1
    await run.answer({"approved": True, "content": '{"year": 2030}'})
    assert run.values["results"]["facts"].data == Facts(year=2030)
    assert run.calls == 2


async def test_an_edited_decision_and_an_edited_plan_are_followed(ask):
    gate = validator("gate", approve=True)
    ways = {"yes": creative(), "no": executor()}
    run = await ask(conditional(gate, ways), Decision(route="no", reason="So."), "A text.")
    assert run.interrupts[0].value["data"] == {"route": "no", "reason": "So."}
    with pytest.raises(ValidationError, match="route is 'may be': give one of yes, no"):
        await run.answer({"approved": True, "content": '{"route": "may be", "reason": "Mine."}'})
    await run.answer({"approved": True, "content": '{"route": "yes", "reason": "Mine."}'})
    assert run.contents == {"gate": "yes: Mine.", "yes": "A text."}

    run = await ask(orchestrated(planner("plan", approve=True), executor()), TWO_STEPS, "r1")
    (one, two) = run.interrupts[0].value["data"]["steps"]
    broken = {"steps": [{**one, "depends_on": ["s3"]}]}
    with pytest.raises(ValidationError, match="depends on 's3', which is no step"):
        await run.answer({"approved": True, "content": json.dumps(broken)})
    mine = {"steps": [{**two, "id": "only/one"}]}
    await run.answer({"approved": True, "content": json.dumps(mine)})
    assert (run.contents["work/only-one"], run.calls) == ("r1", 2)


def test_on_decline_must_be_one_of_two_words():
    with pytest.raises(UserError, match="draft: on_decline must be again or stop, not 'never'"):
        creative("draft", on_decline="never")  # pyright: ignore[reportArgumentType]


async def test_an_agent_with_approve_in_a_bare_graph_is_an_error(ask):
    builder = StateGraph(State, context_schema=Context)
    builder.add_node("draft", creative("draft", approve=True))
    builder.add_edge(START, "draft")
    with pytest.raises(UserError, match=r"draft has approve=True, but only a pattern.*sequential"):
        await ask(builder.compile(), "A text.")


async def test_two_agents_of_one_name_are_a_mistake_also_where_they_are_approved(ask):
    with pytest.raises(UserError, match="two nodes called 'draft'"):
        sequential(creative("draft", approve=True), creative("draft", approve=True))
    with pytest.raises(UserError, match="two nodes called 'approval', one of its own"):
        orchestrated(planner("approval", approve=True), executor())
