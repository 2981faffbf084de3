"""What a type checker knows of results: pyright checks this file, and pytest runs it.

`assert_type` is for pyright. The other assertions show that the objects are of these classes.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true, reportUnknownMemberType=true
# pyright: reportUnknownVariableType=true, reportUnknownArgumentType=true
from __future__ import annotations

import dataclasses
from typing import Any, TypedDict, assert_type

import pytest
from pydantic import BaseModel

from aideon_agents import (
    Ledger,
    RunResult,
    State,
    StepResult,
    UserError,
    Verdict,
    arun,
    conditional,
    creative,
    executor,
    iterative,
    orchestrated,
    parallel,
    planner,
    resume,
    run,
    sequential,
    validator,
)
from aideon_agents.agents.node import Agent
from aideon_agents.errors import RunError, StepFailed
from aideon_agents.patterns.iterative import Rounds
from aideon_agents.state import Plan


class Facts(BaseModel):
    facts: list[str]


@dataclasses.dataclass
class Note:
    text: str


class Film(TypedDict):
    title: str


def count(state: dict[str, Any]) -> str:
    return str(len(state["results"]))


def test_an_agent_says_what_its_data_is() -> None:
    assert_type(executor("facts", output=Facts, temperature=0.5), Agent[Facts])
    assert_type(executor(output=list[Facts]), Agent[list[Facts]])
    assert_type(creative(output=Note), Agent[Note])
    assert_type(creative(output=Film), Agent[Film])
    assert_type(planner(), Agent[Plan])
    assert_type(executor(), Agent[Any])
    with pytest.raises(UserError, match="nothing that a model can be asked for"):
        executor(output=Facts(facts=[]))  # pyright: ignore[reportArgumentType, reportCallIssue]


def test_the_data_of_a_run_is_that_of_its_last_node(ledger: Ledger) -> None:
    alone = run(executor(output=Facts), "Pumps.", rehearse=True, ledger=ledger)
    assert_type(alone, RunResult[Facts])
    assert_type(alone.data.facts, list[str])
    assert isinstance(alone.data, Facts)
    outer = sequential(count, sequential(planner(), creative(output=Note), name="inside"))
    nested = run(outer, "Pumps.", rehearse=True, ledger=ledger).raise_for_status()
    assert_type(nested.data, Note)
    assert isinstance(nested.data, Note)


def test_the_data_of_a_branch_is_that_of_any(ledger: Ledger) -> None:
    graph = conditional("kind", {"a": executor(output=Facts), "b": executor(output=Note)})
    result = run(graph, "Pumps.", inputs={"kind": "b"}, rehearse=True, ledger=ledger)
    assert_type(result.data, Facts | Note)
    assert isinstance(result.data, Note)
    routes = {"a": ("it has facts", executor(output=Facts)), "b": ("else", executor(output=Facts))}
    routed = run(conditional(validator(), routes=routes), "Pumps.", rehearse=True, ledger=ledger)
    assert_type(routed, RunResult[Facts])
    assert isinstance(routed.data, Facts)


def words(state: State) -> str:
    """A function as users write it: a run always has a task, inputs and results."""
    known = f"{len(state['task'])} {state['inputs'].get('kind')} {len(state['results'])}"
    return f"{known} {state.get('route')}"


def is_short(state: State) -> bool:
    return len(state["results"]) < 9


def says_why(state: State) -> tuple[bool, str]:
    return is_short(state), "Make it shorter."


def judges(state: State) -> Verdict:
    return Verdict(passed=is_short(state), score=1, feedback="")


def test_each_pattern_says_what_its_data_is(ledger: Ledger) -> None:
    note = creative("draft", output=Note)
    for check in (validator(criteria="short"), is_short, says_why, judges):
        looped = run(iterative(note, check), "Pumps.", rehearse=True, ledger=ledger)
        assert_type(looped, RunResult[Rounds])
        assert looped.data.rounds[looped.data.best - 1].verdict.passed
    workers = {"facts": ("finds", executor(output=Facts)), "words": words, "note": note}
    planned = run(orchestrated(planner(), workers=workers), "x", rehearse=True, ledger=ledger)
    assert_type(planned, RunResult[Plan])
    assert planned.data.steps
    alone = orchestrated(planner(), executor(), creative(), max_steps=3)
    assert_type(run(alone, "x", rehearse=True, ledger=ledger), RunResult[Plan])
    whole = sequential(
        words,
        parallel(executor("a"), words, max_concurrency=2, on_failure="keep"),
        iterative(note, validator(criteria="short")),
        executor(output=Facts),
    )
    facts = run(whole, "Pumps.", inputs={"kind": "b"}, rehearse=True, ledger=ledger)
    assert_type(facts, RunResult[Facts])
    assert isinstance(facts.data, Facts)
    assert str(facts.results["words"].content) == "6 b 0 None"


def test_a_last_node_without_a_class_says_nothing(ledger: Ledger) -> None:
    facts = executor(output=Facts)
    for graph in (
        sequential(facts, count),
        sequential(facts, executor()),
        parallel(facts, creative()),
    ):
        result = run(graph, "Pumps.", rehearse=True, ledger=ledger)
        assert_type(result, RunResult[Any])
        assert result.data is None
    judged = run(sequential(facts, validator()), "Pumps.", rehearse=True, ledger=ledger)
    assert isinstance(judged.data, Facts)  # a judgement is no result


async def test_arun_and_resume_know_it_as_well(ledger: Ledger) -> None:
    result = await arun(executor(output=Facts), "Pumps.", rehearse=True, ledger=ledger)
    assert_type(result, RunResult[Facts])
    graph = executor("facts", output=Facts, approve=True)
    waiting = run(graph, "Pumps.", rehearse=True, ledger=ledger)
    with pytest.raises(RunError, match=r"run \w+ has no data: it is waiting"):
        _ = waiting.data
    done = resume(graph, ledger=ledger, answer={"approved": True})
    assert_type(done, RunResult[Facts])
    assert isinstance(done.data, Facts)


def test_a_run_that_failed_raises_why_instead_of_giving_data(ledger: Ledger) -> None:
    def fails(state: dict[str, Any]) -> str:
        raise StepFailed("no pumps")

    with pytest.raises(StepFailed, match="no pumps"):
        _ = run(sequential(executor(output=Facts), fails), "x", rehearse=True, ledger=ledger).data


class _Known(TypedDict):
    facts: StepResult[Facts]


class _Read(TypedDict):
    results: _Known


def test_a_function_that_says_what_it_reads_reads_typed_data(ledger: Ledger) -> None:
    def first(state: _Read) -> str:
        assert_type(state["results"]["facts"].data, Facts)
        return state["results"]["facts"].data.facts[0]

    graph = sequential(executor("facts", output=Facts), first)
    result = run(graph, "Pumps.", rehearse=True, ledger=ledger)
    assert result.output
    assert_type(result.results["facts"], StepResult[Any])
