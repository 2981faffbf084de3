"""The four agents: their instructions, their results, and what they request of a model."""

from __future__ import annotations

import asyncio

import pytest
from langchain_core.runnables import RunnableLambda
from pydantic import BaseModel

from aideon_agents import Context, UserError, creative, executor, planner, sequential, validator
from aideon_agents.agents.prompt_files import prompt
from aideon_agents.state import Plan, PlanStep, Verdict
from aideon_agents.testing import GivenModels, SchemaChatModel

PLAN = Plan(
    steps=[
        PlanStep(
            id="s1", description="Find facts", agent="executor", complexity="low", depends_on=[]
        ),
        PlanStep(
            id="s2", description="Write it", agent="creative", complexity="high", depends_on=["s1"]
        ),
    ]
)
PASSED = Verdict(passed=True, score=0.9, feedback="")
FACTORIES = {"planner": planner, "executor": executor, "validator": validator, "creative": creative}
ANSWERS = {"planner": PLAN, "executor": "said", "validator": PASSED, "creative": "said"}


class Facts(BaseModel):
    facts: list[str]


@pytest.fixture(params=FACTORIES)
def role(request):
    return request.param


def test_an_agent_is_called_by_its_role_and_has_its_roles_instructions(ask, role):
    answered = ask(FACTORIES[role](), ANSWERS[role])
    assert answered.system.startswith(prompt(role))
    assert prompt("rules") in answered.system
    assert answered.result.node_path == role
    assert answered.result.role == role
    assert (answered.result.round, answered.result.order) == (1, 1)


def test_every_role_has_a_prompt_of_its_own():
    assert len({prompt(role) for role in FACTORIES}) == 4


def test_instructions_are_added_to_the_roles_prompt(ask, role):
    answered = ask(FACTORIES[role]("mine", instructions="Be brief."), ANSWERS[role])
    assert answered.system.startswith(f"{prompt(role)}\n\nBe brief.\n\n")
    assert answered.result.node_path == "mine"


def test_the_planner_writes_a_plan_and_says_it_in_lines(ask):
    answered = ask(planner(), PLAN)
    assert answered.values["plan"] == PLAN
    assert answered.result.data == PLAN
    assert answered.result.content == "1. Find facts\n2. Write it"
    assert "response_format" in answered.options


@pytest.mark.parametrize(
    ("verdict", "content"),
    [
        (PASSED, "passed, score 0.9"),
        (Verdict(passed=False, score=0, feedback="Shorter."), "not passed, score 0: Shorter."),
    ],
)
def test_the_validator_writes_a_verdict_also_as_text(ask, verdict, content):
    answered = ask(validator(), verdict)
    assert answered.values["verdict"] == verdict
    assert answered.result.data == verdict
    assert answered.result.content == content


def test_the_validator_judges_by_its_criteria(ask):
    text = ask(validator(criteria="under {limit} words"), PASSED, inputs={"limit": 200}).prompt
    assert text.endswith("there is no result.\nCriteria:\n- under 200 words\n</instructions>")


def test_the_validator_without_criteria_judges_by_the_task(ask):
    text = ask(validator(description="Read it twice."), PASSED).prompt
    assert text.endswith(
        "Read it twice.\nCriteria:\n- it does what the task asks for\n</instructions>"
    )


@pytest.mark.parametrize("factory", [executor, creative])
def test_text_is_asked_for_and_given_as_text(ask, factory):
    answered = ask(factory(), "Heat moves.")
    assert answered.result.content == "Heat moves."
    assert answered.result.data is None
    assert "response_format" not in answered.options


@pytest.mark.parametrize("factory", [executor, creative])
def test_an_output_model_is_asked_for_and_given_as_data(ask, factory):
    answered = ask(factory(output=Facts), Facts(facts=["moves heat"]))
    assert answered.result.data == Facts(facts=["moves heat"])
    assert Facts.model_validate_json(answered.result.content) == answered.result.data
    asked = answered.options["response_format"]["json_schema"]["schema"]
    assert list(asked["properties"]) == ["facts"]


