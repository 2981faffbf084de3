"""HTTP under the chat models: connections that belong to their loop, limits, proxies, certificates."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
import json
import os
import resource
import socketserver
import textwrap
import threading
import time
import uuid

import pytest
import warm
from yarl import URL

from aideon_agents import Context, Settings, errors
from aideon_agents.models import Models, transport
from aideon_agents.models.protocol import ways
from aideon_agents.state import ModelRequest
from aideon_agents.testing import SimulatedProvider

REQUEST = ModelRequest(role="planner", model=("together:m", "openai:m"))


def test_two_loops_one_after_the_other_ask_the_same_model(counter):
    models = Models(counter.settings())
    chain = models.chat(REQUEST, Context())
    first, second = (asyncio.run(counter.ask_chain(chain)) for _ in range(2))
    for asked in (first, second):
        assert [(row.candidate, row.status) for row in asked.rows] == [(0, "ok")]


def test_loops_in_many_threads_ask_at_the_same_time(counter):
    models = Models(counter.settings())
    said = []

    def ask():
        answer = asyncio.run(models.chat(REQUEST, Context()).ainvoke("Heat pumps."))
        said.append(answer.text)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == ["Heat pumps."] * 8


async def test_connections_are_kept_between_calls():
    ports = set()

    class Watching(SimulatedProvider):
        async def _connected(self, reader, writer):
            ports.add(writer.get_extra_info("peername"))
            await super()._connected(reader, writer)

    with Watching() as provider:
        settings = Settings(together_api_key="key", together_base_url=provider.base_url)
        for _ in range(5):
            await Models(settings).chat(REQUEST, Context()).ainvoke("Heat pumps.")
        assert (len(ports), provider.bill.requests) == (1, 5)


class Counting(SimulatedProvider):
    """Knows how many connections are open."""

    open = 0

    async def _connected(self, reader, writer):
        self.open += 1
        await super()._connected(reader, writer)
        self.open -= 1


def test_a_loop_that_ends_takes_its_client_and_its_connections_along():
    known = transport._by_loop
    before = len(known)
    with Counting() as provider:
        settings = Settings(together_api_key="key", together_base_url=provider.base_url)
        for _ in range(3):
            asyncio.run(Models(settings).chat(REQUEST, Context()).ainvoke("Heat pumps."))
        deadline = time.monotonic() + 60
        while provider.open and time.monotonic() < deadline:
            time.sleep(0.005)
        assert (provider.open, provider.bill.requests, len(known)) == (0, 3, before)


def test_nothing_is_left_open_when_the_loop_ends(tmp_path):
    script = tmp_path / "ask.py"
    script.write_text(
        textwrap.dedent(
            """
            import asyncio, gc
            from aideon_agents import Context, Settings
            from aideon_agents.models import Models
            from aideon_agents.state import ModelRequest
            from aideon_agents.testing import SimulatedProvider

            request = ModelRequest(role="planner", model=("together:m",))

            async def ask(settings):
                chains = [Models(settings).chat(request, Context()) for _ in range(3)]
                await asyncio.gather(*(chain.ainvoke("Heat pumps.") for chain in chains))

            with SimulatedProvider() as provider:
                settings = Settings(together_api_key="k", together_base_url=provider.base_url)
                asyncio.run(ask(settings))
                asyncio.run(ask(settings))
                Models(settings).chat(request, Context()).invoke("Heat pumps.")
                gc.collect()
                print(provider.bill.requests)
            """
        )
    )
    environment = os.environ | {"PYTHONWARNINGS": "error"}
    done = warm.run([script], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "7\n", "")


def test_a_netrc_entry_does_not_replace_the_key(tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with SimulatedProvider(keys={"the-key"}) as provider:
        settings = Settings(together_api_key="the-key", together_base_url=provider.base_url)
        asyncio.run(Models(settings).chat(REQUEST, Context()).ainvoke("Heat pumps."))
        assert provider.bill.calls[0].key_tail == "-key"


@pytest.fixture
def raw():
    """A server that answers every request with the given bytes, in parts; it keeps what it received."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            head = b""
            while b"\r\n\r\n" not in head:
                if not (part := self.request.recv(65536)):
                    return
                head += part
            server.heads.append(head.decode("latin-1"))
            with contextlib.suppress(OSError):
                for part in server.parts:
                    self.request.sendall(part)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        server.parts, server.heads = [], []
        server.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def head(*lines, status="200 OK"):
    return "\r\n".join([f"HTTP/1.1 {status}", "Connection: close", *lines, "", ""]).encode()


def ask(url, *, stream=False, timeout=None, **settings):
    """Ask `together:m` at an address, alone."""
    models = Models(Settings(together_api_key="key", together_base_url=url, **settings))
    request = ModelRequest(role="planner", model=("together:m",), timeout=timeout)
    return models.chat(request, Context(stream=stream)).ainvoke("Heat pumps.")


def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


