"""A plan made at run time: its waves, what each step sees, and plans that cannot be followed."""

from __future__ import annotations

import re
import threading

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

from aideon_agents import (
    Context,
    State,
    creative,
    executor,
    iterative,
    orchestrated,
    parallel,
    planner,
    run,
    sequential,
    validator,
)
from aideon_agents.drawing.figures import figures
from aideon_agents.errors import StepFailed, UserError
from aideon_agents.graphs.topology import read
from aideon_agents.graphs.walk import requests
from aideon_agents.ledger.costs import traces
from aideon_agents.ledger.store import Ledger
from aideon_agents.patterns.plans import waves
from aideon_agents.state import Plan, PlanStep, Verdict
from aideon_agents.testing import GivenModels, SchemaChatModel, ScriptedChatModel

PATIENCE = 20


def step(name, *needs, agent="executor", complexity="low", does=None):
    return PlanStep(
        id=name,
        description=does or f"Do {name}.",
        agent=agent,
        complexity=complexity,
        depends_on=list(needs),
    )


def plan(*steps):
    return Plan(steps=list(steps))


DIAMOND = plan(step("a"), step("b", "a"), step("c", "a", agent="creative"), step("d", "b", "c"))


def models(*plans, **roles):
    """Models whose planner makes these plans, in order."""
    return GivenModels(
        SchemaChatModel(), roles={"planner": ScriptedChatModel(answers=list(plans)), **roles}
    )


def called(name, function):
    """The function under a name that a plan can give."""
    function.__name__ = name
    return function


def joined(*steps):
    """The results of steps that each say what they do, below it."""
    return "\n\n".join(f"# Do {one}.\n\nDo {one}." for one in steps)


def echo():
    """A model that answers with the step it was given."""
    return ScriptedChatModel(answers=[_what_to_do] * 30)


def _what_to_do(messages):
    return messages[-1].text.rpartition("<instructions>\n")[2].removesuffix("\n</instructions>")


def prompts_by_step(model):
    """The prompts of a scripted model, by what it had to do."""
    return {_what_to_do(one.messages): one.messages[-1].text for one in model.requests}


async def test_each_step_has_its_place_and_its_row(stage):
    graph = orchestrated(planner(), executor(), creative())
    for played in (
        stage.invoke(graph, models(DIAMOND)),
        await stage.ainvoke(graph, models(DIAMOND)),
    ):
        assert played.places == [
            ("planner", "planner", 1),
            ("work/a", "executor", 1),
            ("work/b", "executor", 1),
            ("work/c", "creative", 1),
            ("work/d", "executor", 1),
        ]
        assert played.results.keys() == {
            "planner", "work/a", "work/b", "work/c", "work/d", "orchestrated"
        }  # fmt: skip


def test_a_step_runs_when_all_that_it_depends_on_is_done(stage):
    played = stage.invoke(orchestrated(planner(), executor(), creative()), models(DIAMOND))
    order = {path: one.order for path, one in played.results.items()}
    assert order["planner"] < order["work/a"] < order["work/b"] == order["work/c"]
    assert order["work/c"] < order["work/d"] < order["orchestrated"]


@pytest.mark.parametrize("awaits", [True, False])
async def test_steps_that_do_not_need_one_another_run_at_the_same_time(stage, awaits):
    everybody = threading.Barrier(3)

    def meet(state):
        everybody.wait(PATIENCE)
        return state["task"]

    graph = orchestrated(planner(), called("executor", meet))
    three = models(plan(step("a"), step("b"), step("c")))
    played = await stage.ainvoke(graph, three) if awaits else stage.invoke(graph, three)
    assert played.contents["orchestrated"] == joined("a", "b", "c")


def test_a_step_sees_what_was_before_the_plan_and_what_it_names(stage):
    model = echo()
    graph = sequential(
        lambda state: "Known before.",
        orchestrated(planner(), executor(), name="phase"),
    )
    chain = plan(step("a"), step("b", "a"), step("c", "b"), step("aside"))
    stage.invoke(graph, models(chain, executor=model))
    seen = prompts_by_step(model)
    assert all("<task>\nHeat pumps move heat.\n</task>" in text for text in seen.values())
    assert all("Known before." in text for text in seen.values())
    froms = {
        does: [line for line in text.splitlines() if line.startswith('<result from="phase/work')]
        for does, text in seen.items()
    }
    assert froms == {
        "Do a.": [],
        "Do aside.": [],
        "Do b.": ['<result from="phase/work/a">'],
        "Do c.": ['<result from="phase/work/b">'],
    }


