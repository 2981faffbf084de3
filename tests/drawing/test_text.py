from __future__ import annotations

from typing import TypedDict

from langgraph.graph import END, START, StateGraph
from rich.cells import cell_len

from aideon_agents.drawing.text import text
from aideon_agents.graphs.topology import read


class Anything(TypedDict, total=False):
    value: int


def builder_of(names):
    builder = StateGraph(Anything)
    for name in names:
        builder.add_node(name, lambda state: {})
    return builder


def test_a_composed_graph_reads_as_an_outline(graphs):
    assert (
        text(read(graphs.brief()))
        == """\
brief

start
↓
plan (planner)
↓
▾ gather
  ├─ facts (executor)
  └─ ▾ angle
       draft (creative)
       ↓
       check (validator)
         ↺ again: back to draft until passed or max_rounds
↓
▾ choose
  decide (validator)
  ├─ yes: write (creative)
  ├─ no or unclear: recheck (executor)
  └─ skip: ↓
↓
▾ polish
  draft (creative)
  ↓
  check (validator)
    ↺ again: back to draft until passed or max_rounds
↓
end
"""
    )


def test_a_role_that_is_the_name_stands_once(graphs):
    assert "\nplanner\n↓\nfacts (executor)\n" in text(
        read(graphs.chain("short", planner="planner", facts="executor"))
    )


def test_closed_groups_are_single_lines(graphs):
    assert text(read(graphs.brief(), depth=0)).splitlines()[4:9] == [
        "plan (planner)",
        "↓",
        "▸ gather",
        "↓",
        "▸ choose",
    ]


def test_a_second_way_to_a_node_points_to_where_it_stands():
    builder = builder_of("abcxd")
    builder.add_edge(START, "a")
    builder.add_conditional_edges("a", lambda state: "b", {"left": "b", "right": "c"})
    builder.add_conditional_edges("b", lambda state: "x", {"long": "x", "short": "d"})
    builder.add_edge("c", "x")
    builder.add_edge("x", "d")
    assert (
        text(read(builder.compile(name="crossing")))
        == """\
crossing

start
↓
a
├─ left: b
│  ├─ long: x
│  └─ short: ↓
└─ right: c
   ↓
   → x, drawn above
↓
d
↓
end
"""
    )


def test_a_loop_around_a_group_names_the_group(graphs):
    builder = builder_of([])
    builder.add_node("work", graphs.chain("work", first="executor", last="executor"))
    builder.add_node("check", lambda state: {})
    builder.add_edge(START, "work")
    builder.add_edge("work", "check")
    builder.add_conditional_edges("check", lambda state: "more", {"more": "work", "done": END})
    assert "  ↺ more: back to work until done\n" in text(read(builder.compile()))


def test_a_node_that_repeats_itself_is_marked():
    builder = builder_of("a")
    builder.add_edge(START, "a")
    builder.add_conditional_edges("a", lambda state: "more", {"more": "a", "done": END})
    assert "a\n  ↺ more: back to a until done\n" in text(read(builder.compile()))


def test_conditions_that_lead_the_same_way_stand_on_the_arrow():
    builder = builder_of("ab")
    builder.add_edge(START, "a")
    builder.add_conditional_edges("a", lambda state: 1, {"one": "b", "two": "b"})
    assert "a\n↓ one or two\nb\n" in text(read(builder.compile()))


def test_conditions_on_the_way_into_a_group_stand_where_it_divides():
    inner = builder_of(["long", "short"])
    inner.add_conditional_edges(START, lambda state: "l", {"l": "long", "s": "short"})
    outer = builder_of(["ask"])
    outer.add_node("write", inner.compile())
    outer.add_edge(START, "ask")
    outer.add_edge("ask", "write")
    assert "▾ write\n  ├─ l: long\n  └─ s: short\n" in text(read(outer.compile()))


def test_no_line_is_wider_than_eighty_cells(graphs):
    names = ["x" * 200, "🦊" * 100, "日本" * 60, "end"]
    builder = builder_of(names)
    builder.add_edge(START, "end")
    builder.add_conditional_edges("end", lambda state: 1, {key: key for key in names})
    drawn = text(read(builder.compile(name="n" * 100)))
    assert max(cell_len(line) for line in drawn.splitlines()) == 80
    assert "x…" in drawn
    assert "🦊…" in drawn


def test_nodes_that_no_edge_leads_to_are_still_drawn():
    builder = builder_of(["a", "island"])
    builder.add_edge(START, "a")
    drawn = text(read(builder.compile())).splitlines()
    assert "island" in drawn


def test_a_graph_that_never_ends_is_drawn():
    builder = builder_of("ab")
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    builder.add_edge("b", "a")
    assert text(read(builder.compile())).splitlines()[2:] == [
        "start", "↓", "a", "↓", "b", "  ↺ back to a", "end",
    ]  # fmt: skip


def test_a_chain_of_a_thousand_nodes_is_drawn():
    names = [f"n{number}" for number in range(1000)]
    builder = builder_of(names)
    for source, target in zip([START, *names], [*names, END], strict=True):
        builder.add_edge(source, target)
    assert len(text(read(builder.compile())).splitlines()) == 2 + 2 * 1002 - 1


def test_nodes_called_like_the_ends_of_a_group_are_drawn():
    builder = builder_of(["entry", "exit"])
    builder.add_edge(START, "entry")
    builder.add_edge("entry", "exit")
    assert text(read(builder.compile())).splitlines()[2:] == [
        "start", "↓", "entry", "↓", "exit", "↓", "end",
    ]  # fmt: skip


def test_a_wider_terminal_shows_more_of_a_name():
    drawn = text(read(builder_of_one("x" * 100)), width=240)
    assert "x" * 100 in drawn
    assert max(map(cell_len, text(read(builder_of_one("x" * 100)), width=40).splitlines())) == 20


def builder_of_one(name):
    builder = builder_of([name])
    builder.add_edge(START, name)
    return builder.compile(name="one")
