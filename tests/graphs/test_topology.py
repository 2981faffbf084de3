from __future__ import annotations

import subprocess
import sys
from typing import Literal, TypedDict

from langgraph.func import entrypoint
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send

from aideon_agents.graphs.topology import Group, Node, read


class Anything(TypedDict, total=False):
    value: int


def step(state: Anything) -> Anything:
    return {}


def ways(topology):
    return [(edge.source, edge.target, edge.label) for edge in topology.edges]


def test_a_chain_reads_as_its_nodes_between_start_and_end(graphs):
    topology = read(graphs.chain("brief", plan="planner", tidy=None))
    assert topology.name == "brief"
    assert topology.nodes == (
        Node("__start__", "start", "start"),
        Node("plan", "plan", "planner", None, "plan"),
        Node("tidy", "tidy", "function", None, "tidy"),
        Node("__end__", "end", "end"),
    )
    assert ways(topology) == [
        ("__start__", "plan", None),
        ("plan", "tidy", None),
        ("tidy", "__end__", None),
    ]
    assert not any(edge.conditional for edge in topology.edges)


def test_edges_run_through_groups_from_node_to_node(graphs):
    topology = read(graphs.chain("outer", plan="planner", polish=graphs.loop("polish")))
    assert topology.groups == (Group("polish", "polish", None, "polish"),)
    assert [node.id for node in topology.nodes if node.parent == "polish"] == [
        "polish|draft",
        "polish|check",
    ]
    assert ways(topology) == [
        ("__start__", "plan", None),
        ("plan", "polish|draft", None),
        ("polish|draft", "polish|check", None),
        ("polish|check", "polish|draft", "again"),
        ("polish|check", "__end__", "passed"),
        ("polish|check", "__end__", "max_rounds"),
    ]


def test_a_wrapped_branch_is_drawn_as_what_it_wraps(graphs):
    topology = read(
        graphs.parallel("gather", facts=graphs.wrapped("executor"), own=graphs.wrapped())
    )
    boxes = [(node.label, node.kind, node.path) for node in topology.nodes]
    assert boxes[1:-1] == [("facts", "executor", "facts"), ("own", "function", "own")]
    assert topology.groups == ()


def test_a_wrapped_pattern_is_drawn_as_the_pattern_under_the_branch_name(graphs):
    branch = graphs.wrapped(runs=graphs.loop("inner"))
    topology = read(graphs.chain("outer", gather=graphs.parallel("gather", angle=branch)))
    assert [(group.label, group.path) for group in topology.groups] == [
        ("gather", "gather"),
        ("angle", "gather/angle"),
    ]
    assert [node.path for node in topology.nodes][1:-1] == [
        "gather/angle/draft",
        "gather/angle/check",
    ]


def test_error_handlers_are_not_drawn(graphs):
    graph = graphs.parallel("gather", facts=graphs.wrapped("executor"))
    assert "__error_handler__facts" in graph.builder.nodes
    assert not any("error" in node.id for node in read(graph).nodes)


def test_two_conditions_to_one_target_are_two_edges(graphs):
    edges = read(graphs.fork("choose")).edges
    labels = [edge.label for edge in edges if edge.target == "recheck"]
    assert labels == ["no", "unclear"]
    assert all(edge.conditional for edge in edges if edge.source == "decide")


def test_conditions_met_on_the_way_into_a_group_and_inside_it_are_joined(graphs):
    inner = StateGraph(Anything)
    inner.add_node("long", step)
    inner.add_node("short", step)
    inner.add_conditional_edges(START, lambda state: "l", {"l": "long", "s": "short", "n": END})
    outer = StateGraph(Anything)
    outer.add_node("ask", step)
    outer.add_node("write", inner.compile())
    outer.add_node("publish", step)
    outer.add_edge(START, "ask")
    outer.add_conditional_edges("ask", lambda state: "go", {"go": "write", "stop": END})
    outer.add_edge("write", "publish")
    assert ways(read(outer.compile())) == [
        ("__start__", "ask", None),
        ("ask", "write|long", "go · l"),
        ("ask", "write|short", "go · s"),
        ("ask", "publish", "go · n"),
        ("ask", "__end__", "stop"),
        ("write|long", "publish", None),
        ("write|short", "publish", None),
        ("publish", "__end__", None),
    ]


