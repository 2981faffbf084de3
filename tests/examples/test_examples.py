"""Every example runs as it stands, offline, without a key and without a warning."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import warm

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


@pytest.fixture
def environment():
    """No key, no request, and no warning."""
    keyless = {name: value for name, value in os.environ.items() if not name.endswith("_KEY")}
    return {**keyless, "AIDEON_OFFLINE": "1", "PYTHONWARNINGS": "error"}


@pytest.mark.parametrize("example", EXAMPLES, ids=[one.stem for one in EXAMPLES])
def test_an_example_runs_and_prints_something(example: Path, environment, tmp_path: Path):
    done = warm.run([example], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()


def test_an_interpreter_of_its_own_imports_what_an_example_needs_without_a_warning(
    environment, tmp_path
):
    done = subprocess.run(
        [sys.executable, EXAMPLES[0]],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_examples_are_numbered_without_a_gap():
    assert [one.name[:2] for one in EXAMPLES] == [f"{n:02}" for n in range(1, 23)]
