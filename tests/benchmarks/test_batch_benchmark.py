"""The benchmarks of batches, small: that they measure what they say, and that the bounds hold."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def batch(*words):
    return subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "batch"), *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_kills_lose_and_double_nothing_and_all_money_is_accounted_for():
    done = batch("crashes", "--items", "40", "--kills", "2", "--seed", "7")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"^killed after \d+ calls with", done.stdout, re.MULTILINE)) == 2
    assert "items lost 0, doubled in OUT 0, failed 0; in order: True" in done.stdout
    assert re.search(r"^money unaccounted 0 nano-dollars of [1-9]", done.stdout, re.MULTILINE)


def test_a_batch_that_calls_no_model_stays_small():
    done = batch("memory", "--items", "1000")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1,000 items: 1,000 completed, 1,000 lines in OUT" in done.stdout
    assert re.search(r"^\d+ MB of memory at the peak, bound 300$", done.stdout, re.MULTILINE)


def test_a_batch_is_held_against_a_bare_loop_over_the_same_graph():
    done = batch("speed", "--items", "8", "--at-once", "4", "--rounds", "1")
    assert done.returncode in {0, 1}, done.stderr  # so few items say nothing of the bounds
    assert re.search(r"^ +4 at once  bare .* MB$", done.stdout, re.MULTILINE)
    assert re.search(r"^ +4 at once  batch .* MB$", done.stdout, re.MULTILINE)
    ratios = re.findall(r"([\d.]+) of the bare loop's, bound ([\d.]+)$", done.stdout, re.MULTILINE)
    assert [bound for _, bound in ratios] == ["1.15", "1.15", "1.3"]
    assert all(float(ratio) > 0 for ratio, _ in ratios)
