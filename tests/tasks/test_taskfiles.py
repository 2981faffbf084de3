"""A task file makes the graph that the same words make in Python."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import pytest
import yaml

from aideon_agents import (
    Context,
    creative,
    executor,
    iterative,
    parallel,
    planner,
    sequential,
    validator,
)
from aideon_agents.drawing.text import text
from aideon_agents.graphs.topology import read
from aideon_agents.graphs.walk import specs
from aideon_agents.patterns import conditional, orchestrated
from aideon_agents.tasks import load, ready_made
from aideon_agents.testing import GivenModels, SchemaChatModel

CONTRACT = """
name: brief
type: sequential                      # sequential | parallel | conditional | iterative | ...
steps:
  - {agent: planner, description: "Plan a one-page brief on {task}", complexity: high}
  - type: parallel
    name: gather
    branches:
      - {agent: executor, name: facts, description: "Collect the facts", complexity: low}
      - {agent: creative, name: angle, description: "Find the angle", complexity: medium}
  - type: conditional
    question: "Do the facts support the angle?"       # asked of the validator
    branches: {"yes": [{agent: creative, name: write, description: "Write it"}],
               "no":  [{agent: executor, name: recheck, description: "Say what is missing"}]}
    default: "no"
  - type: iterative
    step: {agent: creative, name: polish, description: "Improve the text"}
    criteria: "under 300 words; every claim is backed by a fact above"
    max_rounds: 3
    pass_score: 0.8
