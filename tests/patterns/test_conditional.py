"""One of several ways: who decides, where it leads, and what is no way at all."""

from __future__ import annotations

import pytest
from langgraph.graph import START, StateGraph

from aideon_agents import (
    State,
    conditional,
    creative,
    executor,
    iterative,
    parallel,
    planner,
    run,
    sequential,
    validator,
)
from aideon_agents.errors import InputError, StepFailed, UserError
from aideon_agents.graphs.walk import requests
from aideon_agents.state import Decision, Verdict
from aideon_agents.testing import GivenModels, SchemaChatModel, ScriptedChatModel

ANY = SchemaChatModel()


def deciding(*routes):
    """Models whose validator decides for these routes, in order."""
    answers = [Decision(route=route, reason="It is so.") for route in routes]
    model = ScriptedChatModel(answers=answers)
    return GivenModels(ANY, roles={"validator": model}), model


def writing(text):
    return lambda state: text


def ways():
    return {"yes": writing("went on"), "no": writing("went back"), "later": writing("waited")}


@pytest.mark.parametrize("route", ["yes", "no", "later"])
async def test_an_agent_decides_for_any_of_the_routes(stage, route):
    graph = conditional(validator(question="Is it good?"), ways())
    for played in (
        stage.invoke(graph, deciding(route)[0]),
        await stage.ainvoke(graph, deciding(route)[0]),
    ):
        assert played.values["route"] == route
        assert [*played.results] == ["validator", route]
        assert played.results["validator"].data.route == route
        assert played.places == [("validator", "validator", 1)]


def test_the_agent_is_asked_its_question_with_the_routes_to_choose_from(stage):
    models, model = deciding("no")
    stage.invoke(conditional(validator("gate", question="Is it good?"), ways()), models)
    (asked,) = model.requests
    assert "Is it good?" in asked.messages[-1].text
    assert "Routes:\n- yes\n- no\n- later" in asked.messages[-1].text


def test_every_agent_can_decide(stage):
    played = stage.invoke(conditional(planner("triage"), {"a": creative(), "b": executor()}))
    assert played.values["route"] == "a"
    assert played.places == [("a", "creative", 1), ("triage", "planner", 1)]


def is_long(state):
    return len(state["task"]) > 10


async def is_long_later(state):
    return is_long(state)


def size(state):
    return "long" if is_long(state) else "short"


@pytest.mark.parametrize(
    ("condition", "task", "route"),
    [
        (is_long, "A long enough task.", "yes"),
        (is_long, "Short.", "no"),
        (is_long_later, "A long enough task.", "yes"),
        (lambda state: "later", "Short.", "later"),
    ],
)
async def test_a_function_decides(stage, condition, task, route):
    graph = conditional(condition, ways())
    for played in (stage.invoke(graph, task=task), await stage.ainvoke(graph, task=task)):
        assert (played.values["route"], [*played.results]) == (route, [route])


def test_a_function_may_name_routes_of_its_own(stage):
    graph = conditional(size, {"long": writing("cut"), "short": writing("kept")})
    assert stage.invoke(graph, task="Short.").contents == {"short": "kept"}


@pytest.mark.parametrize(
    ("value", "route"), [("later", "later"), (True, "yes"), (False, "no"), ("no", "no")]
)
def test_an_input_decides_by_its_value(stage, value, route):
    played = stage.invoke(conditional("urgent", ways()), inputs={"urgent": value})
    assert (played.values["route"], [*played.results]) == (route, [route])


def test_an_input_that_is_a_number_decides_as_its_text(stage):
    graph = conditional("grade", {"1": writing("well done"), "2": writing("try again")})
    assert stage.invoke(graph, inputs={"grade": 1}).contents == {"1": "well done"}


def test_what_is_no_route_leads_to_the_default(stage):
    graph = conditional(validator(), ways(), default="later")
    played = stage.invoke(graph, deciding("perhaps")[0])
    assert (played.values["route"], played.contents["later"]) == ("later", "waited")


@pytest.mark.parametrize("condition", ["urgent", lambda state: None, lambda state: "perhaps"])
def test_a_default_is_for_whatever_decides(stage, condition):
    played = stage.invoke(conditional(condition, ways(), default="no"))
    assert (played.values["route"], [*played.results]) == ("no", ["no"])


@pytest.mark.parametrize("condition", [validator(), lambda state: "perhaps"])
async def test_without_a_default_what_is_no_route_is_an_error_that_names_them(stage, condition):
    graph = conditional(condition, ways(), name="gate")
    wrong = "gate: unknown route 'perhaps', the routes are yes, no, later"
    with pytest.raises(StepFailed, match=wrong):
        stage.invoke(graph, deciding("perhaps")[0])
    with pytest.raises(StepFailed, match=wrong):
        await stage.ainvoke(graph, deciding("perhaps")[0])


def test_true_is_no_route_where_no_branch_is_called_yes(stage):
    with pytest.raises(StepFailed, match="unknown route 'yes', the routes are long"):
        stage.invoke(conditional(lambda state: True, {"long": creative()}))