@pytest.mark.parametrize("status", ["200 OK", "500 Internal Server Error"])
async def test_a_small_body_that_unpacks_to_a_gigabyte_is_an_error_in_little_memory(
    raw, quick, status
):
    bomb = gzip.compress(bytes(2**28), 1)
    raw.parts = [head("Content-Encoding: gzip", status=status), bomb]
    before = memory()
    with pytest.raises(errors.AllModelsFailed) as failed:
        await ask(raw.url)
    assert ("more than 64 MB" in str(failed.value)) == (status == "200 OK")
    assert memory() - before < 300


async def test_a_packed_answer_is_read(raw):
    answer = {"choices": [{"message": {"content": "Warm."}, "finish_reason": "stop"}]}
    raw.parts = [head("Content-Encoding: gzip"), gzip.compress(json.dumps(answer).encode())]
    assert (await ask(raw.url)).text == "Warm."


async def test_a_stream_without_an_end_of_its_event_is_an_error(raw, quick):
    raw.parts = [head("Content-Type: text/event-stream"), b"data: ", *[b"x" * 2**20] * 20]
    with pytest.raises(errors.AllModelsFailed, match="an event of more than 16 MB"):
        await ask(raw.url, stream=True)


def endless(then):
    """Words without a pause; something happens once some of them are sent."""
    chunk = {"choices": [{"delta": {"content": "word "}, "finish_reason": None}]}
    for number in itertools.count():
        yield f"data: {json.dumps(chunk)}\n\n".encode() * 20
        time.sleep(0.001)
        if number == 100:
            then()


async def test_a_time_limit_holds_in_a_stream_that_never_pauses(raw, quick, pass_time):
    words = endless(lambda: pass_time(60))
    raw.parts = itertools.chain([head("Content-Type: text/event-stream")], words)
    with pytest.raises(errors.AllModelsFailed, match="no answer in time"):
        await ask(raw.url, stream=True, timeout=60)


async def test_a_cancellation_ends_a_stream_that_never_pauses(raw):
    flows, loop = asyncio.Event(), asyncio.get_running_loop()
    words = endless(lambda: loop.call_soon_threadsafe(flows.set))
    raw.parts = itertools.chain([head("Content-Type: text/event-stream")], words)
    asking = asyncio.create_task(ask(raw.url, stream=True))
    await flows.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
async def test_events_end_with_any_line_end_wherever_the_network_cuts_them(raw, end):
    chunk = {"choices": [{"delta": {"content": "Grüße "}, "finish_reason": None}]}
    last = {"choices": [{"delta": None, "finish_reason": "stop"}]}
    lines = [b"retry: 100", b"id: 1", b": a comment", b"data:", b"event: message"]
    events = [
        end[: len(end) // 2].join(lines),
        *(b"data: " + json.dumps(one).encode() for one in [chunk] * 3 + [last]),
    ]
    sent = end.join([*events, b"data: [DONE]", b""])
    raw.parts = [
        head("Content-Type: text/event-stream"),
        *(sent[at : at + 1] for at in range(len(sent))),
    ]
    assert (await ask(raw.url, stream=True)).text == "Grüße Grüße Grüße "


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed_with_the_key(raw, quick, status):
    raw.parts = [head(f"Location: {raw.url}/else", "Content-Length: 0", status=f"{status} Moved")]
    with pytest.raises(errors.AideonError):
        await ask(raw.url)
    assert not any("/else" in one.partition("\r\n")[0] for one in raw.heads)


async def test_a_proxy_gets_the_request_unless_the_host_is_excepted(raw, monkeypatch):
    answer = json.dumps({"choices": [{"message": {"content": "Warm."}, "finish_reason": "stop"}]})
    raw.parts = [head(f"Content-Length: {len(answer)}"), answer.encode()]
    monkeypatch.setenv(
        "HTTP_PROXY", raw.url.replace("http://", "http://me:secret@").removesuffix("/v1")
    )
    assert (await ask("http://models.example/v1")).text == "Warm."
    request, *fields = raw.heads[0].split("\r\n")
    assert request == "POST http://models.example/v1/chat/completions HTTP/1.1"
    assert "Proxy-Authorization: Basic bWU6c2VjcmV0" in fields
    monkeypatch.setenv("NO_PROXY", "models.example")
    assert ways.proxy_for(URL("http://models.example")) == {}
    assert ways.proxy_for(URL("http://other.example")) != {}


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:9"),
        ("HTTP_PROXY", "ftp://here"),
        ("HTTP_PROXY", "http://"),
    ],
)
async def test_a_proxy_that_cannot_be_used_names_its_variable(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(errors.UserError, match=variable):
        await ask(f"http://{uuid.uuid4().hex}.example/v1")  # a proxy is looked up once per origin


async def test_certificates_that_cannot_be_read_name_their_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "gone.pem"))
    with pytest.raises(errors.UserError, match="SSL_CERT_FILE"):
        await ask("https://127.0.0.1:9/v1")


async def test_a_server_that_is_off_was_sent_nothing(quick):
    with pytest.raises(errors.AllModelsFailed, match="cannot be reached") as failed:
        await ask("http://127.0.0.1:9/v1")
    assert failed.value.__cause__.billed is False
