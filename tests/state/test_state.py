"""The rules of what travels on edges: results merge, orders count up, places have paths."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langgraph.graph import END, START, StateGraph
from pydantic import ValidationError

from aideon_agents.node_paths import INSIDE, NODE_PATH, node_path, part
from aideon_agents.state import Results, State, StepResult, Verdict, last, latest, merge, next_order

PATHS = st.sampled_from(["plan", "gather/facts", "gather/risks", "refine/draft", "refine"])
SMALL = st.integers(0, 5)

# Other tests may keep the machine busy: how long an example takes says nothing here.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def result(path: str, order: int, content: str = "said") -> StepResult:
    return StepResult(node_path=path, role="executor", content=content, order=order)


@st.composite
def maps(draw, orders=SMALL):
    """Results by path; contents differ, so that one can see which of two survived."""
    paths = draw(st.lists(PATHS, unique=True))
    return {path: result(path, draw(orders), draw(st.text(max_size=3))) for path in paths}


@unhurried
@given(maps())
def test_merging_results_with_themselves_changes_nothing(results):
    assert merge(results, results) == results


@unhurried
@given(maps(), maps())
def test_merging_the_same_results_again_changes_nothing(left, right):
    merged = merge(left, right)
    assert merge(merged, right) == merged


@unhurried
@given(
    maps(st.integers(0, 50).map(lambda n: 2 * n)), maps(st.integers(0, 50).map(lambda n: 2 * n + 1))
)
def test_merging_does_not_depend_on_who_finishes_first_where_orders_differ(left, right):
    assert merge(left, right) == merge(right, left)


@unhurried
@given(maps(), maps(), maps())
def test_merging_does_not_depend_on_how_branches_are_grouped(first, second, third):
    assert merge(merge(first, second), third) == merge(first, merge(second, third))


@unhurried
@given(maps(), maps())
def test_the_later_result_wins_at_every_path(left, right):
    merged = merge(left, right)
    assert merged.keys() == left.keys() | right.keys()
    for path, kept in merged.items():
        known = [results[path] for results in (left, right) if path in results]
        assert kept in known
        assert kept.order == max(one.order for one in known)


def test_a_result_written_again_without_a_later_order_replaces_the_first():
    first, again = result("mine", 0, "first"), result("mine", 0, "again")
    assert merge({"mine": first}, {"mine": again}) == {"mine": again}


@unhurried
@given(maps(), maps())
def test_merging_leaves_what_it_was_given_alone(left, right):
    before = (dict(left), dict(right))
    merge(left, right)
    assert (left, right) == before


@unhurried
@given(maps())
def test_the_next_order_is_greater_than_every_order_seen(results):
    order = next_order(results)
    assert all(order > one.order for one in results.values())
    assert order >= 1


def test_there_is_no_latest_result_before_the_first():
    assert latest({}) is None


def test_the_latest_result_is_the_one_with_the_greatest_order():
    results = {"a": result("a", 2), "b": result("b", 7), "c": result("c", 3)}
    assert latest(results) is results["b"]


def test_of_results_with_the_same_order_the_one_written_last_is_the_latest():
    results = {"a": result("a", 1), "b": result("b", 1)}
    assert latest(results) is results["b"]


def test_a_plain_key_keeps_what_was_written_last():
    assert last("first", "second") == "second"


def test_a_result_cannot_be_changed_after_the_fact():
    with pytest.raises(dataclasses.FrozenInstanceError):
        result("a", 1).content = "other"


@pytest.mark.parametrize("score", [-0.1, 1.1])
def test_a_score_lies_between_0_and_1(score):
    with pytest.raises(ValidationError):
        Verdict(passed=True, score=score, feedback="")


def test_a_graph_that_has_no_loop_has_no_round():
    seen: list[State] = []
    builder = StateGraph(State, output_schema=Results)
    builder.add_node("look", seen.append)
    builder.add_edge(START, "look")
    builder.add_edge("look", END)
    builder.compile().invoke({"task": "any"})
    assert "round" not in seen[0]
    assert "feedback" not in seen[0]


@dataclasses.dataclass(frozen=True)
class Spot:
    """Metadata as LangGraph hands it to callbacks, and the path it means."""

    says: str
    path: str
    namespace: str = ""
    marks: tuple[dict[str, str], ...] = ()
    also: dict[str, str] = dataclasses.field(default_factory=dict)
    of_agent: str | None = None
    """The path when an agent asks for its own; None: the same."""

    @property
    def metadata(self) -> dict[str, str]:
        merged: dict[str, str] = {"langgraph_checkpoint_ns": self.namespace} | self.also
        for mark in self.marks:
            merged |= mark
        return merged


SPOTS = [
    Spot("nothing is known outside any graph", ""),
    Spot(
        "names go from the outside in, without LangGraph's task ids",
        "refine/draft",
        "refine:1f|draft:2e",
        (part("refine"), part("draft")),
    ),
    Spot(
        "a part may be called otherwise",
        "work/s2",
        "work:1|step:2",
        (part("work"), part("step", "s2")),
    ),
    Spot(
        "a wrapper adds no part",
        "gather/facts",
        "gather:1|facts:2|facts/:3",
        (part("gather"), part("facts"), part("facts/", "")),
    ),
    Spot("a graph without a mark keeps every name", "research/model", "research:1|model:2"),
    Spot(
        "what lies inside the innermost marked node is no place, unless an agent of ours is there",
        "brief/research",
        "brief:1|research:2|model:3",
        (part("brief"), part("research")),
        of_agent="brief/research/model",
    ),
    Spot(
        "a larger graph around ours counts",
        "theirs/refine/draft",
        "theirs:1|refine:2|draft:3",
        (part("refine"), part("draft")),
    ),
    Spot(
        "the node's name will do where there is no namespace",
        "draft",
        also={"langgraph_node": "draft"},
    ),
    Spot(
        "an agent's own word comes first",
        "refine/draft",
        "elsewhere:1|model:2",
        also={NODE_PATH: "refine/draft"},
    ),
]


@pytest.mark.parametrize("spot", SPOTS, ids=lambda spot: spot.says)
def test_the_node_path_of_a_place(spot):
    assert node_path(spot.metadata) == spot.path


@pytest.mark.parametrize("spot", SPOTS, ids=lambda spot: spot.says)
def test_the_node_path_of_an_agent_in_a_place(spot):
    assert node_path(spot.metadata, of_agent=True) == (spot.of_agent or spot.path)


def test_what_langgraph_runs_inside_an_agent_is_no_part_of_a_path():
    inside = f"work:1|{INSIDE}tool:2"
    assert node_path({"langgraph_checkpoint_ns": inside}) == "work"
    marked = part("work") | part("draft")
    assert node_path({"langgraph_checkpoint_ns": f"{inside}|draft:3"} | marked) == "work/draft"
