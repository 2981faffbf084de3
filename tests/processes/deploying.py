"""What a rollout is tried with: releases, `scripts/deploy` as a process, and users who never ask twice."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import httpx2
from rollouts.processes import Daemon

ROOT = Path(__file__).parents[2]
ASK = urllib.request.build_opener(urllib.request.ProxyHandler({}))

# It answers as far as the script asks. A word in place of a mode makes it fail in one way.
VERSION = """
import http.server, json, sys, threading
mode, words = sys.argv[1], sys.argv[2:]
if words[0] == "doctor":
    sys.exit(mode == "unmigrated")
ports = dict(zip(words, words[1:]))
if mode == "ends" and ports["--port"] != "0":
    sys.exit("no module named brief")
counted = {"200": 0, "500": 0}
class Answering(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        route, status = self.path.partition("?")[0], 200
        if route == "/metrics":
            body = "".join(self._lines())
        elif route.startswith("/api/v1/me"):
            status = 200 if mode == "open" else 401
            body = "{}"
        elif route == "/who" or (self.command, route) == ("POST", "/api/v1/runs"):
            status = 500 if mode == "errors" else 200
            counted[str(status)] += 1
            body = NAME
        else:
            body = '{"items": []}'
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())
    do_POST = do_GET
    def _lines(self):
        slow = mode == "slow"
        for le in ("0.1", "2.5", "10", "+Inf"):
            number = 0 if slow and le in ("0.1", "2.5") else counted["200"]
            yield f'aideon_request_seconds_bucket{{le="{le}",route="/r",status="200"}} {number}\\n'
        for status, number in counted.items():
            yield f'aideon_request_seconds_count{{route="/r",status="{status}"}} {number}\\n'
    def log_message(self, *_):
        pass
class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    def handle_error(self, *_):
        pass
serving = Server(("127.0.0.1", int(ports["--port"])), Answering)
if "--metrics-port" in ports:
    metrics = Server(("127.0.0.1", int(ports["--metrics-port"])), Answering)
    threading.Thread(target=metrics.serve_forever, daemon=True).start()
print(f"serving on http://127.0.0.1:{serving.server_port}", file=sys.stderr, flush=True)
serving.serve_forever()
"""


def release(folder: Path, name: str, mode: str | None = None) -> Path:
    """A version: the package that is tested, or with a `mode` a program that says its name at /who."""
    place = folder / name
    (place / "bin").mkdir(parents=True)
    words = [sys.executable, "-m", "aideon_agents"]
    if mode is not None:
        program = place / "version.py"
        program.write_text(VERSION.replace("NAME", repr(name)), encoding="utf-8")
        words = [sys.executable, "-S", "-E", str(program), mode]
    command = place / "bin/aideon"
    command.write_text(f'#!/bin/sh\nexec {" ".join(words)} "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    python = place / "bin/python"
    said = json.dumps({"m001_first": False} | ({"m999_new": True} if mode == "breaking" else {}))
    what = f'exec {sys.executable} "$@"' if mode is None else f"echo '{said}'"
    python.write_text(f"#!/bin/sh\n{what}\n", encoding="utf-8")
    python.chmod(0o755)
    return place


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Environment:
    """One environment of `scripts/deploy`, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "state"
        self.folder.mkdir()
        self.releases = folder / "releases"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.variables = dict(os.environ)

    def words(self, name: str, *flags: str) -> list[str]:
        script = str(ROOT / "scripts/deploy")
        given = {
            "--environment": "staging",
            "--engine": "processes",
            "--folder": str(self.folder),
            "--release": str(self.releases / name),
            "--version": name,
            "--port": str(self.port),
            "--watch": "0",
            "--drain": "60",
        }
        return [sys.executable, script, *(word for pair in given.items() for word in pair), *flags]

    def deploy(self, name: str, *flags: str) -> tuple[int, str]:
        """Run the script to its end: its exit code, and what it said."""
        done = subprocess.run(
            self.words(name, *flags),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
            env=self.variables,
        )
        return done.returncode, done.stdout

    @property
    def state(self) -> dict:
        return json.loads((self.folder / "state.json").read_text(encoding="utf-8"))

    def processes(self) -> dict[str, int]:
        """The living processes that the script has started, by the names of their files."""
        found = {}
        for file in self.folder.iterdir():
            if (file.name == "nginx" or file.name.isdigit()) and Daemon(file).is_alive:
                found[file.name] = int(file.read_text())
        return found

    def kill(self) -> None:
        """End everything at once, as a reboot does."""
        for pid in self.processes().values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        until = time.monotonic() + 60
        while self.processes() and time.monotonic() < until:
            time.sleep(0.05)

    def who(self, key: str, *, is_post: bool = False) -> str:
        """The version that answers a key."""
        path, data = ("/api/v1/runs", b"{}") if is_post else ("/who", None)
        asked = urllib.request.Request(f"{self.url}{path}", data, {"x-api-key": key})
        with ASK.open(asked, timeout=60) as answer:
            return answer.read().decode()


