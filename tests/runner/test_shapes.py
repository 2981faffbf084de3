"""Which classes may come back out of a checkpoint: those that a graph's own code speaks of."""

from __future__ import annotations

import dataclasses
import enum
from typing import Annotated, TypedDict

from langgraph.graph import START, StateGraph
from pydantic import BaseModel

from aideon_agents import executor, sequential
from aideon_agents.patterns.iterative import Rounds
from aideon_agents.runner.state import shapes
from aideon_agents.state import Plan, StepResult


class Inner(BaseModel):
    text: str


class Outer(BaseModel):
    inner: list[Inner]


class Mood(enum.Enum):
    GOOD = "good"


@dataclasses.dataclass
class Beside:
    text: str


class Talk(TypedDict):
    mood: Annotated[Mood | None, "as it is"]


def says(state) -> dict[str, Outer]:
    return {}


def odd(state) -> no_such_name:  # noqa: F821 - what is tested
    return {}


odd.__module__ = "gone"


def test_ours_are_known_whatever_the_graph():
    assert {StepResult, Plan, Rounds} <= shapes(sequential(lambda state: "x"))


def test_the_answers_of_agents_and_what_is_in_them():
    assert {Outer, Inner} <= shapes(sequential(executor("facts", output=Outer)))


def test_what_a_function_returns_and_what_stands_in_its_file():
    found = shapes(sequential(says))
    assert {Outer, Inner, Mood, Beside} <= found
    assert BaseModel not in found  # it is imported there, and nobody speaks of it


def test_the_state_of_a_graph_made_elsewhere():
    builder = StateGraph(Talk)
    builder.add_node("says", says)
    builder.add_edge(START, "says")
    assert {Mood, Beside} <= shapes(builder.compile())


def test_a_function_whose_file_or_types_are_gone_adds_nothing():
    assert shapes(sequential(odd)) == shapes(sequential(odd, odd))
