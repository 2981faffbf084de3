"""Graphs as SVG: all of them is there, in text, for eyes, screen readers and scripts."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TypedDict
from xml.etree import ElementTree as ET

import pytest
from langgraph.graph import END, START, StateGraph

from aideon_agents.drawing.annotations import Annotations, Badge, Note
from aideon_agents.drawing.picture import width
from aideon_agents.drawing.svg import svg
from aideon_agents.graphs.topology import Node, Topology, read

SVG = "{http://www.w3.org/2000/svg}"
ODD = [
    "end", "graph", "subgraph", 'say "hi" [now] {or} (never)', "dots...and.more", "a <b> & c",
    "🦊 fox 👨‍👩‍👧 family", "שלום עולם", "日本語", "n" * 200, "]]>", "&amp;", "<!-- -->", "{width}",
]  # fmt: skip


class Anything(TypedDict, total=False):
    value: int


def odd_graph():
    builder = StateGraph(Anything)
    for name in ODD:
        builder.add_node(name, lambda state: {})
    builder.add_edge(START, "end")
    builder.add_conditional_edges("end", lambda state: "end", {name: name for name in ODD[1:]})
    return builder.compile(name='odd "names" <of> & all kinds')


def parsed(document):
    return ET.fromstring(document)  # noqa: S314 - we have just drawn it


def parts(document, kind):
    root = parsed(document)
    return [one for one in root.iter(f"{SVG}g") if kind in one.get("class", "").split()]


def texts(element):
    return [one.text for one in element.iter(f"{SVG}text")]


def test_every_edge_is_drawn_and_no_other(graphs, drawn):
    for graph in (graphs.brief(), graphs.loop("l"), graphs.fork("f"), odd_graph()):
        topology = read(graph)
        assert drawn.in_svg(svg(topology)) == {(one.source, one.target) for one in topology.edges}


def test_names_are_text_and_what_is_cut_stands_in_the_tooltip():
    document = svg(read(odd_graph()))
    shown = [texts(node)[0] for node in parts(document, "node")]
    assert shown[1:-1] == [
        *ODD[:3], 'say "hi" [now] {or} (…', *ODD[4:6], *ODD[6:9], "n" * 17 + "…", *ODD[10:],
    ]  # fmt: skip
    tooltips = [node.find(f"{SVG}title").text for node in parts(document, "node")]
    assert tooltips[1:-1] == [f"{name}, function" for name in ODD]
    assert [node.get("data-id") for node in parts(document, "node")][1:-1] == ODD


def test_a_picture_says_what_it_is(graphs):
    root = parsed(svg(read(graphs.brief())))
    assert root.get("role") == "graphics-document document"
    title, about = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert root.get("aria-labelledby") == title.get("id")
    assert root.get("aria-describedby") == about.get("id")
    assert title.text == "brief"
    assert about.text.startswith(
        "A workflow of 9 nodes in 4 groups. start leads to plan; plan leads to facts, draft; "
    )
    assert "; check leads to draft (again), end (passed), end (max_rounds)." in about.text


def test_every_node_group_and_line_says_what_it_is(graphs):
    document = svg(read(graphs.chain("outer", plan="planner", polish=graphs.loop("p"))))
    assert [node.get("aria-label") for node in parts(document, "node")] == [
        "start", "plan, planner", "draft, creative", "check, validator", "end",
    ]  # fmt: skip
    assert [group.get("aria-label") for group in parts(document, "frame")] == ["polish"]
    said = [way.get("aria-label") for way in parts(document, "way")]
    assert "plan leads to start of polish" in said
    assert "check leads to draft, if again" in said
    assert "check leads to end of polish, if passed or max_rounds" in said
    elements = [*parts(document, "node"), *parts(document, "frame"), *parts(document, "way")]
    assert all(one.get("role").startswith("graphics-") for one in elements)
    assert all(one.find(f"{SVG}title").text == one.get("aria-label") for one in elements)


def test_nodes_and_groups_carry_their_node_paths(graphs):
    document = svg(read(graphs.chain("outer", polish=graphs.loop("p"))))
    paths = {one.get("data-id"): one.get("data-path") for one in parts(document, "node")}
    assert paths["polish|draft"] == "polish/draft"
    assert [one.get("data-path") for one in parts(document, "frame")] == ["polish"]


def test_groups_of_the_same_name_stay_apart(graphs):
    inner = graphs.chain("same", same=graphs.chain("same", same="executor"))
    groups = parts(svg(read(graphs.chain("outer", one=inner, two=inner))), "frame")
    assert [one.get("data-id") for one in groups] == ["one", "one|same", "two", "two|same"]


def test_the_same_graph_gives_the_same_bytes_in_every_process():
    source = """
