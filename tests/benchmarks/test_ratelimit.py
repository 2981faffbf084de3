"""The benchmark of rate limits, small: nothing is lost, and the primary answers everything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_each_limit_is_measured_and_loses_nothing():
    # Not its exit code: it judges times, and other tests run beside it.
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "ratelimit"), "40"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 5, done.stderr
    assert all("lost 0 " in line and "others 0.0% " in line for line in lines), done.stdout
    assert all(re.search(r"wasted \d+\.\d% ", line) for line in lines)
