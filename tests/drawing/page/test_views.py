"""The states that a graph can be folded into."""

from __future__ import annotations

import pytest

from aideon_agents.drawing.page.record import MOST, outermost, views
from aideon_agents.graphs.topology import read


@pytest.fixture
def topology(graphs):
    return read(graphs.brief())


def test_few_groups_fold_in_every_way(topology):
    made = views(topology)
    states = {view.closed for view in made}
    assert made[0].closed == frozenset()
    assert len(states) == len(made) <= MOST
    groups = {one.id: one.parent for one in topology.groups}
    tops = [one for one, parent in groups.items() if parent is None]
    assert frozenset(tops) in states
    for one in groups:  # each alone
        assert frozenset([one]) in states
    for view in made:  # what stands in a folded group is not folded as well
        assert not any(groups[one] in view.closed for one in view.closed)


def test_a_folded_group_is_one_node(topology):
    for view in views(topology):
        kinds = {node.id: node.kind for node in view.topology.nodes}
        assert all(kinds[one] == "graph" for one in view.closed)
        assert not view.closed & {group.id for group in view.topology.groups}


def test_many_groups_fold_level_by_level(graphs):
    many = {f"g{number}": graphs.chain(f"g{number}", a="creative") for number in range(9)}
    topology = read(graphs.chain("many", **many, deep=graphs.brief()))
    made = views(topology)
    assert 3 <= len(made) <= 5
    assert made[0].closed == frozenset()
    assert not made[-1].topology.groups
    assert len(made[-1].closed) == 10


def test_while_a_run_goes_on_levels_are_enough(topology):
    made = views(topology, by_level=True)
    assert [len(view.topology.groups) for view in made] == [4, 3, 0]


def test_a_graph_without_groups_has_one_state(graphs):
    assert [view.closed for view in views(read(graphs.loop("l")))] == [frozenset()]


def test_a_page_opens_as_deep_as_it_was_told(topology):
    assert outermost(topology, 0) == {one.id for one in topology.groups if one.parent is None}
    assert outermost(topology, 9) == set()
