"""How much memory a batch takes that is long and calls no model, and how fast it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from peak import peak_kb

if TYPE_CHECKING:
    import argparse

HERE = Path(__file__).parent
COMMAND = (sys.executable, "-m", "aideon_agents", "batch")
BOUND = 300
"""MB of memory at the peak."""
LOOK = 0.05
"""Seconds between two looks at it."""


def options(parser: argparse.ArgumentParser) -> None:
    """What can be said about this measurement."""
    parser.add_argument("--items", type=int, default=1_000_000)


def measure(given: argparse.Namespace) -> bool:
    """Print the figures; returns whether the bound is kept."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "items.jsonl").open("w", encoding="utf-8") as items:
            for number in range(given.items):
                items.write(json.dumps({"id": f"item-{number}", "task": f"Count {number}."}) + "\n")
        began = time.perf_counter()
        with subprocess.Popen(
            [*COMMAND, str(HERE / "no_model.py"), "items.jsonl", "-o", "out.jsonl", "--json"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(HERE.parents[1])},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as running:
            peak = 0
            while running.poll() is None:
                peak = max(peak, peak_kb(running.pid))
                time.sleep(LOOK)
            if running.returncode:
                raise RuntimeError(f"the batch ended with code {running.returncode}")
            done = json.loads(running.communicate()[0])["completed"]
        seconds = time.perf_counter() - began
        with (folder / "out.jsonl").open("rb") as out:
            lines = sum(1 for _ in out)
        ledger = sum(one.stat().st_size for one in (folder / ".aideon").iterdir()) / 1024 / 1024
    print(f"{given.items:,} items: {done:,} completed, {lines:,} lines in OUT")
    print(f"{seconds:.0f} s, {given.items / seconds:,.0f} items/s; the ledger has {ledger:,.0f} MB")
    print(f"{peak / 1024:.0f} MB of memory at the peak, bound {BOUND}")
    return 0 < peak <= BOUND * 1024 and done == lines == given.items
