"""One provider for every test of this room, whose faults depend on the key that asks.

And a server that sends exactly what a test says, for what no provider documents.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from aideon_agents import Budget, Context, CostHandler, Ledger, Settings
from aideon_agents.ledger.rows import Run
from aideon_agents.models import Models, fallbacks, features
from aideon_agents.state import ModelRequest
from aideon_agents.testing import Rate, SimulatedProvider
from aideon_agents.testing.simulated.faults import draw

PRIMARY = "together:openai/gpt-oss-120b"
OTHER = "openai:gpt-4o-mini"
PRICE = Rate(150, 600)
"""What both models cost, in nano-dollars a token."""
PUMPS = "Heat pumps move heat from outdoor air into a house. Installers are scarce."


@dataclasses.dataclass(frozen=True)
class Asked:
    """What came of one question to a chain."""

    answer: Any
    """None: it raised."""
    error: BaseException | None
    rows: list[Any]
    requests: list[Any]
    bill: list[Any]

    @property
    def outcomes(self) -> list[tuple[str, str | None]]:
        """Status and error type of each row."""
        return [(row.status, row.error_type) for row in self.rows]

    @property
    def tries(self) -> list[tuple[int, int]]:
        """Candidate and attempt of each row."""
        return [(row.candidate, row.attempt) for row in self.rows]


class Counter:
    """Where chains are asked: each has keys, and so breakers, of its own."""

    def __init__(self, ledger: Ledger, provider: SimulatedProvider, plans: dict[str, Any]) -> None:
        self._ledger = ledger
        self._provider = provider
        self._plans = plans

    def settings(self, faults: Any = (), **given: Any) -> Settings:
        """Settings whose Together key meets the faults; OpenAI's is healthy."""
        key = f"together-key-{next(_NUMBERS)}"
        self._plans[key] = draw(faults)
        address = self._provider.base_url
        known = {"together_api_key": key, "together_base_url": address}
        known |= {"openai_api_key": f"openai-{key}", "openai_base_url": address}
        return Settings(**known | given)

    async def ask(
        self,
        faults: Any = (),
        *,
        stream: bool = False,
        settings: Settings | None = None,
        question: Any = PUMPS,
        output: Any = None,
        budget: Any = None,
        **request: Any,
    ) -> Asked:
        """Ask a chain of two models one question, which may cost so many nano-dollars."""
        asked = ModelRequest(**{"role": "planner", "model": (PRIMARY, OTHER)} | request)
        models = Models(settings or self.settings(faults))
        chain: Any = models.chat(asked, Context(stream=stream))
        return await self.ask_chain(
            chain.with_structured_output(output) if output else chain, question, budget
        )

    async def ask_chain(self, chain: Any, question: Any = PUMPS, budget: Any = None) -> Asked:
        """Ask a chain that is at hand."""
        limit = None if budget is None else Budget(f"{budget / 10**9:.9f}")
        run_id = self._ledger.start_run(Run(workflow="question"), limit)
        handler = CostHandler(self._ledger, run_id=run_id)
        seen, billed = len(self._provider.requests), len(self._provider.bill.calls)
        answer = error = None
        try:
            answer = await chain.ainvoke(question, {"callbacks": [handler]})
        except Exception as raised:  # noqa: BLE001 - what it raised is what a test looks at
            error = raised
        return Asked(
            answer,
            error,
            self._ledger.calls(run_id),
            self._provider.requests[seen:],
            self._provider.bill.calls[billed:],
        )


_NUMBERS = itertools.count(1)


class Server(ThreadingHTTPServer):
    """Sends its answers one after the other, the last one again and again."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[Any] = []
        """A dict is sent as JSON, bytes as a stream, a tuple is a status, a body and headers; a
        function gets the request's body and returns one of these."""
        self.asked: list[Any] = []
        """The bodies of the requests; None: a GET."""
        self.headers: list[Any] = []
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def messages(self, request: int = -1) -> list[dict[str, Any]]:
        """The messages of a request."""
        return self.asked[request]["messages"]


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        server, length = self.server, self.headers["content-length"]
        server.asked.append(json.loads(self.rfile.read(int(length))) if length else None)
        server.headers.append(self.headers)
        answer = server.answers[min(len(server.asked), len(server.answers)) - 1]
        answer = answer(server.asked[-1]) if callable(answer) else answer
        status, sent, *more = answer if isinstance(answer, tuple) else (200, answer)
        data = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
        kind = "text/event-stream" if isinstance(sent, bytes) else "application/json"
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        for name, value in (more[0] if more else {}).items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(data)

    do_GET = do_POST  # noqa: N815 - the standard library's name

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(quick):
    made = Server()
    thread = Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture(autouse=True)
def nobodys(monkeypatch):
    """An environment without keys: nothing here may ask a real provider."""
    for field in Settings.model_fields.values():
        for variable in field.validation_alias.choices:
            monkeypatch.delenv(variable, raising=False)


@pytest.fixture(autouse=True)
def unlearnt():
    """What one test teaches about a model is forgotten."""
    for known in features._known.values():
        known.forget()


@pytest.fixture(scope="session")
def plans():
    return {}


@pytest.fixture(scope="session")
def provider(plans):
    def fault_for(request: Any) -> Any:
        plan = plans.get(request.key)
        return plan(request) if plan else None

    rates = {PRIMARY.partition(":")[2]: PRICE, OTHER.partition(":")[2]: PRICE}
    with SimulatedProvider(announce=False, faults=fault_for, rates=rates) as running:
        yield running


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.db") as opened:
        yield opened


@pytest.fixture
def counter(ledger, provider, plans):
    return Counter(ledger, provider, plans)


@pytest.fixture
def quick(monkeypatch):
    """Retries come at once; how long the pause is has a test of its own."""
    monkeypatch.setattr(fallbacks, "_FIRST_PAUSE", 0.001)
