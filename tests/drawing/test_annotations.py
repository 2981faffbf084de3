"""The way of a run through a graph: which legs the edges that were taken pass over."""

from __future__ import annotations

from aideon_agents.drawing.annotations import taken_segments
from aideon_agents.graphs.topology import Edge


def legs(*ways):
    return [Edge(source, target) for source, target in ways]


def test_an_edge_into_a_group_passes_over_both_of_its_legs():
    found = taken_segments(legs(("a", "in"), ("in", "b"), ("in", "c"), ("d", "in")), [("a", "b")])
    assert found == {("a", "in"), ("in", "b")}


def test_an_edge_past_a_group_passes_through_it():
    found = taken_segments(
        legs(("a", "in"), ("in", "out"), ("in", "b"), ("b", "out"), ("out", "c")),
        [("a", "c"), ("a", "b"), ("b", "c")],
    )
    assert found == {("a", "in"), ("in", "out"), ("out", "c"), ("in", "b"), ("b", "out")}


def test_the_other_branch_is_not_taken():
    ways = [("a", "in"), ("in", "b"), ("in", "c"), ("b", "out"), ("c", "out"), ("out", "d")]
    found = taken_segments(legs(*ways), [("a", "b"), ("b", "d")])
    assert ("in", "c") not in found
    assert ("c", "out") not in found
    assert ("out", "d") in found


def test_a_loop_around_a_group_is_followed_once():
    found = taken_segments(
        legs(("a", "in"), ("in", "b"), ("b", "out"), ("out", "in"), ("out", "c")), [("b", "b")]
    )
    assert found == {("b", "out"), ("out", "in"), ("in", "b")}


def test_an_edge_that_is_not_there_takes_nothing():
    assert taken_segments(legs(("a", "b")), [("b", "a")]) == set()
