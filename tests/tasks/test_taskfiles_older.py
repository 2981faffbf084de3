"""Task objects of the older form are read as what they meant."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aideon_agents import creative, executor, iterative, parallel, planner, sequential, validator
from aideon_agents.drawing.text import text
from aideon_agents.errors import TargetError
from aideon_agents.graphs.topology import read
from aideon_agents.graphs.walk import specs
from aideon_agents.patterns import conditional
from aideon_agents.tasks import load


def agents_of(graph: Any) -> list[tuple[Any, ...]]:
    return [(spec.name, spec.role, spec.description, spec.request) for spec in specs(graph)]


CASES = {
    "sequential": (
        {
            "type": "sequential",
            "complexity": "medium",
            "steps": [
                {"description": "Plan it", "agent": "planner", "complexity": "high"},
                {"description": "Do it", "agent": "executor", "complexity": "low"},
                {"description": "Say it", "agent": "creative"},
            ],
        },
        sequential(
            planner(description="Plan it", complexity="high"),
            executor(description="Do it", complexity="low"),
            creative(description="Say it", complexity="medium"),
            name="flow",
        ),
    ),
    "parallel": (
        {
            "type": "parallel",
            "description": "Look at {task}",
            "complexity": "low",
            "agents": [{"type": "executor", "complexity": "high"}, {"type": "executor"}],
        },
        parallel(
            executor(description="Look at {task}", complexity="high"),
            executor(description="Look at {task}", complexity="low"),
            name="flow",
        ),
    ),
    "conditional": (
        {
            "type": "conditional",
            "condition": "The task is about heat",
            "trueBranch": [{"description": "Explain", "agent": "creative"}],
            "falseBranch": [{"description": "Decline", "agent": "executor"}],
        },
        conditional(
            validator(question="Is this true? The task is about heat"),
            {
                "true": sequential(creative(description="Explain"), name="true"),
                "false": sequential(executor(description="Decline"), name="false"),
            },
            name="flow",
        ),
    ),
    "iterative": (
        {
            "type": "iterative",
            "agent": "creative",
            "description": "Write",
            "criteria": "short",
            "maxIterations": 2,
        },
        iterative(
            creative(description="Write"), validator(criteria="short"), max_rounds=2, name="flow"
        ),
    ),
    "iterative without bounds": (
        {"type": "iterative", "description": "Write"},
        iterative(executor(description="Write"), validator(), name="flow"),
    ),
    "default": (
        {"agent": "planner", "description": "Plan it", "complexity": "low"},
        sequential(planner(description="Plan it", complexity="low"), name="flow"),
    ),
}


@pytest.mark.parametrize("suffix", ["json", "yaml"])
@pytest.mark.parametrize("case", CASES)
def test_an_older_task_object_is_the_graph_that_it_meant(write, case, suffix):
    older, expected = CASES[case]
    write(f"flow.{suffix}", json.dumps(older))
    graph = load(f"flow.{suffix}").graph
    assert text(read(graph, None)) == text(read(expected, None))
    assert agents_of(graph) == agents_of(expected)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ({"type": "parallel", "agents": [{"type": "executor"}]}, "1: description: this key is missing"),
        ({"type": "parallel", "description": "x", "agents": [{"typ": "executor"}]},
         "1: agents.0.typ: unknown key, did you mean type? (allowed: type, complexity)"),
        ({"type": "parallel", "agents": [], "branches": [{"agent": "executor"}]},
         "1: agents: unknown key, there are branches, "),
        ({"type": "iterative", "step": {"agent": "executor"}, "maxIterations": 3},
         "1: maxIterations: unknown key"),
        ({"type": "conditional", "condition": "x", "trueBranch": [{"agent": "executor"}]},
         "1: falseBranch: this key is missing"),
    ],
)  # fmt: skip
def test_forms_are_not_mixed(write, source, says):
    write("flow.json", json.dumps(source))
    with pytest.raises(TargetError) as caught:
        load("flow.json")
    assert str(caught.value).startswith(f"flow.json:{says}")
