"""`aideon run --stream`: what a person reads while a run is on its way."""

from __future__ import annotations

import pytest

from aideon_agents.cli.stream import EventPrinter
from aideon_agents.runner import NodeEnded, NodeStarted, Restart, Token
from aideon_agents.testing import Fault, SimulatedProvider

PUMPS = "Heat pumps move heat."
SIDES = (
    "from aideon_agents import creative, executor, parallel, sequential\n"
    "def check(state):\n    return 'checked'\n"
    "graph = sequential(parallel(executor('a'), creative('b')), check, creative('last'))\n"
)


@pytest.fixture
def provider(monkeypatch):
    """A provider with a key in the environment."""

    def start(**options):
        simulated = SimulatedProvider(**options)
        simulated.__enter__()
        started.append(simulated)
        monkeypatch.setenv("TOGETHER_API_KEY", "key")
        monkeypatch.setenv("TOGETHER_BASE_URL", simulated.base_url)
        return simulated

    started = []
    yield start
    for simulated in started:
        simulated.__exit__(None, None, None)


def test_a_node_is_announced_heard_and_paid_for_on_stderr(aideon):
    done = aideon("run", "one.py", "--task", PUMPS, "--stream")
    assert done.out == f"{PUMPS}\n"
    lines = done.err.splitlines()
    assert lines[0].startswith("rehearsing: ")
    assert lines[1:3] == ["draft (creative)", f"draft | {PUMPS}"]
    assert lines[3].startswith("draft (done: $0.0000")
    assert lines[3].endswith(" in 1 call)")
    assert lines[-1].endswith(" completed")


def test_the_json_document_is_alone_on_stdout(aideon):
    done = aideon("run", "one.py", "--task", PUMPS, "--stream", "--json")
    assert (done.document["output"], done.document["status"]) == (PUMPS, "completed")
    assert f"draft | {PUMPS}\n" in done.err


def test_without_it_nothing_is_shown_on_the_way_and_calls_do_not_stream(aideon, provider):
    simulated = provider()
    assert " | " not in aideon("run", "one.py", "--task", PUMPS).err
    aideon("run", "one.py", "--task", PUMPS, "--stream")
    assert [request.body["stream"] for request in simulated.requests] == [False, True]


def test_lines_of_nodes_at_the_same_time_stay_whole(aideon, folder, provider):
    (folder / "sides.py").write_text(SIDES, encoding="utf-8")
    provider(answer=lambda _: "one two three\nfour five six\nseven eight")
    lines = aideon("run", "sides.py", "--task", PUMPS, "--stream").err.splitlines()
    for path in ("parallel/a", "parallel/b", "last"):
        said = [line.removeprefix(f"{path} | ") for line in lines if line.startswith(f"{path} |")]
        assert said == ["one two three", "four five six", "seven eight"]
    assert "check (done)" in lines
    assert "check ()" not in lines


def test_an_answer_that_begins_again_is_marked(aideon, folder, provider):
    source = (
        "from aideon_agents import creative, sequential\n"
        "agent = creative('draft', model=('together:broken', 'together:whole'))\n"
        "graph = sequential(agent)\n"
    )
    (folder / "twice.py").write_text(source, encoding="utf-8")
    provider(
        faults={"broken": Fault("cut_after_first_token", after_tokens=2)},
        answer=lambda _: "one two three",
    )
    done = aideon("run", "twice.py", "--task", PUMPS, "--stream")
    lines = [line.rstrip() for line in done.err.splitlines() if line.startswith("draft ")]
    assert lines[:4] == [
        "draft (creative)",
        "draft | one two",
        "draft (restarted: the text so far is not the answer)",
        "draft | one two three",
    ]
    assert lines[4] == "draft (done: ? in 2 calls)"
    assert done.out == "one two three\n"


def test_a_node_that_fails_says_why(aideon):
    done = aideon("run", "boom.py", "--task", PUMPS, "--stream")
    assert done.code == 1
    assert "boom (failed: ValueError: the node is broken)\n" in done.err


def test_nothing_that_a_terminal_would_obey_is_shown(aideon, provider):
    provider(answer=lambda _: "a\x1b[2Jb\rc\td\x9be")
    done = aideon("run", "one.py", "--task", PUMPS, "--stream")
    assert "draft | a[2Jbc\tde\n" in done.err
    assert not set(done.err) & {"\x1b", "\r", "\x9b"}


@pytest.fixture
def shown(capsys):
    """Prints events, and says what stands on stderr so far."""
    watching, before = EventPrinter(), []

    def show(*events):
        for event in events:
            watching(event)
        before.append(capsys.readouterr().err)
        return "".join(before)

    return show


def started(path, role="creative", number=1):
    return NodeStarted(node_path=path, role=role, round=number)


def ended(path):
    return NodeEnded(node_path=path, role="", round=1, result=None, cost=None, error=None)


def test_words_of_a_node_alone_are_shown_at_once(shown):
    assert shown(started("a", number=2), Token(node_path="a", text="one ")) == (
        "a (creative, round 2)\na | one "
    )
    assert shown(Token(node_path="a", text="two\nth")).endswith("a | one two\na | th")


def test_words_of_several_nodes_wait_for_the_end_of_their_line(shown):
    before = shown(started("a"), Token(node_path="a", text="one "), started("b"))
    assert before.endswith("a | one \nb (creative)\n")
    waiting = shown(Token(node_path="b", text="x "), Token(node_path="a", text="two"))
    assert waiting == before
    assert shown(Token(node_path="b", text="y\nz")) == before + "b | x y\n"
    assert shown(ended("a")) == before + "b | x y\na | two\n"
    assert shown(Token(node_path="b", text="!")).endswith("a | two\nb | z!")


def test_a_line_that_waits_is_shown_before_its_answer_begins_again(shown):
    shown(started("a"), started("b"), Token(node_path="a", text="half"))
    assert "a | half\na (restarted" in shown(Restart(node_path="a"))