@pytest.mark.parametrize(
    ("inputs", "wrong"),
    [
        ({}, "the input 'urgent' is missing: give one of yes, no, later with -p urgent=ROUTE"),
        ({"urgent": "perhaps"}, "the input 'urgent' is 'perhaps', which is not a route"),
    ],
)
def test_an_input_that_names_no_route_is_the_callers_mistake(stage, inputs, wrong):
    with pytest.raises(InputError, match=wrong):
        stage.invoke(conditional("urgent", ways()), inputs=inputs)


def test_only_the_branch_taken_is_paid(stage):
    branches = {"yes": creative("write"), "no": sequential(executor("check"), creative("fix"))}
    played = stage.invoke(conditional(lambda state: False, branches))
    assert played.places == [("no/check", "executor", 1), ("no/fix", "creative", 1)]


def test_the_decision_of_a_function_is_no_result_for_others_to_read(stage):
    model = ScriptedChatModel(answers=[Verdict(passed=True, score=1, feedback="")])
    graph = sequential(lambda state: "text", conditional(is_long, {"yes": validator("check")}))
    stage.invoke(graph, GivenModels(model))
    assert '<result from="lambda">\ntext' in model.requests[0].messages[-1].text
    assert "From is_long" not in model.requests[0].messages[-1].text


def test_a_conditional_works_at_every_depth(stage):
    inner = conditional(lambda state: "b", {"a": creative(), "b": creative()}, name="inner")
    middle = conditional("deeper", {"yes": inner, "no": executor()}, name="middle")
    graph = sequential(parallel(middle, executor("aside")), name="outer")
    played = stage.invoke(graph, inputs={"deeper": True})
    assert played.places == [
        ("parallel/aside", "executor", 1),
        ("parallel/middle/yes/b", "creative", 1),
    ]


def test_in_a_loop_each_round_decides_anew(stage):
    rounds = iter(["a", "b"])
    step = conditional(lambda state: next(rounds), {"a": creative("x"), "b": creative("y")})
    verdicts = [
        Verdict(passed=False, score=0.1, feedback="More."),
        Verdict(passed=True, score=1, feedback=""),
    ]
    models = GivenModels(ANY, roles={"validator": ScriptedChatModel(answers=verdicts)})
    played = stage.invoke(iterative(step, validator()), models)
    assert [place[::2] for place in played.places if place[1] == "creative"] == [
        ("conditional/a", 1),
        ("conditional/b", 2),
    ]


async def test_a_conditional_is_a_node_of_a_users_own_graph(stage):
    builder = StateGraph(State)
    builder.add_node("choose", conditional(validator(), {"yes": creative(), "no": executor()}))
    builder.add_edge(START, "choose")
    graph = builder.compile()
    for played in (stage.invoke(graph), await stage.ainvoke(graph)):
        assert played.values["route"] == "yes"
        assert [place[0] for place in played.places] == ["choose/validator", "choose/yes"]


def test_a_decision_is_named_apart_from_a_route_called_like_its_role(stage):
    graph = conditional(planner(), {"planner": creative(), "other": executor()})
    assert [*graph.builder.nodes] == ["planner_2", "planner", "other"]
    with pytest.raises(UserError, match=r"two nodes called 'gate', one of its own and number 1"):
        conditional(validator("gate"), {"gate": creative()})


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ((validator(), {}), "at least one branch"),
        ((validator(), {"a/b": creative()}), "is not a valid route name"),
        ((validator(), {"": creative()}), "is not a valid route name"),
        (("a:b", {"a": creative()}), "is not a valid node name"),
        ((sequential(validator()), {"a": creative()}), "an agent, a function of the state, or"),
        ((7, {"a": creative()}), "7 cannot be the condition"),
        ((validator(), {"a": "creative"}), "'creative' cannot be a node"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_built(arguments, wrong):
    with pytest.raises(UserError, match=wrong):
        conditional(*arguments)


def test_a_default_that_is_no_branch_is_refused_when_it_is_built():
    with pytest.raises(UserError, match="the default 'maybe' is not a branch: use yes, no, later"):
        conditional(validator(), ways(), default="maybe")


def test_the_requests_of_a_conditional_are_known_without_running_it():
    graph = conditional(
        validator(complexity="high"), {"a": creative(), "b": sequential(executor(), planner())}
    )
    assert [(one.role, one.complexity) for one in requests(graph)] == [
        ("validator", "high"),
        ("creative", None),
        ("executor", None),
        ("planner", None),
    ]


def test_a_run_can_be_rehearsed(tmp_path):
    graph = conditional(validator(question="Good?"), {"yes": creative("write"), "no": executor()})
    result = run(graph, "Heat pumps move heat.", rehearse=True, ledger=tmp_path / "l.db")
    assert result.status == "completed"
    assert [node.node_path for node in result.nodes] == ["validator", "yes"]
