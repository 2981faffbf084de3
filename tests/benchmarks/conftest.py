"""Benchmarks, run small, as anybody runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def benchmark():
    """Runs a benchmark to its end; its exit code must say that what it claims holds."""

    def play(name, *words):
        done = subprocess.run(
            [sys.executable, str(ROOT / "benchmarks" / name), *words],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return play
