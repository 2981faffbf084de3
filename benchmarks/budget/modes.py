"""The ways in which calls are made at the same time: tasks, threads, processes that are killed."""

from __future__ import annotations

import asyncio
import itertools
import logging
import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from calls import Buyer, Journal, Naive

from aideon_agents import Budget, Ledger
from aideon_agents.ledger.rows import Run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from calls import Call

THREADS = 32
PROCESSES = 8
IN_A_PROCESS = 24
"""Calls that each process makes at once."""

NANO = 10**9


def start_run(folder: Path, budget: int) -> str:
    """Start a run that may cost so many nano-dollars, in a new ledger in the folder."""
    with Ledger(folder / "ledger.db") as ledger:
        return ledger.start_run(Run(workflow="budget"), Budget(f"{budget / NANO:.9f}"))


def tasks(folder: Path, run_id: str, calls: Sequence[Call], kind: type[Buyer] = Buyer) -> None:
    """Make all calls at once on one event loop."""
    with Ledger(folder / "ledger.db") as ledger:
        asyncio.run(_all_at_once(kind(ledger, run_id, Journal(folder / "tasks.log")), calls))


def naive(folder: Path, run_id: str, calls: Sequence[Call]) -> None:
    """The same without holds."""
    tasks(folder, run_id, calls, Naive)


def threads(folder: Path, run_id: str, calls: Sequence[Call]) -> None:
    """Make the calls in many threads of one process."""
    with Ledger(folder / "ledger.db") as ledger, ThreadPoolExecutor(THREADS) as pool:
        buyer = Buyer(ledger, run_id, Journal(folder / "threads.log"))
        list(pool.map(buyer.buy_in_a_thread, calls))


def processes(folder: Path, run_id: str, calls: Sequence[Call]) -> None:
    """Make the calls in several processes; for each that is killed another takes over."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["modes"])
    lives = itertools.count()
    shares = [list(calls[number::PROCESSES]) for number in range(PROCESSES)]

    def start(share: list[Call]) -> tuple[multiprocessing.Process, Path, list[Call]]:
        journal = folder / f"process-{next(lives)}.log"
        child = context.Process(target=_one_process, args=(folder, run_id, journal, share))
        child.start()
        return child, journal, share

    running = [start(share) for share in shares]
    while running:
        time.sleep(0.005)
        for one in [one for one in running if not one[0].is_alive()]:
            running.remove(one)
            child, journal, share = one
            child.join()
            if child.exitcode:
                begun = {int(line.split()[1]) for line in journal.read_text().splitlines()}
                running.append(start([call for call in share if call.number not in begun]))


def _one_process(folder: Path, run_id: str, journal: Path, share: Sequence[Call]) -> None:
    logging.disable(logging.CRITICAL)  # as in the parent
    with Ledger(folder / "ledger.db", busy_seconds=60) as ledger:
        buyer = Buyer(ledger, run_id, Journal(journal), doomed=True)
        asyncio.run(_all_at_once(buyer, share, IN_A_PROCESS))


async def _all_at_once(buyer: Buyer, calls: Sequence[Call], most: int | None = None) -> None:
    free = asyncio.Semaphore(most or len(calls) or 1)

    async def one(call: Call) -> None:
        async with free:
            await buyer.buy(call)

    await asyncio.gather(*map(one, calls))
    buyer.journal.close()
