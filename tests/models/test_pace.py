"""A provider that refuses what is too much is asked for less at once, and nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from aideon_agents import Context
from aideon_agents.errors import RateLimited, Transient
from aideon_agents.models import Models
from aideon_agents.models.health import Pace, pace_for
from aideon_agents.state import ModelRequest
from aideon_agents.testing import Fault, SimulatedProvider


class Clock:
    """Seconds, as somebody sets them."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@contextlib.asynccontextmanager
async def in_flight(pace, number):
    """Hold so many places for the length of a block."""
    async with contextlib.AsyncExitStack() as held:
        for _ in range(number):
            await held.enter_async_context(pace.one())
        yield


def refuse(pace):
    pace.record(RateLimited("429"))


async def answer(pace, times):
    for _ in range(times):
        async with pace.one():
            pace.record(None)


async def test_what_was_in_flight_beside_a_refused_call_is_what_it_can_do(clock):
    pace = Pace(100, clock)
    async with in_flight(pace, 51):
        refuse(pace)
        assert pace.limit == 45  # nine tenths of the fifty others


async def test_of_a_wave_of_refusals_the_last_tells_most(clock):
    pace = Pace(1000, clock)
    refused = [pace.one() for _ in range(900)]
    async with in_flight(pace, 100):
        for one in refused:
            await one.__aenter__()
        for one in refused:
            refuse(pace)
            await one.__aexit__(None, None, None)
        assert pace.limit == 90


async def test_a_refusal_never_lets_more_through(clock):
    pace = Pace(10, clock)
    async with in_flight(pace, 3):
        refuse(pace)
    assert pace.limit == 1
    async with pace.one():
        refuse(pace)
    assert pace.limit == 1


async def test_it_grows_back_by_one_for_each_round_of_answers_after_a_while(clock):
    pace = Pace(4, clock)
    async with in_flight(pace, 3):
        refuse(pace)
    await answer(pace, 50)
    assert pace.limit == 1
    clock.now = 31
    await answer(pace, 1)
    assert pace.limit == 2
    await answer(pace, 1)
    assert pace.limit == 2
    await answer(pace, 1)
    assert pace.limit == 3
    await answer(pace, 50)
    assert pace.limit == 4


async def test_other_errors_say_nothing_of_the_pace(clock):
    pace = Pace(4, clock)
    async with in_flight(pace, 4):
        pace.record(Transient("503"))
    assert pace.limit == 4


async def test_who_waits_goes_on_when_it_grows(clock):
    pace = Pace(8, clock)
    async with in_flight(pace, 2):
        refuse(pace)
    clock.now = 31
    entered = []

    async def enter(gate):
        async with pace.one():
            entered.append(gate)
            await gate.wait()

    gate = asyncio.Event()
    async with in_flight(pace, 1):
        waiting = [asyncio.create_task(enter(gate)) for _ in range(2)]
        await asyncio.sleep(0)
        assert entered == []
        pace.record(None)
        await asyncio.sleep(0.01)
        assert len(entered) == 1
    gate.set()
    await asyncio.gather(*waiting)


def test_one_place_has_one_pace_under_each_limit():
    assert pace_for(5, "here", 1) is pace_for(5, "here", 1)
    assert pace_for(5, "here", 1) is not pace_for(5, "here", 2)
    assert pace_for(6, "here", 1).limit == 6


async def test_a_provider_that_takes_twenty_at_once_answers_a_hundred(counter, quick):
    """Without it those refused twice are lost."""
    seen = []

    def crowded(request):
        seen.append(provider.in_flight)
        return (
            Fault(429, retry_after=0.05)
            if provider.in_flight > 20
            else Fault("delay", seconds=0.2)  # none is done before all have come
        )

    with SimulatedProvider(faults=crowded) as provider:
        settings = counter.settings(together_base_url=provider.base_url, model_concurrency=100)
        models = Models(settings.model_copy(update={"openai_api_key": None}))
        asked = ModelRequest(role="executor", model=("together:openai/gpt-oss-20b",))
        chains = [models.chat(asked, Context()) for _ in range(100)]
        answers = await asyncio.gather(*(chain.ainvoke("Pumps?") for chain in chains))
    assert len(answers) == 100
    assert max(seen) > 20
    assert len(seen) < 250
