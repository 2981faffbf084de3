"""A batch beside a bare loop over the same graph, in pairs, so that a busy machine weighs on both."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from aideon_agents.testing import Fault, SimulatedProvider

if TYPE_CHECKING:
    import argparse

HERE = Path(__file__).parent
CALLS = 3
"""Of each item."""
SECONDS = 0.2
"""That the provider takes for an answer."""
OVER_IDEAL = {50: 1.1, 200: 1.6, 1000: 4.0}
"""By calls in flight: the most that the wall time may be of the ideal one, in which nothing but the
provider takes time."""
BOUNDS = {"wall_s": 1.15, "cpu_s": 1.15, "rss_kb": 1.3}


def options(parser: argparse.ArgumentParser) -> None:
    """What can be said about this measurement."""
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--at-once", default="50,200,1000")
    parser.add_argument("--rounds", type=int, default=3)


def measure(given: argparse.Namespace) -> bool:
    """Print the medians of several pairs; returns whether every bound is kept."""
    kept = True
    print(f"{given.items:,} items of {CALLS} calls, {SECONDS:g} s each; {given.rounds} pairs")
    for at_once in map(int, given.at_once.split(",")):
        pairs = [_pair(given.items, at_once, number) for number in range(given.rounds)]
        medians = {
            way: {name: statistics.median(pair[way][name] for pair in pairs) for name in BOUNDS}
            for way in ("bare", "batch")
        }
        for way, took in medians.items():
            per_call = 1000 * took["cpu_s"] / (given.items * CALLS)
            print(
                f"{at_once:5} at once  {way:5}  {took['wall_s']:6.1f} s wall"
                f"  {per_call:5.2f} ms CPU a call  {took['rss_kb'] / 1024:5.0f} MB"
            )
        ideal = math.ceil(given.items / at_once) * CALLS * SECONDS
        over, bound = medians["batch"]["wall_s"] / ideal, OVER_IDEAL.get(at_once)
        kept = kept and (bound is None or over <= bound)
        print(f"{'':15}wall    {over:.2f} of the ideal {ideal:.1f} s, bound {bound or 'none'}")
        for name, bound in BOUNDS.items():
            ratio = statistics.median(pair["batch"][name] / pair["bare"][name] for pair in pairs)
            kept = kept and ratio <= bound
            print(f"{'':15}{name:7} {ratio:.3f} of the bare loop's, bound {bound}")
    return kept


def _pair(items: int, at_once: int, number: int) -> dict[str, dict[str, float]]:
    """Both, in turn the one and the other first: a machine that warms up favours neither."""
    ways = ("bare", "batch") if number % 2 == 0 else ("batch", "bare")
    with SimulatedProvider(announce=False, faults=Fault("delay", seconds=SECONDS)) as provider:
        return {way: _measured(way, provider.base_url, items, at_once) for way in ways}


def _measured(way: str, base_url: str, items: int, at_once: int) -> dict[str, float]:
    ran = subprocess.run(
        [sys.executable, str(HERE / "child.py"), way, base_url, str(items), str(at_once)],
        env=os.environ | {"PYTHONPATH": f"{HERE.parents[1]}{os.pathsep}{HERE}"},
        check=True,
        stdout=subprocess.PIPE,
    )
    took: dict[str, float] = json.loads(ran.stdout)
    if took["done"] != items:
        raise RuntimeError(f"{way} finished {took['done']} of {items} items")
    return took