def test_a_loop_around_a_group_leads_from_its_last_node_to_its_first(graphs):
    builder = StateGraph(Anything)
    builder.add_node("work", graphs.chain("work", first="executor", last="executor"))
    builder.add_edge(START, "work")
    builder.add_conditional_edges("work", lambda state: "more", {"more": "work", "done": END})
    assert ways(read(builder.compile())) == [
        ("__start__", "work|first", None),
        ("work|first", "work|last", None),
        ("work|last", "work|first", "more"),
        ("work|last", "__end__", "done"),
    ]


def test_a_group_that_may_be_passed_by_and_repeats_itself_has_no_edge_to_nowhere():
    inner = StateGraph(Anything)
    inner.add_node("work", step)
    inner.add_conditional_edges(START, lambda state: "do", {"do": "work", "skip": END})
    builder = StateGraph(Anything)
    builder.add_node("maybe", inner.compile())
    builder.add_edge(START, "maybe")
    builder.add_conditional_edges("maybe", lambda state: "more", {"more": "maybe", "done": END})
    ids = {"__start__", "maybe|work", "__end__"}
    topology = read(builder.compile())
    assert {edge.source for edge in topology.edges} | {
        edge.target for edge in topology.edges
    } == ids


def test_a_way_past_a_group_and_a_way_through_it_are_one_edge(graphs):
    inner = StateGraph(Anything)
    inner.add_node("work", step)
    inner.add_edge(START, "work")
    inner.add_edge(START, END)
    builder = StateGraph(Anything)
    builder.add_node("a", step)
    builder.add_node("group", inner.compile())
    builder.add_node("b", step)
    builder.add_edge(START, "a")
    builder.add_edge("a", "group")
    builder.add_edge("a", "b")
    builder.add_edge("group", "b")
    assert ways(read(builder.compile())) == [
        ("__start__", "a", None),
        ("a", "group|work", None),
        ("a", "b", None),
        ("group|work", "b", None),
        ("b", "__end__", None),
    ]


def test_command_destinations_are_conditional_edges():
    def typed(state: Anything) -> Command[Literal["b", "__end__"]]:
        return Command(goto="b")

    builder = StateGraph(Anything)
    builder.add_node("a", typed)
    builder.add_node("b", step, destinations={"a": "not yet", END: "done"})
    builder.add_edge(START, "a")
    topology = read(builder.compile())
    assert ways(topology) == [
        ("__start__", "a", None),
        ("a", "b", "b"),
        ("a", "__end__", "end"),
        ("b", "a", "not yet"),
        ("b", "__end__", "done"),
    ]
    assert all(edge.conditional for edge in topology.edges if edge.source != "__start__")


def test_waiting_edges_deferred_nodes_and_sends_are_read():
    def fan_out(state: Anything):
        return [Send("work", {}), Send("work", {})]

    builder = StateGraph(Anything)
    for name in ("one", "two", "work"):
        builder.add_node(name, step)
    builder.add_node("join", step, defer=True)
    builder.add_edge(START, "one")
    builder.add_edge(START, "two")
    builder.add_conditional_edges("one", fan_out, ["work"])
    builder.add_edge(["two", "work"], "join")
    assert ways(read(builder.compile())) == [
        ("__start__", "one", None),
        ("__start__", "two", None),
        ("one", "work", "work"),
        ("two", "join", None),
        ("work", "join", None),
        ("join", "__end__", None),
    ]


def test_a_branch_that_does_not_say_where_it_leads_may_lead_anywhere():
    def route_by_mood(state: Anything):
        return "b"

    builder = StateGraph(Anything)
    builder.add_node("a", step)
    builder.add_node("b", step)
    builder.add_edge(START, "a")
    builder.add_conditional_edges("a", route_by_mood)
    assert ways(read(builder.compile()))[1:4] == [
        ("a", "a", "route_by_mood"),
        ("a", "b", "route_by_mood"),
        ("a", "__end__", "route_by_mood"),
    ]


def test_condition_keys_of_any_type_become_labels():
    builder = StateGraph(Anything)
    builder.add_node("a", step)
    builder.add_node("b", step)
    builder.add_edge(START, "a")
    builder.add_conditional_edges("a", lambda state: True, {True: "b", 7: "b", "": "b", None: END})
    labels = [edge.label for edge in read(builder.compile()).edges if edge.source == "a"]
    assert labels == ["True", "7", '""', "None"]


def test_depth_closes_the_groups_below_it(graphs):
    graph = graphs.brief()
    closed = read(graph, depth=0)
    assert closed.groups == ()
    assert [node.label for node in closed.nodes if node.kind == "graph"] == [
        "gather",
        "choose",
        "polish",
    ]
    assert ways(closed)[1] == ("plan", "gather", None)
    one = read(graph, depth=1)
    assert [node.label for node in one.nodes if node.kind == "graph"] == ["angle"]
    assert read(graph, depth=2) == read(graph)


