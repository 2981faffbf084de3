"""A run has an id, a row and a result, however it ends and from wherever it is started."""

from __future__ import annotations

import asyncio

import pytest

from aideon_agents import Ledger, arun, creative, executor, iterative, run, sequential, validator
from aideon_agents.errors import InputError, LedgerError, TimeLimit
from aideon_agents.testing import Fault, SimulatedProvider

PUMPS = "Heat pumps move heat."


def says_done(state):
    return "done"


def breaks(state):
    raise ValueError("the node\nis broken")


def test_a_run_gives_back_what_its_row_says(ledger):
    graph = sequential(executor("facts"), creative("text"), name="article")
    result = run(graph, PUMPS, rehearse=True, ledger=ledger, user="ada", tier="free")
    (row,) = ledger.runs()
    assert (result.status, result.stop_reason, result.error) == ("completed", None, None)
    assert (result.workflow, result.output, result.rehearsed) == ("article", PUMPS, True)
    assert list(result.results) == ["facts", "text"]
    assert [node.node_path for node in result.nodes] == ["facts", "text"]
    assert result.cost.by_node["text"].calls == 1
    assert (row.run_id, row.status, row.user, row.tier) == (
        result.run_id,
        "completed",
        "ada",
        "free",
    )
    assert (row.output, row.results) == (None, None)  # answers are not stored


def test_a_node_alone_is_a_run(ledger):
    assert run(says_done, "x", ledger=ledger).output == "done"
    assert run(creative("draft"), "x", rehearse=True, ledger=ledger).status == "completed"


def test_a_run_knows_its_name_and_where_it_came_from(ledger):
    run(says_done, "x", ledger=ledger, workflow="named", target="file.py:named")
    (row,) = ledger.runs()
    assert (row.workflow, row.target) == ("named", "file.py:named")


def test_inputs_reach_the_nodes(ledger):
    def city(state):
        return state["inputs"]["city"]

    assert run(city, "x", inputs={"city": "Ulm"}, ledger=ledger).output == "Ulm"


def test_a_run_that_has_no_result_has_no_output(ledger):
    result = run(lambda state: None, "x", ledger=ledger)
    assert (result.status, result.output, dict(result.results)) == ("completed", None, {})


def test_run_works_again_and_again_in_one_process(ledger):
    ids = {run(says_done, "x", ledger=ledger).run_id for _ in range(3)}
    assert len(ids) == len(ledger.runs()) == 3


async def test_run_works_inside_a_running_loop(ledger):
    assert run(creative("draft"), PUMPS, rehearse=True, ledger=ledger).output == PUMPS
    awaited = await arun(creative("draft"), PUMPS, rehearse=True, ledger=ledger)
    assert awaited.output == PUMPS


async def test_runs_at_the_same_time_keep_their_calls_apart(ledger):
    graph = sequential(creative("draft"))
    results = await asyncio.gather(
        *(arun(graph, f"Task {n}.", rehearse=True, ledger=ledger) for n in range(5))
    )
    assert [result.output for result in results] == [f"Task {n}." for n in range(5)]
    assert [result.cost.calls for result in results] == [1] * 5


def test_a_node_that_raises_makes_the_run_fail_and_keeps_what_there_was(ledger):
    graph = sequential(creative("draft"), breaks, says_done)
    result = run(graph, PUMPS, rehearse=True, ledger=ledger)
    assert (result.status, result.stop_reason) == ("failed", None)
    assert result.error.startswith(
        "breaks: ValueError: the node is broken (test_runner_running.py:"
    )
    assert list(result.results) == ["draft"]
    assert (result.output, result.cost.calls) == (PUMPS, 1)
    (row,) = ledger.runs()
    assert (row.status, row.error, row.error_type) == (
        "failed",
        result.error,
        "ValueError",
    )


def test_a_model_that_fails_makes_the_run_fail_without_the_class_in_its_error(ledger, keyed):
    with SimulatedProvider(faults=Fault(422, message="messages must not be empty")) as provider:
        result = run(creative("draft"), PUMPS, settings=keyed(provider), ledger=ledger)
    assert result.status == "failed"
    assert result.error.startswith("draft: together:")
    assert result.error.endswith("is wrong (422): messages must not be empty")
    assert (result.cost.calls, result.cost.failed_calls, result.cost.complete) == (1, 1, True)


