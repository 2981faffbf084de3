"""What runs spent on each node and group, read from the calls of a real ledger."""

from __future__ import annotations

from decimal import Decimal

import pytest
from langchain.agents import create_agent

from aideon_agents.drawing.figures import figures
from aideon_agents.graphs.topology import read
from aideon_agents.ledger.costs import traces
from aideon_agents.ledger.pricing import Usage
from aideon_agents.ledger.rows import Call, CallEnd, Run
from aideon_agents.ledger.store import Ledger
from aideon_agents.testing import ScriptedChatModel


def lookup(word: str) -> str:
    """Look a word up."""
    return word


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.db") as opened:
        yield opened


class Book:
    """Writes runs as the cost handler does, with times that a test can add up."""

    def __init__(self, ledger):
        self.ledger = ledger
        self._count = 0

    def run(self, status="completed", **fields):
        run_id = self.ledger.start_run(Run(workflow="brief", **fields))
        self._status = status
        return run_id

    def end(self, run_id, status="completed", **fields):
        self.ledger.finish_run(run_id, status, **fields)

    def call(self, run_id, path, *, at=0, status="ok", nanousd=1000, ms=100, model="big", **start):
        self._count += 1
        call_id = f"{self._count:06}"
        self.ledger.start_call(
            Call(
                call_id=call_id,
                run_id=run_id,
                node_path=path,
                role="executor",
                provider="together",
                requested_model=model,
                started_at=f"2026-11-20T09:00:{at / 1000:06.3f}Z",
                **start,
            )
        )
        if status != "started":
            end = CallEnd(
                status=status,
                duration_ms=ms,
                usage=Usage(input_tokens=10, output_tokens=5) if status == "ok" else None,
                cost_nanousd=nanousd,
            )
            self.ledger.finish_call(call_id, end)


@pytest.fixture
def book(ledger):
    return Book(ledger)


@pytest.fixture
def graph(graphs):
    """plan, then two branches, then a loop of draft and check."""
    gather = graphs.parallel(
        "gather", facts=graphs.wrapped("executor"), risks=graphs.wrapped("executor")
    )
    return read(graphs.chain("brief", plan="planner", gather=gather, polish=graphs.loop("polish")))


def full(book, **fields):
    run_id = book.run(**fields)
    book.call(run_id, "plan", at=0, nanousd=4000)
    book.call(run_id, "gather/facts", at=100, ms=300, nanousd=2000)
    book.call(run_id, "gather/risks", at=200, ms=100, nanousd=2000)
    book.call(run_id, "polish/draft", at=400, nanousd=1000)
    book.call(run_id, "polish/check", at=500, nanousd=1000)
    return run_id


def words(found):
    return {one: dict(node.badges) for one, node in found.nodes.items() if node.badges}


def test_nodes_groups_and_all_together_add_up(book, graph):
    run_id = full(book)
    book.end(run_id)
    found = figures(traces(book.ledger, [run_id]), graph)
    facts = found.nodes["gather|facts|branch"]
    assert (facts.usd, facts.share, facts.calls, facts.duration_ms) == (
        Decimal("0.000002"),
        0.2,
        1,
        300,
    )
    assert (facts.models, facts.rounds, facts.input_tokens) == (("together:big",), 1, 10)
    gather = found.nodes["gather"]
    assert (gather.usd, gather.share, gather.calls) == (Decimal("0.000004"), 0.4, 2)
    assert gather.duration_ms == 300  # both at the same time
    assert (found.totals.usd, found.totals.calls) == (Decimal("0.000010"), 5)
    assert found.totals.duration_ms == 600
    assert (found.workflow, dict(found.statuses), found.rehearsed) == (
        "brief",
        {"completed": 1},
        False,
    )
    assert found.unknown == frozenset()
    assert set(found.taken) == {(a, b) for a, b in graph_ways(graph) if (a, b) != BACK}


BACK = ("polish|check", "polish|draft")


def graph_ways(topology):
    return {(edge.source, edge.target) for edge in topology.edges}


def test_an_unknown_cost_makes_a_lower_bound_and_no_cost_at_all_is_unknown(book, graph):
    run_id = full(book)
    book.call(run_id, "plan", at=50, nanousd=None)
    book.call(run_id, "polish/draft", at=600, round=2, status="started")
    found = figures(traces(book.ledger, [run_id]), graph)
    assert (found.nodes["plan"].usd, found.nodes["plan"].complete) == (Decimal("0.000004"), False)
    assert found.nodes["polish|draft"].rounds == 2
    assert not found.totals.complete
    other = book.run()
    book.call(other, "plan", nanousd=None)
    alone = figures(traces(book.ledger, [other]), graph)
    assert (alone.nodes["plan"].usd, alone.nodes["plan"].share) == (None, None)
    assert alone.totals.usd is None