"""

SAME_IN_PYTHON = sequential(
    planner(description="Plan a one-page brief on {task}", complexity="high"),
    parallel(
        executor("facts", description="Collect the facts", complexity="low"),
        creative("angle", description="Find the angle", complexity="medium"),
        name="gather",
    ),
    conditional(
        validator(question="Do the facts support the angle?"),
        {
            "yes": sequential(creative("write", description="Write it"), name="yes"),
            "no": sequential(executor("recheck", description="Say what is missing"), name="no"),
        },
        default="no",
    ),
    iterative(
        creative("polish", description="Improve the text"),
        validator(criteria="under 300 words; every claim is backed by a fact above"),
        max_rounds=3,
        pass_score=0.8,
    ),
    name="brief",
)


def drawn(graph: Any) -> str:
    return text(read(graph, None))


def agents_of(graph: Any) -> list[dict[str, Any]]:
    """The options of each agent, without what differs between two equal agents."""
    return [
        {
            field.name: getattr(spec, field.name)
            for field in dataclasses.fields(spec)
            if field.name not in {"output", "write", "system"}
        }
        for spec in specs(graph)
    ]


def one(write, document: dict[str, Any] | str, name: str = "flow.yaml") -> Any:
    """The graph of one document."""
    source = document if isinstance(document, str) else json.dumps(document)
    write(name, source)
    return load(name).graph


def test_the_example_of_the_contract_is_the_same_graph_in_python(write):
    graph = one(write, CONTRACT)
    assert drawn(graph) == drawn(SAME_IN_PYTHON)
    assert agents_of(graph) == agents_of(SAME_IN_PYTHON)


def test_the_example_of_the_contract_runs_to_its_end(write):
    context = Context(models=GivenModels(SchemaChatModel()))
    done = one(write, CONTRACT).invoke({"task": "Heat pumps move heat."}, context=context)
    assert {"planner", "gather/facts", "iterative/polish", "iterative"} <= done["results"].keys()
    assert {"conditional/yes/write", "conditional/no/recheck"} & done["results"].keys()


@pytest.mark.parametrize("name", ["flow.json", "flow.yaml", "flow.yml"])
def test_json_and_yaml_say_the_same(write, name):
    write(name, json.dumps(yaml.safe_load(CONTRACT)))
    target = load(name)
    assert target.name == "brief"
    assert drawn(target.graph) == drawn(SAME_IN_PYTHON)
    assert agents_of(target.graph) == agents_of(SAME_IN_PYTHON)


def test_a_file_without_a_name_lends_its_own(write):
    write("flows/short.yaml", "agent: creative")
    target = load("flows/short.yaml")
    assert (target.name, target.graph.get_name()) == ("short", "short")
    assert target.content_hash == hashlib.sha256(b"agent: creative").hexdigest()


def test_a_task_file_among_the_workflows_is_found_by_its_name(write):
    write("workflows/short.yaml", "agent: creative")
    assert ready_made()["short"].suffix == ".yaml"
    assert load("short").name == "short"


def test_of_a_python_and_a_task_file_of_one_name_the_python_one_is_meant(write):
    write("workflows/short.yaml", "agent: creative")
    write("workflows/short.py", "from aideon_agents import executor as graph\n")
    assert ready_made()["short"].suffix == ".py"


def test_a_task_file_may_be_one_agent(write):
    (agent,) = agents_of(
        one(write, {"agent": "creative", "name": "draft", "description": "Write it"})
    )
    assert (agent["role"], agent["name"], agent["description"]) == ("creative", "draft", "Write it")


EVERY_KEY = {
    "type": "agent",
    "agent": "executor",
    "name": "facts",
    "description": "Collect the facts",
    "instructions": "You are exact.",
    "complexity": "low",
    "model": ["together:a/b", "openai:gpt-4o-mini"],
    "timeout": 20.5,
    "max_tokens": 100,
    "temperature": 0,
    "purpose": "research",
    "approve": True,
    "on_decline": "stop",
}


@pytest.mark.parametrize("name", ["flow.yaml", "flow.json"])
def test_every_key_of_a_step_reaches_its_agent(write, name):
    options: Any = {
        key: value for key, value in EVERY_KEY.items() if key not in {"type", "agent", "name"}
    }
    made = one(write, EVERY_KEY, name)
    same = sequential(executor("facts", **options), name="facts")
    assert agents_of(made) == agents_of(same)
    assert text(read(made)) == text(read(same))


def test_only_a_step_that_says_so_is_followed_by_an_approval(write):
    source = (
        "type: parallel\nbranches:\n- {agent: creative, name: a, approve: true}\n"
        "- {agent: creative, name: b, approve: no}\n- {agent: creative, name: c}\n"
    )
    drawn = read(one(write, source))
    assert [node.path for node in drawn.nodes if node.label == "approval"] == ["a/approval"]


def test_one_model_is_a_chain_of_one(write):
    (agent,) = specs(one(write, "agent: planner\nmodel: openai:gpt-4o-mini\n"))
    assert agent.request.model == ("openai:gpt-4o-mini",)


def test_a_key_without_a_value_is_one_that_was_left_out(write):
    (agent,) = agents_of(one(write, "agent: planner\nname:\ndescription: ~\nmodel: null\n"))
    assert agent == agents_of(sequential(planner()))[0]


def test_a_pattern_says_how_hard_the_steps_are_that_do_not(write):
    source = (
        "type: sequential\ncomplexity: high\nsteps:\n- agent: planner\n"
        "- {agent: executor, complexity: low}\n"
        "- {type: parallel, complexity: medium, branches: [{agent: creative}]}\n"
        "- {type: parallel, branches: [{agent: creative}]}\n"
    )
    graph = one(write, source)
    assert [spec.request.complexity for spec in specs(graph)] == ["high", "low", "medium", "high"]


@pytest.mark.parametrize("name", ["yes", "no", "on", "off", "true", "False", "null", "12", "1.10"])
def test_a_route_is_called_as_it_is_written(write, name):
    source = (
        f"type: conditional\nwhen: mode\nbranches:\n  {name}: {{agent: creative}}\n"
        f"  other: {{agent: executor}}\ndefault: {'other' if name == 'null' else name}\n"
    )
    graph = one(write, source)
    assert {name, "other"} <= set(graph.builder.nodes)


@pytest.mark.parametrize(
    ("mode", "takes"), [("yes", {"route/yes"}), ("no", {"route/no/a", "route/no/creative"})]
)
def test_an_input_chooses_the_route(write, mode, takes):
    source = (
        "type: sequential\nsteps:\n- type: conditional\n  name: route\n  when: mode\n"
        "  branches:\n    yes: {agent: executor}\n"
        "    no: [{agent: executor, name: a}, {agent: creative}]\n"
    )
    context = Context(models=GivenModels(SchemaChatModel()))
    entry = {"task": "x", "inputs": {"mode": mode}}
    results = one(write, source).invoke(entry, context=context)["results"]
    assert takes == {path for path in results if path.startswith("route/") and "when" not in path}


def test_a_step_of_a_route_keeps_its_name(write):
    source = "type: conditional\nwhen: mode\nbranches: {yes: {agent: creative, name: write}}\n"
    graph = one(write, source)
    assert drawn(graph) == drawn(
        conditional(
            "mode", {"yes": sequential(creative("write"), name="yes")}, name="flow"
        )
    )  # fmt: skip


def test_parallel_receives_its_limits(write):
    source = (
        "type: parallel\nmax_concurrency: 2\non_failure: keep\n"
        "branches: [{agent: executor, name: a}, {agent: executor, name: b}]\n"
    )
    expected = parallel(
        executor("a"), executor("b"), max_concurrency=2, on_failure="keep", name="flow"
    )
    assert drawn(one(write, source)) == drawn(expected)


@pytest.mark.parametrize("kind", ["type: orchestrated\n", ""])
def test_orchestrated_needs_only_a_description_and_no_type(write, kind):
    graph = one(write, f"{kind}description: Find out about {{task}}\n")
    expected = orchestrated(
        planner(description="Find out about {task}"), executor(), creative(), name="flow"
    )
    assert drawn(graph) == drawn(expected)
    assert agents_of(graph) == agents_of(expected)


def test_an_alias_has_the_value_of_its_anchor(write):
    source = "type: parallel\nbranches:\n- &one {agent: executor, complexity: low}\n- *one\n"
    assert [spec.request.complexity for spec in specs(one(write, source))] == ["low", "low"]


def test_a_byte_order_mark_before_a_task_file_does_no_harm(write):
    write("flow.yaml", "agent: creative".encode("utf-8-sig"))
    assert load("flow.yaml").name == "flow"
