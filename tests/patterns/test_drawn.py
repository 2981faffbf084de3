"""How the patterns are drawn, alone and in one another: a change of topology shows in a review.

`pytest tests/patterns/test_drawn.py --snapshot-update` accepts one that is meant.
"""

from __future__ import annotations

import pytest
from langgraph.graph import START, MessagesState, StateGraph

from aideon_agents import (
    State,
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
from aideon_agents.drawing.mermaid import mermaid
from aideon_agents.graphs.topology import read


def tidy(state):
    return None


def is_long(state):
    return True


def refine(step=None, name="refine"):
    return iterative(step or creative("draft"), validator("check"), name=name)


def phase(*workers, name="phase"):
    return orchestrated(planner("plan"), *(workers or (executor(), creative())), name=name)


def choose(condition=None, **branches):
    chosen = branches or {"yes": creative("write"), "no": executor("recheck")}
    return conditional(condition or validator("gate"), chosen, default=[*chosen][-1], name="choose")


def theirs(schema, node, name):
    builder = StateGraph(schema)
    builder.add_node("inside", node)
    builder.add_edge(START, "inside")
    return builder.compile(name=name)


GRAPHS = {
    "sequential": lambda: sequential(planner(), tidy, creative()),
    "parallel": lambda: parallel(executor("facts"), creative("angle"), tidy),
    "parallel_bounded": lambda: parallel(executor("facts"), tidy, max_concurrency=1),
    "parallel_kept": lambda: parallel(executor("facts"), refine(), on_failure="keep"),
    "conditional_by_an_agent": choose,
    "conditional_by_a_function": lambda: choose(is_long),
    "conditional_by_an_input": lambda: choose("urgent", a=executor(), b=tidy, c=creative()),
    "iterative": refine,
    "iterative_with_a_graph_as_check": lambda: iterative(
        creative("draft"), sequential(executor("measure"), validator("judge"), name="check")
    ),
    "orchestrated": phase,
    "orchestrated_with_graphs_inside": lambda: phase(refine(name="executor"), creative()),
    "orchestrated_with_a_graph_as_planner": lambda: orchestrated(
        sequential(executor("look"), planner(), name="think"), executor()
    ),
    "sequential_with_an_approval": lambda: sequential(creative("draft", approve=True), tidy),
    "parallel_with_approvals": lambda: parallel(
        executor("facts", approve=True), creative("angle", approve=True), tidy, on_failure="keep"
    ),
    "conditional_with_approvals": lambda: choose(
        validator("gate", approve=True), yes=creative("write", approve=True), no=executor()
    ),
    "iterative_with_approvals": lambda: iterative(
        creative("draft", approve=True), validator("check", approve=True)
    ),
    "orchestrated_with_approvals": lambda: orchestrated(
        planner("plan", approve=True), executor(approve=True), creative()
    ),
    "all_in_a_row": lambda: sequential(
        phase(),
        parallel(executor("facts"), creative("angle"), name="gather", on_failure="keep"),
        choose(),
        refine(),
    ),
    "all_in_a_branch": lambda: parallel(
        phase(), choose(), refine(), sequential(executor(), tidy), max_concurrency=2
    ),
    "all_in_one_another": lambda: refine(
        choose(yes=parallel(phase(), sequential(choose(), tidy), name="gather"), no=tidy)
    ),
    "all_on_routes": lambda: choose(
        phase=phase(), gather=parallel(executor(), tidy), refine=refine(), chain=sequential(tidy)
    ),
    "theirs_in_ours": lambda: sequential(
        theirs(MessagesState, tidy, "chat"),
        parallel(theirs(MessagesState, tidy, "talk"), tidy, max_concurrency=1),
        choose(yes=theirs(State, sequential(creative()), "own")),
    ),
    "ours_in_theirs": lambda: theirs(State, sequential(phase(), choose()), "larger"),
}


def outline(topology):
    """One line for each group, node and edge."""
    lines = [f"group {group.id} at {group.path}" for group in topology.groups]
    lines += [f"{node.kind} {node.id} at {node.path or '-'}" for node in topology.nodes]
    lines += [
        f"{edge.source} -> {edge.target}" + (f" if {edge.label}" if edge.conditional else "")
        for edge in topology.edges
    ]
    return "\n".join(lines)


@pytest.mark.parametrize("name", GRAPHS)
def test_a_pattern_is_drawn_as_it_was(name, snapshot):
    topology = read(GRAPHS[name]())
    assert outline(topology) == snapshot(name="topology")
    assert mermaid(topology) == snapshot(name="mermaid")


@pytest.mark.parametrize("name", GRAPHS)
def test_every_edge_of_a_drawing_leads_from_node_to_node(name):
    topology = read(GRAPHS[name]())
    ids = {node.id for node in topology.nodes}
    assert {end for edge in topology.edges for end in (edge.source, edge.target)} == ids
