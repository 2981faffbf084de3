"""The benchmark that holds the ledger against the bill, small: 40 runs in every way there is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def reconcile(*words):
    return subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "reconcile"), *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_ledger_knows_what_the_provider_charges():
    done = reconcile("--runs", "40", "--seed", "7")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^runs +40 in ", done.stdout, re.MULTILINE)
    assert re.search(r"^known +[\d,]+ rows, [\d,]{4,} tokens, ", done.stdout, re.MULTILINE)
    assert re.search(r"^difference +0 tokens, 0 nano-dollars$", done.stdout, re.MULTILINE)
    assert re.search(r"^silent +0$", done.stdout, re.MULTILINE)
