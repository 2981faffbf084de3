"""The states that a graph can be folded into."""

from __future__ import annotations

import pytest

from aideon_agents.drawing.folding import outermost
from aideon_agents.drawing.page.record import MOST, views
from aideon_agents.graphs.topology import read


@pytest.fixture
def topology(graphs):
    return read(graphs.brief())


def test_few_groups_fold_in_every_way(topology):
    made = views(topology)
    states = list(made)
    assert states[0] == frozenset()
    assert len(states) <= MOST
    groups = {one.id: one.parent for one in topology.groups}
    tops = [one for one, parent in groups.items() if parent is None]
    assert frozenset(tops) in states
    for one in groups:  # each alone
        assert frozenset([one]) in states
    for closed in states:  # what stands in a folded group is not folded as well
        assert not any(groups[one] in closed for one in closed)


def test_a_folded_group_is_one_node(topology):
    for closed, drawn in views(topology).items():
        kinds = {node.id: node.kind for node in drawn.nodes}
        assert all(kinds[one] == "graph" for one in closed)
        assert not closed & {group.id for group in drawn.groups}


def test_many_groups_fold_level_by_level(graphs):
    many = {f"g{number}": graphs.chain(f"g{number}", a="creative") for number in range(9)}
    topology = read(graphs.chain("many", **many, deep=graphs.brief()))
    made = views(topology)
    assert 3 <= len(made) <= 5
    (first, _), *_, (last, drawn) = made.items()
    assert first == frozenset()
    assert not drawn.groups
    assert len(last) == 10


def test_while_a_run_goes_on_levels_are_enough(topology):
    made = views(topology, by_level=True)
    assert [len(drawn.groups) for drawn in made.values()] == [4, 3, 0]


def test_a_graph_without_groups_has_one_state(graphs):
    assert list(views(read(graphs.loop("l")))) == [frozenset()]


def test_a_page_opens_as_deep_as_it_was_told(topology):
    assert outermost(topology, 0) == {one.id for one in topology.groups if one.parent is None}
    assert outermost(topology, 9) == set()