from langgraph.graph import START, StateGraph
from aideon_agents.drawing.picture import width
from aideon_agents.drawing.svg import svg
from aideon_agents.graphs.topology import read
builder = StateGraph(dict)
for name in "abcdefgh":
    builder.add_node(name, lambda state: {})
    builder.add_edge(START, name)
builder.add_conditional_edges("a", lambda state: "b", {name: name for name in "bcdefa"})
for theme in ("light", "dark", "auto"):
    print(svg(read(builder.compile()), theme=theme))
"""
    seen = {
        subprocess.run(
            [sys.executable, "-c", source],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(seen) == 1


def test_two_pictures_on_one_page_share_no_id_and_no_style(graphs):
    one, two = svg(read(graphs.loop("one"))), svg(read(graphs.loop("two")))
    ids = [set(re.findall(r' id="([^"]+)"', document)) for document in (one, two)]
    scopes = [set(re.findall(r"\.aideon-\w+", document)) for document in (one, two)]
    assert not ids[0] & ids[1]
    assert len(scopes[0]) == len(scopes[1]) == 1
    assert scopes[0] != scopes[1]


def test_nothing_is_asked_of_anybody(graphs):
    document = svg(read(graphs.brief()))
    assert re.findall(r"https?://[^\"]+", document) == ["http://www.w3.org/2000/svg"]
    assert "@import" not in document
    assert "url(" not in document
    assert "<script" not in document


def test_lines_end_in_arrows_at_nodes_and_go_on_through_groups(graphs):
    document = svg(read(graphs.chain("outer", plan="planner", polish=graphs.loop("p"))))
    heads = {
        (way.get("data-source"), way.get("data-target")): len(list(way.iter(f"{SVG}path"))) == 2
        for way in parts(document, "way")
    }
    assert heads["__start__", "plan"] is True
    assert heads["plan", "polish|__start__"] is False
    assert heads["polish|__start__", "polish|draft"] is True
    assert heads["polish|check", "polish|__end__"] is False
    assert heads["polish|check", "polish|draft"] is True


def test_conditional_lines_are_dashed(graphs):
    document = svg(read(graphs.loop("p")))
    dashed = {
        (way.get("data-source"), way.get("data-target"))
        for way in parts(document, "way")
        if "if" in way.get("class").split()
    }
    assert dashed == {("check", "draft"), ("check", END)}
    assert re.search(r" \.if path\{stroke-dasharray:", document)


def test_lines_are_drawn_from_their_arrow_so_that_dashes_of_joined_ones_agree(graphs):
    for way in parts(svg(read(graphs.loop("p"))), "way"):
        line, head = (path.get("d") for path in way.iter(f"{SVG}path"))
        (x, y), (tip_x, tip_y) = (
            map(float, re.match(r"M(\S+) ([^LC]+)", d).groups()) for d in (line, head)
        )
        assert abs(x - tip_x) + abs(y - tip_y) == 7


def test_a_workflow_of_one_node_counts_it(graphs):
    assert "A workflow of 1 node. " in svg(read(graphs.chain("one", a="planner")))


@pytest.fixture
def told(graphs):
    """A loop with everything that can be said of a graph."""
    topology = read(graphs.chain("outer", plan="planner", polish=graphs.loop("p")))
    notes = {
        "plan": Note(
            subtitle="gpt-5-mini",
            figures=("$0.0123", "1,840 tok", "1.42 s"),
            share=0.25,
            badges=(Badge("ok", "good"), Badge("cached"), Badge("retry", "bad"), Badge("late")),
        ),
        "polish|draft": Note(figures=("$0.1", "9 s"), share=0),
        "polish|check": Note(subtitle="not run", emphasis="faint"),
        "polish": Note(figures=("$0.1",), badges=(Badge("2 rounds"),)),
    }
    taken = [(START, "plan"), ("plan", "polish|draft")]
    return topology, Annotations("outer · run 7f3a", "total $0.1123", notes, taken)


def test_what_is_said_of_nodes_is_drawn(told):
    document = svg(*told)
    nodes = {node.get("data-id"): node for node in parts(document, "node")}
    assert texts(nodes["plan"]) == [
        "plan", "gpt-5-mini", "+2", "cached", "ok", "$0.0123", "1,840 tok", "1.42 s",
    ]  # fmt: skip
    assert nodes["plan"].get("aria-label") == (
        "plan, planner, gpt-5-mini, $0.0123, 1,840 tok, 1.42 s, ok, cached, retry, late"
    )
    assert texts(nodes["polish|draft"]) == ["draft", "creative", "$0.1", "9 s"]
    assert texts(nodes["polish|check"]) == ["check", "not run"]
    assert "faint" in nodes["polish|check"].get("class")
    assert [texts(group) for group in parts(document, "frame")] == [["polish", "$0.1 · 2 rounds"]]
    assert "outer · run 7f3a" in document
    assert ">total $0.1123<" in document


def test_a_share_is_a_bar_as_long_as_it_is_large(told):
    document = svg(*told)
    bars = {
        node.get("data-id"): {
            rect.get("class"): float(rect.get("width"))
            for rect in node.iter(f"{SVG}rect")
            if rect.get("class") in {"track", "share"}
        }
        for node in parts(document, "node")
    }
    assert bars["plan"]["share"] == pytest.approx(bars["plan"]["track"] / 4, abs=0.1)
    assert set(bars["polish|draft"]) == {"track"}
    assert bars["polish|check"] == {}


def test_the_way_that_was_taken_stands_out(told):
    ways = {
        (way.get("data-source"), way.get("data-target")): way.get("class").split()[-1]
        for way in parts(svg(*told), "way")
    }
    assert ways == {
        (START, "plan"): "strong",
        ("plan", "polish|__start__"): "strong",
        ("polish|__start__", "polish|draft"): "strong",
        ("polish|draft", "polish|check"): "idle",
        ("polish|check", "polish|draft"): "idle",
        ("polish|check", "polish|__end__"): "idle",
        ("polish|__end__", END): "idle",
    }


def test_a_role_that_is_the_name_stands_once():
    document = svg(Topology("", (Node("x", "planner", "planner"),), (), (), ()))
    assert [texts(node) for node in parts(document, "node")] == [["planner"]]


def test_figures_of_any_length_stand_apart():
    figures = ("$1,234,567.123456", "9 tok", "1 s")
    topology = Topology("", (Node("x", "x", "function"),), (), (), ())
    (node,) = parts(svg(topology, Annotations(notes={"x": Note(figures=figures)})), "node")
    first, middle, last = (text for text in node.iter(f"{SVG}text") if text.text in figures)
    half = width(figures[1], 12) / 2
    assert float(first.get("x")) + width(figures[0], 12) <= float(middle.get("x")) - half
    assert float(middle.get("x")) + half <= float(last.get("x")) - width(figures[2], 12)


def test_badges_can_be_all_that_is_said():
    topology = Topology("", (Node("x", "x", "function"),), (), (), ())
    document = svg(topology, Annotations(notes={"x": Note(badges=(Badge("not run"),))}))
    (node,) = parts(document, "node")
    assert texts(node) == ["x", "function", "not run"]


def test_a_name_that_xml_cannot_hold_is_drawn_without_what_it_cannot_hold(graphs):
    document = svg(read(graphs.chain("c", **{"red\x1b[31m\x00": None})))
    (node,) = parts(document, "function")
    assert texts(node)[0] == "red [31m"
    assert node.get("data-id") == "red\ufffd[31m\ufffd"


def test_an_empty_name_is_drawn_as_a_blank():
    document = svg(Topology("", (Node("x", "", "function"),), (), (), ()))
    assert [texts(node) for node in parts(document, "node")] == [[" ", "function"]]
