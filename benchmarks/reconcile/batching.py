"""Batches that providers answer, by processes that are killed at every request on their way.

Each child continues the batch where the one before was killed: after its first request, after its
second, and so on, until one comes to the end. Then every line of the bill must have exactly one row.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import multiprocessing
import os
import random
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from aideon_agents import Ledger, Settings, abatch, creative, executor, sequential
from aideon_agents.testing import SimulatedProvider
from aideon_agents.testing.simulated.batches import BatchPlan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aideon_agents.testing import Rate, UsageDetails
    from aideon_agents.testing.simulated.batches import BatchFault

MODELS = ("openai:gpt-6-luna", "together:Qwen/Qwen3.5-9B")
ITEMS = 6
FAULTS: tuple[BatchFault | None, ...] = (None, "expired", "shuffled", "cancelled", "duplicate")
LONGEST = 40
"""Children of one batch, after which it counts as one that does not end."""


@dataclasses.dataclass
class Batched:
    """What came of it."""

    batches: int = 0
    """Those at the providers."""
    kills: int = 0
    lines: int = 0
    """Those of the bill."""
    nanousd: int = 0
    nanousd_off: int = 0
    """The sum of all differences between a row and its line of the bill, without signs."""
    silent: int = 0
    """Lines of the bill without a row."""
    bought_twice: int = 0
    """Lines that were paid beyond one for each item and step."""
    held: int = 0
    """Nano-dollars that are held at rest."""
    complaints: list[str] = dataclasses.field(default_factory=list[str])

    @property
    def holds(self) -> bool:
        """Whether the ledger is exact."""
        off = self.nanousd_off or self.silent or self.bought_twice or self.held
        return not off and not self.complaints


def batch_all(number: int, seed: int, rates: Mapping[str, Rate], details: UsageDetails) -> Batched:
    """Run so many batches to their ends.

    Args:
        number: How many, by the two providers in turn.
        seed: Of what goes wrong.
        rates: What the models cost.
        details: What the provider reports.

    Returns:
        The figures.
    """
    found, chance = Batched(), random.Random(seed)
    for nth in range(number):
        plan = BatchPlan(faults=tuple(chance.choice(FAULTS) for _ in range(LONGEST)))
        server = SimulatedProvider(announce=True, rates=rates, details=details, batches=plan)
        with tempfile.TemporaryDirectory() as folder, server as provider:
            _to_end(found, provider, folder, MODELS[nth % len(MODELS)])
            with Ledger(Path(folder) / "ledger.db") as ledger:
                _compare(found, provider, ledger)
    return found


def _to_end(found: Batched, provider: SimulatedProvider, folder: str, model: str) -> None:
    """Continue a batch until a child comes to its end."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["batching"])
    for nth in range(1, LONGEST):
        before = len(provider.requests)
        child = context.Process(target=continued, args=(folder, provider.base_url, model))
        child.start()
        while child.is_alive() and len(provider.requests) < before + nth:
            time.sleep(0.002)
        if child.is_alive():
            found.kills += 1
            child.kill()
        child.join()
        out = Path(folder) / "out.jsonl"
        if out.exists() and out.read_bytes().count(b"\n") == ITEMS:
            return
    found.complaints.append(f"a batch of {model} has not ended after {LONGEST} processes")


def continued(folder: str, base_url: str, model: str) -> None:
    """Continue the batch, in a process that may not live to see its end."""
    logging.disable(logging.WARNING)
    os.chdir(folder)
    settings = Settings(
        together_api_key="key",
        together_base_url=base_url,
        openai_api_key="key",
        openai_base_url=base_url,
        catalog=None,
        offline=False,
    )
    graph = sequential(executor("facts", model=model), creative("text", model=model))
    items = [f"Heat pumps move heat {number}." for number in range(ITEMS)]
    given = {"settings": settings, "ledger": "ledger.db", "wait": True, "budget": 1}
    asyncio.run(abatch(graph, items, "out.jsonl", engine="provider", **given))


def _compare(found: Batched, provider: SimulatedProvider, ledger: Ledger) -> None:
    rows = {row["call_id"]: row for row in ledger.select("SELECT call_id, cost_nanousd FROM calls")}
    found.batches += provider.batches.submitted
    billed = 0
    for line in provider.bill.calls:
        row = rows.get(line.request_id.partition("-")[2])
        billed += 1
        found.nanousd += line.nanousd or 0
        if row is None:
            found.silent += 1
        else:
            found.nanousd_off += abs((row["cost_nanousd"] or 0) - (line.nanousd or 0))
    found.lines += billed
    found.bought_twice += billed - 2 * ITEMS
    paid = sum(row["cost_nanousd"] or 0 for row in rows.values())
    found.nanousd_off += abs(paid - sum(line.nanousd or 0 for line in provider.bill.calls))
    (held,) = ledger.select(
        "SELECT COALESCE(SUM(amount_nanousd), 0) AS held FROM holds WHERE status <> 'settled'"
    )
    found.held += int(held["held"])
