"""Closing groups of the model is reading the graph less deeply."""

from __future__ import annotations

import dataclasses
import json

import pytest

from aideon_agents.drawing.folding import folded, holders
from aideon_agents.graphs.topology import read, topology_in


@pytest.mark.parametrize("depth", [0, 1, 2, 3, None])
def test_a_folded_model_is_what_reading_to_that_depth_gives(graphs, depth):
    graph = graphs.brief()
    assert folded(read(graph), depth) == read(graph, depth)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_so_it_is_for_any_workflow(beside_benchmark, depth):
    workflows, _ = beside_benchmark
    for made in workflows.workflows(40, seed=5):
        assert folded(read(made.graph), depth) == read(made.graph, depth)


def test_a_node_is_held_by_the_closed_group_around_it(graphs):
    whole = read(graphs.brief())
    held = holders(whole, folded(whole, 1))
    assert held["plan"] == "plan"
    assert held["polish|draft"] == "polish|draft"
    assert held["gather|angle|branch|check"] == "gather|angle|branch"


def test_a_model_comes_back_from_a_runs_row_as_it_was(graphs):
    topology = read(graphs.brief())
    assert topology_in(json.loads(json.dumps(dataclasses.asdict(topology)))) == topology


def test_a_row_without_a_model_or_with_one_of_another_version_gives_none():
    assert topology_in(None) is None
    assert topology_in({"nodes": [{"id": "a"}]}) is None
