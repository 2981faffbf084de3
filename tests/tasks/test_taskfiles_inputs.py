"""A name in braces without a value is found before any model is called."""

from __future__ import annotations

import pytest

from aideon_agents import Ledger, creative, executor, iterative, run, sequential, validator
from aideon_agents.errors import InputError
from aideon_agents.graphs.walk import required_keys
from aideon_agents.patterns import conditional
from aideon_agents.tasks import load

SOURCE = """\
type: sequential
steps:
  - {agent: planner, description: "Plan {task} for {reader}"}
  - type: parallel
    branches: [{agent: executor, description: "Say it in {language}"}]
  - type: conditional
    question: "Does {reader} know {subject}?"
    branches: {yes: {agent: creative, description: "Write {style}"}, no: {agent: creative}}
  - type: iterative
    step: {agent: creative}
    criteria: "{words} words"
"""


def test_the_keys_of_all_levels_are_required_once_each(write):
    write("flow.yaml", SOURCE)
    keys = required_keys(load("flow.yaml").graph)
    assert sorted(keys) == ["language", "reader", "style", "subject", "words"]


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("{task}", []),
        ("{key_2}{ключ}", ["key_2", "ключ"]),
        ('{"a": 1} {} { key } {a.b} {1} {a b}', []),
        ("{{key}}", ["key"]),  # braces around braces are text, and what is inside is filled in
    ],
)
def test_only_a_name_in_braces_is_a_key(text, keys):
    assert list(required_keys(sequential(executor(description=text)))) == keys


def test_a_key_that_chooses_the_route_is_required_unless_there_is_a_default():
    ways = {"a": creative(), "b": creative()}
    assert required_keys(conditional("mode", ways)) == ("mode",)
    assert required_keys(conditional("mode", ways, default="a")) == ()


@pytest.mark.parametrize(
    "graph",
    [
        sequential(creative(), executor(description="For {reader} in {language}")),
        iterative(creative(), validator(criteria="{reader} likes it; {language}")),
    ],
    ids=["description", "criteria"],
)
def test_a_run_without_them_is_refused_before_anything_is_called(tmp_path, graph):
    with Ledger(tmp_path / "ledger.db") as ledger:
        with pytest.raises(InputError) as caught:
            run(graph, "x", inputs={"language": "German"}, rehearse=True, ledger=ledger)
        assert "reader" in str(caught.value)
        assert "-p" in str(caught.value)
        assert "language" not in str(caught.value)
        assert ledger.runs() == []


def test_a_run_with_them_fills_them_in(write, tmp_path):
    write("flow.yaml", 'agent: creative\ndescription: "Write to {reader} about {task}"\n')
    with Ledger(tmp_path / "ledger.db") as ledger:
        inputs = {"reader": "Ada Lovelace"}
        result = run(
            load("flow.yaml").graph, "engines", inputs=inputs, rehearse=True, ledger=ledger
        )
    assert result.status == "completed"
    assert "Ada Lovelace" in (result.output or "")
