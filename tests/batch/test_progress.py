"""How far a batch has come: what is counted as items end is what the ledger says."""

from __future__ import annotations

import time

from aideon_agents import abatch, executor, sequential
from aideon_agents.batch import progress as counting
from aideon_agents.batch.progress import Tally
from aideon_agents.ledger.costs import NOTHING, NodeCost
from aideon_agents.ledger.money import usd
from aideon_agents.testing import SimulatedProvider

MODEL = {"executor": "together:Qwen/Qwen3.5-9B", "creative": "together:Qwen/Qwen3.5-9B"}


def spent(path, nanousd, *, calls=1, known=1):
    return NodeCost(node_path=path, calls=calls, usd=usd(nanousd), complete=known == calls)


async def test_the_last_that_is_told_is_where_the_batch_ends(rehearse):
    told = []

    def breaks(state):
        if "2" in state["task"]:
            raise ValueError("no luck")
        return "fine"

    items = [f"item {number}" for number in range(6)] + [{"task": ""}]
    result = await rehearse(items, graph=sequential(executor("facts"), breaks), watch=told.append)
    last = told[-1].document()
    assert (last["completed"], last["failed"], last["invalid"], last["pending"]) == (5, 1, 1, 0)
    assert (last["items"], last["in_flight"], last["batch_id"]) == (7, 0, result.batch_id)
    assert told[-1].spent == result.usd
    assert [node["node_path"] for node in last["nodes"]] == ["facts"]
    assert last["budget"] is None


async def test_what_was_spent_before_is_counted_once(rehearse, ledger):
    told, broken = [], [True]

    def breaks(state):
        if broken:
            raise ValueError("no luck")
        return "fine"

    graph = sequential(executor("facts"), breaks, name="breaks")
    await rehearse(["a", "b"], graph=graph)
    broken.clear()
    result = await rehearse(["a", "b"], graph=graph, retry_failed=True, watch=told.append)
    assert result.completed == 2
    assert told[-1].spent == result.usd


async def test_against_a_budget_calls_in_flight_count(ledger, keyed):
    told = []
    with SimulatedProvider() as provider:
        options = {"settings": keyed(provider), "ledger": ledger, "model": MODEL}
        graph = sequential(executor("facts", max_tokens=64))
        result = await abatch(
            graph, ["Pumps."], "out.jsonl", budget="0.5", watch=told.append, **options
        )
    assert (str(told[-1].budget), told[-1].spent) == ("0.500000000", result.usd)
    assert told[-1].document()["budget"] == "0.500000"


def test_the_nodes_with_the_highest_costs_are_named_first(monkeypatch):
    monkeypatch.setattr(counting, "TOP_NODES", 2)
    tally = Tally(time.monotonic(), 3)
    tally.ended("completed", [spent("a", 5), spent("b", 9), spent("c", 1)])
    tally.ended("completed", [spent("c", 7)])
    shown = tally.progress("id", 1, None, NOTHING)
    assert [path for path, _ in shown.top_nodes] == ["b", "c"]
    assert (shown.completed, shown.in_flight, shown.done) == (2, 1, 2)


def test_an_unknown_cost_makes_a_lower_bound():
    tally = Tally(time.monotonic(), 2)
    tally.ended("completed", [spent("a", 5, calls=2)])
    assert tally.progress("id", 0, None, NOTHING).complete is False
    tally.restarts("completed")
    tally.ended("completed", [spent("a", 7, calls=2, known=2)], [spent("a", 5, calls=2)])
    shown = tally.progress("id", 0, None, NOTHING)
    assert (shown.complete, shown.completed, str(shown.spent)) == (True, 1, "7E-9")


def test_the_speed_is_that_of_the_last_seconds(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(counting.time, "monotonic", lambda: now[0])
    tally = Tally(90.0, 1000)
    for _ in range(10):
        tally.ended("completed")
    assert tally.progress("id", 0, None, NOTHING).items_per_s == 1.0
    for second in range(1, 41):
        now[0] = 100.0 + second
        for _ in range(5):
            tally.ended("completed")
        shown = tally.progress("id", 0, None, NOTHING)
    assert shown.items_per_s == 5.0
    assert shown.seconds_left == (1000 - 210) / 5


def test_the_time_left_is_unknown_before_the_first_end(monkeypatch):
    monkeypatch.setattr(counting.time, "monotonic", lambda: 50.0)
    tally = Tally(50.0, 10)
    shown = tally.progress("id", 0, None, NOTHING)
    assert (shown.items_per_s, shown.seconds_left) == (0.0, None)
    assert shown.document()["seconds_left"] is None


def test_a_first_moment_is_no_speed(monkeypatch):
    now = [11.0]
    monkeypatch.setattr(counting.time, "monotonic", lambda: now[0])
    tally = Tally(1.0, 100)
    tally.progress("id", 0, None, NOTHING)
    now[0] += 0.01
    for _ in range(10):
        tally.ended("completed")
    assert round(tally.progress("id", 0, None, NOTHING).items_per_s, 1) == 1.0
