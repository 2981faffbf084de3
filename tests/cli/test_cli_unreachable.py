"""What keeps a call from any provider: proxies, certificates, and rate limits that reset too late."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from pathlib import Path

import pytest

from aideon_agents.testing import Fault, SimulatedProvider


@pytest.fixture
def keyed(monkeypatch):
    monkeypatch.setenv("TOGETHER_API_KEY", "a-key-for-nobody")
    monkeypatch.setenv("TOGETHER_BASE_URL", "https://models.example/v1")
    monkeypatch.setenv("NO_PROXY", "")


class _Refusing(socketserver.StreamRequestHandler):
    """A proxy that wants a password."""

    def handle(self):
        while self.rfile.readline().strip():
            pass
        self.wfile.write(
            b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n"
            b'Proxy-Authenticate: Basic realm="x"\r\nConnection: close\r\n\r\n'
        )


@pytest.fixture
def proxy():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Refusing) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{made.server_address[1]}"
        made.shutdown()


@pytest.mark.usefixtures("keyed")
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HTTPS_PROXY", "socks5://127.0.0.1:9"),
        ("ALL_PROXY", "ftp://127.0.0.1"),
        ("SSL_CERT_FILE", "/gone/own.pem"),
    ],
)
@pytest.mark.parametrize("command", ["run", "batch"])
def test_a_variable_that_cannot_be_used_is_a_mistake_found_before_anything_is_called(
    aideon, monkeypatch, command, variable, value
):
    monkeypatch.setenv(variable, value)
    Path("items.jsonl").write_text('"x"\n', encoding="utf-8")
    rest = ["--task", "x"] if command == "run" else ["items.jsonl", "-o", "out.jsonl"]
    done = aideon(command, "one.py", *rest)
    assert done.code == 2
    assert variable in done.complaint


@pytest.mark.usefixtures("keyed")
def test_a_proxy_that_nobody_runs_is_named(aideon, monkeypatch):
    with socket.socket() as taken:  # bound and not listening: nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{taken.getsockname()[1]}")
        done = aideon("run", "one.py", "--task", "x")
    assert done.code == 1
    assert "behind the proxy in HTTPS_PROXY, cannot be reached" in done.err


@pytest.mark.usefixtures("keyed")
def test_a_proxy_that_wants_a_password_is_one_line_and_nothing_to_continue(
    aideon, monkeypatch, proxy
):
    monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy}")
    done = aideon("run", "one.py", "--task", "x")
    assert done.code == 2
    assert "the proxy in HTTPS_PROXY wants a user and a password" in done.complaint
    assert aideon("costs", "--json").document["total"]["usd"] == "0.000000"


def test_a_batch_whose_limit_resets_in_an_hour_stops_at_once_and_exits_3(
    aideon, folder, monkeypatch
):
    (folder / "items.jsonl").write_text("".join(f'"Pump {number}."\n' for number in range(5)))
    model = "creative=together:openai/gpt-oss-120b"
    command = ["batch", "one.py", "items.jsonl", "-o", "out.jsonl", "--model", model]
    with SimulatedProvider(faults=lambda _: faults and Fault(429, retry_after=3600)) as provider:
        monkeypatch.setenv("TOGETHER_API_KEY", "a-key-for-the-simulation")
        monkeypatch.setenv("TOGETHER_BASE_URL", provider.base_url)
        faults = True
        done = aideon(*command)
        assert done.code == 3
        last = json.loads(done.out.splitlines()[-1])
        assert (last["completed"], last["failed"], last["pending"]) == (0, 0, 5)
        assert last["stop_reason"] == "rate_limit"
        assert "together:openai/gpt-oss-120b limits its rate until 20" in done.err
        assert "repeat the command then to continue" in done.err
        faults = False
        monkeypatch.setenv("TOGETHER_API_KEY", "another-key")  # this process knows the first limit
        again = aideon(*command)
    assert again.code == 0
    assert json.loads(again.out.splitlines()[-1])["completed"] == 5