def test_a_mistake_that_a_node_finds_is_raised_and_written(ledger):
    def refuses(state):
        raise InputError("the city is missing")

    with pytest.raises(InputError, match="the city is missing"):
        run(refuses, "x", ledger=ledger)
    (row,) = ledger.runs()
    assert row.status == "failed"
    assert row.error.startswith("refuses: the city is missing (test_runner_running.py:")


def test_a_run_out_of_time_is_stopped_and_its_call_is_cancelled(ledger, keyed):
    graph = sequential(says_done, creative("draft"))
    with SimulatedProvider(faults=Fault("hang")) as provider:
        result = run(graph, PUMPS, settings=keyed(provider), ledger=ledger, timeout=5)
    assert (result.status, result.stop_reason, result.error) == ("stopped", "timeout", None)
    assert isinstance(result.exception, TimeLimit)
    assert result.output == "done"
    assert result.cost.complete is False
    assert [call.status for call in ledger.calls(result.run_id)] == ["cancelled"]
    (row,) = ledger.runs()
    assert (row.status, row.stop_reason, row.error) == ("stopped", "timeout", None)


def test_a_nodes_own_timeout_is_not_the_runs(ledger):
    def slow(state):
        raise TimeoutError("the database")

    result = run(slow, "x", ledger=ledger, timeout=60)
    assert result.status == "failed"
    assert result.error.startswith("slow: TimeoutError: the database (test_runner_running.py:")


def test_a_limit_that_a_node_meets_stops_the_run(ledger):
    def limited(state):
        raise TimeLimit(2, what="the node")

    result = run(limited, "x", ledger=ledger)
    assert (result.status, result.stop_reason) == ("stopped", "timeout")


async def test_a_cancelled_run_is_written_as_cancelled(ledger):
    begun = asyncio.Event()

    async def naps(state):
        begun.set()
        await asyncio.sleep(60)

    running = asyncio.create_task(
        arun(sequential(creative("draft"), naps), PUMPS, rehearse=True, ledger=ledger)
    )
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    (row,) = ledger.runs()
    assert (row.status, row.stop_reason, row.error) == ("cancelled", "interrupted", None)
    assert [call.status for call in ledger.calls(row.run_id)] == ["ok"]


@pytest.mark.parametrize(("criteria", "reason"), [(True, "passed"), (False, "max_rounds")])
def test_a_loop_at_the_root_says_why_it_ended(ledger, keyed, criteria, reason):
    def answer(request):
        verdict = {"passed": criteria, "score": 0.5, "feedback": "more"}
        return verdict if request.ask.response_format else "text"

    loop = iterative(creative("draft"), validator(criteria="short"), max_rounds=2)
    with SimulatedProvider(answer=answer) as provider:
        result = run(loop, PUMPS, settings=keyed(provider), ledger=ledger)
    assert (result.status, result.stop_reason) == ("completed", reason)
    assert ledger.runs()[0].stop_reason == reason


def test_a_ledger_that_was_handed_in_stays_open(ledger):
    run(says_done, "x", ledger=ledger)
    assert len(ledger.runs()) == 1


def test_a_ledger_may_be_a_path_or_left_to_the_environment(folder, monkeypatch):
    run(says_done, "x", ledger=folder / "by" / "path.db")
    run(says_done, "x", ledger="sqlite:///by/address.db")
    run(says_done, "x")
    monkeypatch.setenv("AIDEON_LEDGER", "by/variable.db")
    run(says_done, "x")
    made = ["by/path.db", "by/address.db", ".aideon/ledger.db", "by/variable.db"]
    for name in made:
        with Ledger(folder / name) as opened:
            assert len(opened.runs()) == 1


def test_a_ledger_that_cannot_be_opened_is_found_before_anything_runs(folder):
    started = []
    with pytest.raises(LedgerError):
        run(started.append, "x", ledger=folder)
    assert started == []


def test_offline_settings_rehearse(ledger, keyed):
    with SimulatedProvider() as provider:
        result = run(
            creative("draft"), PUMPS, settings=keyed(provider, offline=True), ledger=ledger
        )
        assert provider.requests == []
    assert result.rehearsed is True
    assert ledger.runs()[0].rehearsed is True