def test_a_steps_complexity_chooses_its_model(stage):
    given = models(plan(step("a", complexity="high"), step("b", complexity="low")))
    stage.invoke(orchestrated(planner(), executor()), given)
    asked = [one.complexity for one in given.requests if one.role == "executor"]
    assert sorted(asked) == ["high", "low"]


def test_the_result_is_what_no_other_step_needed_in_the_plans_order(stage):
    ends = plan(step("last"), step("first"), step("middle", "first"))
    played = stage.invoke(orchestrated(planner(), executor()), models(ends, executor=echo()))
    own = played.results["orchestrated"]
    assert (own.role, own.content) == ("orchestrated", joined("last", "middle"))
    assert own.data == ends
    assert played.values["plan"] == ends


def test_what_comes_after_sees_the_orchestrations_result_alone(stage):
    writer = ScriptedChatModel(answers=["done"])
    graph = sequential(orchestrated(planner(), executor(), name="phase"), creative("write"))
    stage.invoke(graph, models(plan(step("a"), step("b")), executor=echo(), creative=writer))
    (asked,) = writer.requests
    made = f'<result from="phase">\n{joined("a", "b")}\n</result>'
    assert made in asked.messages[-1].text
    assert "From phase/" not in asked.messages[-1].text


@pytest.mark.parametrize(
    ("first", "complaint"),
    [
        (plan(), "the plan has no steps"),
        (plan(step("a", "b"), step("b", "a")), "wait for one another"),
        (plan(step("a", "a")), "the steps a -> a wait for one another"),
        (plan(step("a", "z")), "step 'a' depends on 'z', which is no step"),
        (plan(step("a"), step("a")), "2 steps have the id 'a'"),
        (plan(step(" ")), "a step has an empty id"),
        (plan(step("a/b"), step("a:b")), "2 steps have the id 'a-b'"),
        (plan(step("a", agent="creative")), "'creative', there is only executor"),
        (plan(step("a"), step("b"), step("c")), "the plan has 3 steps, at most 2 are allowed"),
    ],
)
async def test_a_plan_that_cannot_be_followed_is_repaired_once(stage, first, complaint):
    graph = sequential(orchestrated(planner(), executor(), max_steps=2, name="phase"))
    good = plan(step("a"))
    for awaits in (False, True):
        given = models(first, good)
        played = await stage.ainvoke(graph, given) if awaits else stage.invoke(graph, given)
        paid = [("phase/planner", "planner", 1)] * 2 + [("phase/work/a", "executor", 1)]
        assert played.places == paid
        assert played.values["plan"] == good
        again = given.chat(given.requests[0], Context()).requests[1].messages[-1].text
        assert "<earlier_version>" in again
        assert "<feedback>\nThis plan cannot be followed." in again
        assert complaint in again


@pytest.mark.parametrize(
    ("second", "followed", "note"),
    [
        (
            plan(step("a", "z"), step("b", "a", "z")),
            {"a": [], "b": ["a"]},
            "step 'a' depends on 'z', which is no step: that is left out",
        ),
        (plan(step("a", "a")), {"a": []}, "depends on 'a', which waits for it"),
        (
            plan(step("a", "c"), step("b", "a"), step("c", "b")),
            {"a": [], "b": ["a"], "c": ["b"]},
            "step 'a' depends on 'c', which waits for it",
        ),
        (plan(step("a"), step("a"), step("", "a")), {"a": [], "a_2": [], "s3": ["a"]}, "'a_2'"),
        (plan(step("a", agent="nobody")), {"a": []}, "'nobody', which is no worker: executor does"),
        (
            plan(*(step(f"s{n}", *([f"s{n - 1}"] if n else [])) for n in range(5))),
            {"s0": [], "s1": ["s0"], "s2": ["s1"]},
            "of 5 steps only the first 3 are done",
        ),
        (plan(), {"s1": []}, "the plan has no steps: executor does the whole task"),
    ],
)
def test_of_a_second_plan_that_cannot_be_followed_the_rest_is_left_out_with_a_warning(
    stage, caplog, second, followed, note
):
    graph = sequential(orchestrated(planner(), executor(), max_steps=3, name="phase"))
    first = plan(step("a", "missing"))
    played = stage.invoke(graph, models(first, second))
    assert {one.id: one.depends_on for one in played.values["plan"].steps} == followed
    assert played.results["phase/planner"].data == played.values["plan"]
    done = {path.rpartition("/")[2] for path in played.results if "/work/" in path}
    assert done == set(followed)
    assert note in caplog.text
    assert "phase/planner: " in caplog.text


