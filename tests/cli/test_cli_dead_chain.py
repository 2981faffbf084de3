"""A chain that is dead from end to end says why for each of its models, and nothing is cut."""

from __future__ import annotations

import socket

import pytest

from aideon_agents.models import fallbacks

NAMES = [f"together:somebody/a-model-with-a-long-name-{number}" for number in range(3)]


@pytest.fixture
def nobody(monkeypatch):
    """Together's address leads to nobody."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("TOGETHER_API_KEY", "a-key-for-nobody")
    monkeypatch.setenv("TOGETHER_BASE_URL", f"http://127.0.0.1:{port}/v1")
    monkeypatch.setattr(fallbacks, "_FIRST_PAUSE", 0.001)


@pytest.mark.usefixtures("nobody")
def test_each_model_of_a_dead_chain_is_told_once_with_the_reason(aideon):
    chain = f"creative={','.join(NAMES)}"
    done = aideon("run", "one.py", "--task", "x", "--model", chain, "--json")
    assert done.code == 1
    error = done.document["error"]
    for name in NAMES:
        assert error.count(name) == 1
    assert error.count("(3 times)") == len(NAMES)
    assert error.count("Connect call failed") == len(NAMES)
    assert error in done.err.splitlines()[-1]
    assert aideon("runs", "show", "last", "--json").document["error"] == error
