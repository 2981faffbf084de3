"""A server that sends exactly what a test says, and a chain and an agent that ask it."""

from __future__ import annotations

import contextlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from bodies import STREAM

from aideon_agents import Context, CostHandler, Ledger, Settings, executor, sequential
from aideon_agents.ledger.rows import Run
from aideon_agents.models import Models, fallbacks
from aideon_agents.state import ModelRequest


class Server(ThreadingHTTPServer):
    """Sends its answers one after the other, the last one again and again."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[Any] = []
        """Bodies: a dict is JSON, bytes are a stream, a tuple is a status and a dict."""
        self.asked: list[Any] = []
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def messages(self, request: int = -1) -> list[dict[str, Any]]:
        """The messages of a request."""
        return self.asked[request]["messages"]


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        self.server.asked.append(json.loads(self.rfile.read(length)))
        answers = self.server.answers
        answer = answers[min(len(self.server.asked), len(answers)) - 1]
        status, sent = answer if isinstance(answer, tuple) else (200, answer)
        data = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
        self.send_response(status)
        self.send_header("content-type", STREAM if isinstance(sent, bytes) else "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fallbacks, "_FIRST_PAUSE", 0.001)
    made = Server()
    thread = Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def settings(server):
    address = server.url
    return Settings(
        together_api_key="key",
        together_base_url=address,
        openai_api_key="key",
        openai_base_url=address,
        local_base_url=address,
    )


class Asking:
    """Asks the server, with a ledger of its own."""

    def __init__(self, server: Server, settings: Settings, ledger: Ledger) -> None:
        self._server = server
        self._settings = settings
        self._ledger = ledger
        self.rows: list[Any] = []
        """The rows of what was asked last."""

    async def _run(self, asked: Any, question: Any, **options: Any) -> Any:
        run_id = self._ledger.start_run(Run(workflow="question"))
        config = {"callbacks": [CostHandler(self._ledger, run_id=run_id)]}
        del self._server.asked[:]
        try:
            return await asked.ainvoke(question, config, **options)
        finally:
            self.rows = self._ledger.calls(run_id)

    async def model(
        self,
        *answers: Any,
        model: str = "local:m",
        stream: bool = False,
        tools: Any = (),
        question: Any = "Heat pumps.",
        **bound: Any,
    ) -> Any:
        """The message of a model that gets these answers."""
        self._server.answers = list(answers)
        request = ModelRequest(role="executor", model=(model,))
        chain: Any = Models(self._settings).chat(request, Context(stream=stream))
        chain = chain.bind_tools(list(tools), **bound) if tools else chain
        return await self._run(chain, question)

    async def agent(
        self, *answers: Any, model: str = "local:m", stream: bool = False, **options: Any
    ) -> Any:
        """The result of an agent whose model gets these answers."""
        self._server.answers = list(answers)
        graph = sequential(executor("work", model=model, **options))
        context = Context(models=Models(self._settings), stream=stream)
        values = await self._run(graph, {"task": "Heat pumps."}, context=context)
        return values["results"]["work"]


@pytest.fixture
def asking(server, settings, tmp_path):
    with Ledger(tmp_path / "ledger.db") as ledger:
        yield Asking(server, settings, ledger)
