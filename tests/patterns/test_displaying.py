"""A graph from our patterns draws itself in a notebook, without a web service."""

from __future__ import annotations

import subprocess
import sys

import pytest

import aideon_agents
from aideon_agents import (
    conditional,
    creative,
    executor,
    iterative,
    orchestrated,
    parallel,
    planner,
    sequential,
    validator,
)
from aideon_agents.patterns.nodes import PatternGraph

GRAPHS = {
    "sequential": lambda: sequential(creative("draft")),
    "parallel": lambda: parallel(executor("a"), executor("b")),
    "conditional": lambda: conditional("kind", {"yes": creative("draft")}),
    "iterative": lambda: iterative(creative("draft"), validator(criteria="short")),
    "orchestrated": lambda: orchestrated(planner(), executor()),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_every_pattern_shows_its_picture(name, monkeypatch):
    monkeypatch.setattr("langgraph.pregel.Pregel.get_graph", None)  # what asks the web service
    graph = GRAPHS[name]()
    shown = graph._repr_mimebundle_(include=None, exclude=None)
    assert list(shown) == ["text/html", "image/svg+xml", "text/plain"]
    assert shown["image/svg+xml"].startswith("<svg ")
    assert shown["image/svg+xml"] in shown["text/html"]
    assert shown["text/plain"].startswith(f"{name}\n\nstart\n")
    assert graph._repr_html_() == shown["text/html"]
    assert graph._repr_svg_() == shown["image/svg+xml"]


def test_without_the_extra_a_graph_is_shown_as_mermaid(monkeypatch):
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    graph = sequential(creative("draft"))
    shown = graph._repr_mimebundle_()
    assert list(shown) == ["text/markdown", "text/plain"]
    assert shown["text/markdown"].startswith("```mermaid\n---\ntitle: ")
    assert shown["text/markdown"].endswith("\n```\n")
    assert (graph._repr_html_(), graph._repr_svg_()) == (None, None)


def test_a_copy_shows_itself_as_well_and_runs_as_before():
    def says_done(state):
        return "done"

    graph = sequential(says_done, name="one").with_config({"tags": ["x"]})
    assert isinstance(graph, PatternGraph)
    assert graph._repr_svg_()
    assert graph.invoke({"task": "x"})["results"]["says_done"].content == "done"


def test_who_takes_the_patterns_by_themselves_sees_text_and_no_web_service():
    source = (
        "from aideon_agents.patterns import sequential\n"
        "print(sequential(lambda state: 'x')._repr_mimebundle_())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("{'text/plain': ")
    assert "png" not in done.stdout


def test_the_package_sets_what_draws_once_a_pattern_is_used():
    assert aideon_agents.sequential
    assert PatternGraph.drawn_by is not None