def test_a_subgraph_is_found_behind_bindings_and_inside_functions(graphs):
    inner = graphs.loop("inner")

    def calls(state: Anything):
        return inner.invoke({"task": "x"})

    builder = StateGraph(Anything)
    builder.add_node("bound", inner.with_retry())
    builder.add_node("called", calls)
    builder.add_edge(START, "bound")
    builder.add_edge("bound", "called")
    assert [group.label for group in read(builder.compile()).groups] == ["bound", "called"]


def test_an_agent_is_one_node_whatever_it_is_made_of(graphs):
    builder = StateGraph(Anything)
    graphs.node(builder, "facts", "executor", runs=graphs.loop("inner works"))
    builder.add_edge(START, "facts")
    topology = read(builder.compile())
    assert [node.kind for node in topology.nodes] == ["start", "executor", "end"]


def test_the_same_graph_used_twice_stays_two_groups(graphs):
    loop = graphs.loop("same")
    topology = read(graphs.chain("outer", first=loop, second=loop))
    assert [group.id for group in topology.groups] == ["first", "second"]
    assert len({node.id for node in topology.nodes}) == 6
    assert ("first|check", "second|draft", "passed") in ways(topology)


def test_a_graph_without_a_builder_is_one_node():
    @entrypoint()
    def flow(value: int) -> int:
        return value

    assert [(node.label, node.kind) for node in read(flow).nodes] == [
        ("start", "start"),
        ("LangGraph", "graph"),
        ("end", "end"),
    ]


def test_names_become_one_printable_line():
    builder = StateGraph(Anything)
    builder.add_node("two\nlines\x1b[31m", step)
    builder.add_edge(START, "two\nlines\x1b[31m")
    assert read(builder.compile()).nodes[1].label == "two lines [31m"


def test_the_order_does_not_depend_on_the_process():
    source = """
from langgraph.graph import START, StateGraph
from aideon_agents.graphs.topology import read
builder = StateGraph(dict)
for name in "abcdefgh":
    builder.add_node(name, lambda state: {})
    builder.add_edge(START, name)
print(read(builder.compile()).edges)
"""
    seen = {
        subprocess.run(
            [sys.executable, "-c", source],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1


def test_legs_are_the_edges_cut_where_they_enter_and_leave_a_group(graphs):
    topology = read(graphs.chain("outer", plan="planner", polish=graphs.loop("polish")))
    assert [(leg.source, leg.target, leg.label) for leg in topology.legs] == [
        ("polish|__start__", "polish|draft", None),
        ("polish|draft", "polish|check", None),
        ("polish|check", "polish|draft", "again"),
        ("polish|check", "polish|__end__", "passed"),
        ("polish|check", "polish|__end__", "max_rounds"),
        ("__start__", "plan", None),
        ("plan", "polish|__start__", None),
        ("polish|__end__", "__end__", None),
    ]


def test_no_edge_leads_out_of_a_group_that_never_ends():
    inner = StateGraph(Anything)
    inner.add_node("ping", step)
    inner.add_node("pong", step)
    inner.add_edge(START, "ping")
    inner.add_edge("ping", "pong")
    inner.add_edge("pong", "ping")
    outer = StateGraph(Anything)
    outer.add_node("forever", inner.compile())
    outer.add_node("never", step)
    outer.add_edge(START, "forever")
    outer.add_edge("forever", "never")
    topology = read(outer.compile())
    assert not any("forever" in leg.source and leg.target == "never" for leg in topology.legs)
    assert ("never", "__end__", None) in ways(topology)


def test_a_node_called_like_a_groups_end_is_a_node(graphs):
    names = {"entry": None, "exit": None, "end": None}
    assert [node.label for node in read(graphs.chain("names", **names)).nodes] == [
        "start", "entry", "exit", "end", "end",
    ]  # fmt: skip


def test_the_node_that_asks_a_person_is_an_approval(graphs):
    asking = StateGraph(Anything)
    graphs.node(asking, "approval")
    asking.add_edge(START, "approval")
    assert read(asking.compile()).nodes[1].kind == "approval"
    somebody_elses = StateGraph(Anything)
    somebody_elses.add_node("approval", step)
    somebody_elses.add_edge(START, "approval")
    assert read(somebody_elses.compile()).nodes[1].kind == "function"
