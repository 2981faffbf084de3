"""Loopback servers that speak the wire of Anthropic and of Gemini, as far as LangChain asks for it.

They follow Anthropic's reference of the Messages API and of its streams, and Google's reference of
`models.generateContent` and `models.streamGenerateContent`.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_google_genai import ChatGoogleGenerativeAI

from aideon_agents import Settings

KEY = "sk-given-0123456789abcdef"
CLAUDE, GEMINI = "claude-opus-4-7", "gemini-2.5-flash"
INPUT, OUTPUT = 40, 12
"""The tokens of every answer."""


class Wire:
    """A server with a script: each answer is a text, a call of a tool, a status, or `cut`."""

    def __init__(self, *script):
        self.script = list(script)
        self.bodies, self.headers = [], []
        self.reached = threading.Event()
        self.released = threading.Event()
        handler = type("Handler", (_Handler,), {"wire": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.wire.bodies.append(body)
        self.wire.headers.append(dict(self.headers))
        answer = self.wire.script.pop(0)
        self.wire.reached.set()
        if answer == "hang":
            self.wire.released.wait(30)
            answer = "late"
        if isinstance(answer, int):
            self._send(answer, json.dumps(self.refusal(answer)), [("retry-after", "0")])
        elif self.streams(body):
            events = list(self.events(answer, body))
            whole = "".join(events if answer != "cut" else events[:-2])
            self._send(200, whole, kind="text/event-stream")
        else:
            self._send(200, json.dumps(self.whole(answer, body)))

    def _send(self, status, text, headers=(), kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text.encode())))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())


class _Anthropic(_Handler):
    def refusal(self, status):
        kinds = {401: "authentication_error", 429: "rate_limit_error", 529: "overloaded_error"}
        message = f"x-api-key {self.headers['x-api-key']} is not right" if status == 401 else "no"
        error = {"type": kinds.get(status, "api_error"), "message": message}
        return {"type": "error", "error": error}

    def streams(self, body):
        return body.get("stream")

    def _message(self, body):
        usage = {"input_tokens": INPUT, "output_tokens": OUTPUT}
        shared = {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"]}
        return {**shared, "stop_sequence": None, "usage": usage}

    def whole(self, answer, body):
        if isinstance(answer, dict):
            block = {"type": "tool_use", "id": "toolu_1", **answer}
            return {**self._message(body), "content": [block], "stop_reason": "tool_use"}
        block = {"type": "text", "text": answer}
        return {**self._message(body), "content": [block], "stop_reason": "end_turn"}

    def events(self, answer, body):
        begun = {**self._message(body), "content": [], "stop_reason": None}
        begun["usage"] = {"input_tokens": INPUT, "output_tokens": 1}
        yield _sse("message_start", message=begun)
        if isinstance(answer, dict):
            raw = (
                answer["input"] if isinstance(answer["input"], str) else json.dumps(answer["input"])
            )
            block = {"type": "tool_use", "id": "toolu_1", "name": answer["name"], "input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": raw}]
        else:
            block = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": f"{word} "} for word in answer.split()]
        yield _sse("content_block_start", index=0, content_block=block)
        for delta in deltas:
            yield _sse("content_block_delta", index=0, delta=delta)
        yield _sse("content_block_stop", index=0)
        reason = answer.get("reason", "tool_use") if isinstance(answer, dict) else "end_turn"
        ends = {"stop_reason": reason, "stop_sequence": None}
        yield _sse(
            "message_delta", delta=ends, usage={"input_tokens": INPUT, "output_tokens": OUTPUT}
        )
        yield _sse("message_stop")


def _sse(kind, **values):
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **values})}\n\n"


class _Gemini(_Handler):
    def refusal(self, status):
        names = {401: "UNAUTHENTICATED", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}
        return {"error": {"code": status, "message": "no", "status": names.get(status, "INTERNAL")}}

    def streams(self, body):
        return "streamGenerateContent" in self.path

    def _part(self, answer):
        if isinstance(answer, dict):
            return {"functionCall": {"name": answer["name"], "args": answer["input"]}}
        return {"text": answer}

    def _response(self, part, output, reason=None):
        candidate = {"content": {"role": "model", "parts": [part]}, "index": 0}
        if reason:
            candidate["finishReason"] = reason
        counts = {"promptTokenCount": INPUT, "candidatesTokenCount": output}
        usage = {**counts, "totalTokenCount": INPUT + output}
        return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": GEMINI}

    def whole(self, answer, body):
        return self._response(self._part(answer), OUTPUT, "STOP")

    def events(self, answer, body):
        first, last = (answer, None) if isinstance(answer, dict) else (f"{answer} ", "indeed")
        responses = [self._response(self._part(first), 5, None if last else "STOP")]
        if last:
            responses.append(self._response(self._part(last), OUTPUT, "STOP"))
        for response in responses:
            yield f"data: {json.dumps(response)}\n\n"


@pytest.fixture
def serve(request):
    """Start a server for one of the two, with a script."""

    def start(kind, *script):
        wire = Wire(*script)
        handler = {"anthropic": _Anthropic, "google": _Gemini}[kind]
        wire._server.RequestHandlerClass = type("Handler", (handler,), {"wire": wire})
        request.addfinalizer(wire.close)
        return wire

    return start


def model(kind, wire, **options):
    """A chat model of an integration that asks a server."""
    if kind == "anthropic":
        known = {"model": CLAUDE, "base_url": wire.url, "api_key": KEY}
        return ChatAnthropic(**{**known, **options})
    known = {"model": GEMINI, "base_url": wire.url, "api_key": KEY}
    return ChatGoogleGenerativeAI(**{**known, **options})


@pytest.fixture
def settings(tmp_path):
    return Settings(ledger=f"sqlite:///{tmp_path / 'ledger.db'}", _env_file=None)
