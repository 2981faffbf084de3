"""A provider that refuses what is too much is asked for less at once, and nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from aideon_agents import Context
from aideon_agents.errors import RateLimited, Transient
from aideon_agents.models import Models, transport
from aideon_agents.models.limits import Limit
from aideon_agents.models.limits.pace import Pace, pace_for
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


def refuse(pace, wait=None, kind="unknown", *, is_used_up=False):
    error = RateLimited("429", retry_after=wait)
    error.limit = Limit(kind, wait, is_used_up)
    pace.record(error, pace.clock())


def answer(pace, times=1):
    for _ in range(times):
        pace.record(None, pace.clock())


async def test_a_refusal_alone_holds_nobody_else_back(clock):
    pace = Pace(100, clock=clock)
    async with in_flight(pace, 50):
        refuse(pace, wait=30)
    assert (pace.limit, pace.closed_for()) == (100, 0)


async def test_several_refusals_let_through_what_was_in_flight_beside_them(clock):
    pace = Pace(100, clock=clock)
    async with in_flight(pace, 51):
        for _ in range(3):
            refuse(pace)
    assert (pace.limit, pace.closed_for()) == (50, 0)


async def test_of_a_wave_of_refusals_the_last_tells_most(clock):
    pace = Pace(1000, clock=clock)
    refused = [pace.one() for _ in range(900)]
    async with in_flight(pace, 100):
        for one in refused:
            await one.__aenter__()
        began, clock.now = clock.now, 1.0
        for one in refused:
            pace.record(RateLimited("429"), began)
            await one.__aexit__(None, None, None)
    assert pace.limit == 100


async def test_refusals_with_answers_between_them_do_not_halve_it_again(clock):
    pace = Pace(20, clock=clock)
    async with in_flight(pace, 20):
        for _ in range(200):
            clock.now += 0.05
            answer(pace, 3)
            refuse(pace)
            assert pace.limit >= 10


async def test_refusals_that_a_lower_limit_does_not_help_with_are_chance(clock):
    pace = Pace(20, clock=clock)
    async with in_flight(pace, 20):
        for _ in range(200):
            clock.now += 0.05
            answer(pace, 3)
            refuse(pace)
    assert pace.limit == 20


async def test_it_grows_back_within_seconds_and_ever_faster(clock):
    pace = Pace(32, clock=clock)
    async with in_flight(pace, 5):
        for _ in range(3):
            refuse(pace)
    assert pace.limit == 4
    limits = []
    async with in_flight(pace, 4):
        for _ in range(6):
            clock.now += 1.1
            async with in_flight(pace, pace.limit - 4):
                answer(pace, 40)
            limits.append(pace.limit)
    assert limits == [5, 7, 11, 19, 32, 32]


async def test_a_refusal_above_the_limit_takes_the_step_back(clock):
    pace = Pace(32, clock=clock)
    async with in_flight(pace, 5):
        for _ in range(3):
            refuse(pace)
    async with in_flight(pace, 4):
        clock.now += 1.1
        answer(pace, 4)
        assert pace.limit == 5
        refuse(pace)
        assert pace.limit == 4
        clock.now += 1.1
        answer(pace, 4)
        assert pace.limit == 4  # it now waits for longer
        clock.now += 1.1
        answer(pace, 4)
        assert pace.limit == 5


async def test_it_does_not_grow_while_it_is_not_reached(clock):
    pace = Pace(32, clock=clock)
    async with in_flight(pace, 9):
        for _ in range(3):
            refuse(pace)
    async with in_flight(pace, 2):
        clock.now += 10
        answer(pace, 100)
    assert pace.limit == 8


async def test_when_nothing_remains_all_wait_for_the_time_that_is_named(clock):
    pace = Pace(8, clock=clock)
    async with in_flight(pace, 3):
        refuse(pace, wait=40, is_used_up=True)
    assert (pace.limit, pace.closed_for()) == (8, 40)
    clock.now = 41
    assert pace.closed_for() == 0


async def test_an_answer_says_that_nothing_remains(clock):
    pace = Pace(8, clock=clock)
    pace.received({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "7"})
    assert pace.closed_for() == 7


@pytest.mark.parametrize("kind", ["minute", "hour", "day"])
async def test_in_a_window_of_time_fewer_at_once_do_not_help(clock, kind):
    pace = Pace(8, clock=clock)
    async with in_flight(pace, 8):
        for _ in range(3):
            refuse(pace, wait=40, kind=kind)
    assert (pace.limit, pace.closed_for()) == (8, 40)


async def test_while_all_are_refused_one_call_finds_out_whether_it_is_over(clock):
    pace = Pace(8, clock=clock)
    async with in_flight(pace, 1):
        for _ in range(4):
            refuse(pace, wait=2)
    assert (pace.limit, pace.closed_for()) == (1, 2)
    clock.now = 3
    async with in_flight(pace, 1):
        refuse(pace, wait=2)
        assert pace.closed_for() == 2
        clock.now = 6
        answer(pace)
    assert pace.closed_for() == 0


async def test_other_errors_say_nothing_of_the_pace(clock):
    pace = Pace(4, clock=clock)
    async with in_flight(pace, 4):
        for _ in range(10):
            pace.record(Transient("503"), clock.now)
    assert (pace.limit, pace.closed_for()) == (4, 0)


async def test_who_waits_goes_on_when_it_grows(clock, until):
    pace = Pace(8, clock=clock)
    async with in_flight(pace, 2):
        for _ in range(3):
            refuse(pace)
    assert pace.limit == 1
    clock.now = 2
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
        answer(pace)
        await until(lambda: entered)
        assert len(entered) == 1
    gate.set()
    await asyncio.gather(*waiting)


async def test_it_says_in_words_why_it_is_slow(clock):
    pace = Pace(8, "together", clock)
    assert pace.why_slow() is None
    async with in_flight(pace, 3):
        for _ in range(3):
            refuse(pace)
        for _ in range(25):
            clock.now += 1 / 12
            answer(pace)
        with pace.waits(), pace.waits():
            assert pace.why_slow() == "together limits to 12 requests/s; 2 of 5 waiting"
    assert pace.why_slow() is None


def test_one_place_has_one_pace_under_each_limit():
    assert pace_for(5, "together", "here", 1) is pace_for(5, "together", "here", 1)
    assert pace_for(5, "together", "here", 1) is not pace_for(5, "together", "here", 2)
    assert pace_for(6, "together", "here", 1).limit == 6


async def test_a_provider_that_takes_twenty_at_once_answers_a_hundred(
    counter, quick, monkeypatch, until
):
    """Without it those refused twice are lost."""
    seen = []
    monkeypatch.setattr(transport, "_CONNECT_SECONDS", 100.0)

    async def answer(_request):
        await until(lambda: len(seen) > 20)
        return "done"

    def crowded(request):
        seen.append(provider.in_flight)
        return (
            Fault(429, retry_after=0.05) if provider.in_flight > 20 else Fault("delay", seconds=0.2)
        )

    with SimulatedProvider(faults=crowded, answer=answer) as provider:
        settings = counter.settings(together_base_url=provider.base_url, model_concurrency=100)
        models = Models(settings.model_copy(update={"openai_api_key": None}))
        asked = ModelRequest(role="executor", model=("together:openai/gpt-oss-20b",))
        chains = [models.chat(asked, Context()) for _ in range(100)]
        answers = await asyncio.gather(*(chain.ainvoke("Pumps?") for chain in chains))
    assert len(answers) == 100
    assert max(seen) > 20
    assert len(seen) < 250