class Users:
    """Users with a key each, who send runs until the end of the block, and each request once."""

    def __init__(self, url: str, keys: list[str]) -> None:
        self.url = url
        self.keys = keys
        self.lost: list[str] = []
        self.completed: list[str] = []
        self.kinds = collections.Counter()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ending.set()
        self._thread.join()

    async def _all(self) -> None:
        await asyncio.gather(*(self._user(*one) for one in enumerate(self.keys)))

    async def _user(self, number: int, key: str) -> None:
        heads = {"x-api-key": key} if number % 2 else {"Authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(base_url=self.url, headers=heads, timeout=60) as client:
            nth = number
            while not self._ending.is_set():
                nth += 1
                kind = (self._wait, self._watch, self._poll)[nth % 3]
                task = f"task-{number}-{nth}"
                try:
                    run = await kind(client, task)
                    if run["status"] != "completed" or task not in run["output"]:
                        self.lost.append(f"{kind.__name__} {task}: {run}")
                    self.completed.append(run["run_id"])
                    self.kinds[kind.__name__] += 1
                    await asyncio.sleep(0.2)  # leaves the machine to the versions
                except Exception as error:  # noqa: BLE001 - whatever it is, the request is lost
                    self.lost.append(f"{kind.__name__} {task}: {error!r}")

    async def _wait(self, client, task):
        heads = {"Prefer": "wait=60"}
        body = {"workflow": "one", "task": task}
        answer = await client.post("/api/v1/runs", json=body, headers=heads)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def _start(self, client, task):
        answer = await client.post("/api/v1/runs", json={"workflow": "one", "task": task})
        assert answer.status_code == 202, answer.text
        return answer.headers["Location"]

    async def _watch(self, client, task):
        """Read the stream of a run to its last event, which has the run."""
        at = await self._start(client, task)
        kind, run = "", {}
        async with client.stream("GET", f"{at}/events") as stream:
            assert stream.status_code == 200
            async for line in stream.aiter_lines():
                kind = line[7:] if line.startswith("event: ") else kind
                if line.startswith("data: ") and kind == "run_ended":
                    run = json.loads(line[6:])
        return run

    async def _poll(self, client, task):
        at = await self._start(client, task)
        while True:
            answer = await client.get(at)
            assert answer.status_code == 200, answer.text
            if (run := answer.json())["status"] != "running":
                return run
            await asyncio.sleep(0.1)


# It does what the script asks of Docker: what a container says, by the words of the command.
DOCKER = """
import re, sys
from pathlib import Path
words, state = sys.argv[1:], Path(STATE)
with (state / "commands").open("a") as log:
    print(*(one for one in words if len(one) < 99), file=log)
said = " ".join(words)
if "BREAKING" in said:
    print("{}")
elif "/rollout-mark" in said:
    print(re.search('return 200 "(.*)"', (state / "nginx/nginx.conf").read_text())[1], end="")
elif "/metrics" in said:
    failing = "service-next" in said and (state / "failing").exists()
    count = (state / "commands").read_text().count("/metrics")
    print(f'aideon_request_seconds_count{{route="/r",status="{500 if failing else 200}"}} {count}')
"""


class Containers(Environment):
    """An environment of the engine `compose`, with a program in place of Docker."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        tool = folder / "docker"
        program = DOCKER.replace("STATE", repr(str(self.folder)))
        tool.write_text(f"#!{sys.executable}\n{program}", encoding="utf-8")
        tool.chmod(0o755)
        (self.folder / "nginx").mkdir()
        given = {
            "POSTGRES_PASSWORD": "secret",
            "AIDEON_IMAGE": "aideon-agents:old",
            "AIDEON_NGINX": self.folder / "nginx",
        }
        text = "".join(f"{name}={value}\n" for name, value in given.items())
        (self.folder / "env").write_text(text, encoding="utf-8")
        self.variables["AIDEON_CONTAINERS"] = str(tool)

    def words(self, name: str, *flags: str) -> list[str]:
        return super().words(name, "--engine", "compose", *flags)

    def commands(self) -> str:
        """What was asked of Docker since the last call."""
        file = self.folder / "commands"
        said = file.read_text(encoding="utf-8")
        file.write_text("", encoding="utf-8")
        return said
