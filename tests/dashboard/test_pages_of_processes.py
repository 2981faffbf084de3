"""The pages of several processes: each knows the sessions, forms and live runs of the others."""

from __future__ import annotations

import re

import pytest
from server_events import events_in

from aideon_agents.access import sessions, users
from aideon_agents.access.audit import By

BY = By("tests")
GATED = """
import asyncio, pathlib
from aideon_agents import creative, sequential

async def wait(state):
    while not pathlib.Path("go").exists():
        await asyncio.sleep(0.01)
    return {}

graph = sequential(wait, creative("draft"))
"""


@pytest.fixture
def both(folder, ledger, ledger_url, served_by, monkeypatch):
    """Two processes with one ledger, and what a person sends who is signed in to the first."""
    monkeypatch.setenv("AIDEON_LEDGER", ledger_url)
    (folder / "gated.py").write_text(GATED)
    users.add(ledger, "ada", BY, tier="premium")
    words = ("--rehearse", "--workflow=gated=gated.py")
    (_, first), (_, second) = served_by(*words), served_by(*words)
    form = {"secret": sessions.make_link(ledger, "ada", BY), "next": "/ui/"}
    answer = first.post("/sign-in", data=form)
    cookie = re.search(r"__Host-aideon=[^;]+", answer.headers["set-cookie"])[0]
    for client in (first, second):
        client.headers["cookie"] = cookie
    return first, second


def csrf_in(client, page):
    return re.search(r'name="csrf" value="([^"]+)"', client.get(page).text)[1]


def test_a_form_of_one_process_is_sent_to_another_and_its_run_is_followed_there(both, folder):
    first, second = both
    word = csrf_in(first, "/ui/ask?workflow=gated")
    form = {"workflow": "gated", "task": "Heat pumps.", "csrf": word}
    page = second.post("/ui/ask", data=form).headers["location"]
    shown = first.get(page).text
    assert ">running<" in shown
    (events,) = re.findall(r'data-events="([^"]+)"', shown)
    said = ""
    with first.stream("GET", events) as stream:
        for part in stream.iter_text():
            (folder / "go").touch()  # the first event has come from the other process
            said += part
    assert events_in(said)[-1][1] == "run_ended"
    for client in (first, second):
        shown = client.get(page).text
        assert ">completed<" in shown
        assert "Heat pumps." in shown
    second.post("/ui/sign-out", data={"csrf": word})
    for client in (first, second):
        assert client.get("/ui/runs").headers["location"] == "/sign-in?next=/ui/"


def test_workers_of_one_port_serve_the_pages_of_one_person(
    folder, ledger, ledger_url, served_by, monkeypatch
):
    monkeypatch.setenv("AIDEON_LEDGER", ledger_url)
    users.add(ledger, "ada", BY, tier="premium")
    _, client = served_by("--rehearse", "--workers", "2")
    client.headers["connection"] = "close"  # so that each request may meet another worker
    form = {"secret": sessions.make_link(ledger, "ada", BY), "next": "/ui/"}
    answer = client.post("/sign-in", data=form)
    client.headers["cookie"] = re.search(r"__Host-aideon=[^;]+", answer.headers["set-cookie"])[0]
    for number in range(10):
        word = csrf_in(client, "/ui/keys")
        made = client.post("/ui/keys", data={"csrf": word, "name": f"key {number}"})
        assert made.status_code == 200, made.text
    assert client.get("/ui/keys").text.count("Revoke") == 10
