"""What came before is cut to the model's context, the oldest first, and never the task."""

from __future__ import annotations

import pytest

from aideon_agents import Context, creative, executor, orchestrated, planner, sequential
from aideon_agents.graphs import material
from aideon_agents.state import State, StepResult
from aideon_agents.testing import GivenModels, SchemaChatModel

LONG = "A fact that matters. " * 200


def result(name: str, order: int) -> StepResult:
    return StepResult(node_path=name, role="executor", content=f"{name}: {LONG}", order=order)


def prompt(room: int | None) -> str:
    state = State(
        task=f"The task. {LONG}",
        results={name: result(name, order) for order, name in enumerate(("old", "mid", "new"))},
    )
    messages = material.messages(
        state, instructions="Be brief.", step="Do it.", node_path="me", room=room
    )
    return str(messages[1].content)


def test_a_prompt_that_fits_is_not_cut():
    assert "shortened" not in prompt(None)
    assert prompt(None) == prompt(100_000)


@pytest.mark.parametrize(
    ("room", "cut"), [(4000, ["old"]), (3000, ["old", "mid"]), (1, ["old", "mid"])]
)
def test_the_oldest_results_are_shortened_first_and_the_latest_stays_whole(room, cut):
    sections = prompt(room).split("\n\n<")
    shortened = [one.split("\n")[0] for one in sections if "(shortened to fit the model)" in one]
    assert shortened == [f'result from="{name}">' for name in cut]
    assert f"The task. {LONG}".strip() in sections[0]
    assert LONG.strip() in sections[-2]


async def test_an_agent_cuts_to_the_window_of_its_models():
    model = SchemaChatModel()
    graph = sequential(lambda _: LONG, lambda _: LONG, creative("draft", max_tokens=100))
    await graph.ainvoke({"task": "Write."}, context=Context(models=GivenModels(model, window=1300)))
    assert "(shortened to fit the model)" in str(model.requests[-1].messages[-1].content)


async def test_a_planner_is_sent_the_agents_it_can_name_and_how_many_steps_it_may_plan():
    model = SchemaChatModel()
    graph = orchestrated(planner(), executor(), max_steps=4)
    await graph.ainvoke(
        {"task": "Heat pumps move heat. They need power."},
        context=Context(models=GivenModels(model)),
    )
    schema = str(model.requests[0].options["response_format"])
    assert "One of: executor" in schema
    assert "At most 4 steps" in schema