def test_what_is_remarkable_is_a_badge(book, graph):
    run_id = book.run()
    book.call(run_id, "plan", status="error", nanousd=0)
    book.call(run_id, "plan", at=10, attempt=2, status="error", nanousd=0)
    book.call(run_id, "plan", at=20, candidate=1, model="small")
    book.call(run_id, "gather/facts", at=30, candidate=1, economized=True)
    book.call(run_id, "gather/risks", at=40, status="cached", nanousd=0)
    book.call(run_id, "polish/draft", at=50, status="error", nanousd=0)
    book.end(run_id, "failed")
    found = figures(traces(book.ledger, [run_id]), graph)
    assert words(found) == {
        "plan": {"retry": 1, "fallback": 1},
        "gather": {"cached": 1},
        "gather|risks|branch": {"cached": 1},
        "polish": {"failed": 1},
        "polish|draft": {"failed": 1},
        "polish|check": {"not_run": 1},
    }
    assert found.nodes["plan"].models == ("together:small",)
    assert found.nodes["plan"].gave_way == ("together:big",)
    assert found.nodes["plan"].failed_calls == 2


def test_a_call_without_an_end_is_running_or_cut_off(book, graph):
    run_id = book.run()
    book.call(run_id, "plan", status="started")
    assert words(figures(traces(book.ledger, [run_id]), graph))["plan"] == {"running": 1}
    assert figures(traces(book.ledger, [run_id]), graph).nodes["plan"].duration_ms is None
    book.end(run_id, "cancelled")
    assert words(figures(traces(book.ledger, [run_id]), graph))["plan"] == {"cut_off": 1}


def test_a_run_whose_process_is_gone_has_crashed(book, graph):
    run_id = book.run()
    book.ledger.database.write("UPDATE runs SET pid = 4000000", {})
    assert dict(figures(traces(book.ledger, [run_id]), graph).statuses) == {"crashed": 1}


def test_a_run_failed_at_the_node_that_its_row_names(book, graph):
    run_id = book.run()
    book.call(run_id, "plan")
    book.end(run_id, "failed", failed_node="plan my flow.py:12")
    found = figures(traces(book.ledger, [run_id]), graph)
    assert words(found)["plan"] == {"failed": 1}
    assert set(found.taken) == {("__start__", "plan")}
    two = book.run()
    book.call(two, "plan")
    book.call(two, "gather/facts", at=10, status="error")
    book.end(two, "failed", failed_node="gather/facts")
    found = words(figures(traces(book.ledger, [two]), graph))
    assert {place for place, own in found.items() if "failed" in own} == {
        "gather",
        "gather|facts|branch",
    }
    assert found["gather"]["failed"] == 1


def test_a_run_that_names_no_failed_node_has_none(book, graph):
    run_id = book.run()
    book.call(run_id, "plan")
    book.end(run_id, "failed")
    assert "failed" not in str(words(figures(traces(book.ledger, [run_id]), graph)))


def test_a_run_at_its_budget_stopped_where_it_might_not_ask(book, graph):
    run_id = book.run()
    book.call(run_id, "plan")
    book.end(run_id, "stopped", stop_reason="budget")
    found = figures(traces(book.ledger, [run_id]), graph)
    assert words(found)["gather|facts|branch"] == {"over_budget": 1}
    assert words(found)["gather"] == {"over_budget": 1}
    assert words(found)["polish"] == {"not_run": 1}
    assert ("plan", "gather|facts|branch") in found.taken
    first = book.run()
    book.end(first, "stopped", stop_reason="budget")
    assert words(figures(traces(book.ledger, [first]), graph))["plan"] == {"over_budget": 1}


def test_what_waits_is_marked_while_the_run_waits(book, graph):
    run_id = book.run()
    book.call(run_id, "plan")
    book.end(run_id, "waiting")
    found = figures(traces(book.ledger, [run_id]), graph, waiting={run_id: ["gather/facts"]})
    assert words(found)["gather|facts|branch"] == {"waiting": 1}
    assert ("plan", "gather|facts|branch") in found.taken
    assert ("plan", "gather|risks|branch") not in found.taken
    other = book.run()
    book.call(other, "plan")
    book.end(other, "waiting")
    both = {run_id: ["gather/facts"], other: ["gather/risks"]}
    found = figures(traces(book.ledger, [run_id, other]), graph, waiting=both)
    assert words(found)["gather|facts|branch"] == {"waiting": 1}
    assert found.taken["plan", "gather|facts|branch"] == 1
    assert found.taken["plan", "gather|risks|branch"] == 1


