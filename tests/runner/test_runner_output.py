"""The output of a graph that ends in branches, and the order in which their results are shown."""

from __future__ import annotations

import pytest

from aideon_agents import creative, executor, iterative, parallel, run, sequential
from aideon_agents.runner import document


def said(name: str, text: str | None = None):
    def branch(state: object) -> str:
        return text or name

    branch.__name__ = name
    return branch


@pytest.mark.parametrize("names", [("b", "a"), ("a", "b"), ("zeta", "mid", "alpha")])
def test_a_graph_that_ends_in_parallel_gives_all_branches_under_their_names(ledger, names):
    result = run(parallel(*map(said, names)), "x", ledger=ledger)
    assert result.output == "\n\n".join(f"# {name}\n\n{name}" for name in names)
    assert list(result.results) == list(names)
    assert list(document(result)["results"]) == list(names)


def test_nested_branches_have_headings_below_those_of_the_branches_around_them(ledger):
    inner = parallel(said("d"), said("c"), name="z")
    graph = sequential(said("first"), parallel(said("q"), inner, name="outer"))
    assert run(graph, "x", ledger=ledger).output == "# q\n\nq\n\n# z\n\n## d\n\nd\n\n## c\n\nc"


def test_a_branch_of_several_nodes_gives_what_its_last_node_gave(ledger):
    long = sequential(said("one"), said("two"), said("three"), name="long")
    result = run(parallel(long, said("short")), "x", ledger=ledger)
    assert result.output == "# long\n\nthree\n\n# short\n\nshort"
    assert list(result.results) == ["long/one", "long/two", "long/three", "short"]


def test_a_failed_branch_is_part_of_the_output(ledger):
    def breaks(state: object) -> str:
        raise ValueError("no data")

    result = run(parallel(breaks, said("b"), on_failure="keep"), "x", ledger=ledger)
    assert result.output == "# breaks\n\nValueError: no data\n\n# b\n\nb"


def test_the_node_after_branches_reads_them_in_the_order_in_which_they_were_given(ledger):
    long = sequential(said("zeta", "Said first."), said("beta", "Said second."), name="zlong")
    graph = sequential(parallel(long, said("alpha", "Said last.")), executor("reader"))
    result = run(graph, "Go.", rehearse=True, ledger=ledger)
    assert result.output == "Go. Said first. Said second. Said last."


def test_a_loop_around_branches_gives_all_of_them(ledger):
    step = parallel(said("b"), said("a"), name="both")
    loop = iterative(step, lambda state: {"verdict": _passed()}, name="loop")
    assert run(loop, "x", ledger=ledger).output == "# b\n\nb\n\n# a\n\na"


def _passed():
    from aideon_agents.state import Verdict

    return Verdict(passed=True, score=1, feedback="")


def test_a_conditional_gives_what_its_branch_gave(ledger):
    from aideon_agents import conditional

    both = parallel(said("b"), said("a"))
    graph = conditional(lambda state: "two", {"one": said("x"), "two": both})
    assert run(graph, "x", ledger=ledger).output == "# b\n\nb\n\n# a\n\na"


def test_a_graph_that_ends_in_one_node_gives_its_text_alone(ledger):
    graph = sequential(parallel(said("b"), said("a")), creative("last"))
    assert run(graph, "Go.", rehearse=True, ledger=ledger).output == "Go. b. a."
