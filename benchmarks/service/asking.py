"""Clients that ask the service again and again, each one request at a time."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import TYPE_CHECKING, Any

import aiohttp
from places import ENDPOINT

if TYPE_CHECKING:
    from collections.abc import Iterator

BODY = {"workflow": "one", "task": "Heat pumps."}
HEADS = {"Prefer": "wait=60"}
_PAUSE = 0.25
_FAILING = aiohttp.ClientError, TimeoutError, OSError


@dataclasses.dataclass
class Asked:
    """What became of the requests."""

    seconds: list[float] = dataclasses.field(default_factory=list[float])
    """Of each answer."""
    statuses: dict[int, int] = dataclasses.field(default_factory=dict[int, int])
    runs: dict[str, str] = dataclasses.field(default_factory=dict[str, str])
    """The run that each idempotency key began."""
    wall: float = 0.0

    def percentile(self, share: float) -> float:
        """Milliseconds within which this share of the answers came."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[min(int(len(ordered) * share), len(ordered) - 1)]


async def ask(url: str, clients: int, requests: int, *, keys: str = "", within: float = 0) -> Asked:
    """Send so many requests. `keys`: each has an idempotency key, and is sent until it is answered.

    `within` are the seconds in which the clients begin, one after another: clients that all begin at
    once stay in step where every call takes the same time, and then wait for one another.
    """
    asked, left = Asked(), iter(range(requests))
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        await _until_ready(session, url)
        began = time.perf_counter()

        async def begin(number: int) -> None:
            await asyncio.sleep(within * number / clients)
            await _client(session, url, left, asked, keys)

        await asyncio.gather(*map(begin, range(clients)))
        asked.wall = time.perf_counter() - began
    return asked


async def _until_ready(session: aiohttp.ClientSession, url: str) -> None:
    """Workers import first, and what is asked meanwhile waits for them."""
    for _ in range(20):
        async with session.get(f"{url}/readyz", headers={"Connection": "close"}) as answer:
            await answer.read()


async def _client(
    session: aiohttp.ClientSession, url: str, left: Iterator[int], asked: Asked, keys: str
) -> None:
    for number in left:
        heads = HEADS | ({"Idempotency-Key": f"{keys}-{number}"} if keys else {})
        while True:
            began = time.perf_counter()
            try:
                async with session.post(f"{url}{ENDPOINT}", json=BODY, headers=heads) as answer:
                    found: Any = await answer.json(content_type=None)
            except _FAILING:
                if not keys:
                    raise
                await asyncio.sleep(_PAUSE)
                continue
            asked.seconds.append(time.perf_counter() - began)
            asked.statuses[answer.status] = asked.statuses.get(answer.status, 0) + 1
            if keys and answer.status in (200, 202):
                asked.runs[f"{keys}-{number}"] = found["run_id"]
            if not keys or answer.status < 500:
                break
            await asyncio.sleep(_PAUSE)
