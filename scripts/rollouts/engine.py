"""What the engines share: commands, requests, and the state of a rollout, which outlives the script."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import urllib.request
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

ROOT = Path(__file__).resolve().parents[2]
ASK = urllib.request.build_opener(urllib.request.ProxyHandler({}))
LONG = 120
"""Characters of a word of a command that is not shown: it is a program."""
PROBES = ("/readyz", "/sign-in")
STEPS_OF = (
    "import json; from aideon_agents.ledger.schema import BREAKING, STEPS; "
    "print(json.dumps({s.__name__: s.__name__ in BREAKING for s in STEPS}))"
)


def run(*command: str | Path, text: str | None = None) -> str:
    """Run a command and give what it prints. One that fails ends the rollout."""
    shown = [*map(str, command)]
    shown = shown[5:] if shown[0] == "/bin/sh" else shown  # the shell reads settings
    print("  $", *(word for word in shown if len(word) < LONG), flush=True)
    try:
        done = subprocess.run(
            list(map(str, command)),
            cwd=ROOT,
            input=text,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    except OSError as error:
        raise SystemExit(f"deploy: {command[0]}: {error.strerror}") from None
    if done.returncode:
        print(done.stdout, end="", flush=True)
        raise SystemExit(f"deploy: `{command[0]}` ended with {done.returncode}: see above")
    return done.stdout


def get(url: str) -> str:
    """Ask one of our own services, never through a proxy."""
    with ASK.open(url, timeout=10) as answer:
        return answer.read().decode()


class Engine:
    """Starts, asks and ends versions. `state` has `now`, `next` (or None), and the `share` of `next`."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked = asked
        home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
        self.folder = Path(asked.folder or Path(home, "aideon", asked.environment)).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.held = self._hold()
        self.state: dict[str, Any] = {"now": None, "next": None, "share": 0} | self.kept()

    def _hold(self) -> IO[str]:
        """Keep other scripts away from this environment, until this one ends."""
        held = (self.folder / "lock").open("a")
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if self.asked.up:
                raise SystemExit(0) from None
            raise SystemExit(
                f"deploy: another scripts/deploy works in {self.folder}: wait for its end"
            ) from None
        return held

    def kept(self) -> dict[str, Any]:
        """The state that an earlier call has kept."""
        file = self.folder / "state.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

    def keep(self, **changed: Any) -> None:
        """Change the state, and keep it for a later call."""
        self.state |= changed
        new = self.folder / "state.json.new"
        new.write_text(json.dumps(self.state), encoding="utf-8")
        new.replace(self.folder / "state.json")

    def resume(self) -> bool:
        """Bring up what the state says, say after a reboot; whether there is a version that answers."""
        return self.state["now"] is not None

    def steps(self, which: str) -> dict[str, bool] | None:
        """The steps of a version's ledger, and whether each is breaking; None: it cannot be asked."""
        raise NotImplementedError

    def check(self) -> None:
        """Refuse a version that changes the ledger in a way beside which the old one cannot work."""
        if not self.state["now"]:
            return
        new, old = self.steps("next"), self.steps("now")
        if new is None or old is None:
            print("  whether it changes the ledger is not known: a version has no bin/python")
        elif breaking := [
            name for name, is_breaking in new.items() if is_breaking and name not in old
        ]:
            raise SystemExit(
                f"deploy: {breaking[0]} changes the ledger so that the old version cannot go on: "
                "back up the ledger, end the old version, and install the new one without a rollout"
            )

    def ask(self, path: str) -> str:
        """Ask the new version."""
        raise NotImplementedError

    @property
    def has_ended(self) -> bool:
        """Whether the new version cannot become ready any more."""
        return False

    def ready(self) -> None:
        """Raise an error unless the new version can take requests."""
        self.ask("/readyz")

    def probe(self) -> None:
        """Ask the new version what no key is needed for."""
        for path in PROBES:
            self.ask(path)
