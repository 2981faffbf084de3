"""Three workers on one Postgres: one is killed, one is stopped for a while and comes back.

What a worker had in flight is run by the others, `GONE` seconds after its last sign of life. A call
is repeated when its answer was not written down by the worker that asked for it; so at most as many
are repeated as were in flight where it was killed or stopped. The one that comes back must add
nothing to OUT, and what its calls have cost must stand in the ledger all the same.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crashes import MODELS, RATES, accounts_for_all, wrote_each_once

from aideon_agents import Ledger
from aideon_agents.testing import Fault, SimulatedProvider

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STOPPED = 30.0
"""Seconds that a worker is stopped."""


def options(parser: argparse.ArgumentParser) -> None:
    """What can be said about this measurement."""
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=20, help="items of each worker")
    parser.add_argument("--seed", type=int, default=1)


def measure(given: argparse.Namespace) -> bool:
    """Print the figures; returns whether every bound is kept."""
    chance = random.Random(given.seed)
    with (
        serving() as url,
        tempfile.TemporaryDirectory() as name,
        SimulatedProvider(
            announce=False, faults=Fault("delay", seconds=0.2), rates=RATES
        ) as provider,
        Ledger.from_url(url) as ledger,
    ):
        folder = Path(name)
        (folder / "three_nodes.py").write_bytes((HERE / "three_nodes.py").read_bytes())
        ids = [f"item-{number}" for number in range(given.items)]
        lines = (json.dumps({"id": one, "task": f"Heat pumps for {one}."}) for one in ids)
        (folder / "items.jsonl").write_text("\n".join(lines), "utf-8")
        start = Starting(folder, provider, url)
        began = time.monotonic()
        workers = [start("worker", "--max-concurrency", str(given.at_once)) for _ in range(3)]
        batch = start("batch", "three_nodes.py", "items.jsonl", "-o", "out.jsonl", "--json", *BATCH)
        killed, stopped, _ = workers
        _until(ledger, given.items // 10 + chance.randrange(given.items // 10))
        allowed = _hit(ledger, killed, signal.SIGKILL, "killed")
        _until(ledger, given.items // 4 + chance.randrange(given.items // 10))
        allowed += _hit(ledger, stopped, signal.SIGSTOP, "stopped")
        time.sleep(STOPPED)
        stopped.send_signal(signal.SIGCONT)
        print(f"went on after {STOPPED:.0f} s")
        result = json.loads(batch.communicate()[0])
        wall = time.monotonic() - began
        for one in workers[1:]:
            one.send_signal(signal.SIGTERM)
        for one in workers:
            one.wait()
        print(f"{given.items:,} items in {wall:.1f} s, start-up included")
        is_whole = wrote_each_once(folder, ids, provider.bill.requests, allowed)
        return accounts_for_all(provider, ledger, result) and is_whole


BATCH = ["--engine", "distributed", "--checkpoint", *MODELS]


class Starting:
    """Starts commands in one folder."""

    def __init__(self, folder: Path, provider: SimulatedProvider, url: str) -> None:
        self._folder = folder
        self._environment = os.environ | {"PYTHONPATH": str(ROOT), "AIDEON_LEDGER": url}
        self._environment |= {"TOGETHER_API_KEY": "key", "TOGETHER_BASE_URL": provider.base_url}

    def __call__(self, *words: str) -> subprocess.Popen[bytes]:
        """Start one."""
        return subprocess.Popen(
            [sys.executable, "-m", "aideon_agents", *words],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
        )


@contextlib.contextmanager
def serving(**options: str) -> Generator[str]:
    """The tests' Postgres, as one that keeps what is committed; gives its address."""
    spec = importlib.util.spec_from_file_location("serving", ROOT / "tests" / "conftest.py")
    if spec is None or spec.loader is None:
        raise RuntimeError("the tests are not there")
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with tempfile.TemporaryDirectory(prefix="aideon-postgres-") as folder:
        server = module.PostgresServer(folder)
        try:
            server.start(fsync="on", max_connections="200", shared_buffers="128MB", **options)
            yield server.url()
        finally:
            server.stop()


def _until(ledger: Ledger, done: int) -> None:
    """Wait until so many items are done."""
    while _count(ledger, "SELECT COUNT(*) AS n FROM items WHERE status = 'completed'") < done:
        time.sleep(0.02)


def _hit(ledger: Ledger, worker: subprocess.Popen[bytes], how: signal.Signals, word: str) -> int:
    """Kill or stop a worker, and see when its items are run; returns how many those were."""
    worker.send_signal(how)
    at = time.monotonic()
    found = ledger.select(_ITS_ITEMS, {"pid": worker.pid})
    left = {row["position"]: row["attempts"] for row in found}
    print(f"{word} with {len(left)} items in flight", end="", flush=True)
    first = None
    while left:
        time.sleep(0.05)
        now = {row["position"]: row for row in ledger.select("SELECT * FROM items")}
        for position, attempts in list(left.items()):
            if now[position]["attempts"] > attempts or now[position]["status"] == "completed":
                del left[position]
                first = first or time.monotonic() - at
    print(f"; taken over after {first or 0:.1f} to {time.monotonic() - at:.1f} s")
    return len(found)


def _count(ledger: Ledger, sql: str) -> int:
    return int(ledger.select(sql)[0]["n"])


_ITS_ITEMS = (
    "SELECT items.position, items.attempts FROM items JOIN runs ON runs.run_id = items.run_id"
    " WHERE items.status = 'running' AND runs.pid = :pid"
)
