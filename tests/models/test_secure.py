"""HTTPS with certificates of one's own, through a proxy's tunnel; kept connections; endless answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import ssl
import subprocess
import uuid

import pytest

from aideon_agents import Context, Ledger, Settings, arun, errors, executor
from aideon_agents.models import Models
from aideon_agents.state import ModelRequest

ANSWER = json.dumps({"choices": [{"message": {"content": "Warm."}, "finish_reason": "stop"}]})
MODEL = ("together:m",)


def ask(address, *, stream=False, timeout=None):
    settings = Settings(together_api_key="key", together_base_url=address)
    request = ModelRequest(role="executor", model=MODEL, timeout=timeout)
    return Models(settings).chat(request, Context(stream=stream)).ainvoke("Heat pumps.")


def certificate(folder):
    """A certificate for 127.0.0.1 that vouches for itself, and its key, in one PEM file."""
    file = folder / "own.pem"
    made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    about = ["-subj", "/CN=own", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [*made.split(), *about, "-keyout", file, "-out", folder / "part.pem"],
        check=True,
        capture_output=True,
    )
    file.write_bytes(file.read_bytes() + (folder / "part.pem").read_bytes())
    return file


async def read_request(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
    await reader.readexactly(int(length or 0))
    return head.decode()


@contextlib.asynccontextmanager
async def serving(serve, **options):
    """The port of a server."""

    async def quietly(reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(quietly, "127.0.0.1", 0, **options)
    yield server.sockets[0].getsockname()[1]
    server.close()


def response(body=ANSWER, *lines):
    fields = "\r\n".join(["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *lines])
    return f"{fields}\r\n\r\n{body}".encode()


async def answer_all(reader, writer):
    while True:
        await read_request(reader)
        writer.write(response())
        await writer.drain()


@pytest.fixture
def secure(tmp_path):
    """The TLS settings of a server, and the file of its certificate."""
    file = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    return context, file


async def test_a_certificate_of_ones_own_is_trusted_where_the_environment_names_it(
    secure, monkeypatch
):
    context, file = secure
    async with serving(answer_all, ssl=context) as port:
        with pytest.raises(errors.AllModelsFailed, match=r"(?i)certificate"):
            await ask(f"https://127.0.0.1:{port}/v1", timeout=5)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    async with serving(answer_all, ssl=context) as port:  # settings are read once per address
        assert (await ask(f"https://127.0.0.1:{port}/v1")).text == "Warm."


async def test_https_goes_through_the_tunnel_of_a_proxy(secure, monkeypatch):
    context, file = secure
    heads = []

    async def tunnel(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        heads.append(head.decode())
        host, _, port = head.split()[1].decode().rpartition(":")
        there, back = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def copy(source, target):
            while data := await source.read(65536):
                target.write(data)
                await target.drain()

        await asyncio.wait(
            [asyncio.create_task(copy(reader, back)), asyncio.create_task(copy(there, writer))],
            return_when=asyncio.FIRST_COMPLETED,
        )
        back.close()

    async with serving(answer_all, ssl=context) as port, serving(tunnel) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@127.0.0.1:{proxy}")
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        assert (await ask(f"https://127.0.0.1:{port}/v1")).text == "Warm."
    request, *fields = heads[0].split("\r\n")
    assert request == f"CONNECT 127.0.0.1:{port} HTTP/1.1"
    assert "Proxy-Authorization: Basic bWU6c2VjcmV0" in fields
    assert not any("Bearer" in field for field in fields)


async def test_a_proxy_that_refuses_the_tunnel_was_sent_nothing(monkeypatch, quick):
    async def refuse(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    async with serving(refuse) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy}")
        monkeypatch.setenv("NO_PROXY", "")
        with pytest.raises(
            errors.AllModelsFailed, match="the proxy answered 403, see HTTPS_PROXY"
        ) as failed:
            await ask("https://models.example/v1")
    assert failed.value.__cause__.billed is False


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("login", "said"),
    [("", "wants a user and a password"), ("me:secret@", "does not take the user")],
)
async def test_a_proxy_that_wants_a_password_is_named_once_and_is_no_providers_failure(
    monkeypatch, tmp_path, scheme, login, said
):
    asked = []

    async def refuse(reader, writer):
        asked.append(await read_request(reader))
        writer.write(
            b"HTTP/1.1 407 Proxy Authentication Required\r\n"
            b'Proxy-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n'
        )

    variable = f"{scheme.upper()}_PROXY"
    async with serving(refuse) as proxy:
        monkeypatch.setenv(variable, f"http://{login}127.0.0.1:{proxy}")
        monkeypatch.setenv("NO_PROXY", "")
        address = f"{scheme}://{uuid.uuid4().hex}.example/v1"
        settings = Settings(together_api_key="key", together_base_url=address)
        node = executor("work", model=["together:m", "together:n"])
        with Ledger(tmp_path / "ledger.db") as ledger:
            with pytest.raises(errors.UserError, match=f"{variable} {said}") as refused:
                await arun(node, "Task.", settings=settings, ledger=ledger)
            (run,) = ledger.runs()
            (row,) = ledger.calls(run.run_id)
    assert (row.status, row.cost_nanousd, row.error_type) == ("error", 0, "UserError")
    assert len(asked) == 1
    assert "secret" not in str(refused.value)


async def test_a_kept_connection_that_the_server_closes_costs_no_answer(quick):
    """It closes without a word, as a server does whose time for an idle connection is over."""
    connections = []

    async def close_after_one(reader, writer):
        connections.append(0)
        await read_request(reader)
        writer.write(response(ANSWER, "Connection: keep-alive"))
        await writer.drain()

    async with serving(close_after_one) as port:
        for _ in range(5):
            assert (await ask(f"http://127.0.0.1:{port}/v1")).text == "Warm."
    assert len(connections) == 5


async def test_a_kept_connection_that_is_reset_as_a_request_comes_is_asked_again(quick):
    connections = []

    async def reset_the_second(reader, writer):
        connections.append(0)
        await read_request(reader)
        writer.write(response())
        await writer.drain()
        await reader.read(1)  # the next request begins
        writer.transport.abort()

    async with serving(reset_the_second) as port:
        for _ in range(3):
            assert (await ask(f"http://127.0.0.1:{port}/v1")).text == "Warm."
    assert len(connections) == 3


def endless(begin, part):
    async def send(reader, writer):
        await read_request(reader)
        writer.write(begin)
        for _ in range(200):
            writer.write(part)
            await writer.drain()

    return send


LINE = b"X-Filler: " + b"x" * 1000 + b"\r\n"
OK, BROKEN = b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 500 Broken\r\n"
JSON, EVENTS = b"Content-Type: application/json\r\n", b"Content-Type: text/event-stream\r\n"
MB = 2**20


@pytest.mark.parametrize(
    ("begin", "part"),
    [
        (OK + JSON + b"\r\n", b" " * MB),
        (BROKEN + JSON + b"\r\n", b" " * MB),
        (OK + EVENTS + b"\r\n", b": comment " * (MB // 10)),
        (OK + EVENTS + b"\r\ndata: ", b"x" * MB),
        (OK, LINE * 1000),
        (OK + b"X-Long: ", b"x" * MB),
        (b"HTTP/1.1 200 ", b"x" * MB),
        (OK + JSON + b"Transfer-Encoding: chunked\r\n\r\n", b"1;" + b"x" * MB),
    ],
    ids=["body", "error", "comment", "event", "headers", "header", "status", "chunk"],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_two_hundred_megabytes_are_an_error_in_little_memory(quick, begin, part, stream):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with serving(endless(begin, part)) as port:
        with pytest.raises(errors.AllModelsFailed):
            await ask(f"http://127.0.0.1:{port}/v1", stream=stream, timeout=20)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024 < 250
