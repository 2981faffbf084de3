"""What cannot be paid for is done more cheaply where that is possible, and refused where not."""

from __future__ import annotations

import json

import pytest
from langchain_core.tools import tool
from langgraph.errors import GraphInterrupt
from pydantic import BaseModel

from aideon_agents import Budget, Context, CostHandler, creative, errors, sequential
from aideon_agents.ledger.identity import now
from aideon_agents.ledger.rows import Call, CallEnd, Run
from aideon_agents.models import Models
from aideon_agents.models.fallbacks import HANDLED
from aideon_agents.models.limits.queues import OutOfBudget
from aideon_agents.state import ModelRequest
from aideon_agents.testing import Fault

DEAR = "together:MiniMaxAI/MiniMax-M3"
CHEAP = "together:openai/gpt-oss-120b"
"""At half the price of the dear one."""
OTHER = "openai:gpt-4o-mini"
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


class Answer(BaseModel):
    text: str


@tool
def weather(city: str) -> str:
    """Tell the weather."""
    return city


@pytest.fixture
def worst(counter, ledger):
    """What a request to a model is held for, in nano-dollars."""

    async def of(name, **request):
        asked = await counter.ask(model=(name,), **request)
        (row,) = asked.rows
        held = "SELECT amount_nanousd FROM holds WHERE call_id = :c"
        return ledger.select(held, {"c": row.call_id})[0]["amount_nanousd"]

    return of


@STREAMED
async def test_a_cheaper_candidate_is_asked_when_the_first_does_not_fit(counter, worst, stream):
    limit = await worst(CHEAP)
    asked = await counter.ask(model=(DEAR, CHEAP), budget=limit, stream=stream)
    assert asked.tries == [(1, 1)]
    (row,) = asked.rows
    assert (row.status, row.shortened, row.economized) == ("ok", False, False)
    assert (len(asked.requests), asked.requests[0].body["model"]) == (1, CHEAP.partition(":")[2])


async def test_the_first_is_asked_when_it_just_fits(counter, worst):
    asked = await counter.ask(model=(DEAR, CHEAP), budget=await worst(DEAR))
    assert asked.tries == [(0, 1)]


async def test_a_candidate_that_was_too_dear_has_not_failed(counter, worst):
    settings = counter.settings()
    limit = await worst(CHEAP)
    for _ in range(6):
        await counter.ask(model=(DEAR, CHEAP), budget=limit, settings=settings)
    request = ModelRequest(role="planner", model=(DEAR, CHEAP))
    chain = Models(settings).chat(request, Context())
    assert chain.runnable.candidate.rest_left() == 0
    assert (await counter.ask_chain(chain)).tries == [(0, 1)]


async def test_a_schema_and_tools_find_a_cheaper_candidate_too(counter, worst):
    for shape in ({"output": Answer}, {}):
        limit = await worst(CHEAP, **shape)
        asked = await counter.ask(model=(DEAR, CHEAP), budget=limit, **shape)
        assert asked.tries == [(1, 1)]


async def test_a_cheaper_candidate_that_fails_leaves_the_failure_of_all(counter, quick, worst):
    limit = await worst(OTHER)
    settings = counter.settings(openai_api_key="k")
    faulty = counter.settings(Fault(500))
    settings = settings.model_copy(update={"together_api_key": faulty.together_api_key})
    asked = await counter.ask(model=(DEAR, CHEAP), budget=limit, settings=settings)
    assert isinstance(asked.error, errors.AllModelsFailed)
    assert asked.error.attempts[0] == f"{DEAR} costs too much for its budget"
    assert asked.tries == [(1, 1), (1, 2), (1, 3)]


async def test_one_provider_s_budget_leaves_the_other_providers_alone(counter, ledger):
    run_id = ledger.start_run(Run(workflow="w"), Budget(providers={"together": 0}))
    handler = CostHandler(ledger, run_id=run_id)
    request = ModelRequest(role="planner", model=(CHEAP, OTHER))
    chain = Models(counter.settings()).chat(request, Context())
    await chain.ainvoke("Go on.", {"callbacks": [handler]})
    assert [row.provider for row in ledger.calls(run_id)] == ["openai"]


