"""`aideon serve` as processes: they drain, are killed, and continue one another's runs."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import warm
from server_events import events_in

from aideon_agents import Ledger, Settings
from aideon_agents.access.provider_keys import ProviderKeys

GATED = """
import asyncio, pathlib
from aideon_agents import sequential

def note(word):
    with open("log", "a") as log:
        log.write(word + "\\n")

def first(state):
    note("first")
    return "one"

async def second(state):
    note("second")
    while not pathlib.Path("go").exists():
        await asyncio.sleep(0.01)
    return "two"

def third(state):
    note("third")
    return state["task"]

graph = sequential(first, second, third)
"""
"""A run that waits in its second node until there is a file `go`."""


@pytest.fixture
def gated(folder, served_by):
    """Starts a server of the gated workflow."""
    (folder / "gated.py").write_text(GATED)
    return lambda *words: served_by("--workflow=gated=gated.py", *words)


@pytest.fixture
def until_logged(folder):
    """Waits for a line of the workflow's log, at most a minute."""

    def wait(word, times=1):
        last = time.monotonic() + 60
        while lines(folder).count(word) < times:
            assert time.monotonic() < last, lines(folder)
            time.sleep(0.01)

    return wait


def lines(folder):
    with contextlib.suppress(FileNotFoundError):
        return (folder / "log").read_text().split()
    return []


def begin(client):
    begun = client.post("/api/v1/runs", json={"workflow": "gated", "task": "done"})
    assert begun.status_code == 202, begun.text
    return begun.headers["location"]


def ended(client, place):
    """The last event of a run, from the stream of its events."""
    with client.stream("GET", f"{place}/events") as stream:
        *_, (_, kind, document) = events_in("".join(stream.iter_text()))
    assert kind == "run_ended"
    return document


def test_a_drained_run_continues_with_the_next_start_and_does_nothing_twice(
    gated, folder, until_logged
):
    process, client = gated()
    place = begin(client)
    until_logged("second")
    process.send_signal(signal.SIGTERM)
    (folder / "go").touch()
    assert process.wait(60) == 0
    assert lines(folder) == ["first", "second"]
    _, client = gated()
    assert ended(client, place)["output"] == "done"
    assert lines(folder) == ["first", "second", "third"]


def test_the_run_of_a_killed_process_is_continued_by_another_one(gated, folder, until_logged):
    process, client = gated()
    place = begin(client)
    until_logged("second")
    _, other = gated()
    process.kill()
    until_logged("second", times=2)
    (folder / "go").touch()
    assert ended(other, place)["status"] == "completed"
    assert lines(folder) == ["first", "second", "second", "third"]


def test_any_process_shows_and_cancels_a_run_of_another(gated, folder, until_logged):
    _, client = gated()
    _, other = gated()
    place = begin(client)
    until_logged("second")
    shown = other.get(place).json()
    assert shown["status"] == "running"
    assert other.post(f"{place}/cancel").status_code == 202
    found = ended(other, place)
    assert (found["status"], found["stop_reason"]) == ("cancelled", "cancelled")
    again = client.post(f"{place}/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    (folder / "go").touch()
    assert client.post(f"{place}/resume").status_code == 202
    assert ended(client, place)["status"] == "completed"


def test_the_batch_of_a_killed_process_is_continued_by_another_one(gated, folder, until_logged):
    process, client = gated()
    body = {"workflow": "gated", "items": [{"task": "a"}, {"task": "b"}]}
    place = client.post("/api/v1/batches", json=body).headers["location"]
    until_logged("second", times=2)
    process.kill()
    process.wait(60)
    _, other = gated()
    (folder / "go").touch()
    last = time.monotonic() + 60
    while (found := other.get(place).json())["status"] == "running":
        assert time.monotonic() < last, found
        time.sleep(0.05)
    assert (found["status"], found["completed"]) == ("completed", 2)
    results = other.get(f"{place}/output").text.splitlines()
    assert [json.loads(line)["output"] for line in results] == ["a", "b"]
    assert lines(folder).count("first") == 2


def test_a_second_interrupt_ends_at_once_and_loses_nothing(gated, folder, until_logged):
    process, client = gated()
    place = begin(client)
    until_logged("second")
    process.send_signal(signal.SIGINT)
    while not process.stderr.readline().startswith("stopping"):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    (folder / "go").touch()
    _, client = gated()
    assert ended(client, place)["status"] == "completed"


def test_several_workers_share_a_port_and_end_together(gated, folder, until_logged):
    process, client = gated("--workers", "2")
    (folder / "go").touch()
    places = [begin(client) for _ in range(4)]
    assert [ended(client, place)["status"] for place in places] == ["completed"] * 4
    client.close()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


def workers_of(process):
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    told = {int(one): Path(f"/proc/{one}/cmdline").read_text() for one in children}
    return [number for number, words in told.items() if "spawn_main" in words]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_that_is_killed_is_replaced_and_workers_end_with_the_first_process(gated, folder):
    process, client = gated("--workers", "2")
    (folder / "go").touch()
    first = workers_of(process)
    assert len(first) == 2
    os.kill(first[0], signal.SIGKILL)
    last = time.monotonic() + 60
    while len({*workers_of(process)} - {first[0]}) < 2:
        assert time.monotonic() < last
        time.sleep(0.05)
    assert ended(client, begin(client))["status"] == "completed"
    left = workers_of(process)
    process.kill()
    assert process.wait(60) == -signal.SIGKILL
    while any(Path(f"/proc/{one}/cmdline").exists() and is_alive(one) for one in left):
        assert time.monotonic() < last + 60
        time.sleep(0.05)


def is_alive(number):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_a_ring_that_does_not_open_the_ledger_is_refused_before_it_serves(folder, monkeypatch):
    def served(ring):
        key = base64.b64encode(hashlib.sha256(ring.encode()).digest()).decode()
        monkeypatch.setenv("AIDEON_KEY_RING", f"{ring}:{key}")
        words = ["-m", "aideon_agents", "serve", "--workflow", "one=one.py"]
        return warm.run(words, cwd=folder, capture_output=True, text=True)

    with Ledger(".aideon/ledger.db") as ledger:
        key = hashlib.sha256(b"a").digest()
        ProviderKeys(ledger, Settings(), {"a": key}).check_ring()
    done = served("b")
    assert done.returncode == 2
    assert (
        "AIDEON_KEY_RING does not open what this ledger was sealed with (the key a)" in done.stderr
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "no workflow is registered"),
        (("--workflow", "a=missing.py"), "the workflow a: there is no file missing.py"),
        (("--workflow", "a"), "--workflow takes KEY=VALUE"),
        (("--workflow", "one=one.py", "--host", "::"), "there is no key yet"),
        (("--workflow", "one=one.py", "--host", "203.0.113.7"), "there is no key yet"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(folder, words, says):
    done = warm.run(
        ["-m", "aideon_agents", "serve", *words], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_port_that_is_taken_is_named(folder, gated):
    _, client = gated()
    words = ["serve", "--workflow", "one=one.py", "--port", str(client.base_url.port)]
    done = warm.run(["-m", "aideon_agents", *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 2
    assert "choose another --host or --port" in done.stderr
