"""What a workflow costs at most: every round, every max_tokens."""

from __future__ import annotations

from decimal import Decimal

import pytest
from pydantic import BaseModel, Field

from aideon_agents import (
    Ledger,
    conditional,
    creative,
    executor,
    iterative,
    orchestrated,
    parallel,
    planner,
    sequential,
    validator,
)
from aideon_agents.ledger.identity import now
from aideon_agents.ledger.money import usd
from aideon_agents.ledger.pricing import Usage, price
from aideon_agents.ledger.rows import Call, CallEnd, Run
from aideon_agents.runner import expected_cost, prepare, worst_case, worst_case_cost
from aideon_agents.runner.estimate import USUAL_SHARE

TASK = "Write a brief on heat pumps. They move heat."


class Names(BaseModel):
    code: str = Field(max_length=3)
    kinds: list[str]


async def rehearsed(graph, tmp_path):
    """A rehearsal's cost, what the same costs at most, and how many runs the ledger has."""
    path = tmp_path / "ledger.db"
    running = prepare(graph, TASK, rehearse=True, ledger=path)
    result = await running.to_end()
    at_most = await worst_case_cost(running)
    with Ledger(path) as ledger:
        return result, at_most, len(ledger.runs())


async def test_every_round_is_gone_and_every_answer_is_as_long_as_it_may_be(tmp_path):
    loop = iterative(creative("draft", max_tokens=300), validator(max_tokens=90), max_rounds=4)
    result, at_most, runs = await rehearsed(loop, tmp_path)
    assert (result.cost.calls, at_most.calls) == (2, 8)
    assert at_most.output_tokens == 4 * 300 + 4 * 90
    assert at_most.usd > result.cost.usd
    assert at_most.complete
    assert runs == 1


async def test_an_answer_is_assumed_to_be_as_long_as_in_earlier_runs_or_a_share_of_max_tokens(
    tmp_path,
):
    graph = sequential(executor("facts", max_tokens=1000), creative("text", max_tokens=2000))
    path = tmp_path / "ledger.db"
    running = prepare(graph, TASK, rehearse=True, ledger=path, workflow="w")
    result = await running.to_end()
    _, longest = await worst_case(running)
    with Ledger(path) as ledger:
        about, nodes, known = expected_cost(ledger, ledger.calls(result.run_id), "w", longest)
        calls = {call.node_path: call for call in ledger.calls(result.run_id)}

        def cost(node, tokens):
            usage = Usage(input_tokens=calls[node].input_tokens, output_tokens=tokens)
            one = calls[node]
            return usd(price(one.provider, one.requested_model, usage, now()).nanousd)

        share = [round(USUAL_SHARE * most) for most in (1000, 2000)]
        assert (nodes, known) == (2, 0)
        assert about == cost("facts", share[0]) + cost("text", share[1])

        ledger.start_run(Run(run_id="earlier", workflow="w"))
        for number, tokens in enumerate((300, 500)):
            one = Call(
                call_id=f"c{number}",
                run_id="earlier",
                node_path="facts",
                role="executor",
                provider="together",
                requested_model="m",
                started_at="2026-01-01T00:00:00.000Z",
            )
            ledger.start_call(one)
            usage = Usage(input_tokens=9, output_tokens=tokens)
            ledger.finish_call(
                one.call_id,
                CallEnd(status="ok", duration_ms=1, usage=usage, usage_source="reported"),
            )
        about, nodes, known = expected_cost(ledger, ledger.calls(result.run_id), "w", longest)
        assert (nodes, known) == (2, 1)
        assert about == cost("facts", 400) + cost("text", share[1])


async def test_the_longest_answer_is_what_later_prompts_quote(tmp_path):
    graph = sequential(executor("facts", max_tokens=500), executor("more", max_tokens=10))
    result, at_most, _ = await rehearsed(graph, tmp_path)
    more = at_most.by_node["more"].input_tokens - result.cost.by_node["more"].input_tokens
    assert more > 450


async def test_the_price_is_that_of_those_tokens(tmp_path):
    result, at_most, _ = await rehearsed(sequential(executor("facts")), tmp_path)
    (node,) = at_most.by_node.values()
    provider, _, model = node.models[0].partition(":")
    usage = Usage(input_tokens=node.input_tokens, output_tokens=4096)  # it thinks
    assert at_most.usd == usd(price(provider, model, usage, now()).nanousd or 0)
    assert at_most.usd > result.cost.usd > Decimal(0)


async def test_every_pattern_comes_to_its_end_at_its_dearest(tmp_path):
    graph = sequential(
        planner("outline"),
        parallel(executor("facts"), creative("angle")),
        orchestrated(planner(), executor(), creative()),
        conditional(validator(question="Is it true?"), {"yes": executor("y"), "no": executor("n")}),
        executor("names", output=Names),
    )
    result, at_most, _ = await rehearsed(graph, tmp_path)
    assert result.status == "completed"
    assert at_most.complete
    assert at_most.calls == result.cost.calls
    assert at_most.output_tokens > 20 * result.cost.output_tokens


async def test_what_comes_to_no_end_is_no_bound(tmp_path):
    seen: list[str] = []

    def breaks_the_second_time(state):
        seen.append(state["task"])
        if len(seen) == 2:
            raise ValueError("once is enough")
        return "done"

    graph = sequential(breaks_the_second_time, executor("facts"))
    _, at_most, _ = await rehearsed(graph, tmp_path)
    assert not at_most.complete


@pytest.mark.parametrize("thread", [None, "talk"])
async def test_it_leaves_a_conversation_as_it_was(tmp_path, thread):
    running = prepare(
        sequential(executor()), TASK, rehearse=True, thread=thread, ledger=tmp_path / "ledger.db"
    )
    await worst_case_cost(running)
    assert list(tmp_path.iterdir()) == []
