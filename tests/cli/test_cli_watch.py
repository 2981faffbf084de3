"""`aideon run --watch`: a page that fills while the run goes on, and that changes nothing."""

from __future__ import annotations

import asyncio
import http.client
import os
import pty
import sqlite3
import subprocess
from urllib.parse import urlsplit

import pytest
import warm

from aideon_agents.testing import SimulatedProvider

SLOW = (
    "from aideon_agents import creative, executor, parallel, sequential\n"
    "graph = sequential(parallel(executor('a'), executor('b'), name='both'), creative('last'))\n"
)
UNLIKE = ("call_id", "run_id", "started_at", "duration_ms")
"""Columns that no two runs have in common."""


class Gate:
    """Holds answers back until it is opened."""

    def __init__(self):
        self.loops = []
        self.is_open = False

    async def __call__(self, request):
        while not self.is_open:
            await asyncio.sleep(0.01)
        return "said"


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def watched(folder, environment, gate):
    """Starts `aideon run slow.py` beside a provider whose answers wait for the gate."""
    (folder / "slow.py").write_text(SLOW, encoding="utf-8")
    started = []
    with SimulatedProvider(answer=gate) as provider:
        given = {"TOGETHER_API_KEY": "key", "TOGETHER_BASE_URL": provider.base_url}

        def start(*words, stderr=subprocess.PIPE, **more):
            running = warm.Process(
                ["-m", "aideon_agents", "run", "slow.py", "--task", "Do it.", *words],
                cwd=folder,
                env={**environment, **given, **more},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
            started.append(running)
            return running

        yield start
        for running in started:
            running.kill()
            running.communicate()


async def ended(running):
    """The exit code; other tasks go on meanwhile."""
    return await asyncio.to_thread(running.wait, 60)


async def address_of(running):
    """Where it says that the page is."""
    while line := await asyncio.to_thread(running.stderr.readline):
        if line.startswith("watch: "):
            return line.removeprefix("watch: ").strip()
    raise AssertionError("it said no address")


def calls(folder):
    """Every row of calls, without what differs from run to run."""
    with sqlite3.connect(folder / ".aideon" / "ledger.db") as ledger:
        ledger.row_factory = sqlite3.Row
        rows = [dict(row) for row in ledger.execute("SELECT * FROM calls")]
    for row in rows:
        assert all(row.pop(name) is not None for name in UNLIKE)
    return sorted(rows, key=lambda row: row["node_path"])


async def test_the_page_fills_and_ends_with_the_run(watched, gate, new_page, folder):
    running = watched("--watch", "--record-content", "--stream")
    page = await new_page(await address_of(running))
    status = page.locator("#status")
    assert await status.inner_text() == "running"
    await page.locator('#grid .cell[title="both/a"]').wait_for()
    gate.is_open = True
    assert await ended(running) == 0
    await page.wait_for_function("document.querySelector('#status').textContent === 'completed'")
    assert "Calls\n3" in (await page.locator("#figures").inner_text()).replace("\n\n", "\n")
    await page.locator('.node[data-path="last"]').click()
    await page.locator("#details summary").click()
    await page.locator("#details pre").last.wait_for()
    assert await page.locator("#details pre").last.inner_text() == "said"
    assert page.complaints == []
    assert {urlsplit(asked).hostname for asked in page.requests} == {"127.0.0.1"}
    assert running.stdout.read() == "said\n"


async def test_an_address_without_its_last_slash_fills_as_well(watched, gate, new_page):
    running = watched("--watch")
    page = await new_page((await address_of(running)).rstrip("/"))
    await page.locator('#grid .cell[title="both/a"]').wait_for()
    gate.is_open = True
    assert await ended(running) == 0
    await page.wait_for_function("document.querySelector('#status').textContent === 'completed'")
    assert page.complaints == []


async def test_coming_and_leaving_changes_no_row_and_no_result(watched, gate, new_page, folder):
    running = watched("--watch")
    page = await new_page(await address_of(running))
    await page.locator('#grid .cell[title="both/a"]').wait_for()
    await page.close()
    gate.is_open = True
    assert await ended(running) == 0
    with_viewer = calls(folder), running.stdout.read()
    for path in (folder / ".aideon").iterdir():
        path.unlink()
    alone = watched()
    assert await ended(alone) == 0
    assert (calls(folder), alone.stdout.read()) == with_viewer
    assert len(with_viewer[0]) == 3


async def test_it_does_not_wait_for_a_page_that_nobody_opened(watched, gate):
    gate.is_open = True
    running = watched("--watch", "--json")
    address = await address_of(running)
    assert await ended(running) == 0
    assert '"status": "completed"' in running.stdout.read()
    with pytest.raises(ConnectionError):
        answer(address)


async def test_only_this_machine_is_told_and_only_at_the_whole_address(watched, gate):
    running = watched("--watch")
    address = await address_of(running)
    whole = urlsplit(address)
    word = whole.path
    port = whole.port
    ask = lambda *given, **more: asyncio.to_thread(answer, *given, **more)  # noqa: E731 - short
    foreign = {"Host": f"example.com:{port}"}
    assert (await ask(address, headers=foreign))[0] == 403
    assert (await ask(address, headers={"Origin": "http://example.com"}))[0] == 403
    assert (await ask(address, headers={"Sec-Fetch-Site": "cross-site"}))[0] == 403
    assert (await ask(address, path="/"))[0] == 404
    assert (await ask(address, path=word[:-2] + "/"))[0] == 404
    assert (await ask(address, path=word + "other"))[0] == 404
    assert (await ask(address, path=word + "events?seen=x"))[0] == 400
    assert (await ask(address, method="POST"))[0] == 501
    code, headers, body = await ask(address, headers={"Host": f"localhost:{port}"})
    assert code == 200
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    assert b"both/a" in body
    gate.is_open = True
    # The page that never asked for events is given a moment, and no more.
    assert await ended(running) == 0


async def said_on_a_terminal(watched, folder, *words):
    """What a run says on a terminal with a display, and what a browser was told to open."""
    (folder / "browser").write_text(f'#!/bin/sh\nprintf "%s" "$1" > {folder}/opened\n')
    (folder / "browser").chmod(0o755)
    env = {"BROWSER": str(folder / "browser"), "DISPLAY": ":9"}
    master, slave = pty.openpty()
    running = watched("--watch", *words, stderr=slave, **env)
    os.close(slave)
    assert await ended(running) == 0
    said = await asyncio.to_thread(os.read, master, 65536)
    os.close(master)
    opened = folder / "opened"
    return said.decode(), opened.read_text() if opened.exists() else None


async def test_a_browser_is_opened_for_a_person_with_a_display(watched, gate, folder):
    gate.is_open = True
    said, opened = await said_on_a_terminal(watched, folder)
    assert opened.startswith("http://127.0.0.1:")
    assert f"watch: {opened}" in said


async def test_a_program_gets_the_address_and_no_browser(watched, gate, folder):
    gate.is_open = True
    said, opened = await said_on_a_terminal(watched, folder, "--json")
    assert "watch: http://127.0.0.1:" in said
    assert opened is None


async def test_a_mistake_ends_the_page_as_well(watched, gate):
    gate.is_open = True
    running = watched("--watch", "--model", "creative=together:none", "--timeout", "0")
    assert await ended(running) in {1, 2, 3}


def answer(address, *, method="GET", path=None, headers=None):
    """The status, headers and body of an answer."""
    whole = urlsplit(address)
    connection = http.client.HTTPConnection(whole.hostname, whole.port, timeout=30)
    try:
        connection.request(method, path or whole.path, headers=headers or {})
        got = connection.getresponse()
        return got.status, got.headers, got.read()
    finally:
        connection.close()