def test_everything_that_is_wrong_is_reported_at_once(stage):
    wrong = plan(step("a", "x", agent="creative"), step("a"))
    given = models(wrong, plan(step("a")))
    stage.invoke(orchestrated(planner(), executor()), given)
    again = given.chat(given.requests[0], Context()).requests[1].messages[-1].text
    assert re.search(r"2 steps have the id 'a'; .*'creative'.*; .*'x'", again)


def test_the_loop_around_keeps_its_say_when_a_plan_is_repaired(stage):
    good, bad = plan(step("a")), plan(step("a", "z"))
    verdicts = [
        Verdict(passed=False, score=0.1, feedback="Be brief."),
        Verdict(passed=True, score=1, feedback=""),
    ]
    given = models(good, bad, good, validator=ScriptedChatModel(answers=verdicts))
    loop = iterative(orchestrated(planner(), executor()), validator())
    played = stage.invoke(loop, given)
    assert played.results["iterative"].data.stop_reason == "passed"
    last = given.chat(given.requests[0], Context()).requests[2].messages[-1].text
    assert "Be brief.\n\nThis plan cannot be followed." in last


@pytest.mark.parametrize("silent", [lambda state: {}, lambda state: "no plan", lambda state: None])
def test_a_planner_without_a_plan_is_a_failure(stage, silent):
    with pytest.raises(StepFailed, match="there is no plan"):
        stage.invoke(orchestrated(silent, executor()))


def test_an_earlier_plan_does_not_replace_a_missing_one(stage):
    graph = sequential(planner("first"), orchestrated(sequential(lambda state: "x"), executor()))
    with pytest.raises(StepFailed, match="there is no plan"):
        stage.invoke(graph, models(plan(step("a"))))


def test_ids_that_would_break_the_node_path_are_tidied_wherever_they_are_named(stage):
    odd = plan(step("a/1"), step("b|2", "a/1"), step("1", "b|2"))
    played = stage.invoke(orchestrated(planner(), executor()), models(odd))
    assert [place[0] for place in played.places] == ["planner", "work/1", "work/a-1", "work/b-2"]
    assert [one.id for one in played.values["plan"].steps] == ["a-1", "b-2", "1"]


def test_an_id_that_is_a_page_of_text_or_signs_alone_becomes_a_short_one(stage):
    odd = plan(step("}]}\n```" + "a long story " * 20), step("}]}", "}]}"), step("end", "}]}"))
    played = stage.invoke(orchestrated(planner(), executor()), models(odd, odd))
    assert [one.id for one in played.values["plan"].steps] == ["s1", "s2", "end"]
    assert played.values["plan"].steps[2].depends_on == ["s2"]


def test_a_function_may_plan(stage):
    graph = orchestrated(lambda state: {"plan": plan(step("a"))}, executor("worker"))
    assert stage.invoke(graph).places == [("work/a", "executor", 1)]


@pytest.mark.parametrize("wrote", ["facts", "Facts ", "executor"])
def test_a_step_may_name_its_worker_in_other_letters_or_by_a_role_that_only_one_has(stage, wrote):
    graph = orchestrated(planner(), executor("facts"), creative("text"))
    played = stage.invoke(graph, models(plan(step("a", agent=wrote))))
    assert played.values["plan"].steps[0].agent == "facts"


@pytest.mark.parametrize("nothing", ["none", "None", "", " "])
def test_a_step_that_depends_on_none_depends_on_nothing(stage, nothing):
    played = stage.invoke(orchestrated(planner(), executor()), models(plan(step("a", nothing))))
    assert played.values["plan"].steps[0].depends_on == []
    assert [place[0] for place in played.places] == ["planner", "work/a"]


