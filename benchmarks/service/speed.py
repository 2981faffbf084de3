"""Requests a second, and what the service adds to the time of the call that a run makes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from asking import ask
from places import ledgers, provider, service

if TYPE_CHECKING:
    import argparse

    from places import Service

P50, P99, AT, CALL = 15, 100, 50, 200
"""Milliseconds added at most, at so many clients, to a call of so many milliseconds."""


def options(parser: argparse.ArgumentParser) -> None:
    """What can be said about this measurement."""
    parser.add_argument("--databases", default="sqlite,postgres")
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--clients", default="1,50,200")
    parser.add_argument("--latencies", default="0,200", help="milliseconds of the simulated call")
    parser.add_argument("--requests", type=int, default=1000, help="at most, for each figure")


def measure(given: argparse.Namespace) -> bool:
    """Print the figures; returns whether each is within its bar."""
    print("database  workers  call    clients  requests/s   added p50   added p99  CPU a request")
    is_kept = True
    with ledgers(given.databases) as found:
        for name, new in found:
            for latency in map(int, given.latencies.split(",")):
                for workers in map(int, given.workers.split(",")):
                    with provider(latency) as asked, service(asked, new(), workers) as serving:
                        asyncio.run(ask(serving.url, 4, 20 * workers))  # imports and caches
                        for clients in map(int, given.clients.split(",")):
                            where = f"{name:9} {workers:7}  {latency:3} ms  {clients:8}"
                            is_kept = _one(serving, where, clients, latency, given) and is_kept
    return is_kept


def _one(
    serving: Service, where: str, clients: int, latency: int, given: argparse.Namespace
) -> bool:
    before = serving.cpu_seconds()
    requests = max(20, min(given.requests, clients * 20))
    asked = asyncio.run(ask(serving.url, clients, requests, within=latency / 1000))
    cpu = 1000 * (serving.cpu_seconds() - before) / len(asked.seconds)
    p50, p99 = asked.percentile(0.5) - latency, asked.percentile(0.99) - latency
    rate = len(asked.seconds) / asked.wall
    bar, is_kept = "", set(asked.statuses) == {200}
    if (clients, latency) == (AT, CALL):
        is_kept = is_kept and p50 <= P50 and p99 <= P99
        bar = f"  bars {P50} and {P99} ms: {'kept' if is_kept else 'not kept'}"
    others = "" if set(asked.statuses) == {200} else f"  answers {asked.statuses}"
    print(
        f"{where}  {rate:10.1f}  {p50:6.1f} ms  {p99:6.1f} ms  {cpu:10.2f} ms{bar}{others}",
        flush=True,
    )
    return is_kept
