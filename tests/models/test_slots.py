"""Calls in flight are counted for the whole process: across threads, loops and nesting."""

from __future__ import annotations

import asyncio
import threading

import pytest

from aideon_agents import Context, Settings
from aideon_agents.models import Models
from aideon_agents.models.health import Slots
from aideon_agents.models.limits.pace import process_slots, why_waiting
from aideon_agents.state import ModelRequest
from aideon_agents.testing import Fault, SimulatedProvider


class Watched:
    """Counts who holds a slot at once."""

    def __init__(self, slots):
        self.slots = slots
        self.now = self.most = self.served = 0
        self._lock = threading.Lock()

    async def hold(self, seconds=0.002):
        async with self.slots.one():
            with self._lock:
                self.now += 1
                self.most = max(self.most, self.now)
            await asyncio.sleep(seconds)
            with self._lock:
                self.now -= 1
                self.served += 1


async def test_no_more_than_the_limit_hold_one_at_once():
    watched = Watched(Slots(3))
    await asyncio.gather(*(watched.hold() for _ in range(30)))
    assert (watched.most, watched.served) == (3, 30)


def test_the_limit_holds_across_threads_with_loops_of_their_own():
    watched = Watched(Slots(3))

    async def many():
        await asyncio.gather(*(watched.hold() for _ in range(20)))

    threads = [threading.Thread(target=asyncio.run, args=(many(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (watched.most, watched.served) == (3, 80)
    assert watched.slots._held == 0


async def test_calls_that_wait_for_the_limit_of_the_process_are_told():
    slots = process_slots(1)
    async with slots.one():
        waiting = asyncio.create_task(Watched(slots).hold())
        while not slots.queued:
            await asyncio.sleep(0)
        assert why_waiting() == "AIDEON_MODEL_CONCURRENCY is 1: 1 calls wait"
    await waiting
    assert why_waiting() is None


async def test_who_came_first_is_served_first():
    slots, order = Slots(1), []

    async def take(number):
        async with slots.one():
            order.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(take(number) for number in range(10)))
    assert order == list(range(10))


async def test_a_waiter_that_is_cancelled_leaves_the_queue():
    watched = Watched(Slots(1))
    await watched.slots._acquire()
    waiting = [asyncio.create_task(watched.hold()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    watched.slots._release()
    await asyncio.gather(*waiting[1:])
    assert (watched.served, watched.slots._held) == (2, 0)


async def test_a_slot_given_to_a_waiter_that_is_cancelled_goes_to_the_next():
    watched = Watched(Slots(1))
    await watched.slots._acquire()
    waiting = [asyncio.create_task(watched.hold()) for _ in range(2)]
    await asyncio.sleep(0)
    watched.slots._release()  # handed to the first, who has not been woken yet
    waiting[0].cancel()
    await asyncio.wait(waiting)
    assert (watched.served, watched.slots._held) == (1, 0)


def test_a_waiter_whose_loop_is_gone_holds_nobody_up():
    slots = Slots(1)
    gone = asyncio.new_event_loop()
    gone.run_until_complete(slots._acquire())
    waiting = slots._acquire()
    task = gone.create_task(waiting)
    gone.run_until_complete(asyncio.sleep(0))
    task._log_destroy_pending = False
    gone.close()
    slots._release()
    assert slots._held == 0
    waiting.close()


def test_chains_with_the_same_limit_share_the_processs_slots():
    assert process_slots(5) is process_slots(5)
    assert process_slots(5) is not process_slots(6)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_the_provider_never_sees_more_calls_at_once_than_asked_for(stream):
    request = ModelRequest(role="planner", model=("together:m",))
    with SimulatedProvider(faults=Fault("delay", seconds=0.02)) as provider:
        settings = Settings(
            together_api_key="key", together_base_url=provider.base_url, model_concurrency=3
        )

        async def many():
            models = Models(settings)
            chains = [models.chat(request, Context(stream=stream)) for _ in range(8)]
            await asyncio.gather(*(chain.ainvoke("hello") for chain in chains))

        threads = [threading.Thread(target=asyncio.run, args=(many(),)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (provider.max_in_flight, provider.bill.requests) == (3, 16)
