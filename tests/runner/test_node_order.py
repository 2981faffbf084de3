"""Nodes are listed in the order in which the graph declares them."""

from __future__ import annotations

import pytest

from aideon_agents import (
    Ledger,
    creative,
    executor,
    iterative,
    orchestrated,
    parallel,
    planner,
    run,
    sequential,
    validator,
)
from aideon_agents.graphs.topology import in_declared_order, model
from aideon_agents.runner.result import recall

GRAPH = sequential(
    executor("zebra"),
    parallel(creative("middle"), executor("beginning"), name="both"),
    iterative(creative("work"), validator("check"), max_rounds=2, name="again"),
    orchestrated(planner("zoo"), executor(), name="last"),
    name="flow",
)
DECLARED = ["zebra", "both/middle", "both/beginning", "again/work", "again/check", "last/zoo"]


def test_the_nodes_of_a_run_are_in_declared_order_also_when_read_again(tmp_path):
    with Ledger(tmp_path / "ledger.db") as ledger:
        ended = run(GRAPH, "Heat pumps move heat.", rehearse=True, ledger=ledger)
        again = recall(ledger, ledger.runs()[0])
    for result in (ended, again):
        paths = [node.node_path for node in result.nodes]
        assert paths[: len(DECLARED)] == DECLARED
        assert all(path.startswith("last/work/") for path in paths[len(DECLARED) :])
        assert [*result.cost.by_node] == paths


@pytest.mark.parametrize("plain", [None, {}, {"nodes": []}, {"nodes": [{"id": "x"}]}])
def test_without_a_known_graph_the_order_stays(plain):
    assert [*in_declared_order({"b": 1, "a": 2}, plain)] == ["b", "a"]


def test_what_runs_inside_a_node_has_its_position():
    paths = dict.fromkeys(["unknown", "last/work/s2", "last/work/s1", "zebra/tool", "zebra"])
    ordered = [*in_declared_order(paths, model(GRAPH))]
    assert ordered == ["zebra/tool", "zebra", "last/work/s2", "last/work/s1", "unknown"]
