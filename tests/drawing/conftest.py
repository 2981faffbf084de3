"""Graphs as the patterns build them, made with LangGraph alone."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from langgraph.graph import END, START, StateGraph

from aideon_agents.ledger.tags import ROLE
from aideon_agents.state import Results, State, part

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph


def does_nothing(state: State) -> Results:
    return {}


class Graphs:
    """Small graphs in the dialect of our builders."""

    def node(self, builder: StateGraph, name: str, role: str | None = None, runs: Any = None):
        marks = part(name) | ({ROLE: role} if role else {})
        builder.add_node(name, runs or does_nothing, metadata=marks)

    def chain(self, name: str, **steps: Any) -> CompiledStateGraph:
        """Steps one after the other; a step is a role, a graph, or None for a function."""
        builder = StateGraph(State, output_schema=Results)
        previous = START
        for step, runs in steps.items():
            if isinstance(runs, str):
                self.node(builder, step, role=runs)
            else:
                self.node(builder, step, runs=runs)
            builder.add_edge(previous, step)
            previous = step
        builder.add_edge(previous, END)
        return builder.compile(name=name)

    def wrapped(self, role: str | None = None, runs: Any = None) -> CompiledStateGraph:
        """A parallel branch as a subgraph of its own."""
        builder = StateGraph(State, output_schema=Results)
        marks = part("branch", "") | ({ROLE: role} if role else {})
        builder.add_node("branch", runs or does_nothing, metadata=marks)
        builder.add_edge(START, "branch")
        builder.add_edge("branch", END)
        return builder.compile()

    def parallel(self, name: str, **branches: Any) -> CompiledStateGraph:
        builder = StateGraph(State, output_schema=Results)
        for branch, runs in branches.items():
            builder.add_node(branch, runs, metadata=part(branch), error_handler=lambda state: {})
            builder.add_edge(START, branch)
            builder.add_edge(branch, END)
        return builder.compile(name=name)

    def loop(self, name: str) -> CompiledStateGraph:
        builder = StateGraph(State, output_schema=Results)
        self.node(builder, "draft", "creative")
        self.node(builder, "check", "validator")
        builder.add_edge(START, "draft")
        builder.add_edge("draft", "check")
        builder.add_conditional_edges(
            "check", lambda state: "again", {"again": "draft", "passed": END, "max_rounds": END}
        )
        return builder.compile(name=name)

    def fork(self, name: str) -> CompiledStateGraph:
        builder = StateGraph(State, output_schema=Results)
        self.node(builder, "decide", "validator")
        self.node(builder, "write", "creative")
        self.node(builder, "recheck", "executor")
        builder.add_edge(START, "decide")
        builder.add_conditional_edges(
            "decide",
            lambda state: "yes",
            {"yes": "write", "no": "recheck", "unclear": "recheck", "skip": END},
        )
        builder.add_edge("write", END)
        builder.add_edge("recheck", END)
        return builder.compile(name=name)

    def brief(self) -> CompiledStateGraph:
        """Every pattern once, a loop inside a parallel branch included."""
        gather = self.parallel(
            "gather",
            facts=self.wrapped("executor"),
            angle=self.wrapped(runs=self.loop("angle")),
        )
        return self.chain(
            "brief",
            plan="planner",
            gather=gather,
            choose=self.fork("choose"),
            polish=self.loop("p"),
        )


@pytest.fixture
def graphs() -> Graphs:
    return Graphs()


def beside(name: str, *folders: str) -> Any:
    """A module that is no part of a package: the benchmark's judges, and Mermaid's."""
    if name not in sys.modules:
        path = Path(__file__).parents[2].joinpath(*folders, f"{name}.py")
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def collisions() -> Any:
    """What touches what in a picture, as the benchmark finds it."""
    return beside("collisions", "benchmarks", "drawing")


@pytest.fixture(scope="session")
def drawn() -> Any:
    """Which edges a drawing shows, as the benchmark reads them."""
    return beside("drawn", "benchmarks", "drawing")


@pytest.fixture(scope="session")
def mermaid_judge() -> Any:
    """Mermaid's own parser."""
    return beside("mermaid_judge", "tests", "drawing", "mermaid")


@pytest.fixture(scope="session")
def beside_benchmark() -> Any:
    """Random workflows, and what LangGraph itself wrote down of their runs."""
    folders = ("benchmarks", "drawing")
    return beside("workflows", *folders), beside("executed", *folders)


@pytest.fixture(scope="session")
def axe(mermaid_judge) -> str:
    """The source of axe-core, which judges whether everybody can use a page."""
    folder = Path(__file__).parent / "page"
    return (mermaid_judge.install(folder) / "axe-core" / "axe.min.js").read_text("utf-8")
