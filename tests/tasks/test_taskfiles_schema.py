"""The JSON Schema is one, and whatever the loader takes, it takes too."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from aideon_agents.errors import TargetError
from aideon_agents.tasks import json_schema, target
from aideon_agents.tasks.document import Document
from aideon_agents.tasks.steps import TYPES

SCHEMA = json_schema()
VALIDATOR = Draft202012Validator(SCHEMA)

EXAMPLES: list[dict[str, Any]] = list(
    yaml.safe_load_all("""
{agent: executor, name: a, description: b, instructions: c, complexity: low, timeout: 1,
 model: ["together:a/b"], max_tokens: 5, temperature: 0.5, purpose: d}
---
{type: sequential, name: a, complexity: high, steps: [{agent: planner, model: "openai:a"}]}
---
{type: parallel, max_concurrency: 2, on_failure: keep, branches: [{agent: creative}]}
---
type: conditional
question: a
default: b
branches: {b: {agent: creative}, c: [{agent: executor, tools: ["a.py:f"]}]}
---
type: iterative
criteria: a
max_rounds: 2
pass_score: 0.5
step:
  type: parallel
  branches: [{agent: executor}, {type: orchestrated, description: a, max_steps: 3}]
---
{type: parallel, description: a, agents: [{type: executor, complexity: low}]}
---
type: conditional
condition: a
trueBranch: [{agent: executor}]
falseBranch: [{agent: creative}]
---
{type: iterative, description: a, criteria: b, maxIterations: 3, agent: creative}
---
{description: a, name: b, max_steps: 2, workers: [{agent: executor}, {description: c, name: d}]}
""")
)

KEYS = sorted({key for model in SCHEMA["$defs"].values() for key in model.get("properties", {})})
WORDS = st.sampled_from([*KEYS, *TYPES, "executor", "low", "raise", "a.py:f", "openai:a", "", " "])
LEAVES = WORDS | st.none() | st.booleans() | st.integers(-2, 3) | st.floats() | st.just("a/b|c")
VALUES = st.recursive(
    LEAVES, lambda inside: st.lists(inside, max_size=2) | st.dictionaries(WORDS, inside, max_size=2)
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in a document with each of its keys or positions."""
    if not isinstance(value, dict | list):
        return []
    names = list(value) if isinstance(value, dict) else range(len(value))
    return [(value, name) for name in names] + [
        place for name in names for place in places(value[name])
    ]


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A valid document, changed in up to three places."""
    document = copy.deepcopy(draw(st.sampled_from(EXAMPLES)))
    for _ in range(draw(st.integers(0, 3))):
        inside, name = draw(st.sampled_from(places(document) or [(document, "type")]))
        change = draw(st.sampled_from(["put", "drop", "add"]))
        if change == "put":
            inside[name] = draw(VALUES | st.sampled_from(EXAMPLES).map(copy.deepcopy))
        elif change == "drop":
            inside.pop(name, None) if isinstance(inside, dict) else inside.pop(name)
        elif isinstance(inside, dict):
            inside[draw(WORDS)] = draw(VALUES)
    return document


def test_it_is_a_json_schema_of_the_draft_that_it_names():
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    assert SCHEMA["$id"]
    assert SCHEMA["title"]
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


def test_every_field_says_what_it_means():
    silent = [
        f"{name}.{key}"
        for name, model in SCHEMA["$defs"].items()
        for key, field in model.get("properties", {}).items()
        if "description" not in field and key != "type"
    ]
    assert silent == []


def test_a_steps_approval_is_offered_as_true_or_false():
    offered = SCHEMA["$defs"]["AgentStep"]["properties"]["approve"]
    assert offered["anyOf"][0] == {"type": "boolean"}
    assert "a person must agree" in offered["description"]


@pytest.mark.parametrize("document", EXAMPLES)
def test_what_the_loader_takes_the_schema_takes(document):
    target._check(Document(Path("flow.json"), document, {}, typed=True))
    VALIDATOR.validate(document)


@settings(deadline=None, max_examples=400)
@given(documents())
def test_what_the_schema_refuses_the_loader_refuses_in_one_line(document):
    if not VALIDATOR.is_valid(document):
        with pytest.raises(TargetError, match=r"\A[^\n]+\Z"):
            target._check(Document(Path("flow.json"), document, {}, typed=True))


@pytest.mark.parametrize("document", EXAMPLES)
def test_the_schema_refuses_an_unknown_key(document):
    assert not VALIDATOR.is_valid({**document, "agnet": "executor"})


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"type": "paralel", "branches": [{"agent": "executor"}]},
        {"type": "sequential", "steps": []},
        {"type": "sequential", "steps": [{"agent": "boss"}]},
        {"name": "a"},
        {"description": "a", "steps": [{"agent": "executor"}]},
        {"agent": "executor", "complexity": "huge"},
        {"agent": "executor", "model": "gpt-4o"},
        {"type": "iterative", "step": {"agent": "executor"}, "max_rounds": 0},
    ],
)
def test_the_schema_refuses_what_cannot_be(document):
    assert not VALIDATOR.is_valid(document)
