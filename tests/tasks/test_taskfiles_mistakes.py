"""What a task file cannot say is one line: the file, the line, the field, and what to write."""

from __future__ import annotations

import os
from itertools import pairwise

import pytest

from aideon_agents.errors import TargetError
from aideon_agents.tasks import load

DEEP = """\
name: brief
type: sequential
steps:
  - {agent: planner, description: "Plan"}
  - {agent: executor}
  - type: conditional
    when: mode
    branches:
      yes:
       - {name: write,
          agnet: creative}
      no: {agent: executor}
"""


def mistake(name: str) -> str:
    with pytest.raises(TargetError) as caught:
        load(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_unknown_key_is_named_with_its_line_its_path_and_the_nearest(write):
    write("flow.yaml", DEEP)
    assert mistake("flow.yaml") == (
        "flow.yaml:11: steps.2.branches.yes.0.agnet: unknown key, did you mean agent? (allowed: "
        "type, agent, name, description, instructions, prompt, grounded, complexity, model, timeout, "
        "max_tokens, temperature, reasoning_effort, fallback, cache, on_rate_limit, privacy, "
        "use, quality, purpose, images, tools, approve, on_decline)"
    )


YAML = {
    "empty": ("", "1: the file is empty"),
    "comments alone": ("# later\n", "1: the file is empty"),
    "a list": ("- a\n- b\n", "1: a task file must have keys, such as `type:` and `steps:`, not a list"),
    "a word": ("hello\n", "1: a task file must have keys, such as `type:` and `steps:`, not 'hello'"),
    "no YAML": ("type: sequential\nsteps: [\n", "3: this is not YAML: "),
    "a tab": ("type: sequential\nsteps:\n\t- a\n", "3: this is not YAML: "),
    "two documents": ("agent: creative\n---\nagent: creative\n", "2: this is not YAML: "),
    "a control character": ("agent: creative\nname: \x01\n", "2: this is not YAML: special char"),
    "an impossible escape": ('agent: "\\UFFFFFFFF"\n', "1: this is not YAML: "),
    "a tag": ("agent: creative\nname: !!python/name:os.system x\n", "2: name: leave out the tag"),
    "a key that is a list": ("agent: creative\n? [a]\n: b\n", "2: a key must be text"),
    "a key twice": ("agent: creative\nname: a\nagent: executor\n",
                    "3: agent: duplicate key, first used in line 1"),
    "an alias of itself": ("type: sequential\nsteps: &a [*a]\n", "2: nested more than 64 levels"),
    "an alias of nothing": ("type: sequential\nsteps: *a\n", "2: this is not YAML: found undefined"),
    "far too deep": ("[" * 5000 + "]" * 5000, "1: nested "),
    "an unknown type": ("type: paralel\n", "1: type: 'paralel' is not a step type: did you mean parallel?"),
    "a type of nothing": ("type:\nsteps: []\n", "1: type: nothing is not a step type: there are agent, "),
    "a type that is a list": ("type: [a]\n", "1: type: a list is not a step type: there are agent, "),
    "neither agent nor type": ("name: x\n", "1: agent: this key is missing, or a type: one of"),
    "steps without a type": ("description: x\nsteps: []\n", "2: steps: unknown key, did you mean max_steps? (allowed: type, description, name, complexity, cache, max_steps, workers); a step without a type or an agent is orchestrated"),
    "a wrong key of a worker without a type": ("description: x\nworkers:\n  - description: y\n    max: 1\n", "4: workers.0.max: unknown key"),
    "no steps": ("type: sequential\nname: x\n", "1: steps: this key is missing"),
    "steps of nothing": ("type: sequential\nsteps: []\n", "2: steps: this must have at least one"),
    "steps by key": ("type: sequential\nsteps: {a: b}\n",
                     "2: steps: this must be a list, not keys with values"),
    "a step that is a word": ("type: sequential\nsteps:\n- agent: creative\n- creative\n",
                              "4: steps.1: a step must have keys, such as `agent: executor`, not 'c"),
    "an unknown agent": ("agent: exector\n", "1: agent: 'exector' is not one of planner, executor, v"),
    "an unknown complexity": ("agent: executor\ncomplexity: huge\n",
                              "2: complexity: 'huge' is not one of low, medium, high"),
    "a model without its provider": ("agent: executor\nmodel: gpt-4o\n",
                                     "2: model: 'gpt-4o' is not a model: write provider:model"),
    "one of several models": ("agent: executor\nmodel: [openai:a, 3]\n", "2: model.1: '3' is not a mod"),
    "a name with a slash": ("agent: executor\nname: a/b\n", "2: name: 'a/b' is not a valid name: it"),
    "a name that is too long": (f"agent: executor\nname: {'x' * 81}\n",
                                "2: name: this must have at most 80 characters, not 'xxx"),
    "a blank description": ("agent: executor\ndescription: ' '\n", "2: description: ' ' is empty:"),
    "a list for text": ("agent: executor\npurpose: [a]\n", "2: purpose: this must be text, not a l"),
    "no number": ("agent: executor\ntimeout: soon\n", "2: timeout: this must be a number, not 'so"),
    "no time": ("agent: executor\ntimeout: 0\n", "2: timeout: this must be greater than 0, not '0'"),
    "endless": ("agent: executor\ntimeout: inf\n", "2: timeout: this must be a finite number"),
    "half a token": ("agent: executor\nmax_tokens: 1.5\n", "2: max_tokens: this must be a whole num"),
    "perhaps": ("agent: executor\napprove: perhaps\n", "2: approve: this must be true or false, no"),
    "a quality of three": ("agent: executor\nquality: 3\n",
                           "2: quality: this must be true or false or be less than or equal to 1, not"),
    "a quality of words": ("agent: executor\nquality: good\n",
                           "2: quality: this must be true or false or be a number, not 'good'"),
    "a fallback of words": ("agent: executor\nfallback: x\n",
                            "2: fallback: this must be true or false or be a list, not 'x'"),
    "no strategy": ("agent: executor\nfallback: []\n", "2: fallback: this must have at least one entry"),
    "no model": ("agent: executor\nmodel: []\n", "2: model: this must have at least one entry"),
    "no picture": ("agent: executor\nimages: []\n", "2: images: this must have at least one entry"),
    "another failure": ("type: parallel\non_failure: ignore\nbranches: [{agent: creative}]\n",
                        "2: on_failure: 'ignore' is not one of raise, keep"),
    "a score of two": ("type: iterative\nstep: {agent: creative}\npass_score: 2\n",
                       "3: pass_score: this must be less than or equal to 1, not '2'"),
    "no decision": ("type: conditional\nbranches: {a: {agent: creative}}\n",
                    "1: set exactly one of `question` and `when`"),
    "two decisions": ("type: conditional\nwhen: x\nquestion: y\nbranches: {a: {agent: creative}}\n",
                      "1: set exactly one of `question` and `when`"),
    "a default that is no route": (
        "type: conditional\nwhen: x\nbranches: {left: {agent: creative}}\ndefault: leeft\n",
        "4: default: 'leeft' is not a route: did you mean left?"),
    "an empty route": ("type: conditional\nwhen: x\nbranches:\n  a: []\n",
                       "4: branches.a: this must have at least one entry"),
    "two names": (
        "type: sequential\nsteps:\n- type: parallel\n  branches: [&a {agent: executor, name: a}, *a]\n",
        "3: steps.0: parallel has two nodes called 'a', number 1 and number 2"),
    "a reserved name": ("type: sequential\nsteps:\n- {agent: executor, name: __end__}\n", "1: flow: '__"),
    "too many fields": ("type: sequential\nsteps:\n" + "- {agent: executor}\n" * 6000,
                        "5002: more than 10,000 fields"),
}  # fmt: skip


@pytest.mark.parametrize("case", YAML)
def test_a_wrong_yaml_file_is_one_line(write, case):
    source, says = YAML[case]
    write("flow.yaml", source)
    assert mistake("flow.yaml").startswith(f"flow.yaml:{says}")


JSON = {
    "empty": (" \n", "1: the file is empty"),
    "null": ("null", "1: the file is empty"),
    "a number": ("7", "1: a task file must have keys, such as `type:` and `steps:`, not 7"),
    "no JSON": ('{"type":\n "sequential",\n}', "3: this is not JSON: "),
    "NaN": ('{"agent": "executor", "timeout": NaN}', "1: this is not JSON: NaN is not a JSON number"),
    "a number too long": ('{"a": ' + "1" * 5000 + "}", "1: this is not JSON: "),
    "far too deep": ("[" * 100_000, "1: nested far too deeply"),
    "deep": ("[" * 100 + "]" * 100, "1: nested more than 64 levels deep"),
    "a key twice": ('{"agent": "executor",\n "agent": "creative"}', "2: agent: duplicate key, first used in line 1"),
    "a number as text": ('{"agent": "executor",\n\n "timeout": "1"}', "3: timeout: this must be a num"),
    "text as a number": ('{"agent": "executor",\n\n "name": 1}', "3: name: this must be text, not 1"),
    "a flag as text": ('{"agent": "executor", "approve": "no"}', "1: approve: this must be true or "),
    "half a character": ('{"agent": "executor", "name": "\\ud800"}', "1: half a character: "),
    "deep inside": ('{"type": "sequential", "steps": [\n {"agent": "executor"},\n {"agnet": 1}]}',
                    "3: steps.1.agnet: unknown key, did you mean agent?"),
}  # fmt: skip


@pytest.mark.parametrize("case", JSON)
def test_a_wrong_json_file_is_one_line(write, case):
    source, says = JSON[case]
    write("flow.json", source)
    assert mistake("flow.json").startswith(f"flow.json:{says}")


def test_a_bomb_of_aliases_does_not_go_off(write):
    names = "abcdefghi"
    lines = [f"a: &a [{', '.join('x' * 9)}]"]
    lines += [
        f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]" for before, name in pairwise(names)
    ]
    write("flow.yaml", "\n".join(lines))
    assert mistake("flow.yaml").endswith("more than 10,000 fields")


