"""Functions as steps and as checks of loops, and named workers, in task files."""

from __future__ import annotations

import os

import pytest

from aideon_agents import run, workflow
from aideon_agents.errors import TargetError, UserError
from aideon_agents.tasks import load

STEPS = '''\
def count(state):
    """Count the letters of the task."""
    return {"letters": len(state["task"])}


def twice(state, config):
    return state["task"] * state.get("round", 1)


def long_enough(state):
    made = state["results"]["loop/twice"].content
    return len(made) >= 8, f"It has {len(made)} letters."


def search(query: str) -> str:
    """Search for something."""
    return query


def without_state():
    return 1


def lists(state):
    yield state


LIMIT = 3
'''


def ran(address, task="heat"):
    return run(load(address).graph, task, rehearse=True)


def test_a_step_is_a_function_below_the_files_folder(write):
    write("flows/inner/steps.py", STEPS)
    write(
        "flows/flow.yaml",
        "type: sequential\n"
        "steps:\n"
        "- function: inner/steps.py:count\n"
        "- {type: function, function: inner/steps.py:count, name: letters}\n"
        "- {function: inner/steps.py:twice, description: Say it}\n",
    )
    results = ran("flows/flow.yaml").results
    assert {path: one.data for path, one in results.items()} == {
        "count": {"letters": 4},
        "letters": {"letters": 4},
        "twice": None,
    }
    assert results["twice"].content == "heat"


def test_a_function_is_the_root_of_a_task_file(write):
    write("steps.py", STEPS)
    write("flow.json", '{"function": "steps.py:twice"}')
    assert ran("flow.json").output == "heat"


def test_a_function_is_a_branch_of_each_pattern(write):
    write("steps.py", STEPS)
    write(
        "flow.yaml",
        "type: parallel\n"
        "branches:\n"
        "- {function: steps.py:twice, name: a}\n"
        "- {type: conditional, when: kind, branches: {yes: {function: steps.py:count}}}\n",
    )
    ended = run(load("flow.yaml").graph, "heat", inputs={"kind": "yes"}, rehearse=True)
    assert [*ended.results] == ["a", "conditional/yes"]


def test_a_function_checks_a_loop(write):
    write("steps.py", STEPS)
    write(
        "flow.yaml",
        "type: sequential\n"
        "steps:\n"
        "- type: iterative\n"
        "  name: loop\n"
        "  step: {function: steps.py:twice}\n"
        "  check: steps.py:long_enough\n",
    )
    result = ran("flow.yaml").results["loop"]
    assert (result.content, result.data.stop_reason) == ("heatheat", "passed")
    assert result.data.rounds[0].verdict.feedback == "It has 4 letters."


WORKERS = """\
type: orchestrated
description: "Answer {task}"
workers:
"""
LISTED = """\
- {agent: executor, name: facts, description: Finds sources, tools: [steps.py:search]}
- {function: steps.py:count}
- {function: steps.py:twice, name: repeats, description: Says it twice}
- {type: sequential, name: pair, description: Writes two, steps: [{agent: creative}]}
"""
BY_NAME = """\
  facts: {agent: executor, description: Finds sources, tools: [steps.py:search]}
  count: {function: steps.py:count}
  repeats: {function: steps.py:twice, description: Says it twice}
  pair: {type: sequential, description: Writes two, steps: [{agent: creative}]}
"""


