"""Pictures before they are SVG: nothing touches what it should not, and things stand in order."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langgraph.graph import END, START

from aideon_agents.drawing.layout import laid_out
from aideon_agents.drawing.stacks import PAGE
from aideon_agents.graphs.topology import Edge, Group, Node, Topology, read, runnable, without

KINDS = ("planner", "executor", "validator", "creative", "function", "graph", "approval")
CONDITIONS = (None, None, "yes", "a long condition", "x" * 40)


class Tangle:
    """A random graph of up to three levels, with loops of every kind and labels of any length."""

    def __init__(self, seed):
        self.chance = random.Random(seed)  # noqa: S311 - seeded
        self.nodes = [Node(START, "start", "start")]
        self.groups, self.legs, passages = [], [], []
        self.level(None, 2, START, END)
        self.nodes.append(Node(END, "end", "end"))
        self.groups.sort(key=lambda group: group.id.count("|"))
        passages = [end for group in self.groups for end in (group.entry, group.exit)]
        legs = tuple(runnable(dict.fromkeys(self.legs), passages))
        edges = tuple(without(legs, passages))
        self.topology = Topology("tangle", tuple(self.nodes), tuple(self.groups), edges, legs)

    def level(self, parent, depth, entry, end):
        chance, legs = self.chance, self.legs
        items = [
            self.item(f"{parent or ''}|{number}".strip("|"), parent, depth)
            for number in range(chance.randint(1, 6))
        ]
        legs.append(Edge(entry, items[0][0]))
        for number, (into, _) in enumerate(items[1:], 1):
            legs.append(Edge(items[chance.randrange(number)][1], into, self.condition()))
        for _ in items:
            one, other = chance.choice(items), chance.choice(items)
            label = self.condition()
            legs.append(Edge(one[1], other[0], label, label is not None))
        for number, (_, out) in enumerate(items):
            if chance.random() < 0.4 or number == len(items) - 1:
                legs.append(Edge(out, end, self.condition()))

    def item(self, name, parent, depth):
        if depth and self.chance.random() < 0.25:
            group = Group(name, "g" * self.chance.randint(1, 30), parent)
            self.groups.append(group)
            self.level(name, depth - 1, group.entry, group.exit)
            return group.entry, group.exit
        label = "n" * self.chance.randint(1, 25)
        self.nodes.append(Node(name, label, self.chance.choice(KINDS), parent))
        return name, name

    def condition(self):
        return self.chance.choice(CONDITIONS)


def boxes(picture):
    return {box.content.node.label: box for box in picture.boxes}


def line(picture, source, target):
    (found,) = (one for one in picture.lines if (one.source, one.target) == (source, target))
    return found


def middle(box):
    return box.y + box.height / 2


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 1_000_000))
def test_nothing_touches_anything_else_in_any_graph(collisions, seed):
    picture = laid_out(Tangle(seed).topology)
    assert collisions.overlapping_boxes(picture) == []
    assert collisions.label_collisions(picture) == []
    assert collisions.lines_across(picture) == []


@pytest.mark.parametrize("seed", [1205, 1395, 1580, 77])
def test_nothing_touches_anything_else_where_it_once_did(collisions, seed):
    picture = laid_out(Tangle(seed).topology)
    assert collisions.label_collisions(picture) == []


def test_parallel_branches_stand_below_one_another_in_their_order(graphs):
    branches = {name: graphs.wrapped("executor") for name in ("facts", "risks", "angle")}
    found = boxes(laid_out(read(graphs.parallel("gather", **branches))))
    facts, risks, angle = (found[name] for name in ("facts", "risks", "angle"))
    assert facts.x == risks.x == angle.x
    assert facts.width == risks.width == angle.width
    assert risks.y - facts.y == angle.y - risks.y > facts.height
    assert middle(found["start"]) == middle(risks) == middle(found["end"])


def test_the_routes_of_a_decision_stand_in_one_column(graphs):
    found = boxes(laid_out(read(graphs.fork("choose"))))
    assert found["write"].x == found["recheck"].x > found["decide"].x
    assert found["write"].y < found["recheck"].y


def test_a_loop_returns_below(graphs):
    picture = laid_out(read(graphs.loop("polish")))
    found = boxes(picture)
    points = line(picture, "check", "draft").points
    lowest = max(box.y + box.height for box in found.values())
    assert [y > lowest for _, y in points] == [False, True, True, False]
    assert points[0][1] == found["check"].y + found["check"].height
    assert points[-1][1] == found["draft"].y + found["draft"].height
    assert points[-1][0] < points[0][0]


def test_a_node_that_repeats_itself_has_its_loop_right_below():
    nodes = (Node("a", "a", "function"), Node("b", "b", "function"))
    again = Edge("a", "a", "more", conditional=True)
    edges = (Edge("a", "b", "enough", conditional=True), again)
    picture = laid_out(Topology("loop", nodes, (), edges, edges))
    box, points = boxes(picture)["a"], line(picture, "a", "a").points
    assert all(box.x < x < box.x + box.width for x, _ in points)
    assert points[-1][0] < points[0][0]


def test_what_always_returns_to_one_node_shares_a_lane():
    workers = ("one", "two", "three")
    nodes = tuple(Node(name, name, "function") for name in ("lead", *workers))
    edges = (
        *(Edge("lead", name, name, conditional=True) for name in workers),
        *(Edge(name, "lead") for name in workers),
    )
    picture = laid_out(Topology("crew", nodes, (), edges, edges))
    ends = {line(picture, name, "lead").points[-2:] for name in workers}
    assert len(ends) == 1


def test_two_conditions_to_one_target_stand_on_one_line(graphs):
    picture = laid_out(read(graphs.loop("polish")))
    both = line(picture, "check", END)
    assert both.conditions == both.label.content == ("passed", "max_rounds")


def test_many_conditions_to_one_target_are_counted():
    nodes = (Node("a", "a", "function"), Node("b", "b", "function"))
    edges = tuple(Edge("a", "b", f"key {number}", conditional=True) for number in range(9))
    (one,) = laid_out(Topology("many", nodes, (), edges, edges)).lines
    assert one.label.content == ("key 0", "key 1", "key 2", "key 3", "+5 more")
    assert len(one.conditions) == 9


def test_groups_have_room_for_their_titles_and_their_nodes(graphs, collisions):
    name = "a very long name for a group with a single small node in it"
    topology = read(graphs.chain("outer", **{name: graphs.chain("inner", x="executor")}))
    picture = laid_out(topology)
    (frame,) = picture.frames
    assert frame.width >= frame.content.width
    assert collisions.overlapping_boxes(picture) == []
    box = boxes(picture)["x"]
    assert box.x - frame.x == frame.x + frame.width - box.x - box.width


def test_a_group_that_never_ends_has_a_right_side(collisions):
    group = Group("g", "g")
    nodes = (Node("a", "a", "function"), Node("g|b", "b", "function", "g"))
    legs = (Edge("a", group.entry), Edge(group.entry, "g|b"), Edge("g|b", "g|b"))
    picture = laid_out(Topology("endless", nodes, (group,), (), legs))
    (frame,), box = picture.frames, boxes(picture)["b"]
    assert box.x + box.width + 10 < frame.x + frame.width


def test_lines_meet_in_a_dot_only_where_there_are_several(graphs):
    assert laid_out(read(graphs.chain("a", loop=graphs.chain("b", x="executor")))).dots == ()
    branches = {name: graphs.wrapped("executor") for name in "ab"}
    picture = laid_out(read(graphs.chain("a", gather=graphs.parallel("gather", **branches))))
    assert len(picture.dots) == 2


def test_a_long_chain_is_broken_into_rows_of_about_a_page(graphs, collisions):
    names = [f"n{number}" for number in range(300)]
    picture = laid_out(read(graphs.chain("long", **dict.fromkeys(names))))
    found = boxes(picture)
    assert picture.width < PAGE * 1.15
    rows = sorted({found[name].y for name in names})
    ends = [max(found[name].x for name in names if found[name].y == row) for row in rows]
    assert len(rows) > 20
    assert min(ends[1:-1]) > PAGE * 0.6
    assert [found[name].y for name in names] == sorted(found[name].y for name in names)
    assert collisions.overlapping_boxes(picture) == []
    assert collisions.lines_across(picture) == []


def test_a_loop_is_never_broken(graphs):
    parts = {f"loop{number}": graphs.loop("l") for number in range(12)}
    picture = laid_out(read(graphs.chain("loops", **parts)))
    assert picture.width < PAGE * 1.15
    steps = {}
    for box in picture.boxes:
        steps.setdefault(box.content.node.parent, set()).add(box.y)
    assert all(len(rows) == 1 for parent, rows in steps.items() if parent)


def test_a_thousand_nodes_are_laid_out(graphs):
    branches = {f"b{number}": graphs.wrapped("executor") for number in range(20)}
    groups = {f"g{number}": graphs.parallel("g", **branches) for number in range(50)}
    picture = laid_out(read(graphs.chain("large", **groups)))
    assert len(picture.boxes) == 1002
    assert picture.width < PAGE * 1.15


def test_a_label_makes_way_for_the_lines_of_longer_loops(collisions):
    names = ("a", "b", "c", "d")
    nodes = tuple(Node(name, name, "function") for name in names)
    ahead = [Edge(one, other) for one, other in pairwise(names)]
    back = [
        Edge("d", "b", "a rather long condition for it", conditional=True),
        Edge("c", "a", "another long condition, as long", conditional=True),
        Edge("d", "a", "the whole way back to the start", conditional=True),
    ]
    edges = (*ahead, *back)
    picture = laid_out(Topology("loops", nodes, (), edges, edges))
    assert collisions.label_collisions(picture) == []
    middles = {}
    for one in (line(picture, "d", "b"), line(picture, "c", "a")):
        ends = [x for x, _ in one.points]
        middles[one.source] = one.label.x + one.label.width / 2 - (min(ends) + max(ends)) / 2
    assert any(middles.values())


def test_a_label_without_any_room_is_cut(collisions):
    names = [*"stuvwx", "b", "c", "d"]
    nodes = tuple(Node(name, name, "function") for name in names)
    ahead = [Edge(one, other) for one, other in pairwise(names)]
    far = [Edge("c", name, f"all the way to {name}", conditional=True) for name in "stuvwx"]
    near = Edge("d", "b", "a condition that is far too long", conditional=True)
    edges = (*ahead, near, *far)
    picture = laid_out(Topology("narrow", nodes, (), edges, edges))
    assert collisions.label_collisions(picture) == []
    (text,) = line(picture, "d", "b").label.content
    assert text.endswith("…")
    assert len(text) < 15


def test_a_wide_group_begins_a_row_rather_than_leave_the_page(graphs, collisions):
    wide = graphs.chain("wide", **{f"step{number}": "executor" for number in range(7)})
    parts = {f"n{number}": None for number in range(5)}
    picture = laid_out(read(graphs.chain("rows", **parts, wide=wide, last=None)))
    found = boxes(picture)
    assert picture.width < PAGE * 1.15
    assert found["n0"].y == found["n4"].y < found["step0"].y == found["step6"].y
    assert collisions.overlapping_boxes(picture) == []
