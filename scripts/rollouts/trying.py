"""Try a version by itself: serve its workflows in a rehearsal, and run each over HTTP.

Runs in the image or in the release, with a ledger that is thrown away: no model is called.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from pathlib import Path

ASK = urllib.request.build_opener(urllib.request.ProxyHandler({}))
REFUSED = 422


def asked(url: str, body: dict[str, str] | None = None) -> dict[str, object]:
    """Ask for a document; a workflow that takes more than a task gives none."""
    heads = {"Content-Type": "application/json", "Prefer": "wait=60"}
    data = None if body is None else json.dumps(body).encode()
    try:
        with ASK.open(urllib.request.Request(url, data, heads), timeout=90) as answer:  # noqa: S310 -- ours
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        if error.code == REFUSED:
            return {}
        raise SystemExit(f"{url} answers {error.code}: {error.read(500).decode()}") from None
    except (OSError, ValueError) as error:
        raise SystemExit(f"{url}: {error}") from None


def main() -> None:
    """Serve and ask; the words are the program and its flags."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as until_end:
        known = os.environ | {"AIDEON_LEDGER": f"sqlite:///{Path(name)}/ledger.db"}
        words = [sys.argv[1], "serve", "--rehearse", "--port", "0", *sys.argv[2:]]
        served = subprocess.Popen(words, env=known, stderr=subprocess.PIPE, text=True)
        until_end.callback(served.wait, 60)
        until_end.callback(served.terminate)
        stderr = served.stderr or sys.exit("no stderr")
        for line in stderr:
            if found := re.search(r"on (http://\S+)", line):
                break
            print(line, end="", file=sys.stderr)
        else:
            raise SystemExit("it does not start: see above")
        threading.Thread(target=stderr.read, daemon=True).start()  # a full pipe would stop it
        for one in asked(f"{found[1]}/api/v1/workflows")["items"]:  # type: ignore[attr-defined]
            said = asked(f"{found[1]}/api/v1/runs", {"workflow": one["name"], "task": "Heat pumps"})
            if said.get("status", "waiting") not in {"completed", "waiting"}:
                raise SystemExit(f"a run of {one['name']} is {said['status']}: {said.get('error')}")
            print(f"  {one['name']}: {said.get('status', 'takes more than a task, not tried')}")


if __name__ == "__main__":
    main()