def test_a_graph_may_plan_and_is_asked_again_at_the_same_place(stage):
    graph = orchestrated(sequential(planner("draft"), name="thinking"), executor())
    given = models(plan(), plan(step("a")))
    places = stage.invoke(sequential(graph), given).places
    base = "orchestrated"
    assert [place[0] for place in places] == [f"{base}/thinking/draft"] * 2 + [f"{base}/work/a"]


def test_a_worker_that_is_a_graph_has_its_places_below_the_step(stage):
    refine = iterative(creative("draft"), validator("check"), max_rounds=1, name="creative")
    graph = sequential(orchestrated(planner(), refine, executor(), name="phase"))
    played = stage.invoke(graph, models(plan(step("s1"), step("s2", "s1", agent="creative"))))
    assert [place[0] for place in played.places] == [
        "phase/planner",
        "phase/work/s1",
        "phase/work/s2/check",
        "phase/work/s2/draft",
    ]
    assert played.results["phase"].content == played.results["phase/work/s2/draft"].content
    assert "verdict" not in played.values


def test_two_steps_of_the_same_graph_do_not_mix(stage):
    worker = sequential(lambda state: state["task"], name="executor")
    played = stage.invoke(orchestrated(planner(), worker), models(plan(step("a"), step("b"))))
    assert played.contents["orchestrated"] == joined("a", "b")


async def test_an_orchestration_can_be_a_step_of_another(stage):
    inner = orchestrated(planner(), executor(), name="executor")
    graph = orchestrated(planner(), inner, name="outer")
    outer_plan, inner_plan = (
        plan(step("work"), step("end", "work")),
        plan(step("a"), step("b", "a")),
    )
    for awaits in (False, True):
        given = models(outer_plan, inner_plan, inner_plan, executor=echo())
        played = await stage.ainvoke(graph, given) if awaits else stage.invoke(graph, given)
        assert [place[0] for place in played.places] == [
            "planner",
            "work/end/planner",
            "work/end/work/a",
            "work/end/work/b",
            "work/work/planner",
            "work/work/work/a",
            "work/work/work/b",
        ]
        assert played.values["plan"] == outer_plan
        assert played.contents["outer"] == "Do b."


async def test_an_orchestration_works_in_parallel_in_a_loop_and_in_a_users_own_graph(stage):
    phase = orchestrated(planner(), executor(), name="phase")
    verdicts = [
        Verdict(passed=False, score=0.1, feedback="More."),
        Verdict(passed=True, score=1, feedback=""),
    ]
    builder = StateGraph(State)
    builder.add_node(
        "write", iterative(parallel(phase, creative("aside")), validator(), name="refine")
    )
    builder.add_edge(START, "write")
    graph = builder.compile()
    for awaits in (False, True):
        given = models(
            plan(step("a"), step("b", "a")),
            plan(step("b"), step("a", "b")),
            validator=ScriptedChatModel(answers=verdicts),
            executor=echo(),
        )
        played = await stage.ainvoke(graph, given) if awaits else stage.invoke(graph, given)
        steps = [place[::2] for place in played.places if "work" in place[0]]
        assert steps == [(f"write/parallel/phase/work/{s}", r) for s in "ab" for r in (1, 2)]
        assert played.results["write/parallel/phase"].content == "Do a."
        assert played.results["write/parallel/phase"].round == 2


def test_a_failing_step_fails_the_whole(stage):
    def work(state):
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        stage.invoke(
            orchestrated(planner(), called("executor", work)),
            models(plan(step("a"), step("b", "a"))),
        )


def test_a_second_run_on_a_thread_starts_with_a_new_plan():
    graph = orchestrated(planner(), executor())
    graph.checkpointer = InMemorySaver()
    config = {"configurable": {"thread_id": "t"}}
    given = models(plan(step("a"), step("b", "a")), plan(step("b")), executor=echo())
    for _ in range(2):
        values = graph.invoke({"task": "Again."}, config, context=Context(models=given))
    assert values["results"]["orchestrated"].content == "Do b."
    assert values["results"]["work/b"].order > values["results"]["work/a"].order