def test_a_long_line_is_cut(write):
    write("flow.yaml", f"agent: executor\n{'x' * 900}: 1\n")
    assert len(mistake("flow.yaml")) < 530


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("flow.yml", "there is no file flow.yml (from 'flow.yml'): did you mean flow.yaml"),
        ("missing/flow.yaml", "there is no file missing/flow.yaml (from 'missing/flow.yaml')"),
        ("pipe.yaml", "pipe.yaml cannot be read as a workflow: it is not a regular file"),
        ("flow.yaml:graph", "flow.yaml is a task file and holds one workflow: leave out :graph"),
        ("flow.json", "flow.json cannot be read as a workflow: it is not text in UTF-8"),
        ("folder.yaml", "folder.yaml is a folder: name a file in it"),
        ("large.yaml", "large.yaml:1: the file has 300,000 bytes, at most 262,144 are allowed"),
        ("picture.png", "picture.png cannot be read as a workflow: it is not text in UTF-8"),
        (
            "notes.txt",
            "notes.txt is not a workflow: the name of a Python file ends in .py, that of a task file in",
        ),
        ("folder", "folder is a folder: name a file in it, such as folder/NAME.py:graph"),
        ("x" * 5000, "no workflow is called 'xxx"),
        ("a\0b.yaml", "a\0b.yaml cannot be read as a workflow: embedded null byte"),
    ],
)
def test_an_address_that_leads_to_no_task_file_says_why(write, address, says):
    write("flow.yaml", "agent: creative")
    write("flow.json", bytes(range(128, 256)))
    write("picture.png", bytes(range(128, 256)))
    write("large.yaml", "#" * 300_000)
    write("notes.txt", "hello")
    write("folder.yaml/x", "")
    write("folder/x", "")
    os.mkfifo("pipe.yaml")
    assert mistake(address).startswith(says)
