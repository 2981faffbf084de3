"""Calls that are held, made and settled by hand, each with the next number for a name."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import itertools
import json
import queue
import threading
from typing import TYPE_CHECKING, Any

import pytest

from aideon_agents import Budget
from aideon_agents.ledger.budgets.limits import CallDimensions, nanousd
from aideon_agents.ledger.rows import Call, CallEnd, Run

if TYPE_CHECKING:
    from aideon_agents.ledger.store import Ledger

LONGEST = 60
"""Seconds after which a test gives up on what it waits for."""
NOON = "2026-11-21T12:00:00.000Z"


@dataclasses.dataclass
class Till:
    """A run in a ledger, and what its calls ask for. Amounts are nano-dollars."""

    ledger: Ledger
    run_id: str
    user: str | None = "ada"
    numbers: Any = dataclasses.field(default_factory=lambda: itertools.count(1))

    def place(self, **given: Any) -> CallDimensions:
        known = {"at": NOON, "run": self.run_id, "user": self.user, "node": "draft"}
        return CallDimensions(**{**known, "tier": "free", "provider": "together"} | given)

    def take(self, amount: int | None, **given: Any) -> Any:
        """Hold an amount for a new call; returns its name, or the refusal."""
        call_id = f"{self.run_id}-{next(self.numbers)}"
        return self.ledger.budgets.take(call_id, self.place(**given), amount) or call_id

    def row(self, call_id: str, **given: Any) -> Call:
        place = self.place(**given)
        return Call(
            call_id=call_id,
            run_id=place.run or "",
            node_path=place.node,
            provider=place.provider,
            started_at=place.at,
            role="creative",
            requested_model="m",
        )

    def begin(self, call_id: str, **given: Any) -> str:
        self.ledger.start_call(self.row(call_id, **given))
        return call_id

    def end(self, call_id: str, cost: int | None) -> bool:
        end = CallEnd(status="ok", duration_ms=1, cost_nanousd=cost)
        return self.ledger.finish_call(call_id, end)

    def spend(self, amount: int | None, **given: Any) -> str:
        """A whole call that costs what was held."""
        call_id = self.take(amount, **given)
        self.begin(call_id, **given)
        self.end(call_id, amount)
        return call_id

    def accounts(self) -> dict[str, tuple[int, int]]:
        """What is spent and held, by account."""
        rows = self.ledger.select("SELECT * FROM accounts")
        return {row["account"]: (row["spent_nanousd"], row["held_nanousd"]) for row in rows}

    @property
    def own(self) -> tuple[int, int]:
        """What is spent and held of the run."""
        return self.accounts()[f"run:{self.run_id}"]

    def status(self, call_id: str) -> str:
        """What has become of a hold."""
        (row,) = self.ledger.select("SELECT status FROM holds WHERE call_id = :c", {"c": call_id})
        return row["status"]


@pytest.fixture
def till_for():
    """Starts a run that may cost so many nano-dollars; None: nothing of its own limits it."""

    def start(ledger, limit=None, *, user="ada", **budget):
        total = None if limit is None else f"{limit / 10**9:.9f}"
        given = Budget(total, **budget) if limit is not None or budget else None
        run = Run(workflow="article", user=user, tier="free")
        assert limit is None or nanousd(total) == limit
        return Till(ledger, ledger.start_run(run, given), user)

    return start


@pytest.fixture
def till(ledger, till_for):
    """One run that may cost 100 nano-dollars."""
    return till_for(ledger, 100)


class Endpoint:
    """A server that takes what is posted to it, says no under /no, and hangs under /hang."""

    def __init__(self) -> None:
        self.posted: queue.Queue[tuple[str, dict]] = queue.Queue()
        self.go_on = threading.Event()
        endpoint = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.posted.put((self.path, body))
                if "/hang" in self.path:
                    endpoint.go_on.wait(LONGEST)
                with contextlib.suppress(OSError):
                    if "/moved" in self.path:
                        self.send_response(302)
                        self.send_header("Location", "/")
                    else:
                        self.send_response(500 if "/no" in self.path else 200)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"json://127.0.0.1:{self.server.server_port}"

    def all(self):
        """What was posted until now."""
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self.posted.get_nowait())
        return found


@pytest.fixture
def endpoint():
    made = Endpoint()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    made.go_on.set()
    made.server.shutdown()
    made.server.server_close()
    thread.join()
