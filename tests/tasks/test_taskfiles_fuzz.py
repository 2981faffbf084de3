"""Whatever a task file contains, it is a workflow or one line that says why not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aideon_agents.errors import TargetError
from aideon_agents.tasks import load

VALID = """\
name: brief
type: sequential
steps:
  - {agent: planner, description: "Plan {task}", complexity: high}
  - type: parallel
    branches: &both
      - {agent: executor, name: facts, model: [openai:a, 'together:b/c'], timeout: 2.5}
      - agent: creative
        approve: no
  - type: conditional
    question: |
      Is it so?
    branches: {yes: [{agent: creative}], "no": {agent: executor, max_tokens: 7}}
    default: no
  - {type: iterative, step: {agent: creative}, criteria: short, max_rounds: 3, pass_score: 0.8}
"""

# Through a reader that keeps text as it is, as the task file reader does, and with the types that JSON has.
AS_JSON = json.dumps(yaml.load(VALID, yaml.BaseLoader), indent=1)  # noqa: S506 - it makes text alone
for _typed in ("2.5", "0.8", "3", "7"):
    AS_JSON = AS_JSON.replace(f'"{_typed}"', _typed)
AS_JSON = AS_JSON.replace('"approve": "no"', '"approve": false')

PIECES = st.sampled_from(
    [*"{}[]:,-&*!|>%@`'\"#?\n\t \0", "- ", ": ", "&a ", "*a", "!!str ", "<<: *both\n", "\\ud800",
     "\ufeff", "\x85", "\u2028", "yes", "null", "1e999", "type: ", "---\n", "...\n", "%YAML 9.9\n"]
) | st.text(max_size=4)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, text: str) -> str:
    """The text with pieces inserted, removed, or repeated."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 40)))
        middle = draw(st.sampled_from(["", text[start:end] * 2]) | PIECES)
        text = text[:start] + middle + text[end:]
    return text


def loads_or_says_why(name: str, content: bytes) -> None:
    Path(name).write_bytes(content)
    try:
        load(name)
    except TargetError as mistake:
        message = str(mistake)
        assert message.startswith(name)
        assert len(message.splitlines()) == 1


@pytest.mark.parametrize(("name", "text"), [("flow.yaml", VALID), ("flow.json", AS_JSON)])
def test_what_is_damaged_below_is_a_workflow(name, text):
    Path(name).write_text(text, encoding="utf-8")
    assert load(name).name == "brief"


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=200), st.sampled_from(["flow.yaml", "flow.json"]))
@example(b"\xff\xfe", "flow.yaml")
@example(b"\xef\xbb\xbf", "flow.json")
def test_any_bytes_are_a_workflow_or_one_line(content, name):
    loads_or_says_why(name, content)


@settings(deadline=None, max_examples=200)
@given(damaged(VALID))
def test_damaged_yaml_is_a_workflow_or_one_line(text):
    loads_or_says_why("flow.yaml", text.encode("utf-8", "surrogatepass"))


@settings(deadline=None, max_examples=200)
@given(damaged(AS_JSON))
def test_damaged_json_is_a_workflow_or_one_line(text):
    loads_or_says_why("flow.json", text.encode("utf-8", "surrogatepass"))
