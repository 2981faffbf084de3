"""A long batch of one call an item: its memory, and whether it is as fast at its end as it began."""

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

from aideon_agents.testing import SimulatedProvider

if TYPE_CHECKING:
    import argparse

HERE = Path(__file__).parent
BOUND_MB = 300
"""At the peak."""
SHARE = 0.9
"""The least that the speed of the last items may be of the first ones'."""
MEASURED = 1000
"""Items at each end that are measured, after as many that warm up."""
LOOK = 0.02
"""Seconds between two looks at OUT."""


def options(parser: argparse.ArgumentParser) -> None:
    """What can be said about this measurement."""
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--at-once", type=int, default=64)


def measure(given: argparse.Namespace) -> bool:
    """Print the figures; returns whether both bounds are kept."""
    with tempfile.TemporaryDirectory() as name, SimulatedProvider() as provider:
        folder = Path(name)
        with (folder / "items.jsonl").open("w", encoding="utf-8") as items:
            for number in range(given.items):
                task = f"Say whether a heat pump of 9 kW pays for house number {number}."
                items.write(json.dumps({"id": f"item-{number}", "task": task}) + "\n")
        marks, peak = _run(folder, provider.base_url, given)
        asked = len(provider.requests)
        ledger = sum(one.stat().st_size for one in (folder / ".aideon").iterdir()) / 1024 / 1024
    each = min(MEASURED, given.items // 4)
    first, last = _speed(marks, each, each), _speed(marks, given.items - 2 * each, each)
    whole = given.items / (marks[-1][1] - marks[0][1])
    print(f"{given.items:,} items of one call, {given.at_once} at once; {asked:,} requests")
    print(f"{whole:,.0f} items/s; the ledger has {ledger:,.0f} MB")
    for text, (items_s, cpu_ms) in (("first", first), ("last", last)):
        print(f"{text:5} {each:,}: {items_s:6,.0f} items/s  {cpu_ms:5.2f} ms CPU an item")
    print(f"{last[0] / first[0]:.2f} of the first ones' speed at the end, bound {SHARE}")
    print(f"{peak / 1024:.0f} MB of memory at the peak, bound {BOUND_MB}")
    return last[0] >= SHARE * first[0] and peak <= BOUND_MB * 1024 and asked == given.items


def _run(
    folder: Path, base_url: str, given: argparse.Namespace
) -> tuple[list[tuple[int, float, float]], int]:
    """Run the batch: lines in OUT, seconds and CPU seconds again and again, and KiB at the peak."""
    environment = os.environ | {
        "PYTHONPATH": str(HERE.parents[1]),
        "TOGETHER_API_KEY": "key",
        "TOGETHER_BASE_URL": base_url,
        "AIDEON_MODEL_CONCURRENCY": str(given.at_once),
    }
    command = [sys.executable, "-m", "aideon_agents", "batch", str(HERE / "one_call.py")]
    command += ["items.jsonl", "-o", "out.jsonl", "--max-concurrency", str(given.at_once)]
    with subprocess.Popen(
        [*command, "--json"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as running:
        marks, peak, lines = [(0, time.perf_counter(), 0.0)], 0, 0
        with (folder / "out.jsonl").open("ab+") as out:
            out.seek(0)
            while running.poll() is None:
                lines += out.read().count(b"\n")
                if lines > marks[-1][0]:
                    marks.append((lines, time.perf_counter(), _cpu_s(running.pid)))
                peak = max(peak, peak_kb(running.pid))
                time.sleep(LOOK)
        if running.returncode:
            raise RuntimeError(f"the batch ended with code {running.returncode}")
        done = json.loads(running.communicate()[0])["completed"]
    if done != given.items:
        raise RuntimeError(f"{done:,} of {given.items:,} items were completed")
    return marks, peak


def _speed(marks: list[tuple[int, float, float]], begin: int, wanted: int) -> tuple[float, float]:
    """Items per second, and milliseconds of CPU for an item, over some items from one on."""
    start = next(mark for mark in marks if mark[0] >= begin)
    end = next((mark for mark in marks if mark[0] >= start[0] + wanted), marks[-1])
    items = end[0] - start[0]
    return items / (end[1] - start[1]), 1000 * (end[2] - start[2]) / items


def _cpu_s(process: int) -> float:
    """The CPU time that a process has had, in seconds, on Linux; 0 when it has ended."""
    try:
        fields = (
            Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        )
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
