"""Benchmarks, run small, as anybody runs them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import warm

ROOT = Path(__file__).parents[2]


@pytest.fixture
def benchmark():
    """Runs a benchmark to its end; its exit code must say that what it claims holds."""

    def play(name, *words, codes=(0,)):
        done = warm.run(
            [ROOT / "benchmarks" / name, *words],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=170,
        )
        assert done.returncode in codes, done.stdout + done.stderr
        return done

    return play