@pytest.mark.parametrize("workers", [LISTED, BY_NAME])
def test_the_planner_is_told_the_names_purposes_and_tools_of_the_workers(write, workers):
    write("steps.py", STEPS)
    write("flow.yaml", WORKERS + workers)
    graph = load("flow.yaml").graph
    (planning,) = graph.builder.nodes["planner"].runnable.inside
    lines = planning.spec.description.splitlines()
    assert [one for one in lines if one.startswith("- ")] == [
        "- facts: Finds sources Tools: search (Search for something).",
        "- count: Count the letters of the task.",
        "- repeats: Says it twice",
        "- pair: Writes two",
    ]
    assert run(graph, "Heat pumps.", rehearse=True).status == "completed"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("function: steps.py:cuont", "1: function: steps.py has no function 'cuont': did you mean"),
        ("function: steps.py:LIMIT", "1: function: steps.py has no function, but a int, 'LIMIT':"),
        (
            "function: steps.py:without_state",
            "1: function: steps.py:without_state: the function without_state takes no state",
        ),
        ("function: steps.py:search\nx: 1", "2: x: unknown key"),
        ("function: steps.py:lists", "1: function: steps.py:lists: the function lists is a gen"),
        ("function: steps.py", "1: function: 'steps.py' is not a function: write file.py:function"),
        ("function: ../other.py:f", "1: function: ../other.py is outside the folder of the task"),
        ("agent: executor\ntools: ['../other.py:f']", "2: tools.0: ../other.py is outside the fol"),
        (
            "agent: executor\nprompt: ../../secret.md",
            "2: prompt: ../../secret.md is outside the folder of the task file: put it into",
        ),
        ("type: function", "1: function: this key is missing"),
        (
            "type: iterative\nstep: {agent: creative}\ncheck: steps.py:lists",
            "3: check: steps.py:lists: the function lists is a generator",
        ),
        (
            "type: iterative\nstep: {agent: creative}\ncheck: steps.py:count\ncriteria: short",
            "1: set only one of `criteria` and `check`",
        ),
        (
            WORKERS + "- {agent: executor}\n- {agent: executor}",
            "5: workers.1: two workers are called",
        ),
        (WORKERS + "- {agent: executor, tool: a}", "4: workers.0.tool: unknown key"),
        (WORKERS + "  a: {agent: executor, tool: a}", "4: workers.a.tool: unknown key"),
        (
            WORKERS + "  a: {function: steps.py:no}",
            "4: workers.a.function: steps.py has no function",
        ),
        (WORKERS + "  a/b: {agent: executor}", "4: workers.a/b: "),
        (WORKERS + "  []", "3: workers: this must have at least one entry"),
    ],
)
def test_a_mistake_is_reported_with_its_line_and_path(write, folder, text, says):
    write("flows/steps.py", STEPS)
    write("other.py", STEPS)
    write("flows/flow.yaml", text)
    with pytest.raises(TargetError) as caught:
        load("flows/flow.yaml")
    said = str(caught.value).replace("flows/", "")
    assert said.startswith(f"flow.yaml:{says}")
    assert "\n" not in said


OUTSIDE = {
    "a tool": 'agent: executor\ntools: ["{path}:search"]',
    "a function": 'function: "{path}:count"',
    "a check": 'type: iterative\nstep: {{agent: creative}}\ncheck: "{path}:long_enough"',
    "a worker": 'description: x\nworkers:\n- function: "{path}:count"',
    "a prompt": "agent: executor\nprompt: {prompt}",
    "a prompt of a role": "agent: executor",
}


@pytest.mark.parametrize("way", ["relative", "absolute", "link", "linked folder"])
@pytest.mark.parametrize("kind", OUTSIDE)
def test_a_file_outside_the_folder_is_used_only_where_it_is_allowed(write, folder, kind, way):
    write("out/steps.py", "open('ran', 'w').close()\n" + STEPS)
    write("out/role.md", "You write.")
    base = {"relative": "../out", "absolute": str(folder / "out"), "linked folder": "in"}
    path, prompt = (f"{base.get(way, 'link')}/{name}" for name in ("steps.py", "role.md"))
    (folder / "flows/link").mkdir(parents=True)
    for name in ("steps.py", "role.md"):
        (folder / f"flows/link/{name}").symlink_to(folder / f"out/{name}")
    (folder / "flows/in").symlink_to(folder / "out")
    if kind == "a prompt of a role":
        (folder / "flows/prompts").mkdir()
        (folder / "flows/prompts/executor.md").symlink_to(folder / "out/role.md")
    write("flows/flow.yaml", OUTSIDE[kind].format(path=path, prompt=prompt))
    with pytest.raises(UserError, match=r"\A[^\n]+ is outside [^\n]+, or give --allow-outside\Z"):
        load("flows/flow.yaml")
    assert not (folder / "ran").exists()
    target = load("flows/flow.yaml", allow_outside=True)
    assert target.labels["allow_outside"]
    assert workflow("flows/flow.yaml", allow_outside=True).get_name() == target.name
    assert (folder / "ran").exists() == ("prompt" not in kind)


@pytest.mark.parametrize("link", ["steps.py", "flows/steps.py"], ids=["itself", "a device"])
def test_a_file_that_cannot_be_read_is_one_line(write, folder, link):
    write("flows/flow.yaml", "function: steps.py:f")
    if link == "steps.py":
        (folder / "flows/steps.py").symlink_to(link)
    else:
        os.mkfifo(folder / link)
    with pytest.raises(TargetError, match=r"\Aflows/flow.yaml:1: function: [^\n]+ cannot be read"):
        load("flows/flow.yaml")


def test_a_prompt_that_is_an_endless_device_is_not_read(write, folder):
    write("flows/flow.yaml", "agent: executor")
    (folder / "flows/prompts").mkdir()
    (folder / "flows/prompts/executor.md").symlink_to("/dev/zero")
    with pytest.raises(UserError, match="is outside"):
        load("flows/flow.yaml")
