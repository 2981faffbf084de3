"""How a batch gets through a provider's rate limits.

    python benchmarks/ratelimit [ITEMS]

Each item is one call that takes a tenth of a second. The first line is the batch without any limit;
the others meet one. For each: items that were lost, requests that were refused, the wall time against
what the limit allows at best, and the answers that came from another model than the primary.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aideon_agents import Settings, abatch, executor
from aideon_agents.testing import Fault, SimulatedProvider

if TYPE_CHECKING:
    from collections.abc import Callable

    from aideon_agents.testing import ChatRequest

    Draw = Callable[[SimulatedProvider, ChatRequest], Fault | None]

AT_ONCE = 20
SECONDS = 0.1
"""What a call takes."""
WINDOW = 3.0
"""Seconds that stand for a minute."""
PRIMARY, OTHER = "openai/gpt-oss-20b", "gpt-4o-mini"


def chance(share: float) -> Draw:
    """Refuse at random."""
    drawn = random.Random(13)
    return lambda _provider, _request: (
        Fault(429, retry_after=drawn.uniform(0.0, 1.0)) if drawn.random() < share else None
    )


def window(most: int, seconds: float) -> Draw:
    """So many requests in each window of time."""
    lock, began, used = threading.Lock(), time.monotonic(), [0, 0]

    def draw(_provider: SimulatedProvider, _request: ChatRequest) -> Fault | None:
        with lock:
            number, into = divmod(time.monotonic() - began, seconds)
            if used[0] != number:
                used[:] = [int(number), 0]
            used[1] += 1
            if used[1] <= most:
                return None
        words = f"Rate limit reached: {most} requests per minute. Please try again in {seconds - into:.3f}s."
        return Fault(429, message=words)

    return draw


def bucket(rate: float, burst: float) -> Draw:
    """A bucket that fills at a rate: a storm, where twice as many requests come."""
    lock, state = threading.Lock(), [burst, time.monotonic()]

    def draw(_provider: SimulatedProvider, _request: ChatRequest) -> Fault | None:
        with lock:
            now = time.monotonic()
            state[:] = [min(burst, state[0] + rate * (now - state[1])), now]
            if state[0] < 1:
                return Fault(429, retry_after=1.0)
            state[0] -= 1
            return None

    return draw


def in_flight(most: int) -> Draw:
    """So many requests at once."""
    lock, running = threading.Lock(), [0.0] * most

    def draw(_provider: SimulatedProvider, _request: ChatRequest) -> Fault | None:
        with lock:
            now = time.monotonic()
            running.sort()
            if running[0] > now:
                return Fault(429, retry_after=1.0, message="Too many concurrent requests.")
            running[0] = now + SECONDS
            return None

    return draw


class Measured(NamedTuple):
    """What a batch took."""

    wall: float
    lost: int
    requests: int
    by_others: int


async def measured(draw: Draw | None, items: int) -> Measured:
    """Run a batch against a provider with a limit."""

    def answer(request: ChatRequest) -> Fault | None:
        refused = draw(primary, request) if draw else None
        return refused or Fault("delay", seconds=SECONDS)

    with (
        SimulatedProvider(announce=False, faults=answer) as primary,
        SimulatedProvider(announce=False, faults=Fault("delay", seconds=SECONDS)) as other,
        tempfile.TemporaryDirectory() as folder,
    ):
        settings = Settings(
            together_api_key="k",
            together_base_url=primary.base_url,
            openai_api_key="k",
            openai_base_url=other.base_url,
            ledger=f"sqlite:///{folder}/ledger.db",
        )
        node = executor(model=[f"together:{PRIMARY}", f"openai:{OTHER}"])
        tasks = [f"Say {number}." for number in range(items)]
        began = time.monotonic()
        out = Path(folder, "out.jsonl")
        result = await abatch(node, tasks, out, settings=settings, max_concurrency=AT_ONCE)
        wall = time.monotonic() - began
        return Measured(wall, items - result.completed, len(primary.requests), len(other.requests))


def cases(speed_now: float, items: int) -> dict[str, tuple[Draw, float, float]]:
    """By name: a limit of half of what is possible now, the seconds that it allows, most waste."""
    half = speed_now / 2
    at_once = AT_ONCE // 2
    per_window = round(half * WINDOW)
    windows, rest = divmod(items - 1, per_window)
    return {
        "2 % at random": (chance(0.02), items / speed_now, 1.0),
        "per minute": (window(per_window, WINDOW), windows * WINDOW + rest / speed_now, 0.05),
        f"{at_once} in flight": (
            in_flight(at_once),
            max(items * SECONDS / at_once, items / speed_now),
            0.05,
        ),
        "storm": (bucket(half, half), (items - half) / half, 0.05),
        "storm, no burst": (bucket(half, 5), items / half, 0.05),
    }


BARS = {"2 % at random": 1.3}
"""Times the ideal; 1.2 for the others."""


def main(items: int = 1200) -> int:
    """Print each case beside its bar; returns 1 if one is missed."""
    asyncio.run(measured(None, 40))  # imports and connections
    missed = 0
    for name in cases(100, items):
        # Just before each case: other work on the machine changes what is possible.
        plain = asyncio.run(measured(None, items))
        draw, ideal, most_wasted = cases(items / plain.wall, items)[name]
        found = asyncio.run(measured(draw, items))
        wasted, times = 1 - items / max(found.requests, items), found.wall / ideal
        bar = BARS.get(name, 1.2)
        is_met = not found.lost and not found.by_others and wasted <= most_wasted and times <= bar
        missed += not is_met
        print(
            f"{name:16} {items / plain.wall:.0f} requests/s without; lost {found.lost} (bar 0), "
            f"wasted {wasted:.1%} ({most_wasted:.0%}), wall {found.wall:.1f} s = {times:.2f} x ideal "
            f"({bar}), answers by others {found.by_others / items:.1%} (0 %)"
            f"{'' if is_met else '   MISSED'}",
            flush=True,
        )
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main(*map(int, sys.argv[1:])))
