"""One budget on a server that eight processes use at once: how fast it is, and whether it holds.

First every call fits, and each process makes one after the other: what is measured is the ledger.
Then the calls cost ten times the budget, and processes are killed between hold and settlement.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.util
import itertools
import logging
import multiprocessing
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calls import Buyer, Call, Journal, drawn
from judging import judge

from aideon_agents import Budget, Ledger
from aideon_agents.ledger import rows
from aideon_agents.ledger.identity import now, utc_text
from aideon_agents.ledger.rows import Run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.context import SpawnProcess

ROOT = Path(__file__).parents[2]
PROCESSES = 8
IN_A_PROCESS = 24
KILLED = 0.02
WORST = 1000
NANO = 10**9
STUCK = 120.0
"""Seconds without an event after which the remaining calls count as stuck."""
HEARTBEAT = 0.25
_SPAWN = multiprocessing.get_context("spawn")


def main(count: int, seed: int) -> int:
    """Print the figures.

    Args:
        count: How many calls, with each half of the benchmark.
        seed: The same seed gives the same calls.

    Returns:
        0 when the budget held, nobody was refused without need, overtaken or stuck; else 1.
    """
    spec = importlib.util.spec_from_file_location("serving", ROOT / "tests" / "conftest.py")
    if spec is None or spec.loader is None:
        raise SystemExit("tests/conftest.py starts the server: run this in a checkout")
    tests: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tests)
    with tests.serving() as server:
        _measure(server.new_schema(), count)
        return _overspend(server.new_schema(), count, seed)


def _start_run(url: str, budget: int) -> str:
    with Ledger.from_url(url) as ledger:
        return ledger.start_run(Run(workflow="hot"), Budget(f"{budget / NANO:.9f}"))


def _measure(url: str, count: int) -> None:
    """Admit and settle calls that all fit."""
    each = count // PROCESSES
    run_id = _start_run(url, 2 * WORST * count)
    ready, cpu = _SPAWN.Barrier(PROCESSES + 1), _SPAWN.Queue()
    given = (url, run_id, each, ready, cpu)
    running = [_SPAWN.Process(target=_admit_and_settle, args=given) for _ in range(PROCESSES)]
    for process in running:
        process.start()
    ready.wait()
    began = time.monotonic()
    used = [cpu.get() for _ in running]
    seconds = time.monotonic() - began
    for process in running:
        process.join()
    rate = each * PROCESSES / seconds
    print(f"fits        {rate:,.0f} calls admitted and settled per second, {PROCESSES} processes")
    print(
        f"            {sum(used) / len(used) / each * 1e6:,.0f} us of CPU a call in the client;",
        end=" ",
    )
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def _admit_and_settle(url: str, run_id: str, count: int, ready: Any, cpu: Any) -> None:
    logging.disable(logging.CRITICAL)
    with Ledger.from_url(url) as ledger:
        budget = ledger.run_budget(run_id)

        def one(place: int) -> None:
            at, call_id = now(), f"{run_id}-{os.getpid()}-{place}"
            row = rows.Call(
                call_id=call_id,
                run_id=run_id,
                node_path="draft",
                role="creative",
                provider="together",
                requested_model="m",
                started_at=utc_text(at),
            )
            held = budget.dimensions("draft", "together", at)
            if refused := budget.budgets.take(call_id, held, WORST, row=row):
                raise RuntimeError(f"{refused} is wrong: all of them fit")
            budget.budgets.unsent.pop(call_id)
            end = rows.CallEnd(status="ok", duration_ms=1, cost_nanousd=WORST // 2)
            ledger.finish_call(call_id, end)

        for place in range(10):
            one(-1 - place)
        ready.wait()
        began = time.process_time()
        for place in range(count):
            one(place)
        cpu.put(time.process_time() - began)


def _overspend(url: str, count: int, seed: int) -> int:
    """Ask for ten times the budget, with kills."""
    calls = drawn(count, seed, KILLED)
    budget = sum(call.cost for call in calls) // 10
    run_id = _start_run(url, budget)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _all_processes(folder, url, run_id, calls)
        found = judge(folder, url, run_id, budget, calls)
        events = _events(folder)
    ended = {number for what, number, *_ in events if what in {"admitted", "refused"}}
    stuck, overtaken = len(calls) - len(ended), _overtaken(events)
    print(f"scarce      {found.admitted:,} admitted, {found.refused:,} refused,", end=" ")
    print(f"{found.killed:,} killed in the middle; {found.rate:,.0f} admissions per second")
    print(
        f"            overspent {found.overspent:,}; refused without need {found.wrongly:,};",
        end=" ",
    )
    print(f"overtaken {overtaken:,}; stuck {stuck:,}")
    for complaint in found.complaints:
        print(f"wrong: {complaint}")
    return 0 if found.holds and not overtaken and not stuck else 1


def _events(folder: Path) -> list[tuple[Any, ...]]:
    lines = (line for path in folder.glob("*.log") for line in path.read_text().splitlines())
    return [(what, *map(int, rest)) for what, *rest in (line.split() for line in lines)]


def _overtaken(events: Sequence[tuple[Any, ...]]) -> int:
    """Calls that had a ticket before another one asked, and were admitted after it."""
    ticket = {number: at for what, number, at, *_ in events if what == "ticket"}
    admitted = {
        n: (at - took, at)
        for n, at, took, *_ in (one[1:] for one in events if one[0] == "admitted")
    }
    asked = {number: at for what, number, at, *_ in events if what == "asked"}
    return sum(
        any(
            asked.get(other, at) > since and at < admitted[number][0]
            for other, (_, at) in admitted.items()
            if other != number
        )
        for number, since in ticket.items()
        if number in admitted
    )


def _all_processes(folder: Path, url: str, run_id: str, calls: Sequence[Call]) -> None:
    """Make the calls; for each process that is killed another takes over."""
    lives = itertools.count()
    seen = time.monotonic()

    def start(share: Sequence[Call]) -> tuple[SpawnProcess, Path, Sequence[Call]]:
        journal = folder / f"process-{next(lives)}.log"
        child = _SPAWN.Process(target=_one_process, args=(url, run_id, journal, share))
        child.start()
        return child, journal, share

    running = [start(calls[number::PROCESSES]) for number in range(PROCESSES)]
    size = 0
    while running:
        time.sleep(0.01)
        size, before = sum(path.stat().st_size for path in folder.glob("*.log")), size
        seen = time.monotonic() if size != before else seen
        if time.monotonic() - seen > STUCK:
            for child, _, _ in running:
                child.kill()
            return
        for one in [one for one in running if not one[0].is_alive()]:
            running.remove(one)
            child, journal, share = one
            if child.exitcode:
                ended = {
                    int(line.split()[1])
                    for line in journal.read_text().splitlines()
                    if line.startswith(("admitted", "refused"))
                }
                running.append(start([call for call in share if call.number not in ended]))


def _one_process(url: str, run_id: str, journal: Path, share: Sequence[Call]) -> None:
    logging.disable(logging.CRITICAL)
    with Ledger.from_url(url) as ledger:
        asyncio.run(_buy_all(_Queuing(ledger, run_id, Journal(journal), doomed=True), share))


async def _buy_all(buyer: _Queuing, share: Sequence[Call]) -> None:
    free = asyncio.Semaphore(IN_A_PROCESS)

    async def one(call: Call) -> None:
        async with free:
            await buyer.buy(call)

    await asyncio.gather(*map(one, share))
    buyer.journal.close()


@dataclasses.dataclass
class _Queuing(Buyer):
    """Waits with a ticket, as a chain does."""

    async def buy(self, call: Call) -> None:
        """Buy one call; the first of the process that waits has a ticket."""
        self.journal.write("asked", call.number)
        async with self.first:
            refused = self.take(call, queues=True)
            if refused and refused.waits:
                self.journal.write("ticket", call.number)
            while refused and refused.waits:
                seen, until = self.settlements(), time.monotonic() + HEARTBEAT
                while self.settlements() == seen and time.monotonic() < until:  # noqa: ASYNC110 - as in the chain
                    await asyncio.sleep(0.002)
                refused = self.take(call, waited=True, queues=True)
            if refused:
                self.budget.budgets.tickets.leave(self.name(call))
                return
        self.begin(call)
        await asyncio.sleep(call.seconds)
        self.end(call)

    def settlements(self) -> int:
        """How often money was given back, as far as this process knows."""
        return self.budget.budgets.settlements