def test_what_gave_a_result_ran_without_a_call(book, graphs):
    chain = read(graphs.chain("c", plan="planner", tidy=None, last="creative"))
    run_id = book.run()
    book.call(run_id, "plan")
    assert ("plan", "tidy") in figures(traces(book.ledger, [run_id]), chain).unknown
    assert ("plan", "tidy") in figures(traces(book.ledger, [run_id]), chain, given=["tidy"]).taken
    book.end(run_id, "failed", results={"tidy": {"content": "done"}})
    assert ("plan", "tidy") in figures(traces(book.ledger, [run_id]), chain).taken


def test_several_runs_are_summed_and_their_medians_taken(book, graph):
    runs = []
    for nanousd, ms in ((1000, 100), (3000, 500), (8000, 200)):
        run_id = book.run()
        book.call(run_id, "plan", nanousd=nanousd, ms=ms)
        book.end(run_id)
        runs.append(run_id)
    runs.append(book.run())
    book.call(runs[-1], "gather/facts", nanousd=None)
    book.call(runs[-1], "gather/facts", nanousd=7)
    book.end(runs[-1], "failed")
    found = figures(traces(book.ledger, [*runs, "nobody"]), graph)
    plan = found.nodes["plan"]
    assert (plan.usd, plan.median_usd) == (Decimal("0.000012"), Decimal("0.000003"))
    assert (plan.duration_ms, plan.ran, plan.calls) == (200, 3, 3)
    facts = found.nodes["gather|facts|branch"]
    assert (facts.usd, facts.median_usd) == (Decimal("0.000000007"), None)
    assert found.totals.median_usd == Decimal("0.000003")  # of the runs whose cost is known
    assert dict(found.statuses) == {"completed": 3, "failed": 1}
    assert found.stop_reason is None
    assert found.taken["__start__", "plan"] == 3
    assert found.run_ids == tuple(runs)


def test_rehearsed_calls_count_in_a_rehearsal_alone(book, graph):
    paid, rehearsed = book.run(), book.run(rehearsed=True)
    for run_id in (paid, rehearsed):
        book.call(run_id, "plan", rehearsed=True)
    assert figures(traces(book.ledger, [paid]), graph).totals.calls == 0
    found = figures(traces(book.ledger, [rehearsed]), graph)
    assert (found.totals.calls, found.rehearsed) == (1, True)


def test_a_call_that_stands_nowhere_counts_in_the_total_alone(book, graph):
    run_id = book.run()
    book.call(run_id, "elsewhere/inside")
    book.call(run_id, "polish/unheard")  # below a group
    found = figures(traces(book.ledger, [run_id]), graph)
    assert found.totals.calls == 2
    assert found.nodes["polish"].calls == 1


def test_steps_of_a_plan_count_for_the_node_that_does_them(book, graphs):
    chain = read(graphs.chain("c", work=None))
    run_id = book.run()
    book.call(run_id, "work/s1")
    book.call(run_id, "work/s2", status="error")
    found = figures(traces(book.ledger, [run_id]), chain)
    assert found.nodes["work"].calls == 2
    assert words(found)["work"] == {"failed": 1}


def test_no_run_at_all_says_nothing(book, graph):
    found = figures(traces(book.ledger, ["nobody"]), graph)
    assert (found.run_ids, found.workflow, dict(found.taken)) == ((), "", {})
    assert (dict(found.nodes), found.totals.usd) == ({}, None)


def test_calls_inside_somebody_elses_agent_count_for_the_whole_agent(book, graphs):
    agent = create_agent(ScriptedChatModel(answers=["fine"]), tools=[lookup], name="researcher")
    whole = read(graphs.chain("c", plan="planner", researcher=agent, text="creative"))
    assert [group.id for group in whole.groups] == ["researcher"]
    run_id = book.run()
    for at, path in enumerate(("plan", "researcher", "researcher", "text")):
        book.call(run_id, path, at=at)
    book.end(run_id)
    found = figures(traces(book.ledger, [run_id]), whole)
    assert found.nodes["researcher"].calls == 2
    assert found.nodes["text"].calls == 1
    assert ("plan", "researcher|model") in found.taken
    assert ("researcher|model", "text") in found.taken
    assert ("researcher|model", "researcher|tools") in found.unknown
