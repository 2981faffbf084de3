"""A run that is killed goes on where it was: what was done is not paid for again."""

from __future__ import annotations

import random
import subprocess
import time

import pytest
import warm

from aideon_agents import Ledger
from aideon_agents.testing import Fault, SimulatedProvider

CHAIN = """
from aideon_agents import creative, sequential
graph = sequential(*[creative(f"step{n}") for n in range(4)])
"""
WIDE = """
from aideon_agents import creative, executor, parallel, planner, sequential
graph = sequential(
    planner(),
    parallel(*[sequential(executor(f"a{n}"), creative(f"b{n}"), name=f"s{n}") for n in range(4)]),
    creative("end"),
)
"""


@pytest.fixture
def provider():
    # Slow enough to be killed while it works, and in an order of no particular kind.
    chance = random.Random(7)  # noqa: S311 - no secret
    with SimulatedProvider(faults=lambda _: Fault("delay", seconds=chance.random() / 5)) as made:
        yield made


@pytest.fixture
def killed(folder, environment, provider):
    """Starts a command and kills it once the provider has heard of so many requests."""

    def kill(after: int, *words: str) -> int:
        given = {"TOGETHER_API_KEY": "key", "TOGETHER_BASE_URL": provider.base_url}
        with warm.Process(
            ["-m", "aideon_agents", *words],
            cwd=folder,
            env={**environment, **given},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as running:
            while running.poll() is None and len(provider.requests) < after:
                time.sleep(0.005)
            running.kill()
            running.communicate()
        return running.returncode

    return kill


@pytest.mark.parametrize("case", [(CHAIN, 4, 1), (WIDE, 10, 4)], ids=["a chain", "branches"])
def test_nodes_that_were_done_before_a_kill_are_not_asked_again(
    folder, killed, provider, aideon, case
):
    source, nodes, width = case
    (folder / "work.py").write_text(source, encoding="utf-8")
    assert killed(2, "run", "work.py", "--task", "Pumps move heat.") == -9
    with Ledger(".aideon/ledger.db") as ledger:
        run_id = ledger.find_run("last").run_id
        assert ledger.find_run("last").status == "crashed"
    kills = 1
    # One more than there can be at once: something is done before each kill.
    while killed(len(provider.requests) + width + 1, "runs", "resume", "last") == -9:
        kills += 1
    shown = aideon("runs", "show", "last", "--json").document
    assert (shown["run_id"], shown["status"]) == (run_id, "completed")
    assert kills > 1
    # Only what was under way at a kill is asked once more; of that, nobody knows the cost.
    assert len(provider.requests) <= nodes + kills * width
    assert len(provider.requests) <= len(shown["calls"])  # some were killed on their way there
    lost = [call for call in shown["calls"] if call["status"] == "started"]
    assert len(lost) <= kills * width
    assert shown["cost"]["complete"] is (not lost)
    assert len({call["node_path"] for call in shown["calls"]}) == nodes


def test_a_run_that_was_killed_before_it_had_a_state_says_so(aideon):
    aideon("run", "one.py", "--task", "x")
    with Ledger(".aideon/ledger.db") as ledger:
        ledger.database.write("UPDATE runs SET status = 'running', pid = 4194303", {})
    done = aideon("runs", "resume", "last")
    assert done.code == 2
    assert "has left nothing to resume from" in done.complaint
