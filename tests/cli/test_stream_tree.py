"""`aideon run --stream` on a terminal: the nodes as a tree, drawn where it stands."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import termios
from decimal import Decimal

import pytest
import warm
from rich.console import Console

from aideon_agents import creative, parallel, sequential
from aideon_agents.cli.stream import LiveTree
from aideon_agents.graphs.topology import model
from aideon_agents.ledger.costs import NodeCost
from aideon_agents.runner import NodeEnded, NodeStarted, Question, Restart, RunEnded, Token

CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@pytest.fixture
def tree():
    return LiveTree()


def shown(tree, *events, height=30, width=90):
    """The lines that stand there after some events."""
    for event in events:
        tree(event)
    console = Console(width=width, height=height, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(tree)
    return [line.rstrip() for line in captured.get().splitlines()]


def started(path, role="creative", number=1):
    return NodeStarted(node_path=path, role=role, round=number)


def ended(path, usd=None, error=None):
    cost = usd and NodeCost(
        node_path=path,
        role="creative",
        calls=1,
        failed_calls=0,
        input_tokens=1,
        output_tokens=1,
        usd=Decimal(usd),
        complete=True,
        models=(),
        duration_ms=1,
    )
    return NodeEnded(node_path=path, role="", round=1, result=None, cost=cost, error=error)


def test_nodes_stand_below_their_patterns_with_cost_and_time(tree):
    lines = shown(
        tree,
        started("plan", "planner"),
        ended("plan", "0.5"),
        started("both/a"),
        started("last"),
        started("both/b", number=3),
        ended("both/b", "0.25"),
    )
    assert lines[0].startswith("✓ plan ")
    assert [re.sub(r"^( *)\S (\S+).*", r"\1\2", line) for line in lines] == [
        "plan",
        "both",
        "  a",
        "  b",
        "last",
    ]
    assert "$0.500000" in lines[0]
    assert re.search(r"\d\.\d s$", lines[0])
    assert "(round 3)" in lines[3]
    assert "$" not in lines[2]


def test_nodes_that_run_together_stand_in_declared_order():
    inner = parallel(creative("y"), creative("b"), name="in")
    side_by_side = parallel(creative("z"), inner, creative("waits"), name="gather")
    graph = sequential(creative("begin"), side_by_side)
    tree = LiveTree(model(graph))
    lines = shown(tree, *map(started, ["begin", "gather/in/b", "gather/waits", "gather/z", "new"]))
    names = [line.split()[1] for line in lines]
    assert names == ["begin", "gather", "z", "in", "b", "waits", "new"]
    names = [line.split()[1] for line in shown(tree, started("gather/in/y"))]
    assert names == ["begin", "gather", "z", "in", "y", "b", "waits", "new"]


def test_what_a_node_says_stands_beside_it_until_it_ends(tree):
    line = shown(tree, started("a"), Token(node_path="a", text="one\ntwo \x1b[2J"))[0]
    assert line.endswith("one two [2J")
    assert "three" not in shown(tree, Token(node_path="a", text="three"), Restart(node_path="a"))[0]
    assert "four" not in shown(tree, Token(node_path="a", text="four"), ended("a"))[0]


def test_a_failure_and_a_question_are_told(tree):
    asked = Question(node_path="b", id="1", question="?", schema=None)
    lines = shown(tree, started("a"), ended("a", error="it [red]broke[/red]"), started("b"), asked)
    assert lines[0].startswith("✗ a")
    assert lines[0].endswith("it [red]broke[/red]")
    assert lines[1].startswith("? b")
    assert lines[1].endswith("waits for an answer")


def test_where_the_terminal_is_low_it_shows_what_runs(tree):
    for number in range(20):
        tree(started(f"n{number}"))
        if number % 2:
            tree(ended(f"n{number}"))
    lines = shown(tree, height=8)
    assert len(lines) <= 6
    assert all(re.match(r"\S n\d*[02468] ", line) for line in lines[:-1])
    assert lines[-1].strip() == "and 15 more"


def test_time_stands_still_when_a_node_has_ended(tree):
    tree(started("a"))
    tree(ended("a"))
    assert shown(tree) == shown(tree)


def test_what_was_cut_short_says_so(capsys):
    with LiveTree() as tree:
        tree(started("a"))
        tree(RunEnded(result=None))
    assert "■ a" in capsys.readouterr().err


def test_on_a_terminal_the_tree_stays_and_the_result_follows(folder, environment):
    master, terminal = pty.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with warm.Process(
        ["-m", "aideon_agents", "run", "one.py", "--task", "Heat.", "--stream"],
        cwd=folder,
        env=environment | {"TERM": "xterm-256color"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    ) as running:
        os.close(terminal)
        said = b""
        while part := read(master):
            said += part
        assert running.wait(60) == 0
    os.close(master)
    # What is drawn again begins at the left, over what the line showed before.
    drawn = [line.removesuffix("\r").rpartition("\r")[2] for line in said.decode().split("\n")]
    lines = [CODES.sub("", line).rstrip() for line in drawn]
    (tree_ends,) = [n for n, line in enumerate(lines) if re.match(r"✓ draft +\$0\.0000", line)]
    assert lines.index("Heat.") > tree_ends


def read(master):
    try:
        return os.read(master, 65536)
    except OSError:  # the other end is closed
        return b""
