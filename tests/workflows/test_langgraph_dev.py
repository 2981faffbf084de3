"""`langgraph dev` serves the ready-made workflows, offline and without a key."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
_START_TIMEOUT = 90.0


def _post(address: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        address, json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def _wait_until_up(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/ok", timeout=2).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    pytest.fail(log.read_text(encoding="utf-8", errors="replace")[-3000:])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a `langgraph dev` over a copy of the repository's graphs."""
    folder = tmp_path_factory.mktemp("dev")
    for name in ("workflows", "aideon_agents"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("langgraph.json", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    (folder / ".env").touch()
    log = folder / "server.log"
    command = Path(sys.executable).with_name("langgraph")
    with contextlib.ExitStack() as open_:
        # Held while the server has it, so that nobody else is given it before.
        held = open_.enter_context(socket.socket())
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        output = open_.enter_context(log.open("wb"))
        process = subprocess.Popen(
            [command, "dev", "--no-browser", "--no-reload", "--port", str(port)],
            cwd=folder,
            env={**os.environ, "AIDEON_OFFLINE": "1", "LANGSMITH_TRACING": "false"},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        open_.enter_context(process)
        try:
            _wait_until_up(f"http://127.0.0.1:{port}", process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def test_every_ready_made_workflow_is_served(server: str):
    served = {one["graph_id"] for one in _post(f"{server}/assistants/search", {})}
    assert served == {path.stem for path in (ROOT / "workflows").glob("*.py")}


def test_a_served_workflow_runs_rehearsed_without_a_key(server: str):
    body = {"assistant_id": "brief", "input": {"task": "Heat pumps move heat. They need power."}}
    results = _post(f"{server}/runs/wait", body)["results"]
    assert results["refine"]["role"] == "iterative"
    assert "heat" in results["refine"]["content"]