@STREAMED
@pytest.mark.parametrize(("name", "price"), [(CHEAP, 600), (OTHER, 1000)])
async def test_a_text_is_given_less_room_when_no_candidate_fits(
    counter, worst, name, price, stream
):
    """gpt-4o-mini costs 600 nano-dollars a token as listed, and 1,000 as a priority."""
    full = await worst(name, max_tokens=500)
    asked = await counter.ask(
        model=(name,), max_tokens=500, budget=full - 300 * price, stream=stream
    )
    (row,) = asked.rows
    body = asked.requests[0].body
    assert (row.status, row.shortened) == ("ok", True)
    assert [body[key] for key in ("max_tokens", "max_completion_tokens") if key in body] == [200]


async def test_a_shorter_answer_is_never_shorter_than_64_tokens(counter, worst):
    full = await worst(CHEAP, max_tokens=500)
    just = await counter.ask(model=(CHEAP,), max_tokens=500, budget=full - (500 - 64) * 600)
    assert just.requests[0].body["max_tokens"] == 64
    less = await counter.ask(model=(CHEAP,), max_tokens=500, budget=full - (500 - 64) * 600 - 1)
    assert isinstance(less.error, errors.BudgetExceeded)
    assert (less.rows, less.requests) == ([], [])


async def test_a_whole_answer_of_a_cheaper_model_comes_before_a_shorter_one(counter, worst):
    limit = await worst(CHEAP, max_tokens=500)
    asked = await counter.ask(model=(DEAR, CHEAP), max_tokens=500, budget=limit)
    assert [(row.candidate, row.shortened) for row in asked.rows] == [(1, False)]


async def test_a_shorter_answer_of_the_first_comes_before_that_of_the_others(counter, worst):
    limit = await worst(CHEAP, max_tokens=500)
    asked = await counter.ask(model=(DEAR, CHEAP), max_tokens=500, budget=limit - 1)
    assert [(row.candidate, row.shortened) for row in asked.rows] == [(0, True)]


async def test_a_shorter_answer_is_asked_of_a_later_candidate_where_only_that_can_be_paid(
    counter, worst
):
    limit = await worst(CHEAP, max_tokens=100)
    assert limit < await worst(DEAR, max_tokens=64)
    asked = await counter.ask(model=(DEAR, CHEAP), max_tokens=500, budget=limit)
    assert [(row.candidate, row.shortened) for row in asked.rows] == [(1, True)]
    assert asked.requests[0].body["max_tokens"] == 100


@pytest.mark.parametrize("shape", ["schema", "tools"])
async def test_a_schema_and_tools_are_never_given_less_room(counter, ledger, shape):
    request = ModelRequest(role="planner", model=(CHEAP,), max_tokens=500)
    chain = Models(counter.settings()).chat(request, Context())
    shaped = chain.with_structured_output(Answer) if shape == "schema" else None
    shaped = shaped or chain.bind_tools([weather])
    await counter.ask_chain(shaped)
    (hold,) = ledger.select("SELECT amount_nanousd FROM holds")
    asked = await counter.ask_chain(shaped, budget=hold["amount_nanousd"] - 1)
    assert isinstance(asked.error, errors.BudgetExceeded)
    assert asked.rows == []


async def test_a_refusal_says_who_what_and_which_budget_in_one_line(counter):
    asked = await counter.ask(budget=1000)
    error = asked.error
    assert isinstance(error, errors.BudgetExceeded)
    assert str(error).startswith(f"{CHEAP} was not asked: it may cost $0.00")
    assert str(error).endswith(", and the run budget of $0.000001 has $0 spent")
    assert (error.kind, error.scope, error.limit.scaleb(9), error.spent) == (
        "budget",
        "run",
        1000,
        0,
    )
    assert error.needed > error.limit


async def test_a_refusal_is_no_attempt_of_a_retry_nor_of_a_fallback(counter, ledger):
    asked = await counter.ask(budget=0)
    assert isinstance(asked.error, errors.BudgetExceeded)
    assert (asked.rows, asked.requests) == ([], [])
    assert ledger.select("SELECT * FROM holds") == []


def test_no_fallback_takes_a_refusal_or_a_question_for_a_failure():
    assert not issubclass(OutOfBudget, HANDLED)
    assert not issubclass(GraphInterrupt, HANDLED)


