"""The app in this process with rehearsed workflows, and `aideon serve` in a process of its own."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx2
import pytest
import uvicorn
import warm

from aideon_agents.access import api_keys, sessions, users
from aideon_agents.access.audit import By
from aideon_agents.api.app import create_app
from aideon_agents.ledger.store import Ledger
from aideon_agents.serving.service import Service
from aideon_agents.serving.workflows import Workflows
from aideon_agents.settings import Settings
from aideon_agents.settings import load as settings_of

ROOT = Path(__file__).parents[2]
BY = By("root", address="cli")
HEAD = "from aideon_agents import creative, executor, parallel, sequential\n"
FILES = {
    "one.py": HEAD + '"""Writes."""\ngraph = sequential(creative("draft"))\n',
    "two.py": HEAD + 'graph = sequential(executor("facts"), creative("text"))\n',
    "both.py": HEAD + 'graph = parallel(executor("a"), creative("b"))\n',
    "asks.py": HEAD + 'graph = sequential(creative("draft", approve=True), creative("text"))\n',
    "asks_both.py": HEAD
    + 'graph = parallel(creative("a", approve=True), creative("b", approve=True))\n',
    "fails.py": HEAD
    + "def fail(state):\n    raise ValueError('broken')\n"
    + 'graph = sequential(creative("draft"), fail)\n',
    "named.py": '"""Writes about a place."""\n'
    + HEAD
    + 'INPUTS = {"place": "where"}\n'
    + 'graph = sequential(executor("facts", description="Say where {place} is"))\n',
}
WORKFLOWS = {file.removesuffix(".py"): file for file in FILES}


@pytest.fixture(autouse=True)
def recursion_limit():
    """Keeps the recursion limit, which Hypothesis raises."""
    limit = sys.getrecursionlimit()
    yield
    sys.setrecursionlimit(limit)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with workflows; no key and no setting in the environment."""
    for field in Settings.model_fields.values():
        for variable in field.validation_alias.choices:
            monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AIDEON_USER", "ada")
    monkeypatch.chdir(tmp_path)
    for name, source in FILES.items():
        (tmp_path / name).write_text(source, encoding="utf-8")
    return tmp_path


ON_BOTH = (
    *("access", "batches", "hostile", "limits_at_doors", "more_routes", "quotas_at_doors", "runs"),
)
"""The files of tests that run on both databases: between them they make every statement of the service."""


def pytest_generate_tests(metafunc):
    files = [f"test_{name}" for name in ON_BOTH]
    if "ledger_url" in metafunc.fixturenames and metafunc.module.__name__.endswith(tuple(files)):
        metafunc.parametrize("ledger_url", ["sqlite", "postgres"], indirect=True)


@pytest.fixture
def ledger_url(request, folder):
    """The address of an empty ledger."""
    if getattr(request, "param", "sqlite") == "postgres":
        return request.getfixturevalue("emptied")()
    return f"sqlite:///{folder / 'ledger.db'}"


@pytest.fixture
def ledger(ledger_url):
    with Ledger.from_url(ledger_url) as opened:
        yield opened


@pytest.fixture
def make_service(folder, ledger):
    """Makes a service over this ledger, as each process of `aideon serve` has one."""

    def make(*, rehearse=True, **options):
        settings = settings_of()
        return Service(
            settings, ledger, Workflows(WORKFLOWS, settings), rehearse=rehearse, **options
        )

    return make


@pytest.fixture
async def service(make_service):
    made = make_service()
    await made.open()
    yield made
    await made.drain()


@pytest.fixture
def client_of():
    """Makes a client of an app in this process. A stream is read when it has ended."""

    def make(app, **heads):
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        return httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=heads)

    return make


@pytest.fixture
async def client(service, client_of):
    """Asks the app of `service`, as the user of this machine."""
    async with client_of(create_app(service)) as asking:
        yield asking


@pytest.fixture
def app(service):
    return create_app(service)


@pytest.fixture
def key_of(ledger):
    """A key of a user, who is added when there is none."""

    def make(user, role="member", **given):
        if not ledger.select("SELECT role FROM users WHERE user_id = :user", {"user": user}):
            users.add(ledger, user, BY, role=role, tier=given.pop("tier", "premium"))
        return api_keys.make(ledger, user, BY, **given)[1]

    return make


@pytest.fixture
def as_key(app, client_of):
    """A client that sends a key."""
    return lambda key: client_of(app, Authorization=f"Bearer {key}")


@pytest.fixture
def signed_in(app, client_of, ledger):
    """A client with the session of a user, and what it repeats."""

    def sign_in(user, *, with_csrf=True):
        secret = sessions.use_link(ledger, sessions.make_link(ledger, user, BY), BY)
        heads = {"Cookie": f"{sessions.COOKIE}={secret}"}
        if with_csrf:
            heads["X-CSRF-Token"] = sessions.session_of(ledger, secret)[1]
        return client_of(app, **heads)

    return sign_in


@pytest.fixture
def serve(make_service):
    """Serves an app on a free port, in a thread with an event loop of its own; gives its address."""
    ended = []

    def start(service=None, **options):
        listening = socket.create_server(("127.0.0.1", 0))
        app = create_app(service or make_service(), **options)
        config = uvicorn.Config(app, log_level="error", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(
            target=lambda: asyncio.run(server.serve(sockets=[listening])), daemon=True
        )
        thread.start()
        ended.append((server, thread, listening))
        return f"http://127.0.0.1:{listening.getsockname()[1]}"

    yield start
    for server, thread, listening in ended:
        server.should_exit = True
        thread.join(60)
        listening.close()
        assert not thread.is_alive()


@pytest.fixture
def served_by(folder, monkeypatch):
    """Starts `aideon serve` on a free port; gives the process and a client of it."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    started = []

    def start(*words):
        named = [f"--workflow={name}={file}" for name, file in WORKFLOWS.items()]
        process = warm.Process(
            ["-m", "aideon_agents", "serve", "--port", "0", *named, *words],
            cwd=folder,
            env=os.environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        line = process.stderr.readline()
        found = re.search(r"http://\S+", line)
        assert found, line + process.stderr.read()
        client = httpx2.Client(base_url=found[0], timeout=60)
        started.append((process, client))
        return process, client

    yield start
    for process, client in started:
        client.close()
        process.end()
        process.communicate()
