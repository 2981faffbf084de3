"""Where a model seems to fail, one call finds out, and the others use another model until it is known."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from aideon_agents import Context, errors
from aideon_agents.models import Models, health
from aideon_agents.models.health import Breaker
from aideon_agents.state import ModelRequest
from aideon_agents.testing import Fault, SimulatedProvider
from tests.models.conftest import OTHER, PRIMARY

DEAD = errors.Transient("m answered 500")
DEAR = "openai:gpt-4o"


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return Breaker(clock)


def begin(breaker, *, spare=True):
    """A call that is sent at once, if it may be made."""
    permit = breaker.admit(spare=spare)
    if permit is not None:
        breaker.doubt.begin(permit)
    return permit


def answer(breaker, clock, times=1, *, seconds=1.0):
    for _ in range(times):
        permit = begin(breaker)
        clock.now += seconds
        permit.record(None)


def allowed(breaker, calls=5, *, spare=True):
    """Which of some calls at the same moment may be made; none of them ends."""
    permits = [begin(breaker, spare=spare) for _ in range(calls)]
    found = [permit is not None for permit in permits]
    for permit in filter(None, permits):
        permit.give_back()
    return found


ALL, ONE = [True] * 5, [True] + [False] * 4


@pytest.mark.parametrize("error", [DEAD, errors.Partial("cut")], ids=["transient", "partial"])
def test_after_the_first_error_one_call_finds_out_where_another_model_can_be_asked(breaker, error):
    begin(breaker).record(error)
    assert allowed(breaker) == ONE
    assert allowed(breaker, spare=False) == ALL


@pytest.mark.parametrize(
    "error",
    [errors.RateLimited("429"), errors.CallerError("400"), asyncio.CancelledError(), ValueError()],
    ids=lambda error: type(error).__name__,
)
def test_what_is_not_the_models_doing_raises_no_doubt(breaker, error):
    begin(breaker).record(error)
    assert allowed(breaker) == ALL


def test_the_answer_to_the_call_that_finds_out_ends_the_doubt(breaker, clock):
    begin(breaker).record(DEAD)
    check = begin(breaker)
    clock.now += 0.5
    check.record(None)
    assert allowed(breaker) == ALL


def test_a_call_that_finds_out_and_is_cancelled_lets_the_next_one_find_out(breaker):
    begin(breaker).record(DEAD)
    check = begin(breaker)
    check.record(asyncio.CancelledError())
    assert allowed(breaker) == ONE
    check = begin(breaker)
    assert begin(breaker) is None
    del check
    assert allowed(breaker) == ONE


def test_answers_to_calls_from_before_the_error_say_nothing_about_the_model_now(breaker, clock):
    before = [begin(breaker) for _ in range(5)]
    clock.now += 1
    begin(breaker).record(DEAD)
    for permit in before:
        permit.record(None)
        assert allowed(breaker) == ONE
    for _ in range(4):
        begin(breaker).record(DEAD)
    assert breaker.rest_left() > 0


def test_one_odd_error_keeps_calls_away_for_a_moment_only(breaker, clock):
    begin(breaker).record(DEAD)
    check = begin(breaker)
    assert begin(breaker) is None
    clock.now += 1.1
    assert allowed(breaker) == ALL
    check.record(None)
    assert allowed(breaker) == ALL


@pytest.mark.parametrize("slow", [False, True], ids=["answered", "still at work"])
def test_after_an_error_that_was_chance_one_more_in_a_row_is_needed_for_half_a_minute(
    breaker, clock, slow
):
    begin(breaker).record(DEAD)
    check = begin(breaker)
    clock.now += 1.1 if slow else 0.1
    if not slow:
        check.record(None)
    assert allowed(breaker) == ALL
    check.record(None)
    begin(breaker).record(DEAD)
    assert allowed(breaker) == ALL
    begin(breaker).record(DEAD)
    assert allowed(breaker) == ONE
    begin(breaker).record(None)
    clock.now += 31
    begin(breaker).record(DEAD)
    assert allowed(breaker) == ONE


def test_a_model_with_one_odd_error_in_twenty_answers_nearly_all_calls(breaker, clock):
    """As at a healthy provider with many users: ten calls a second, ten seconds for an answer."""
    refused, in_flight = 0, []
    for number in range(2000):
        clock.now += 0.1
        while in_flight and in_flight[0][0] <= clock.now:
            in_flight.pop(0)[1].record(None)
        permit = begin(breaker)
        if permit is None:
            refused += 1
        elif number > 200 and number % 20 == 0:
            permit.record(DEAD)
        else:
            in_flight.append((clock.now + 10, permit))
    assert breaker.rest_left() == 0
    assert refused <= 100


def test_calls_use_another_model_while_answers_take_clearly_longer_than_usual(breaker, clock):
    answer(breaker, clock, 20)
    hanging = [begin(breaker)]
    clock.now += 1.9
    assert allowed(breaker) == ALL
    clock.now += 0.2
    hanging.append(begin(breaker))
    assert begin(breaker) is None
    assert allowed(breaker, spare=False) == ALL
    hanging.pop().record(None)
    assert allowed(breaker) == ALL


def test_five_calls_are_late_sooner_than_one(breaker, clock):
    answer(breaker, clock, 20)
    hanging = [begin(breaker) for _ in range(5)]
    clock.now += 1.2
    assert allowed(breaker) == ALL
    clock.now += 0.1
    assert allowed(breaker) == ONE
    for permit in hanging:
        permit.record(asyncio.CancelledError())
    assert allowed(breaker) == ALL


def test_a_long_call_beside_short_ones_that_are_answered_is_not_late(breaker, clock):
    answer(breaker, clock, 20)
    long = begin(breaker)
    answer(breaker, clock, 30)
    assert allowed(breaker) == ALL
    long.record(None)


def test_after_fewer_than_twenty_answers_nothing_is_late(breaker, clock):
    answer(breaker, clock, 19)
    hanging = begin(breaker)
    clock.now += 1000
    assert allowed(breaker) == ALL
    hanging.record(None)


def test_a_call_that_waits_for_a_slot_or_for_money_is_not_late(breaker, clock):
    answer(breaker, clock, 20)
    waiting = breaker.admit()
    clock.now += 1000
    breaker.doubt.begin(waiting)
    assert allowed(breaker) == ALL
    clock.now += 1
    waiting.record(None)
    assert breaker.doubt._usual == pytest.approx(1.0)


def test_after_a_rest_and_a_good_probe_no_doubt_is_left(breaker, clock):
    for _ in range(5):
        begin(breaker, spare=False).record(DEAD)
    clock.now += 10
    answer(breaker, clock)
    assert allowed(breaker) == ALL


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_finds_out_for_itself(breaker):
    begin(breaker).record(DEAD)
    check = begin(breaker)
    child = os.fork()
    if child == 0:
        os._exit(0 if begin(breaker) and begin(breaker) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert begin(breaker) is None
    check.give_back()


# Over HTTP


@pytest.fixture
def held(counter, quick, until, monkeypatch):
    """A primary that fails once and then answers when told to, and a healthy other model."""
    monkeypatch.setattr(health, "_DOUBT_FOR", 600.0)
    gate = threading.Event()

    async def slowly(_request):
        await until(gate.is_set)
        return "back"

    with SimulatedProvider(answer=slowly, faults=[Fault(500)]) as provider:
        provider.gate = gate
        provider.settings = counter.settings(together_base_url=provider.base_url)
        yield provider
        gate.set()


async def asked_first(provider, counter, until):
    """A call whose first try has failed, and whose second one is in flight."""
    asking = asyncio.create_task(counter.ask(settings=provider.settings))
    await until(lambda: len(provider.requests) == 2)
    return asking


def places(found):
    return [(row.candidate, row.status) for row in found.rows]


async def test_other_calls_are_answered_by_the_next_model_and_cost_no_attempt(held, counter, until):
    first = await asked_first(held, counter, until)
    for _ in range(3):
        assert places(await counter.ask(settings=held.settings)) == [(1, "ok")]
    assert len(held.requests) == 2
    held.gate.set()
    assert places(await first) == [(0, "error"), (0, "ok")]
    assert places(await counter.ask(settings=held.settings)) == [(0, "ok")]


async def test_streams_use_the_next_model_too(held, counter, until):
    first = await asked_first(held, counter, until)
    found = await counter.ask(settings=held.settings, stream=True)
    assert places(found) == [(1, "ok")]
    held.gate.set()
    await first


@pytest.mark.parametrize("others", [(), (OTHER,)], ids=["none", "it rests"])
async def test_where_no_other_model_can_be_asked_nothing_changes(held, counter, until, others):
    first = await asked_first(held, counter, until)
    request = ModelRequest(role="planner", model=(PRIMARY, *others), timeout=60)
    chain = Models(held.settings).chat(request, Context())
    for one in chain.candidates[1:]:
        one.model_breaker.admit().record(errors.ModelGone("gone"))
    second = asyncio.create_task(chain.ainvoke("Pumps?"))
    await until(lambda: len(held.requests) == 3)
    held.gate.set()
    assert (await second).text == "back"
    await first


async def test_a_run_whose_budget_is_too_small_for_the_next_model_waits_for_the_doubted_one(
    held, counter, until
):
    first = await asked_first(held, counter, until)
    models = {"settings": held.settings, "model": (PRIMARY, DEAR), "budget": 2_000_000}
    second = asyncio.create_task(counter.ask(**models))
    await until(lambda: len(held.requests) == 3)
    held.gate.set()
    assert places(await second) == [(0, "ok")]
    await first


async def test_calls_to_a_provider_that_hangs_stop_before_the_first_one_has_timed_out(
    counter, quick, until, monkeypatch
):
    monkeypatch.setattr(health, "_DOUBT_FOR", 600.0)
    with SimulatedProvider(faults=[*[None] * 20, *[Fault("hang")] * 2]) as provider:
        settings = counter.settings(together_base_url=provider.base_url)
        for _ in range(20):
            assert places(await counter.ask(settings=settings)) == [(0, "ok")]
        request = ModelRequest(role="planner", model=(PRIMARY, OTHER))
        chain = Models(settings).chat(request, Context())
        breaker = chain.candidates[0].model_breaker
        hanging = [asyncio.create_task(chain.ainvoke("Pumps?"))]
        await until(lambda: len(provider.requests) == 21)
        await until(lambda: breaker.doubt.since <= breaker.clock())
        hanging.append(asyncio.create_task(chain.ainvoke("Pumps?")))
        await until(lambda: len(provider.requests) == 22)
        assert places(await counter.ask(settings=settings)) == [(1, "ok")]
        for one in hanging:
            one.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
