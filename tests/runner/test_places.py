"""What a run needs to know of the graph that it runs, before it listens to it."""

from __future__ import annotations

from typing import Any

import pytest

from aideon_agents import executor, parallel, sequential
from aideon_agents.runner.spec import holds_agents_alone


def shout(state: dict[str, Any]) -> str:
    return str(state["task"]).upper()


def look_up(word: str) -> str:
    """What a word means."""
    return word


def test_nothing_happens_inside_agents_without_tools():
    assert holds_agents_alone(sequential(executor("facts"), executor("risks")))


@pytest.mark.parametrize(
    "other",
    [shout, parallel(executor("left"), executor("right")), executor("asks", tools=[look_up])],
    ids=["function", "graph", "tools"],
)
def test_anything_may_happen_inside_other_nodes(other):
    assert not holds_agents_alone(sequential(executor("facts"), other))