def test_a_new_result_wins_over_one_of_a_plan_that_was_given_up(stage):
    answers = iter(["one", "old", "new"])
    fails = iter([False, False, True, False])

    def work(state):
        if next(fails):
            raise ValueError("lost")
        return next(answers)

    graph = orchestrated(planner(), called("executor", work))
    graph.checkpointer = InMemorySaver()
    config = {"configurable": {"thread_id": "t"}}
    context = Context(
        models=models(plan(step("a"), step("b", "a"), step("c", "b")), plan(step("b")))
    )
    with pytest.raises(ValueError, match="lost"):
        graph.invoke({"task": "Try."}, config, context=context)
    values = graph.invoke({"task": "Try again."}, config, context=context)
    assert values["results"]["orchestrated"].content == "new"


@pytest.mark.parametrize("awaits", [True, False])
async def test_a_step_may_ask_a_question_and_go_on_with_the_answer(awaits):
    def work(state):
        return interrupt(f"May I? {state['task']}") if "b" in state["task"] else state["task"]

    graph = orchestrated(planner(), sequential(called("executor", work), name="executor"))
    graph.checkpointer = InMemorySaver()
    config = {"configurable": {"thread_id": "t"}}
    given = models(plan(step("a"), step("b"), step("c", "b")))
    context = Context(models=given)

    async def go(entry):
        if awaits:
            return await graph.ainvoke(entry, config, context=context)
        return graph.invoke(entry, config, context=context)

    asked = await go({"task": "Try."})
    assert [one.value for one in asked["__interrupt__"]] == ["May I? Do b."]
    values = await go(Command(resume="Yes, b."))
    assert values["results"]["work/b/executor"].content == "Yes, b."
    assert values["results"]["orchestrated"].content == joined("a", "c")
    assert [one.role for one in given.requests] == ["planner"]


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (lambda: orchestrated(planner()), "orchestrated needs at least one worker"),
        (
            lambda: orchestrated(planner(), executor(), max_steps=0),
            "max_steps must be at least 1, not 0",
        ),
        (
            lambda: orchestrated(planner(), executor("a"), workers={"a": creative()}),
            "two workers called 'a'",
        ),
        (lambda: orchestrated(planner(), executor("a"), executor("a")), "two nodes called 'a'"),
        (lambda: orchestrated(planner(), workers={"a/b": executor()}), "'a/b' is not a valid name"),
        (lambda: orchestrated(planner(), workers=["a"]), "'a' cannot be a node"),
        (lambda: orchestrated(planner("work"), executor()), "two nodes called 'work'"),
        (lambda: orchestrated("planner", executor()), "'planner' cannot be a node"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_built(make, wrong):
    with pytest.raises(UserError, match=wrong):
        make()


def test_the_requests_of_an_orchestration_are_known_without_running_it():
    worker = sequential(creative("draft"), validator(), name="creative")
    graph = sequential(orchestrated(planner(), worker, executor()))
    found = [one.role for one in requests(graph)]
    assert found == ["planner", "creative", "validator", "executor"]


def test_waves_hold_steps_in_the_plans_order():
    steps = plan(step("d", "b", "c"), step("c", "a"), step("b", "a"), step("a"), step("x"))
    assert [[one.id for one in wave] for wave in waves(steps)] == [["a", "x"], ["c", "b"], ["d"]]


def test_a_run_can_be_rehearsed(tmp_path):
    graph = orchestrated(planner(), executor(), creative())
    result = run(graph, "Pumps move heat. They need power.", rehearse=True, ledger=tmp_path / "l")
    assert result.status == "completed"
    assert [node.node_path for node in result.nodes] == [
        "planner",
        "work/s1",
        "work/s2",
        "work/s3",
    ]
    assert result.output == result.results["orchestrated"].content


def search(query: str) -> str:
    """Searches {the} library.

    Not for the planner.
    """
    return query


def tidy(state):
    """Sorts what was found."""
    return "tidy"


def team():
    draft = sequential(creative("draft"), validator("check"), name="drafting")
    listed = [
        executor("facts", description="Finds facts about {task}.", tools=[search]),
        executor("numbers", instructions="You count."),
        validator("judge", criteria="it is true"),
        tidy,
        draft,
    ]
    return orchestrated(planner(description="Plan it."), workers=listed, name="phase")


def test_the_planner_is_told_each_workers_name_purpose_and_tools_and_may_name_only_those(stage):
    model = ScriptedChatModel(answers=[plan(step("a", agent="numbers"))])
    stage.invoke(team(), GivenModels(SchemaChatModel(), roles={"planner": model}))
    (asked,) = model.requests
    told = asked.messages[-1].text
    assert told.index("Plan it.") < told.index("- facts: ")
    for line in (
        "- facts: Finds facts about Heat pumps move heat.. Tools: search (Searches (the) library. Not for the planner).",
        "- numbers: Finds, checks or works something out.",
        "Criteria: - it is true\n- tidy: ",
        "- tidy: Sorts what was found.",
        "- drafting: Does: draft, check.",
    ):
        assert line in told
    assert str(["facts", "numbers", "judge", "tidy", "drafting"]) in str(asked.options)


def test_two_graphs_have_schemas_of_their_own(stage):
    asked = []
    for name in ("one", "two"):
        model = ScriptedChatModel(answers=[plan(step("a", agent=name))])
        graph = orchestrated(planner(), workers={name: executor()})
        stage.invoke(graph, GivenModels(SchemaChatModel(), roles={"planner": model}))
        asked.append(str(model.requests[0].options))
    assert "['one']" in asked[0]
    assert "['two']" in asked[1]


def test_a_mapping_names_workers_and_may_say_what_they_are_for(stage):
    model = ScriptedChatModel(answers=[plan(step("a", agent="x"), step("b", "a", agent="y"))])
    graph = orchestrated(planner(), workers={"x": ("looks up", executor("own")), "y": tidy})
    played = stage.invoke(graph, GivenModels(SchemaChatModel(), roles={"planner": model}))
    assert "- x: looks up\n- y: Sorts what was found." in model.requests[0].messages[-1].text
    assert played.contents["orchestrated"] == "tidy"


def test_a_worker_keeps_its_instructions_and_its_description(stage):
    model = echo()
    steps = plan(step("a", agent="facts"), step("b", "a", agent="numbers"))
    stage.invoke(team(), models(steps, executor=model))
    facts, numbers = sorted(model.requests, key=lambda one: "Do b." in str(one.messages))
    assert "Finds facts about Heat pumps move heat..\n\nDo a." in facts.messages[-1].text
    assert "You count." in str(numbers.messages[0].content)
    assert "search" in str(facts.options["tools"])


def test_a_step_sees_the_plan_and_which_step_it_is(stage):
    model = echo()
    seen = {}

    def tells(state):
        seen.update(state)
        return "told"

    steps = plan(step("a"), step("b", "a", agent="tells"))
    stage.invoke(orchestrated(planner(), executor(), tells), models(steps, executor=model))
    (asked,) = model.requests
    text = "The plan, of which this is step a:\n- a (executor): Do a.\n- b (tells, after a): Do b."
    assert text in asked.messages[-1].text
    assert seen["plan"] == steps
    assert seen["task"] == "Do b."
    assert "The whole task: Heat pumps move heat." in seen["results"]["planner"].content


def test_what_a_validator_finds_in_a_step_is_read_by_the_steps_that_need_it(stage):
    model = echo()
    steps = plan(step("a", agent="judge"), step("b", "a", agent="facts"))
    played = stage.invoke(team(), models(steps, executor=model))
    assert 'from="work/a"' in model.requests[0].messages[-1].text
    assert played.results["work/a"].role == "step"


def test_the_picture_shows_the_workers():
    topology = read(team())
    workers = [(one.label, one.kind) for one in topology.nodes if one.parent == "work"]
    assert workers == [
        ("facts", "executor"),
        ("numbers", "executor"),
        ("judge", "validator"),
        ("tidy", "function"),
        ("drafting", "graph"),
    ]
    assert next(one.tools for one in topology.nodes if one.label == "facts") == ("search",)
    assert {(one.source, one.target) for one in topology.edges} >= {
        ("planner", "work|facts"),
        ("work|facts", "collect"),
        ("collect", "work|tidy"),
    }


def test_a_run_shows_at_a_worker_what_only_that_worker_can_have_done(tmp_path):
    graph = orchestrated(planner(), executor("facts"), creative("text"), creative("title"))
    topology = read(graph)
    with Ledger(tmp_path / "ledger.db") as ledger:
        result = run(graph, "Pumps move heat.", rehearse=True, ledger=ledger)
        found = figures(traces(ledger, [result.run_id]), topology)
    assert found.nodes["work|facts"].calls > 0
    assert "work|text" not in found.nodes
    assert "not_run" not in found.nodes["work"].badges
    assert ("work|facts", "collect") in found.taken
