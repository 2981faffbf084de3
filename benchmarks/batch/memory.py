"""How much memory a batch takes that is long and calls no model, and how fast it is."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

HERE = Path(__file__).parent
COMMAND = (sys.executable, "-m", "aideon_agents", "batch")
BOUND = 300
"""MB of memory at the peak."""


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
        ran = subprocess.run(
            [*COMMAND, str(HERE / "no_model.py"), "items.jsonl", "-o", "out.jsonl", "--json"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(HERE.parents[1])},
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        done = json.loads(ran.stdout)["completed"]
        with (folder / "out.jsonl").open("rb") as out:
            lines = sum(1 for _ in out)
        ledger = sum(one.stat().st_size for one in (folder / ".aideon").iterdir()) / 1024 / 1024
    print(f"{given.items:,} items: {done:,} completed, {lines:,} lines in OUT")
    print(f"{seconds:.0f} s, {given.items / seconds:,.0f} items/s; the ledger has {ledger:,.0f} MB")
    print(f"{peak:.0f} MB of memory at the peak, bound {BOUND}")
    return peak <= BOUND and done == lines == given.items
