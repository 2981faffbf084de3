"""The caller's mistakes are found before anything is called, and leave no row."""

from __future__ import annotations

import pytest

from aideon_agents import creative, executor, iterative, parallel, run, sequential, validator
from aideon_agents.errors import InputError, ModelNameError, NoModel, UserError
from aideon_agents.testing import SimulatedProvider

RETIRED = "together:meta-llama/Meta-Llama-3.1-8B-Instruct-Turbo"


@pytest.mark.parametrize(
    ("options", "mistake", "says"),
    [
        ({"task": " \n\t"}, InputError, "the task is empty: say what to do"),
        ({"task": "\udcff"}, InputError, "the task is not text in UTF-8"),
        ({"inputs": ["a"]}, InputError, "the inputs are a list: they must be values by key"),
        ({"timeout": 0}, InputError, "a timeout of 0 s leaves no time"),
        ({"timeout": -1.5}, InputError, "a timeout of -1.5 s leaves no time"),
        ({"timeout": float("nan")}, InputError, "a timeout of nan s leaves no time"),
        ({"tier": "gold"}, InputError, "no tier 'gold': one of free, premium, enterprise"),
        ({"model": {"boss": "together:m"}}, InputError, "no role 'boss': one of planner"),
        ({"model": {"creative": "m"}}, ModelNameError, "unknown provider 'm'"),
        ({"model": {"creative": ["together:m", "x:y"]}}, ModelNameError, "unknown provider 'x'"),
        ({"model": {"creative": RETIRED}}, ModelNameError, "is retired since 2026-03-06: use"),
        ({"model": {"creative": "openai:m"}}, NoModel, "set OPENAI_API_KEY"),
    ],
    ids=lambda value: repr(value) if isinstance(value, dict) else "",
)
def test_a_mistake_is_found_before_anything_is_called(ledger, keyed, options, mistake, says):
    called = []
    graph = sequential(called.append, creative("draft"))
    with SimulatedProvider() as provider:
        given = {"task": "x", "settings": keyed(provider), "ledger": ledger} | options
        with pytest.raises(mistake, match=says):
            run(graph, given.pop("task"), **given)
        assert provider.requests == []
    assert called == []
    assert ledger.runs() == []


def wrong() -> object:
    return executor("wrong", model="togehter:m")


@pytest.mark.parametrize(
    "make",
    [
        lambda: sequential(creative("draft"), wrong()),
        lambda: parallel(creative("draft"), wrong()),
        lambda: sequential(creative("draft"), parallel(creative("a"), sequential(wrong()))),
        lambda: iterative(wrong(), validator(criteria="short")),
        lambda: iterative(
            creative("draft"), validator(criteria="short", model="togehter:m"), max_rounds=2
        ),
    ],
    ids=["sequential", "parallel", "nested", "worker of a loop", "check of a loop"],
)
def test_a_model_name_is_checked_wherever_its_agent_stands(ledger, make):
    with pytest.raises(UserError, match="did you mean together:m"):
        run(make(), "x", rehearse=True, ledger=ledger)
    assert ledger.runs() == []


def test_without_a_key_a_run_says_how_to_rehearse(ledger):
    with pytest.raises(NoModel, match=r"set TOGETHER_API_KEY or .* AIDEON_OFFLINE=1 to rehearse"):
        run(creative("draft"), "x", ledger=ledger)


def test_a_graph_that_asks_no_model_needs_no_key(ledger):
    assert run(lambda state: "done", "x", ledger=ledger).output == "done"


def test_checks_alone_need_no_key_and_write_no_row(ledger):
    lengths = []

    def is_short(text):
        lengths.append(len(text))
        return len(lengths) > 1

    graph = iterative(lambda state: "some text", validator(checks=[is_short]))
    result = run(graph, "x", ledger=ledger)
    assert (result.status, result.stop_reason, lengths) == ("completed", "passed", [9, 9])
    assert (result.cost.usd, result.cost.complete, result.cost.calls) == (0, True, 0)
    assert ledger.calls(result.run_id) == []


@pytest.mark.parametrize("chain", ["together:a", ["together:a"], ("together:a", "together:b")])
def test_a_chain_is_one_name_or_several(ledger, chain):
    result = run(creative("draft"), "x", model={"creative": chain}, rehearse=True, ledger=ledger)
    assert result.nodes[0].models == ("together:a",)


def test_a_generous_timeout_changes_nothing(ledger):
    assert run(lambda state: "done", "x", ledger=ledger, timeout=float("inf")).status == "completed"