def test_an_agents_options_reach_the_choice_of_a_model(ask):
    agent = executor(
        complexity="high",
        purpose="research",
        model=["openai:gpt-4o-mini", "local:any"],
        max_tokens=7,
        temperature=0.5,
        timeout=9.0,
    )
    request = ask(agent).request
    assert (request.role, request.complexity, request.purpose) == ("executor", "high", "research")
    assert request.model == ("openai:gpt-4o-mini", "local:any")
    assert (request.max_tokens, request.temperature, request.timeout) == (7, 0.5, 9.0)


def test_one_model_name_is_a_chain_of_one(ask):
    assert ask(executor(model="openai:gpt-4o-mini")).request.model == ("openai:gpt-4o-mini",)


def test_the_run_replaces_a_roles_chain_and_lends_its_purpose(ask):
    context = Context(model={"executor": ("local:a",), "creative": ("local:b",)}, purpose="trial")
    request = ask(executor(model="openai:gpt-4o-mini"), context=context).request
    assert (request.model, request.purpose) == (("local:a",), "trial")


def test_an_agents_own_purpose_comes_before_the_runs(ask):
    assert ask(executor(purpose="own"), context=Context(purpose="trial")).request.purpose == "own"


def test_an_agent_can_be_asked_inside_any_runnable_of_a_graph():
    inside = RunnableLambda(lambda state: state) | creative("draft")
    context = Context(models=GivenModels(SchemaChatModel()))
    values = sequential(inside).invoke({"task": "Heat pumps."}, context=context)
    assert [one.role for one in values["results"].values()] == ["creative"]


def test_an_agent_asks_the_environments_models_when_the_run_has_none(monkeypatch):
    from aideon_agents.models import default_models

    monkeypatch.setenv("AIDEON_OFFLINE", "1")
    default_models.cache_clear()
    try:
        values = asyncio.run(sequential(creative()).ainvoke({"task": "Heat pumps move heat."}))
    finally:
        default_models.cache_clear()
    assert values["results"]["creative"].content


def test_an_agent_can_be_given_a_step_of_a_plan(ask):
    answered = ask(creative("text", complexity="low").for_step(PLAN.steps[1]))
    assert answered.prompt.endswith("<instructions>\nWrite it\n</instructions>")
    assert answered.request.complexity == "high"
    assert answered.result.node_path == "text"


def test_an_agent_can_be_asked_which_way(ask):
    agent = validator("which", question="Do the facts hold?").deciding(
        {"yes": "", "no": "one is wrong"}
    )
    answered = ask(agent, {"route": "no", "reason": "One is wrong."})
    assert answered.prompt.endswith(
        "Do the facts hold?\nRoutes:\n- yes\n- no: one is wrong\n</instructions>"
    )
    assert answered.values["route"] == "no"
    assert answered.result.content == "no: One is wrong."
    asked = answered.options["response_format"]["json_schema"]["schema"]
    assert asked["properties"]["route"]["enum"] == ["yes", "no"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_tokens": "100"}, "max_tokens must be a whole number, not '100'"),
        ({"max_tokens": 1.5}, "max_tokens must be a whole number, not 1.5"),
        ({"max_tokens": True}, "max_tokens must be a whole number, not True"),
        ({"max_tokens": None}, "max_tokens must be a whole number, not None"),
        ({"timeout": "5"}, "timeout must be a number, not '5'"),
        ({"timeout": float("nan")}, "timeout must be a number, not nan"),
        ({"temperature": "hot"}, "temperature must be a number, not 'hot'"),
        ({"max_tool_rounds": "3"}, "max_tool_rounds must be a whole number, not '3'"),
        ({"tool_timeout": "x"}, "tool_timeout must be a number, not 'x'"),
        ({"fallback": "no"}, "fallback must be True or False, not 'no'"),
        (
            {"fallback": ["no"]},
            "fallback takes a list of same_provider, other_provider, cached, not",
        ),
        ({"cache": "1"}, "cache takes an age such as 90s, 30m, 12h, 1d or 1w, not '1'"),
        ({"cache": True}, "cache takes an age such as"),
        ({"approve": "yes"}, "approve must be True or False, not 'yes'"),
    ],
)
def test_an_option_of_another_kind_is_refused_when_the_agent_is_made(options, said):
    with pytest.raises(UserError, match=f"draft: {said}"):
        executor("draft", **options)
    executor("draft", timeout=None, temperature=0, max_tokens=5)
