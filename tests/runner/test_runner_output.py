"""Which text is the output where several results are equally late."""

from __future__ import annotations

import pytest

from aideon_agents import parallel, run, sequential


def said(name: str):
    def branch(state: object) -> str:
        return name

    branch.__name__ = name
    return branch


@pytest.mark.parametrize("names", [("b", "a"), ("a", "b"), ("b", "c", "a")])
def test_of_parallel_branches_the_last_as_given_has_the_last_word(ledger, names):
    result = run(parallel(*map(said, names)), "x", ledger=ledger)
    assert result.output == names[-1]


def test_of_nested_branches_too(ledger):
    inner = parallel(said("d"), said("c"), name="z")
    graph = sequential(said("first"), parallel(said("q"), inner, name="outer"))
    assert run(graph, "x", ledger=ledger).output == "c"
    graph = sequential(said("first"), parallel(inner, said("q"), name="outer"))
    assert run(graph, "x", ledger=ledger).output == "q"
