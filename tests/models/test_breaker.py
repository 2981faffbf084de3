"""A model that keeps failing rests, one call finds out whether it is back, others go elsewhere."""

from __future__ import annotations

import asyncio
import random
import threading

import pytest

from aideon_agents import Context, errors
from aideon_agents.models import Models
from aideon_agents.models.health import Breaker, breaker_for
from aideon_agents.state import ModelRequest
from aideon_agents.testing import Fault, SimulatedProvider

PRIMARY = "together:openai/gpt-oss-120b"
OTHER = "openai:gpt-4o-mini"
DEAD = errors.Transient("m answered 500")


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


def call(breaker, error=None, *, early=False):
    """One call, if it may be made; returns whether it was."""
    permit = breaker.admit(early=early)
    if permit is not None:
        permit.record(error)
    return permit is not None


def fail(breaker, times):
    return [call(breaker, DEAD) for _ in range(times)]


def test_five_failures_in_a_row_open_it(breaker):
    assert fail(breaker, 4) == [True] * 4
    assert breaker.rest_left() == 0
    assert fail(breaker, 2) == [True, False]
    assert 4 <= breaker.rest_left() <= 6
    assert breaker.why == "m answered 500"


def test_a_success_in_between_starts_the_row_anew(breaker):
    for _ in range(10):
        call(breaker)
    fail(breaker, 4)
    call(breaker)
    assert fail(breaker, 4) == [True] * 4


def test_half_of_at_least_five_in_thirty_seconds_open_it(breaker, clock):
    for error in (None, DEAD, None, DEAD, None):
        clock.now += 5
        assert call(breaker, error)
    assert call(breaker, DEAD)
    assert not call(breaker)


def test_failures_longer_ago_than_thirty_seconds_do_not_count(breaker, clock):
    for error in (None, DEAD, None, DEAD, None):
        call(breaker, error)
    clock.now += 31
    assert call(breaker, DEAD)
    assert call(breaker)


def test_the_rest_doubles_from_five_seconds_to_five_minutes(breaker, clock, monkeypatch):
    monkeypatch.setattr(random, "uniform", lambda _least, _most: 1.0)
    fail(breaker, 5)
    rests = []
    for _ in range(8):
        rests.append(round(breaker.rest_left(), 6))
        clock.now += breaker.rest_left()
        assert call(breaker, DEAD)
    assert rests == [5, 10, 20, 40, 80, 160, 300, 300]


def test_a_success_of_the_probe_closes_it_and_the_next_rest_is_short_again(breaker, clock):
    fail(breaker, 5)
    clock.now += 6
    assert call(breaker, DEAD)
    clock.now += 12
    assert call(breaker)
    assert breaker.rest_left() == 0
    assert fail(breaker, 5) == [True] * 4 + [False]  # with the success four of five: over half
    assert breaker.rest_left() <= 6


def test_many_that_were_on_their_way_do_not_prolong_the_rest(breaker):
    permits = [breaker.admit() for _ in range(40)]
    for permit in permits:
        permit.record(DEAD)
    assert breaker.rest_left() <= 6


def test_of_forty_at_once_exactly_one_probes(breaker, clock):
    fail(breaker, 5)
    clock.now += 6
    permits = [breaker.admit(early=bool(number % 2)) for number in range(40)]
    assert [permit is not None for permit in permits] == [True] + [False] * 39
    assert breaker.rest_left() > 0
    permits[0].record(None)
    assert all(breaker.admit() for _ in range(40))


def test_a_late_end_of_another_call_is_not_taken_for_the_probes(breaker, clock):
    late = [breaker.admit(), breaker.admit()]
    fail(breaker, 5)
    clock.now += 6
    probe = breaker.admit()
    for permit, error in zip(late, (DEAD, None), strict=True):
        permit.record(error)
        assert breaker.admit(early=True) is None
    probe.record(DEAD)
    assert breaker.rest_left() > 6


def test_a_call_is_settled_once(breaker, clock):
    fail(breaker, 5)
    clock.now += 6
    probe = breaker.admit()
    probe.give_back()
    probe.record(DEAD)
    assert breaker.rest_left() == 0
    assert breaker.admit() is not None


