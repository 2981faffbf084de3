"""What open pages cost: the memory of a service while people watch a run that is in progress.

A page of a run in progress is loaded once, and then holds a stream of the run's events open.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
from places import ENDPOINT, ledgers, provider, service

if TYPE_CHECKING:
    import argparse

    from places import Service

_BAR_MB = 20.0
_CALL_MS = 120_000
"""The call of the run takes longer than the measurement."""
_FIRST = 5
"""Pages that are opened and closed first: they import and cache what all others share."""


def options(parser: argparse.ArgumentParser) -> None:
    """The options of this part."""
    parser.add_argument("--databases", default="sqlite")
    parser.add_argument("--pages", type=int, default=100)


def measure(given: argparse.Namespace) -> bool:
    """Measure on each database; returns whether the bar is kept."""
    kept = True
    print(f"{'':10}{'pages':>7}{'MB before':>11}{'MB more':>9}{'kB a page':>11}{'bar MB':>8}")
    with provider(_CALL_MS) as asked, ledgers(given.databases) as found:
        for name, new_ledger in found:
            with service(asked, new_ledger(), 1) as served:
                before, more = asyncio.run(_opened(served, given.pages))
            kept = kept and more < _BAR_MB
            each = 1000 * more / given.pages
            print(f"{name:10}{given.pages:7}{before:11.1f}{more:9.1f}{each:11.1f}{_BAR_MB:8.0f}")
    return kept


async def _opened(served: Service, pages: int) -> tuple[float, float]:
    """The memory before the pages are open, and what they add, in MB."""
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(served.url, connector=connector, timeout=timeout) as session:
        body = {"workflow": "one", "task": "Heat pumps."}
        async with session.post(ENDPOINT, json=body) as answer:
            run_id = (await answer.json())["run_id"]
        for one in [await _open(session, run_id) for _ in range(_FIRST)]:
            one.close()
        before = _megabytes(served.process.pid)
        streams = await asyncio.gather(*(_open(session, run_id) for _ in range(pages)))
        more = _megabytes(served.process.pid) - before
        for one in streams:
            one.close()
        async with session.post(f"{ENDPOINT}/{run_id}/cancel") as answer:
            await answer.read()  # so that the service need not wait for the call
    return before, more


async def _open(session: aiohttp.ClientSession, run_id: str) -> aiohttp.ClientResponse:
    """Load the page of a run with its files, and wait for the first event of its stream."""
    async with session.get(f"/ui/runs/{run_id}") as answer:
        page = await answer.text()
    for file in re.findall(r'(?:href|src)="(/ui/static/[^"]+)"', page):
        async with session.get(file) as answer:
            await answer.read()
    (events,) = re.findall(r'data-events="([^"]+)"', page)
    stream = await session.get(events)
    await stream.content.readline()
    return stream


def _megabytes(process: int) -> float:
    """The memory of a process that is in use."""
    status = Path(f"/proc/{process}/status").read_text("utf-8")
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024
