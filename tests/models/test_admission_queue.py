"""What fits once others are settled waits for that: it is not refused, and nothing is overspent."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace

import pytest

from aideon_agents import Budget, Context, CostHandler, Settings, creative, errors, parallel, run
from aideon_agents.ledger.budgets.limits import Account, LimitState, Refusal, Scope
from aideon_agents.ledger.rows import Run
from aideon_agents.models import Models
from aideon_agents.models.admission import claim
from aideon_agents.models.fallbacks import Attempts
from aideon_agents.models.health import Breaker
from aideon_agents.models.limits.pace import Pace, process_slots
from aideon_agents.models.limits.queues import Queue, first_places
from aideon_agents.state import ModelRequest
from aideon_agents.testing import Fault, Rate, SimulatedProvider

MODEL = "together:openai/gpt-oss-120b"
ROOM = 4000
"""Tokens for an answer: dear beside what is used, so that two do not fit where one does."""


def settings_for(provider, **given):
    keys = {"together_api_key": "waiting", "together_base_url": provider.base_url}
    return Settings(**keys | given)


def chain_for(settings, timeout=None, model=MODEL):
    request = ModelRequest(role="planner", model=(model,), max_tokens=ROOM, timeout=timeout)
    return Models(settings).chat(request, Context())


def recorder(ledger, budget):
    start = Run(workflow="waiting")
    run_id = ledger.start_run(start, Budget(f"{budget / 10**9:.9f}"))
    return CostHandler(ledger, run_id=run_id)


async def worst_and_cost(ledger, settings):
    """What one call is held for and what it costs."""
    handler = recorder(ledger, 10**9)
    await chain_for(settings).ainvoke("Go on.", {"callbacks": [handler]})
    (hold,) = ledger.select("SELECT amount_nanousd FROM holds")
    (row,) = ledger.calls(handler.run_id)
    return hold["amount_nanousd"], row.cost_nanousd


async def is_asked(provider):
    while not provider.in_flight:
        await asyncio.sleep(0.005)


@pytest.fixture
def slow():
    rates = {MODEL.partition(":")[2]: Rate(150, 600)}
    with SimulatedProvider(faults=Fault("delay", seconds=0.02), rates=rates) as running:
        yield running


async def test_twenty_calls_at_once_on_money_for_one_are_made_one_at_a_time(ledger, slow):
    settings = settings_for(slow)
    worst, cost = await worst_and_cost(ledger, settings)
    budget = worst + 19 * cost
    assert budget < 2 * worst
    handler = recorder(ledger, budget)
    asking = [chain_for(settings).ainvoke("Go on.", {"callbacks": [handler]}) for _ in range(20)]
    answers = await asyncio.gather(*asking)
    assert all(answer.text for answer in answers)
    assert slow.max_in_flight == 1
    assert len(ledger.calls(handler.run_id)) == 20
    assert slow.bill.nanousd - cost == 20 * cost <= budget


async def test_shorter_answers_wait_for_one_another_too(ledger, slow):
    settings = settings_for(slow)
    worst, _ = await worst_and_cost(ledger, settings)
    handler = recorder(ledger, worst - 1)
    asking = [chain_for(settings).ainvoke("Go on.", {"callbacks": [handler]}) for _ in range(5)]
    answers = await asyncio.gather(*asking)
    assert all(answer.text for answer in answers)
    rows = ledger.calls(handler.run_id)
    assert [row.shortened for row in rows] == [True] * 5
    assert slow.max_in_flight == 1


async def test_one_too_many_is_refused_and_the_others_are_answered(ledger, slow):
    settings = settings_for(slow)
    worst, cost = await worst_and_cost(ledger, settings)
    handler = recorder(ledger, worst + 3 * cost)
    chain = chain_for(settings).bind(extra_body={"shaped": True})  # or it would be shortened
    asking = [chain.ainvoke("Go on.", {"callbacks": [handler]}) for _ in range(8)]
    ends = await asyncio.gather(*asking, return_exceptions=True)
    refused = [end for end in ends if isinstance(end, BaseException)]
    assert {type(end).__mro__[1] for end in refused} == {errors.BudgetExceeded}
    assert len(ends) - len(refused) == len(ledger.calls(handler.run_id))
    assert slow.bill.nanousd - cost <= worst + 3 * cost
    for end in refused:
        assert end.spent + end.needed > end.limit


async def test_whoever_waits_keeps_no_slot_from_those_who_have_the_money(ledger, slow):
    settings = settings_for(slow, model_concurrency=2)
    worst, cost = await worst_and_cost(ledger, settings)
    handler = recorder(ledger, worst + 5 * cost)
    free = recorder(ledger, 10**9)
    poor = [chain_for(settings).ainvoke("Go on.", {"callbacks": [handler]}) for _ in range(6)]
    rich = [chain_for(settings).ainvoke("Go on.", {"callbacks": [free]}) for _ in range(6)]
    assert all(answer.text for answer in await asyncio.gather(*poor, *rich))
    assert process_slots(2)._held == 0


async def test_those_who_wait_are_served_in_their_order(ledger):
    order = []

    async def answer(request):
        order.append(request.ask.turns[-1].text)
        await asyncio.sleep(0.02)
        return "done"

    with SimulatedProvider(answer=answer) as provider:
        settings = settings_for(provider)
        worst, cost = await worst_and_cost(ledger, settings)
        order.clear()
        handler = recorder(ledger, worst + 9 * cost)
        asking = []
        for number in range(8):
            call = chain_for(settings).ainvoke(f"Go {number}.", {"callbacks": [handler]})
            asking.append(asyncio.create_task(call))
            await asyncio.sleep(0)
        await asyncio.gather(*asking)
    assert order == [f"Go {number}." for number in range(8)]


@pytest.fixture
def gate():
    """A provider that answers nobody until it is told to, and the order in which it was asked."""
    opened = threading.Event()

    async def answer(request):
        gated.order.append(request.ask.turns[-1].text)
        while not opened.is_set():
            await asyncio.sleep(0.002)
        return "done"

    with SimulatedProvider(answer=answer) as provider:
        gated = SimpleNamespace(order=[], opened=opened, provider=provider)
        yield gated
        opened.set()


def in_line():
    """How many stand in some line, the first of each left out."""
    return sum(len(first._waiting) for first in first_places.values())


async def test_a_small_call_does_not_overtake_a_large_one_that_waits(ledger, gate):
    settings = settings_for(gate.provider)
    gate.opened.set()
    worst, cost = await worst_and_cost(ledger, settings)
    gate.opened.clear()
    gate.order.clear()
    handler = recorder(ledger, worst + 2 * cost)

    def asking(text, room):
        request = ModelRequest(role="planner", model=(MODEL,), max_tokens=room)
        chain = Models(settings).chat(request, Context()).bind(extra_body={"shaped": True})
        return asyncio.create_task(chain.ainvoke(text, {"callbacks": [handler]}))

    async def until(is_so):
        while not is_so():
            await asyncio.sleep(0.002)

    first = asking("Go 1.", ROOM // 4)
    await until(lambda: gate.order == ["Go 1."])
    large = asking("Go 2.", ROOM - 100)
    await until(lambda: len(first_places) == 1)
    small = asking("Go 3.", ROOM // 4)  # there is room for it
    await until(lambda: in_line() or len(gate.order) > 1)
    own = asking("Go 4.", ROOM * 9)  # never fits, so nobody is behind it
    with pytest.raises(errors.BudgetExceeded):
        await own
    gate.opened.set()
    await asyncio.gather(first, large, small)
    assert gate.order == ["Go 1.", "Go 2.", "Go 3."]
    assert not first_places


async def test_whoever_is_under_no_budget_that_others_wait_for_is_asked_at_once(ledger, gate):
    settings = settings_for(gate.provider, model_concurrency=2)  # who waits for money has none
    gate.opened.set()
    worst, cost = await worst_and_cost(ledger, settings)
    gate.opened.clear()
    gate.order.clear()
    poor, free = recorder(ledger, worst + cost), recorder(ledger, 10**9)
    asking = [
        asyncio.create_task(chain_for(settings).ainvoke("Poor.", {"callbacks": [poor]}))
        for _ in range(2)
    ]
    while not first_places:
        await asyncio.sleep(0.002)
    asking.append(asyncio.create_task(chain_for(settings).ainvoke("Free.", {"callbacks": [free]})))
    async with asyncio.timeout(20):
        while len(gate.order) < 2:
            await asyncio.sleep(0.002)
    assert gate.order == ["Poor.", "Free."]
    gate.opened.set()
    await asyncio.gather(*asking)


async def test_the_wait_ends_with_the_chain_s_time(ledger, gate, pass_time, until):
    settings = settings_for(gate.provider)
    handler = recorder(ledger, 3_000_000)
    chain = chain_for(settings)
    first = asyncio.create_task(chain.ainvoke("Go on.", {"callbacks": [handler]}))
    await until(lambda: gate.order)
    second = chain_for(settings, 60).ainvoke("Go on.", {"callbacks": [handler]})
    waiting = asyncio.create_task(second)
    await until(lambda: first_places)
    pass_time(60)
    with pytest.raises(errors.BudgetExceeded) as refused:
        await waiting
    gate.opened.set()
    assert (await first).text == "done"
    assert len(gate.provider.requests) == 1
    assert refused.value.held > 0
    assert refused.value.spent == 0
    assert " has $0 spent and $0.00" in str(refused.value)


async def test_a_wait_in_line_ends_with_the_chain_s_time_too(ledger, gate, pass_time, until):
    settings = settings_for(gate.provider)
    handler = recorder(ledger, 3_000_000)
    first = asyncio.create_task(chain_for(settings).ainvoke("1", {"callbacks": [handler]}))
    await until(lambda: gate.order)
    others = [
        asyncio.create_task(chain_for(settings, 60).ainvoke(str(number), {"callbacks": [handler]}))
        for number in range(3)
    ]
    await until(lambda: in_line() == 2)
    pass_time(60)
    ends = await asyncio.gather(*others, return_exceptions=True)
    gate.opened.set()
    await first
    assert [isinstance(end, errors.BudgetExceeded) for end in ends] == [True] * 3
    assert len(ledger.calls(handler.run_id)) == 1


async def test_whoever_has_waited_for_money_is_told_so_when_the_time_is_up_in_the_queue(ledger):
    state = LimitState(
        scope=Scope(kind="run"), account=Account(), limit=10, warns=False, spent=1, held=9
    )
    attempts = Attempts([], seconds=5.0, slots=process_slots(3), logged=set())
    queue = Queue(attempts, "together:small")
    refused = Refusal(state, 5, waits=True)
    await queue.wait(ledger.budgets, refused)  # it is the first in the queue now
    attempts.deadline = time.monotonic() + 0.05
    with pytest.raises(errors.BudgetExceeded, match="run budget"):
        await queue.wait(ledger.budgets, refused)
    with pytest.raises(errors.BudgetExceeded, match="run budget"):
        raise queue.out_of_time()
    await queue.aclose()


async def test_a_call_that_gets_a_slot_after_the_chain_s_time_is_not_made():
    attempts = Attempts([], seconds=0.0, slots=process_slots(3), logged=set())
    breaker = Breaker()
    candidate = SimpleNamespace(pace=Pace(3), name="together:small")
    for _ in range(5):
        breaker.admit().record(errors.Transient("dead"))
    probe = breaker.admit(early=True)
    late = r"was not asked: the chain's time was up"
    with pytest.raises(errors.Transient, match=late) as refused:
        async with claim(attempts, candidate, probe, None):
            pytest.fail("it was made")
    assert (refused.value.billed, refused.value.timed_out) == (False, True)
    assert candidate.pace.held == 0
    assert breaker.admit(early=True)  # the permit was given back: another call may probe


async def test_a_call_that_is_cancelled_while_it_waits_leaves_nothing_behind(ledger, gate, until):
    settings = settings_for(gate.provider)
    handler = recorder(ledger, 3_000_000)
    first = asyncio.create_task(chain_for(settings).ainvoke("1", {"callbacks": [handler]}))
    await until(lambda: gate.order)
    waiting = [
        asyncio.create_task(chain_for(settings).ainvoke(text, {"callbacks": [handler]}))
        for text in ("2", "3")
    ]
    await until(in_line)
    waiting[0].cancel()
    await asyncio.gather(waiting[0], return_exceptions=True)
    gate.opened.set()
    assert (await first).text
    assert (await waiting[1]).text
    assert [row.status for row in ledger.calls(handler.run_id)] == ["ok", "ok"]
    assert ledger.select("SELECT * FROM holds WHERE status <> 'settled'") == []


async def test_one_waits_for_what_another_thread_settles(ledger, slow):
    settings = settings_for(slow)
    worst, cost = await worst_and_cost(ledger, settings)
    handler = recorder(ledger, worst + 7 * cost)
    answers = []

    def ask():
        answers.append(chain_for(settings).invoke("Go on.", {"callbacks": [handler]}))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    asking = [chain_for(settings).ainvoke("Go on.", {"callbacks": [handler]}) for _ in range(4)]
    await asyncio.gather(*asking)
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert len(answers) == 4
    assert slow.max_in_flight == 1


async def test_branches_of_a_run_share_its_budget(ledger, slow):
    settings = settings_for(slow)
    worst, cost = await worst_and_cost(ledger, settings)
    branches = [creative(f"b{number}", max_tokens=ROOM, model=MODEL) for number in range(5)]
    budget = f"{(2 * worst + 8 * cost) / 10**9:.9f}"
    done = await asyncio.to_thread(
        run, parallel(*branches), "Go on.", budget=budget, settings=settings, ledger=ledger
    )
    assert (done.status, len(done.results)) == ("completed", 5)
    assert slow.bill.nanousd - cost == done.cost.usd.scaleb(9) <= 2 * worst + 8 * cost
