"""Runs that end oddly: each is told of truthfully, and none is called completed."""

from __future__ import annotations

import pytest
from langgraph.runtime import get_runtime
from langgraph.types import interrupt

from aideon_agents import Ledger, resume, run, sequential
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


def test_a_question_in_a_run_that_keeps_no_state_fails_it_and_says_so(ledger):
    graph = sequential(lambda _state: interrupt("May I?"))
    result = run(graph, "Task.", rehearse=True, ledger=ledger, checkpoint=False)
    assert (result.status, result.questions) == ("failed", ())
    assert "waits for an answer" in result.error
    assert "checkpoint=True" in result.error
    assert "May I?" in result.error
    assert "May I?" not in ledger.find_run("last").error


async def test_a_graph_that_was_told_to_drain_is_stopped_and_goes_on(ledger):
    def drains(_state):
        get_runtime().control.request_drain("maintenance")
        return "done"

    graph = sequential(drains, lambda _state: "after")
    result = run(graph, "Task.", ledger=ledger)
    assert (result.status, result.stop_reason, result.error) == ("stopped", "interrupted", None)
    assert "maintenance" in str(result.exception)
    resumed = resume(graph, ledger=ledger)
    assert (resumed.status, resumed.output) == ("completed", "after")


@pytest.mark.parametrize("address", [":memory:", "sqlite:///:memory:"])
def test_a_ledger_without_a_file_is_refused_at_once(address):
    with pytest.raises(LedgerError, match="shared by processes"):
        Ledger.from_url(address)
