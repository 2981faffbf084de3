"""A small provider on this machine, whose answers each test sets, and runs that ask it."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from aideon_agents.ledger.store import Ledger
from aideon_agents.settings import Settings


class Provider:
    """Answers each path as a test says, and keeps what it was asked."""

    def __init__(self):
        self.asked = []
        """The path, the headers and the body of each request."""
        self.answers = {}
        """By the last part of a path: gives the status, the headers and the body, from the body."""
        handler = type("Handler", (_Handler,), {"provider": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        self.base_url = f"{self.address}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def says(self, path, body, status=200, **headers):
        """Answer a path always in the same way."""
        self.answers[path] = lambda _: (status, headers, body)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.provider.asked.append((self.path, dict(self.headers), body))
        answer = self.provider.answers.get(self.path.rpartition("/")[2])
        status, headers, data = answer(body) if answer else (404, {}, b"{}")
        if isinstance(data, dict):
            data, headers = (
                json.dumps(data).encode(),
                {"content_type": "application/json", **headers},
            )
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")  # else its socket stays open after the test
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST  # noqa: N815 - http.server's name


@pytest.fixture
def provider():
    made = Provider()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working directory; the environment sets nothing."""
    for field in Settings.model_fields.values():
        for variable in field.validation_alias.choices:
            monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.db") as opened:
        yield opened


@pytest.fixture
def together(provider, monkeypatch):
    """Together is the provider of the test."""
    monkeypatch.setenv("TOGETHER_API_KEY", "together-key-1234")
    monkeypatch.setenv("TOGETHER_BASE_URL", provider.base_url)
    return provider