async def test_a_shorter_answer_makes_do_with_what_others_leave(counter, ledger, worst):
    full = await worst(CHEAP, max_tokens=500, question="Go on.")
    budget = Budget(f"{(full - 1) / 10**9:.9f}")
    run_id = ledger.start_run(Run(workflow="short"), budget)
    budget = ledger.run_budget(run_id)
    assert budget.budgets.take("other", budget.dimensions("", "together", now()), 300 * 600) is None
    request = ModelRequest(role="planner", model=(CHEAP,), max_tokens=500, timeout=20)
    chain = Models(counter.settings()).chat(request, Context())
    await chain.ainvoke("Go on.", {"callbacks": [CostHandler(ledger, run_id=run_id)]})
    assert [row.shortened for row in ledger.calls(run_id)] == [True]


async def test_a_retry_that_does_not_fit_any_more_ends_as_a_refusal(counter, worst, quick):
    """The first try hangs until its time is up, and what it may have cost counts as spent."""
    limit = await worst(CHEAP, output=Answer)
    faults = [Fault("reset_after")]
    asked = await counter.ask(faults, model=(CHEAP,), output=Answer, budget=limit + 1)
    assert [(row.status, row.cost_nanousd) for row in asked.rows] == [("error", None)]
    assert isinstance(asked.error, errors.BudgetExceeded)
    assert asked.error.spent.scaleb(9) == limit


def spent_before(ledger, run_id, amount):
    """Money that a run has spent already."""
    ledger.start_call(
        Call(
            call_id=f"before-{run_id}",
            run_id=run_id,
            node_path="before",
            role="executor",
            provider="together",
            requested_model="m",
            started_at="2026-11-21T12:00:00.000Z",
        )
    )
    end = CallEnd(status="ok", duration_ms=1, cost_nanousd=amount)
    ledger.finish_call(f"before-{run_id}", end)


async def ask_after(ledger, settings, share, model, budget=10**9):
    """Ask a node's chain when a share of the run's budget is spent, in percent; gives the rows."""
    limit = Budget(f"{budget / 10**9:.9f}")
    run_id = ledger.start_run(Run(workflow="near"), limit)
    spent_before(ledger, run_id, budget * share // 100)
    graph = sequential(creative("draft", model=model))
    config = {"callbacks": [CostHandler(ledger, run_id=run_id)]}
    await graph.ainvoke({"task": "Go on."}, config, context=Context(models=Models(settings)))
    return [row for row in ledger.calls(run_id) if row.node_path == "draft"]


async def test_near_the_limit_the_cheaper_model_of_a_chain_is_asked_first(counter, ledger):
    settings = counter.settings()
    (before,) = await ask_after(ledger, settings, 79, [DEAR, CHEAP])
    assert (before.candidate, before.economized) == (0, False)
    assert json.loads(before.choice) == {"rule": "model"}
    (row,) = await ask_after(ledger, settings, 80, [DEAR, CHEAP])
    assert (row.candidate, row.attempt, row.economized) == (1, 1, True)
    assert json.loads(row.choice) == {"rule": "budget"}
    assert f"together:{row.requested_model}" == CHEAP


async def test_near_the_limit_the_others_step_in_as_ever(counter, ledger, quick):
    settings = counter.settings([Fault(500), Fault(500), Fault(500)])
    rows = await ask_after(ledger, settings, 90, [DEAR, CHEAP])
    found = [(row.candidate, row.attempt, row.economized, row.status) for row in rows]
    assert found == [
        *((1, attempt, True, "error") for attempt in (1, 2, 3)),
        (0, 1, False, "ok"),
    ]


async def test_near_the_limit_a_chain_that_begins_with_its_cheapest_is_as_ever(counter, ledger):
    (row,) = await ask_after(ledger, counter.settings(), 90, [CHEAP, DEAR])
    assert (row.candidate, row.economized) == (0, False)


async def test_near_the_limit_a_model_without_a_price_comes_last(counter, ledger):
    (row,) = await ask_after(ledger, counter.settings(), 90, ["together:nobody/knows-it", CHEAP])
    assert (row.candidate, row.economized) == (1, True)
