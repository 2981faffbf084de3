"""Runs that end oddly: each is told of truthfully, and none is called completed."""

from __future__ import annotations

import pytest
from langgraph.types import interrupt

from aideon_agents import Ledger, run, sequential
from aideon_agents.errors import LedgerError


class Odd(Exception):  # noqa: N818 - it has no sense
    def __str__(self) -> str:
        raise RuntimeError("no text either")


class Exit(BaseException):
    pass


def raising(error):
    def boom(_state):
        raise error

    return sequential(boom)


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.db") as made:
        yield made


@pytest.mark.parametrize(
    ("error", "said"),
    [(Odd(), "<Odd that cannot be shown>"), (ValueError("half \ud800"), "half \\ud800")],
)
def test_an_error_that_cannot_be_printed_fails_its_run_all_the_same(ledger, error, said):
    result = run(raising(error), "Task.", rehearse=True, ledger=ledger)
    assert result.status == "failed"
    assert said in result.error
    assert ledger.find_run("last").status == "failed"


@pytest.mark.parametrize("error", [SystemExit(0), Exit()])
def test_an_error_that_is_no_exception_is_raised_and_its_run_is_not_completed(ledger, error):
    with pytest.raises(type(error)):
        run(raising(error), "Task.", rehearse=True, ledger=ledger)
    assert ledger.find_run("last").status == "failed"


def test_a_graph_that_waits_for_an_answer_fails_and_says_so(ledger):
    graph = sequential(lambda _state: interrupt("May I?"))
    result = run(graph, "Task.", rehearse=True, ledger=ledger)
    assert result.status == "failed"
    assert "waits for an answer" in result.error
    assert "May I?" in result.error


@pytest.mark.parametrize("address", [":memory:", "sqlite:///:memory:"])
def test_a_ledger_without_a_file_is_refused_at_once(address):
    with pytest.raises(LedgerError, match="write-ahead log"):
        Ledger.from_url(address)
