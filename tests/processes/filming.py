"""A small server on this machine that makes videos as Runway, Together and Replicate do."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aideon_agents.media.rehearsal import mp4

SCHEMA = {"prompt": {}, "seconds": {}, "fps": {}, "image": {}, "video": {}, "seed": {}}
BEGIN = {"text_to_video", "image_to_video", "video_to_video", "videos", "predictions"}


class Films:
    """Answers each look at a job as a test says, and keeps what it was asked."""

    def __init__(self):
        self.asked = []
        """The method, the path, the headers and the body of each request."""
        self.begun = {}
        """The body of each job, by its id."""
        self.looks = []
        """What a look at a job answers, in order: a document, or a status; the last one stays."""
        self.refusal = {}
        """By the path that begins a job: the status and the document that refuse it."""
        self.files = [(200, mp4(5))]
        """What a download answers, in order; the last one stays."""
        self.first_look = threading.Event()
        self.goes_on = threading.Event()
        """Looks wait for it."""
        self.goes_on.set()
        self.cancelled = []
        handler = type("Handler", (_Handler,), {"films": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def environment(self):
        return {
            "RUNWAYML_API_SECRET": "runway-key-123456",
            "RUNWAYML_BASE_URL": self.address,
            "REPLICATE_API_TOKEN": "replicate-key-123456",
            "REPLICATE_BASE_URL": self.address,
            "TOGETHER_API_KEY": "together-key-123456",
            "TOGETHER_BASE_URL": f"{self.address}/v1",
        }

    def close(self):
        self.goes_on.set()
        self.server.shutdown()
        self.server.server_close()

    def answer(self, method, path, body):
        """The status and the document, or the bytes, for a request."""
        parts = path.strip("/").split("/")
        if method == "DELETE" or parts[-1] == "cancel":
            self.cancelled.append(path)
            return 204, b""
        if parts[-1] in BEGIN and method == "POST":
            if parts[-1] in self.refusal:
                return self.refusal[parts[-1]]
            job = f"job-{len(self.begun)}"
            self.begun[job] = json.loads(body)
            return 200, {"id": job, "status": "starting"}
        if parts[0] == "files":
            return _next(self.files)
        if parts[-1] in self.begun:
            self.first_look.set()
            self.goes_on.wait(60)
            look = _next(self.looks)
            return (look, {"error": "no"}) if isinstance(look, int) else (200, look)
        return self._model(parts)

    @staticmethod
    def _model(parts):
        if parts[:2] == ["v1", "models"]:
            schemas = {"schemas": {"Input": {"properties": SCHEMA}}}
            version = {"openapi_schema": {"components": schemas}}
            return 200, version if "versions" in parts else {"latest_version": version}
        return 404, {"error": "no such address"}

    def runway(self, status="SUCCEEDED", **more):
        """A task as Runway shows it."""
        done = {"output": [f"{self.address}/files/one"], "cost": {"credits": 60}}
        return {"status": status, **(done if status == "SUCCEEDED" else {}), **more}

    def together(self, cost=0.28, **more):
        """A job as Together shows it, which is done."""
        outputs = {"video_url": f"{self.address}/files/one", "cost": cost}
        return {"object": "video", "status": "completed", "outputs": outputs, **more}

    def replicate(self, **more):
        """A prediction as Replicate shows it, which is done."""
        made = {"output": [f"{self.address}/files/one"], "metrics": {"predict_time": 12.5}}
        return {"status": "succeeded", **made, **more}


def _next(answers):
    return answers.pop(0) if len(answers) > 1 else answers[0]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.films.asked.append((self.command, self.path, dict(self.headers), body))
        status, data = self.films.answer(self.command, self.path, body)
        kind = "video/mp4" if isinstance(data, bytes) else "application/json"
        data = data if isinstance(data, bytes) else json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")  # else its socket stays open after the test
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_DELETE = do_POST  # noqa: N815 - http.server's names
