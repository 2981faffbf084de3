"""The way a run took is worked out from its calls, and never wrong: checked against what ran."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from aideon_agents.drawing.taken_edges import Seen, TakenEdges
from aideon_agents.graphs.topology import Edge, Node, Topology, read

START, END = "__start__", "__end__"


def graph(*edges, functions=()):
    """Agents, named by a letter each, and the edges between them; a conditional one ends in `?`."""
    made = [Edge(*edge.rstrip("?").split(">"), conditional=edge.endswith("?")) for edge in edges]
    ends = {"S": START, "E": END}
    made = [
        replace(
            one, source=ends.get(one.source, one.source), target=ends.get(one.target, one.target)
        )
        for one in made
    ]
    names = dict.fromkeys(end for one in made for end in (one.source, one.target))
    kinds = {START: "start", END: "end", **dict.fromkeys(functions, "function")}
    nodes = tuple(Node(name, name, kinds.get(name, "executor")) for name in names)
    return TakenEdges(Topology("g", nodes, (), tuple(made), tuple(made)))


def told(ways, order, **seen):
    """The verdicts, as they are read: `a>b` with + for taken and - for not."""
    verdicts, _ = ways.of(Seen(order=tuple(order), **seen))
    short = {START: "S", END: "E"}
    said = [
        f"{short.get(a, a)}>{short.get(b, b)}{'+' if taken else '-'}"
        for (a, b), taken in verdicts.items()
    ]
    return " ".join(sorted(said))


LOOP = ("S>d", "d>c", "c>d?", "c>E?")


def test_a_loop_that_passed_at_once_did_not_come_back():
    assert told(graph(*LOOP), "dc") == "S>d+ c>E+ c>d- d>c+"


def test_a_loop_that_came_round_did():
    assert told(graph(*LOOP), "dcdc") == "S>d+ c>E+ c>d+ d>c+"


def test_a_call_that_was_tried_again_is_no_second_round():
    assert told(graph(*LOOP), "ddcc") == "S>d+ c>E+ c>d- d>c+"


def test_of_two_loops_the_inner_one_and_the_outer_one_are_told_apart():
    nested = graph("S>d", "d>i", "i>d?", "i>o?", "o>d?", "o>E?")
    assert "i>d-" in told(nested, "diodio")
    assert "o>d+" in told(nested, "diodio")
    assert "i>d+" in told(nested, "didio")
    assert "o>d-" in told(nested, "didio")


def test_a_route_is_known_by_the_agent_at_its_end():
    fork = graph("S>f", "f>a?", "f>b?", "a>E", "b>E", functions="f")
    assert told(fork, "a") == "S>f+ a>E+ b>E- f>a+ f>b-"


def test_of_functions_nothing_is_said_but_what_follows():
    fork = graph("S>f", "f>g?", "f>h?", "g>E", "h>E", functions="fgh")
    assert told(fork, "") == "S>f+"
    assert told(fork, "", also=frozenset("g")) == "S>f+ f>g+ g>E+"


def test_what_leads_to_a_function_again_leaves_the_way_back_unknown():
    around = graph("S>d", "d>f", "f>d?", "f>E?", functions="f")
    assert told(around, "dd") == "S>d+ d>f+ f>E+"


def test_a_run_that_came_to_no_end_took_what_led_to_what_it_called():
    chain = graph("S>a", "a>b", "b>c", "c>E")
    assert told(chain, "ab", completed=False) == "S>a+ a>b+ b>c- c>E-"


def test_what_follows_an_answer_that_never_came_is_not_said_to_have_begun():
    kept = graph("S>a", "a>f", "f>j", "S>b", "b>j", "j>E", functions="fj")
    assert "a>f" in told(kept, "ab")
    assert "a>f" not in told(kept, "ab", unanswered=frozenset("a"))


def test_runs_that_went_the_same_way_are_worked_out_once():
    ways = graph(*LOOP)
    assert ways.of(Seen(order=("d", "c"))) is ways.of(Seen(order=("d", "c")))


def watched(topology, share, seed):
    """A graph in which some functions are agents, so that they leave calls."""
    chance = random.Random(seed)  # noqa: S311 - seeded, not secret
    agents = {
        node.id
        for node in topology.nodes
        if node.kind not in {"start", "end"} and chance.random() < share
    }
    nodes = tuple(
        replace(node, kind="executor") if node.id in agents else node for node in topology.nodes
    )
    return replace(topology, nodes=nodes), agents


@pytest.mark.parametrize("share", [1, 0.6, 0.2])
def test_no_verdict_is_wrong_however_little_is_seen(beside_benchmark, share):
    workflows, executed = beside_benchmark
    unknown = edges = 0
    for seed, made in enumerate(workflows.workflows(6, seed=11)):
        topology, agents = watched(read(made.graph), share, seed)
        ways = TakenEdges(topology)
        for inputs in made.runs():
            run = executed.traced(made.graph, inputs)
            taken = executed.taken(run, {node.id for node in topology.nodes})
            order = [place for one in run.tasks if (place := run.places[one]) in agents]
            found, _ = ways.of(Seen(order=tuple(order)))
            assert {way for way, was in found.items() if was} <= taken
            assert not {way for way, was in found.items() if not was} & taken
            half = Seen(order=tuple(order[: len(order) // 2]), completed=False)
            verdicts, _ = ways.of(half)
            assert {way for way, was in verdicts.items() if was} <= taken
            edges += len(ways.certain)
            unknown += len(ways.certain) - len(found)
    if share == 1:
        assert unknown < edges / 50
