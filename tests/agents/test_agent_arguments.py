"""An agent's options are checked when it is made; an error is one line."""

from __future__ import annotations

import pytest

from aideon_agents import creative, executor, planner, validator
from aideon_agents.errors import UserError


@pytest.fixture(params=[planner, executor, validator, creative])
def factory(request):
    return request.param


@pytest.mark.parametrize("name", ["a/b", "a|b", "a:b", " "])
def test_a_name_that_would_break_the_node_path_is_refused(factory, name):
    with pytest.raises(UserError, match="is not a valid agent name"):
        factory(name)


@pytest.mark.parametrize("wrong", [{"max_tokens": 0}, {"timeout": 0.0}, {"timeout": -1.0}])
def test_a_bound_that_leaves_nothing_is_refused(factory, wrong):
    with pytest.raises(UserError, match="draft: max_tokens and timeout must be more than 0"):
        factory("draft", **wrong)


def test_a_misspelt_argument_is_refused(factory):
    with pytest.raises(
        UserError, match="draft: unknown option 'desciption'; did you mean 'description'"
    ):
        factory("draft", desciption="Write.")


def test_an_unknown_complexity_is_refused(factory):
    with pytest.raises(UserError, match="complexity must be low, medium or high, not 'hard'"):
        factory("draft", complexity="hard")


@pytest.mark.parametrize("complexity", [None, "low", "medium", "high"])
def test_every_complexity_is_taken(factory, complexity):
    assert factory("draft", complexity=complexity).spec.request.complexity == complexity


def test_an_empty_name_is_the_roles(factory):
    agent = factory("")
    assert agent.name == agent.role