def test_before_its_time_it_is_probed_only_when_asked_to(breaker):
    fail(breaker, 5)
    assert not call(breaker)
    assert call(breaker, early=True)
    assert breaker.rest_left() == 0


@pytest.mark.parametrize(
    ("error", "least", "most"),
    [
        (errors.OutOfCredit("402"), 300, 300),
        (errors.KeyRejected("401"), 300, 300),
        (errors.ModelGone("404"), 300, 300),
    ],
    ids=["credit", "key", "gone"],
)
def test_some_errors_open_it_at_once(breaker, error, least, most):
    assert call(breaker, error)
    assert not call(breaker)
    assert least <= breaker.rest_left() <= most


@pytest.mark.parametrize(
    "error",
    [
        errors.ContextTooLong("413"),
        errors.RateLimited("429", retry_after=7),
        errors.Refused("filtered"),
        errors.CallerError("400"),
        errors.Malformed("no JSON"),
        ValueError("a bug"),
        asyncio.CancelledError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_not_the_models_doing_never_opens_it(breaker, error):
    assert all(call(breaker, error) for _ in range(20))


def test_a_stream_that_broke_counts_as_a_failure(breaker):
    assert [call(breaker, errors.Partial("cut")) for _ in range(6)] == [True] * 5 + [False]


def test_breakers_are_kept_by_address_model_and_key():
    assert breaker_for("a", "m", 1) is breaker_for("a", "m", 1)
    assert (
        len({id(breaker_for(*what)) for what in (("a", "m", 1), ("b", "m", 1), ("a", "m", 2))}) == 3
    )


# Over HTTP


async def test_a_dead_primary_is_left_alone_after_five_failures(counter, quick):
    settings = counter.settings(Fault(500))
    asked = [await counter.ask(settings=settings) for _ in range(4)]
    assert [len(one.requests) for one in asked] == [4, 3, 1, 1]
    assert all(one.answer for one in asked)


async def test_with_one_candidate_it_is_asked_all_the_same(counter, quick):
    settings = counter.settings([Fault(500)] * 6)
    first = await counter.ask(settings=settings, model=(PRIMARY,))
    second = await counter.ask(settings=settings, model=(PRIMARY,))
    third = await counter.ask(settings=settings, model=(PRIMARY,))
    assert [len(one.requests) for one in (first, second, third)] == [3, 3, 1]
    assert isinstance(second.error, errors.AllModelsFailed)
    assert third.answer.text.startswith("Heat pumps")


async def test_while_one_probes_the_only_model_the_others_wait_for_what_it_finds(
    counter, quick, until
):
    gate = threading.Event()

    async def answer(_request):
        await until(gate.is_set)
        return "back"

    with SimulatedProvider(answer=answer, faults=[Fault(500)] * 6) as provider:
        settings = counter.settings(together_base_url=provider.base_url)
        for _ in range(2):
            await counter.ask(settings=settings, model=(PRIMARY,))
        chain = Models(settings)
        request = ModelRequest(role="planner", model=(PRIMARY,), timeout=60)
        asking = [
            asyncio.create_task(chain.chat(request, Context()).ainvoke(f"question {number}"))
            for number in range(40)
        ]
        await until(lambda: len(provider.requests) == 7)
        await asyncio.sleep(0.05)  # as long as the others wait before they look again
        assert len(provider.requests) == 7
        gate.set()
        assert len(await asyncio.gather(*asking)) == 40
        assert len(provider.requests) == 6 + 40


async def test_when_all_rest_the_one_soonest_back_is_asked(counter, quick):
    settings = counter.settings([Fault(404)])
    request = ModelRequest(role="planner", model=(PRIMARY, OTHER))
    line = Models(settings).chat(request, Context()).candidates
    for _ in range(5):
        line[1].model_breaker.admit().record(DEAD)
    first = await counter.ask(settings=settings)  # the primary is gone for 300 s, the other for 5
    assert [(row.candidate, row.status) for row in first.rows] == [(0, "error"), (1, "ok")]
