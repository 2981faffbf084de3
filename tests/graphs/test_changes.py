"""What has changed about a graph since a run of it began."""

from __future__ import annotations

import json

import pytest

from aideon_agents import creative, parallel, planner, sequential
from aideon_agents.graphs.topology import changes, model

BEFORE = sequential(planner(), parallel(creative("a"), creative("b")), name="root")


def test_the_model_of_a_graph_comes_back_from_json_as_it_was():
    assert model(BEFORE) == json.loads(json.dumps(model(BEFORE)))
    assert changes(model(BEFORE), json.loads(json.dumps(model(BEFORE)))) is None


def test_a_graph_that_does_the_same_work_otherwise_has_not_changed():
    same = sequential(
        planner(), parallel(creative("a", instructions="Be terse."), creative("b")), name="root"
    )
    assert changes(model(BEFORE), model(same)) is None


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (
            sequential(planner(), parallel(creative("a"), creative("c")), name="root"),
            "+ parallel|c (creative), - parallel|b (creative)",
        ),
        (
            sequential(planner(), creative("a"), creative("b"), name="root"),
            "+ a (creative), + b (creative), - parallel|a (creative), - parallel|b (creative)",
        ),
        (
            sequential(parallel(creative("a"), creative("b")), planner(), name="root"),
            "+ __start__ -> parallel|a, + __start__ -> parallel|b, ",
        ),
    ],
    ids=["another node", "another level", "another order"],
)
def test_what_was_added_and_removed_is_named(now, said):
    told = changes(model(BEFORE), model(now))
    assert told.startswith(said)
    assert told.count(", ") <= 5  # of many, the first five
