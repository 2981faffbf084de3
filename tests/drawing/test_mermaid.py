from __future__ import annotations

import re
from typing import TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.graph import START, StateGraph

from aideon_agents.drawing.mermaid import ROOM, SIZE, mermaid, too_much
from aideon_agents.drawing.picture import fitted
from aideon_agents.graphs.topology import Edge, Node, Topology, read

STATEMENTS = (
    r"n_\w*(\(\[|\(\(|\(|\[\[|\[/|\[|\{\{)\"[^\"]+\"(\]\)|\)\)|\)|\]\]|\\\]|\]|\}\})",
    r"n_\w* (-->|-\.->)(\|\"[^\"]+\"\|)? n_\w*",
    r"subgraph n_\w*\[\"[^\"]+\"\]",
    r"end",
    r"classDef is_\w+ [\w:#,]+",
    r"class [\w,]+ is_\w+",
)
"""Everything our flowcharts are made of, each of which Mermaid 11 was seen to accept."""

ODD = [
    "end", "subgraph", "class", "style", 'say "hi"', "a [b] {c} (d)", "1. one", "- list",
    "_stressed_ *bold*", "`code`", "# head", "<b>bold</b>", "a&b;#35;", "%%{init}%%", "0.8",
    "🦊 fox", "日本", "n" * 200, "a b", "a_b", "a-b", "--> x", "back\\slash", "www.example.com",
]  # fmt: skip


class Anything(TypedDict, total=False):
    value: int


def statements(source: str) -> list[str]:
    title, _, chart = source.partition("flowchart TD\n")
    assert title.startswith("---\ntitle: ")
    return [line.strip() for line in chart.splitlines()]


def unescaped(label: str) -> str:
    return re.sub(r"#(\d+);", lambda match: chr(int(match.group(1))), label)


def labels(source: str) -> list[str]:
    boxes = (re.fullmatch(STATEMENTS[0], line) for line in statements(source))
    return [unescaped(box.group().split('"')[1]) for box in boxes if box]


def shown(name: str) -> str:
    return fitted(name, SIZE, ROOM)


def one_box(label: str) -> str:
    return mermaid(Topology("odd", (Node("x", label, "function"),), (), (), ()))


def test_the_whole_brief_is_made_of_known_statements(graphs):
    lines = statements(mermaid(read(graphs.brief())))
    for line in lines:
        assert any(re.fullmatch(statement, line) for statement in STATEMENTS), line
    opened = sum(line.startswith("subgraph") for line in lines)
    assert opened == lines.count("end") == 4


def test_groups_hold_their_nodes_and_show_their_names(graphs):
    source = mermaid(read(graphs.chain("outer", plan="planner", polish=graphs.loop("p"))))
    inside = source.partition('subgraph n_polish["polish"]\n')[2].partition("  end\n")[0]
    assert inside.splitlines() == [
        '    n_polish_draft("draft<br/>(creative)")',
        '    n_polish_check{{"check<br/>(validator)"}}',
    ]


def test_every_condition_stands_on_its_edge(graphs):
    source = mermaid(read(graphs.fork("choose")))
    assert '  n_decide -.->|"no"| n_recheck\n' in source
    assert '  n_decide -.->|"unclear"| n_recheck\n' in source
    assert "  n_start --> n_decide\n" in source


def test_odd_names_come_back_as_they_were():
    builder = StateGraph(Anything)
    for name in ODD:
        builder.add_node(name, lambda state: {})
    builder.add_edge(START, "end")
    builder.add_conditional_edges("end", lambda state: "end", {name: name for name in ODD})
    source = mermaid(read(builder.compile(name='a "%%{title}%%": # ---')))
    assert labels(source) == ["start", *map(shown, ODD), "end"]
    for line in statements(source):
        assert any(re.fullmatch(statement, line) for statement in STATEMENTS), line
    assert source.startswith('---\ntitle: "a \\"%%{title}%%\\": # ---"\n---\n')


def test_names_that_look_alike_keep_their_own_ids():
    names = ["a b", "a_b", "a-b", "A b", "日本", "中国", "x" * 50, "x" * 60]
    nodes = tuple(Node(name, name, "function") for name in names)
    edges = (Edge("a-b", "a_b"),)
    source = mermaid(Topology("alike", nodes, (), edges, edges))
    ids = [line.partition("[")[0] for line in statements(source) if "[" in line]
    assert len(set(ids)) == len(names)
    assert f"  {ids[2]} --> {ids[1]}\n" in source


@pytest.mark.parametrize("label", ["1. one", "- one", "+ one", "> one", "# one", "www.a.com"])
def test_no_label_reads_as_markdown(label):
    drawn = one_box(label).split('["')[1].split('"]')[0]
    assert drawn != label
    assert unescaped(drawn) == label


@pytest.mark.parametrize("label", ["0.8", "my_node", "gpt-4o", "facts, risks", "日本 🦊"])
def test_harmless_labels_stay_readable(label):
    assert f'["{label}"]' in one_box(label)


def test_an_empty_label_is_a_blank():
    assert 'n_x[" "]' in one_box("")


@given(st.text(st.characters(exclude_categories=["C", "Z"])))
def test_any_label_is_one_statement_and_keeps_its_text(label):
    assert labels(one_box(label)) == [shown(label) or " "]


def test_a_long_name_is_cut_where_it_would_not_fit():
    (label,) = labels(one_box("word " * 60))
    assert label.endswith("…")
    assert 50 < len(label) < 100


def test_branches_after_branches_meet_in_a_point(graphs):
    branches = {name: graphs.wrapped("executor") for name in "abc"}
    graph = graphs.chain(
        "twice", first=graphs.parallel("first", **branches), then=graphs.parallel("t", **branches)
    )
    source = mermaid(read(graph))
    assert '    n_then_start((" "))\n' in source
    assert len(re.findall("--> n_then_start\n", source)) == 3
    assert len(re.findall("n_then_start --> ", source)) == 3


def test_a_person_who_is_asked_has_a_shape_of_their_own():
    source = mermaid(Topology("asks", (Node("x", "approval", "approval"),), (), (), ()))
    assert '  n_x[/"approval"\\]\n' in source


def test_what_mermaid_will_not_show_is_said(graphs):
    assert too_much(mermaid(read(graphs.brief()))) is None
    names = [f"n{number}" for number in range(600)]
    long = mermaid(read(graphs.chain("long", **dict.fromkeys(names))))
    assert too_much(long).startswith("Mermaid shows 500 edges and 50,000 characters unless")
    assert "this has 601 and " in too_much(long)
