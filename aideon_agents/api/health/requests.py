"""What is recorded of each request: its time, and a line in the log."""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
import time
from typing import TYPE_CHECKING, Literal

from starlette.requests import Request

from aideon_agents.api import problems
from aideon_agents.api.health import metrics
from aideon_agents.api.passing import REQUEST_ID
from aideon_agents.ledger.identity import utc_text
from aideon_agents.ledger.redaction import without_keys

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LogKind = Literal["json", "text"]

_log = logging.getLogger("aideon_agents.api.requests")


class Requests:
    """Records each request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and record how it was answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                seconds = time.perf_counter() - began
                labels = scope["method"], _route(scope), str(status)
                metrics.REQUESTS.labels(*labels).observe(seconds)
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            if status:
                raise
            request_id = scope["state"]["request_id"]
            answer = problems.response(problems.of(error, Request(scope)), request_id)
            await answer(scope, receive, sending)
        finally:
            route, ms = _route(scope), round((time.perf_counter() - began) * 1000)
            error = scope.get("state", {}).get("error")
            if (feature := getattr(error, "feature", None)) and (
                unit := getattr(error, "unit", None)
            ):
                metrics.REFUSED.labels(feature, unit).inc()
            run_id = scope.get("path_params", {}).get("run_id")
            # The path itself may hold what is secret, such as the word of a sign-in link.
            about = {"method": scope["method"], "route": route, "status": status or 499, "ms": ms}
            words = " ".join(map(str, about.values()))
            about |= {"run_id": run_id} if run_id else {}
            _log.info("%s ms", words, extra={"fields": about})


def _route(scope: Scope) -> str:
    """The path of the route that answers, with names in place of ids; unknown paths are one."""
    if "route" not in scope:
        return "unknown"
    path = scope["path"]
    for name, value in scope.get("path_params", {}).items():
        path = path.replace(f"/{value}", f"/{{{name}}}", 1)
    return path


class _Line(logging.Formatter):
    """One line; as text, the lines of an exception follow."""

    def __init__(self, kind: LogKind) -> None:
        super().__init__()
        self._kind = kind

    def format(self, record: logging.LogRecord) -> str:
        """The line, without keys."""
        at, level = utc_text(dt.datetime.fromtimestamp(record.created, dt.UTC)), record.levelname
        text, request_id = record.getMessage(), getattr(record, "request_id", REQUEST_ID.get())
        error = self.formatException(record.exc_info) if record.exc_info else None
        if self._kind == "text":
            mark = f" [{request_id}]" if request_id else ""
            return without_keys(
                f"{at} {level.lower()} {text}{mark}" + (f"\n{error}" if error else "")
            )
        shown = {
            "time": at,
            "level": level.lower(),
            "logger": record.name,
            "message": without_keys(text),
            "request_id": request_id,
            **getattr(record, "fields", {}),
            **({"error": without_keys(error)} if error else {}),
        }
        return without_keys(json.dumps(shown, ensure_ascii=False, default=str))


def log_as(kind: LogKind) -> None:
    """Write this process's log to stderr, with a line for each request."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line(kind))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("aideon_agents").setLevel(logging.INFO)
