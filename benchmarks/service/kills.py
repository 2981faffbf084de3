"""Workers that are killed (SIGKILL) under load: what is lost, doubled, overspent, or over the quota.

Each request has an idempotency key and is sent until it is answered. A call whose answer was not kept
when its process was killed is made again: the ledger has a row for each of the two.
"""

from __future__ import annotations

import asyncio
import collections
import os
import signal
import time
from decimal import Decimal
from typing import TYPE_CHECKING

import quota
from asking import ask
from places import ledgers, provider, service

from aideon_agents import Ledger

if TYPE_CHECKING:
    import argparse

    from places import Provider, Service

_CALLS = """
    SELECT run_id, COUNT(*) AS calls, SUM(cost_nanousd) AS nanousd,
        COUNT(*) - COUNT(cost_nanousd) AS unknown
    FROM calls GROUP BY run_id
"""
_OPEN = "SELECT COUNT(*) AS n FROM served WHERE intent IN ('run', 'cancel')"
_LONGEST = 300.0
"""Seconds for runs of killed workers to be continued by others."""


def options(parser: argparse.ArgumentParser) -> None:
    """What can be said about this measurement."""
    parser.add_argument("--databases", default="sqlite,postgres")
    parser.add_argument("--requests", type=int, default=600)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--kills", type=int, default=3)


def measure(given: argparse.Namespace) -> bool:
    """Print the figures; returns whether nothing was lost, doubled, overspent or over the quota."""
    is_kept = True
    with ledgers(given.databases) as found:
        for name, new in found:
            is_kept = _one(name, new(), given) and is_kept
    return is_kept


def _one(name: str, address: str, given: argparse.Namespace) -> bool:
    granted = given.requests * 3 // 4
    budget = Decimal(given.requests) * Decimal("0.00006")
    quota.grant(address, granted)
    with Ledger.from_url(address) as ledger:
        ledger.set_budget("user:ada", budget)
        with provider(200) as asked, service(asked, address, 2) as serving:
            answers = asyncio.run(_under_load(serving, asked, given))
            began = time.monotonic()
            while ledger.select(_OPEN)[0]["n"] and time.monotonic() - began < _LONGEST:
                time.sleep(0.5)
            requests, billed = asked.bill()
        rows = {row["run_id"]: row for row in ledger.select(_CALLS)}
        runs = {one.run_id: one.status for one in ledger.runs(limit=given.requests * 2)}
    started = answers.runs
    lost = sum(runs.get(one) in (None, "running", "crashed") for one in started.values())
    doubled = len(runs) - len(set(started.values()))
    repeated = sum(row["calls"] - 1 for row in rows.values())
    most = given.clients * given.kills
    paid = sum(row["nanousd"] or 0 for row in rows.values())
    unknown = sum(row["unknown"] for row in rows.values())
    overspent = max(0, billed - int(budget * 10**9))
    over = max(0, len(rows) - granted)  # a run that the budget stops before its call is given back
    unaccounted = max(0, requests - sum(row["calls"] for row in rows.values()))
    statuses = dict(collections.Counter(runs.values()))
    print(
        f"{name}: {given.kills} kills under {given.clients} clients, {len(started)} runs of "
        f"{given.requests} requests {statuses}, answers {answers.statuses}\n"
        f"  lost {lost}, doubled {doubled}, overspent {overspent}, over quota {over}, calls without "
        f"a row {unaccounted}; bars: 0 each\n"
        f"  repeated {repeated} calls; bar: at most the {most} that were in flight at the kills\n"
        f"  billed {billed:,} nano-dollars, of which the ledger knows {paid:,}; {unknown} calls of "
        "unknown cost",
        flush=True,
    )
    return not (lost or doubled or overspent or over or unaccounted or repeated > most)


async def _under_load(serving: Service, asked: Provider, given: argparse.Namespace):  # noqa: ANN202
    """Ask, and kill a worker whenever another share of the calls was made."""
    work = asyncio.create_task(ask(serving.url, given.clients, given.requests, keys="load"))
    for nth in range(given.kills):
        mark = given.requests // 2 * (nth + 1) // (given.kills + 1)
        while not work.done() and (await asyncio.to_thread(asked.bill))[0] < mark:  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.05)  # the provider tells only who asks
        workers = serving.workers()
        os.kill(workers[nth % len(workers)], signal.SIGKILL)
    while not (await asyncio.wait({work}, timeout=1))[0]:
        if serving.process.poll() is not None:  # the clients would ask for ever
            work.cancel()
            raise RuntimeError(f"the service has ended with code {serving.process.returncode}")
    return work.result()
