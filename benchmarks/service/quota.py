"""Eight processes that use up one quota: exactly what it grants is granted."""

from __future__ import annotations

import asyncio
import multiprocessing
from typing import TYPE_CHECKING

from asking import ask
from places import ledgers, provider, service

from aideon_agents import Ledger
from aideon_agents.access import users
from aideon_agents.access.audit import By

if TYPE_CHECKING:
    import argparse

OK, REFUSED = 200, 429


def options(parser: argparse.ArgumentParser) -> None:
    """What can be said about this measurement."""
    parser.add_argument("--databases", default="sqlite,postgres")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--tries", type=int, default=60, help="of each process")
    parser.add_argument("--grants", type=int, default=50)


def measure(given: argparse.Namespace) -> bool:
    """Print the figures; returns whether the quota held exactly."""
    is_kept = True
    with ledgers(given.databases) as found:
        for name, new in found:
            address = new()
            grant(address, given.grants)
            with provider(0) as asked, service(asked, address, 2) as serving:
                context = multiprocessing.get_context("spawn")
                with context.Pool(given.processes) as pool:
                    words = [(serving.url, given.tries)] * given.processes
                    answers = pool.starmap(hammer, words)
                requests, _ = asked.bill()
            granted = sum(one.get(OK, 0) for one in answers)
            refused = sum(one.get(REFUSED, 0) for one in answers)
            others = given.processes * given.tries - granted - refused
            is_exact = (granted, requests, others) == (given.grants, given.grants, 0)
            is_kept = is_kept and is_exact
            print(
                f"{name}: granted {granted} of {given.grants}, refused {refused}, other answers "
                f"{others}, calls {requests}; bar: exactly {given.grants}: "
                f"{'kept' if is_exact else 'not kept'}",
                flush=True,
            )
    return is_kept


def grant(address: str, requests: int) -> None:
    """Let the service's user start so many runs today."""
    from aideon_agents.access import quotas  # noqa: PLC0415 - what needs no quota runs without

    with Ledger.from_url(address) as ledger:
        by = By("benchmark")
        users.add(ledger, "ada", by, tier="premium")
        quotas.set_quota(ledger, "user:ada", "text_generation", "requests", by, most=requests)


def hammer(url: str, tries: int) -> dict[int, int]:
    """Ask so often, from a process of its own; how often each status came."""
    return asyncio.run(ask(url, 4, tries)).statuses
