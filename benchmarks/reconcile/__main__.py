"""Does the ledger know what the provider charges? 1,000 random runs, everything going wrong.

    python benchmarks/reconcile [--runs N] [--batches N] [--seed S]

Random workflows are run in every way there is against a simulated provider over real HTTP: with
random faults of every kind, cancelled at random times, in processes that are killed. Then each row
is compared with the provider's own bill. So are batches that providers answer, by processes that are
killed at each of their requests. Ends with 1 when the ledger is not exact.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import multiprocessing
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from batching import Batched, batch_all
from playing import Play, play, play_until_killed, plays
from reckoning import Reckoning, reckon

from aideon_agents import Ledger
from aideon_agents.testing import Fault, RandomFaults, Rate, SimulatedProvider, UsageDetails
from aideon_agents.testing.simulated.faults import OfChat, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

RATES = {
    "Qwen/Qwen3.5-9B": Rate(170, 250),
    "zai-org/GLM-5.3-Flash": Rate(150, 500, cache_read=30),
    "openai/gpt-oss-120b": Rate(150, 600),
    "MiniMaxAI/MiniMax-M3": Rate(300, 1200, cache_read=60),
    "gpt-6-luna": Rate(100, 500, cache_read=10),
    "gpt-6.1-terra": Rate(1000, 5000, cache_read=50),
}
"""In nano-dollars a token, written down once more: the bill shares no code with the ledger."""

DETAILS = UsageDetails(cache_read_tokens=16, reasoning_tokens=3, top_level=True)
PARTICULAR = {
    429: Fault(429, retry_after=0.05),
    "slow": Fault("slow", seconds=0.01),
    "delay": Fault("delay", seconds=0.1),
    "cut_after_first_token": Fault("cut_after_first_token", after_tokens=4),
    "cut_with_cumulative_usage": Fault("cut_with_cumulative_usage", after_tokens=4),
}
FAULT_RATE = 0.15
STOPPED = 0.15
"""The share of runs that is stopped on the way."""
KILLED = 0.05
"""The share of runs whose process is killed."""
STANDING = {"ada": 0.02, "bob": 1.0}
"""US dollars that all runs of a user may cost, in 1,000 runs: one is tight, one wide."""
AT_ONCE = 24
A_PROCESS = 5
"""Runs in each process that is killed."""
SHOWN = 10
"""Complaints that are printed."""


def main() -> int:
    """Run, compare, print.

    Returns:
        0 when the ledger is exact, else 1.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--batches", type=int, default=4, help="batches that providers answer")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    logging.disable(logging.WARNING)  # keys that are rejected are part of the plan
    drawn = plays(given.runs, given.seed, STOPPED)
    doomed = drawn[: round(given.runs * KILLED)]
    kinds = [PARTICULAR.get(kind, kind) for kind in (*get_args(Status), *get_args(OfChat))]
    faults = RandomFaults(given.seed, FAULT_RATE, kinds=kinds)
    began = time.perf_counter()
    with (
        tempfile.TemporaryDirectory() as folder,
        SimulatedProvider(announce=False, faults=faults, rates=RATES, details=DETAILS) as provider,
        Ledger(Path(folder) / "ledger.db") as ledger,
    ):
        for user, limit in STANDING.items():
            ledger.set_budget(f"user:{user}", f"{limit * given.runs / 1000:.9f}")
        kill(doomed, provider, ledger.path, random.Random(given.seed))
        bugs = asyncio.run(play_all(drawn[len(doomed) :], provider.base_url, ledger))
        while provider.in_flight:  # requests whose callers have left are still being charged
            time.sleep(0.05)
        found = reckon(ledger, provider)
    found.complaints += bugs
    batched = batch_all(given.batches, given.seed, RATES, DETAILS)
    found.complaints += batched.complaints
    show(found, given.runs, time.perf_counter() - began)
    show_batched(batched)
    return 0 if found.holds and batched.holds else 1


async def play_all(some: Sequence[Play], base_url: str, ledger: Ledger) -> list[str]:
    """Play runs, a bounded number at a time; returns a line for each bug."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(this: Play) -> str | None:
        async with free:
            return await play(this, base_url, ledger)

    return [bug for bug in await asyncio.gather(*map(one, some)) if bug]


def kill(
    some: Sequence[Play], provider: SimulatedProvider, path: Path, chance: random.Random
) -> None:
    """Play runs in processes that are killed at a random time after their first request."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["playing"])
    for start in range(0, len(some), A_PROCESS):
        batch = some[start : start + A_PROCESS]
        seen = len(provider.requests)
        child = context.Process(target=play_until_killed, args=(batch, provider.base_url, path))
        child.start()
        while len(provider.requests) == seen and child.is_alive():
            time.sleep(0.005)
        child.join(chance.uniform(0, 0.15))
        child.kill()
        child.join()


def show(found: Reckoning, runs: int, seconds: float) -> None:
    """Print the figures."""

    def counted(counts: dict[str, int]) -> str:
        return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items())) or "none"

    rows, unknown = sum(found.rows.values()), sum(found.unknown.values())
    print(
        f"runs        {runs:,} in {seconds:.0f} s; of {sum(found.runs.values()):,} begun:", end=" "
    )
    print(counted(found.runs))
    print(f"calls       {rows:,} rows: {counted(found.rows)}")
    print(f"requests    {found.requests:,} seen; {found.unsent:,} rows were never sent")
    print(f"known       {found.known:,} rows, {found.known_tokens:,} tokens,", end=" ")
    print(f"{found.known_nanousd:,} nano-dollars")
    print(f"difference  {found.tokens_off:,} tokens, {found.nanousd_off:,} nano-dollars")
    print(f"unknown     {unknown:,} rows that say so: {counted(found.unknown)};", end=" ")
    print(f"charged {found.unknown_nanousd:,} nano-dollars")
    print(f"silent      {found.silent:,}")
    print(f"late        {found.late:,} rows of calls that began after their run had ended")
    print(
        f"budgets     {found.budgets:,} exceeded {found.exceeded:,}; of {found.holds_taken:,}",
        end=" ",
    )
    print(f"holds {found.left_open:,} left open, {found.held:,} nano-dollars")
    for complaint in found.complaints[:SHOWN]:
        print(f"wrong: {complaint}", file=sys.stderr)
    if more := found.complaints[SHOWN:]:
        print(f"wrong: and {len(more):,} more", file=sys.stderr)


def show_batched(found: Batched) -> None:
    """Print the figures of the batches that providers answered."""
    print(
        f"batches     {found.batches:,} at providers, through {found.kills:,} killed processes;",
        end=" ",
    )
    print(f"{found.lines:,} lines, {found.nanousd:,} nano-dollars")
    print(
        f"their difference  {found.nanousd_off:,} nano-dollars; {found.silent:,} silent,", end=" "
    )
    print(f"{found.bought_twice:,} bought twice, {found.held:,} nano-dollars held")


if __name__ == "__main__":
    sys.exit(main())
