"""A task that no model can take is the caller's mistake, found before anything is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from aideon_agents import run
from aideon_agents.agents import executor
from aideon_agents.errors import InputError


def test_a_task_that_fits_no_model_is_refused_and_leaves_no_run(aideon):
    Path("long.txt").write_text("word " * 2_000_000, encoding="utf-8")
    done = aideon("run", "one.py", "--file", "long.txt")
    assert done.code == 2
    assert "2,500,000 tokens" in done.complaint
    assert "shorten it" in done.complaint
    assert aideon("runs", "list", "--json").document == []


@pytest.mark.parametrize("task", [None, 3, ["a"]])
def test_a_task_that_is_no_text_is_refused(task):
    with pytest.raises(InputError, match="must be text"):
        run(executor(), task, rehearse=True)
