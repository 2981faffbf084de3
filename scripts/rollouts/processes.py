"""Two `aideon serve` behind nginx, without containers."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rollouts.engine import ROOT, STEPS_OF, Engine, get, run
from rollouts.nginx import nginx_conf

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

# Keys and other settings are in the file `env` of the folder; the ledger is there unless they name one.
SETTINGS = (
    'set -a; test ! -f "$0/env" || . "$0/env"; '
    ': "${AIDEON_LEDGER:=sqlite:///$0/ledger.db}" "${AIDEON_PUBLIC_URL:=http://$1}"; '
    'shift; exec "$@"'
)
DEFAULTS = {"serve": "--workflow brief=brief", "host": "127.0.0.1", "port": 8080}
"""Of flags that later calls remember."""
WITHIN = 15.0
"""Seconds for nginx to answer with a new configuration."""


class Daemon:
    """A process that outlives the script. While it lives it holds a lock on a file with its id.

    So a number that another process has got since, after a reboot say, is not taken for it.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    @property
    def is_alive(self) -> bool:
        """Whether it holds its lock."""
        with self.file.open("a") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def start(self, *words: str | Path) -> None:
        """Start it. The shell writes the id, so that it is known even if this script is killed."""
        with self.file.open("a") as held, self.file.with_suffix(".log").open("ab") as log:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held.truncate(0)  # of an earlier process
            subprocess.Popen(
                ["/bin/sh", "-c", 'echo $$ > "$0"; exec "$@"', self.file, *words],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[held.fileno()],
            )

    def signal(self, number: int) -> None:
        """Send it a signal if it lives."""
        if self.is_alive:
            os.kill(self.pid, number)

    @property
    def pid(self) -> int:
        """The process, as long as it is alive."""
        return int(self.file.read_text())


def in_flight(port: int) -> int:
    """How many requests a version answers: nginx opens a connection for each. Linux tells."""
    found = 0
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        rows = table.read_text().splitlines()[1:] if table.is_file() else []
        found += sum(
            row[1].endswith(f":{port:04X}") and row[3] == "01" for row in map(str.split, rows)
        )
    return found


class Processes(Engine):
    """Each version is an environment of Python and a process, `now` and `next` of the state."""

    def __init__(self, asked: argparse.Namespace) -> None:
        super().__init__(asked)
        self.program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/sbin")
        if self.program is None:
            raise SystemExit(
                "deploy: nginx is missing: install it, such as apt install nginx-light"
            )
        given = {name: one for name in DEFAULTS if (one := getattr(asked, name)) is not None}
        self.state = DEFAULTS | {"leaving": []} | self.state | given
        host = f"[{self.state['host']}]" if ":" in self.state["host"] else self.state["host"]
        self.listen = f"{host}:{self.state['port']}"
        self._is_local = self.state["host"] in {"127.0.0.1", "::1", "localhost"}
        anywhere = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 -- asks this machine
        self._inside = f"{anywhere.get(host, host)}:{self.state['port']}"
        self.within = ("/bin/sh", "-c", SETTINGS, self.folder, self._inside)
        self.release = Path(asked.release or self.folder / "releases" / asked.version).resolve()
        self.nginx = Daemon(self.folder / "nginx")

    def aideon(self, release: str | Path, *words: str) -> list[str | Path]:
        """A command of a release, with the settings of the environment."""
        return [*self.within, Path(release, "bin/aideon"), *words]

    def daemon(self, version: dict[str, Any]) -> Daemon:
        """The process of a version."""
        return Daemon(self.folder / str(version["port"]))

    def build(self) -> None:
        done = self.release / "complete"
        if not self.asked.release and not done.is_file():
            run(sys.executable, "-m", "venv", "--clear", self.release)
            run(self.release / "bin/python", "-m", "pip", "install", "-q", f"{ROOT}[serve]")
            done.touch()
        if not self.state["now"]:
            self._write_command(self.release)

    def test(self) -> None:
        trying = ROOT / "scripts/rollouts/trying.py"
        words = (
            sys.executable,
            trying,
            self.release / "bin/aideon",
            *shlex.split(self.state["serve"]),
        )
        print(run(*self.within, *words), end="")

    def steps(self, which: str) -> dict[str, bool] | None:
        release = self.release if which == "next" else Path(self.state["now"]["release"])
        python = release / "bin/python"
        return json.loads(run(python, "-P", "-c", STEPS_OF)) if python.exists() else None

    def migrate(self) -> None:
        run(*self.aideon(self.release, "doctor"))

    def start(self) -> None:
        self._launch("next", {"version": self.asked.version, "release": str(self.release)})

    def _launch(self, which: str, version: dict[str, Any]) -> None:
        ports = []
        for _ in range(2):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                ports.append(free.getsockname()[1])
        version |= {"port": ports[0], "metrics": ports[1], "serve": self.state["serve"]}
        self.keep(**{which: version})  # before it starts: a later call finds it
        words = ("serve", "--port", str(ports[0]), "--metrics-port", str(ports[1]))
        words += tuple(shlex.split(version["serve"]))
        self.daemon(version).start(*self.aideon(version["release"], *words))

    def ask(self, path: str) -> str:
        return get(f"http://127.0.0.1:{self.state['next']['port']}{path}")

    @property
    def has_ended(self) -> bool:
        daemon = self.daemon(self.state["next"])
        if not daemon.is_alive:
            print(*daemon.file.with_suffix(".log").read_text().splitlines()[-9:], sep="\n")
        return not daemon.is_alive

    def metrics(self, which: str) -> str:
        return get(f"http://127.0.0.1:{self.state[which]['metrics']}/metrics")

    def shift(self, share: int) -> None:
        conf, mark = self.folder / "nginx.conf", secrets.token_hex(8)
        where = {
            name: f"127.0.0.1:{one['port']}" if (one := self.state[name]) else None
            for name in ("now", "next")
        }
        new = self.folder / "nginx.conf.new"
        new.write_text(
            nginx_conf(
                share,
                where["now"],
                where["next"],
                mark=mark,
                listen=self.listen,
                scratch=str(self.folder),
                log=str(self.folder / "nginx.log"),
                user="user root;\n" if os.geteuid() == 0 else "",
            )
        )
        run(self.program, "-t", "-q", "-c", new)
        self.keep(share=share)  # before nginx has it: whoever is killed here knows what may be
        new.replace(conf)
        if self.nginx.is_alive:
            self.nginx.signal(signal.SIGHUP)
        else:
            self.nginx.start(self.program, "-c", conf, "-g", "daemon off;")
        self._until_nginx_has(mark)

    def _until_nginx_has(self, mark: str) -> None:
        until = time.monotonic() + WITHIN
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                if get(f"http://{self._inside}/rollout-mark") == mark:
                    return
            time.sleep(0.1)
        raise SystemExit(
            f"deploy: nginx has not taken its configuration: see {self.folder}/nginx.log"
        )

    def finish(self) -> None:
        ended = [*self.state["leaving"], *filter(None, [self.state["now"]])]
        self.keep(now=self.state["next"], next=None, share=0, leaving=ended)
        self._write_command(self.state["now"]["release"])
        self.shift(0)
        self._leave()
        used = {Path(one["release"]).name for one in (self.state["now"], *ended)}
        for release in (self.folder / "releases").glob("*"):
            if release.name not in used:
                shutil.rmtree(release)

    def stop(self) -> None:
        self.keep(next=None, leaving=[*self.state["leaving"], self.state["next"]])
        self._leave()

    def _leave(self) -> None:
        """End the versions that get no requests any more, when they have answered theirs.

        What one that does not end has in progress, the other version continues.
        """
        for version in self.state["leaving"]:
            daemon, port = self.daemon(version), version["port"]
            if not version.get("told"):  # a second signal would end it at once
                time.sleep(1)  # a process of nginx from before the reload may have taken a request
                self._wait_while(lambda port=port: in_flight(port))
                daemon.signal(signal.SIGTERM)
                version["told"] = True
                self.keep()
            if self._wait_while(lambda daemon=daemon: daemon.is_alive):
                print(f"  {version['version']} has not ended in {self.asked.drain} s: it is killed")
                daemon.signal(signal.SIGKILL)
        self.keep(leaving=[])

    def _wait_while(self, is_so: Callable[[], object]) -> bool:
        """Wait for `--drain` seconds at most; whether it is still so."""
        until = time.monotonic() + self.asked.drain
        while (still := bool(is_so())) and time.monotonic() < until:
            time.sleep(0.2)
        return still

    def resume(self) -> bool:
        now, later = self.state["now"], self.state["next"]
        is_up = self.nginx.is_alive
        if later and not self.daemon(later).is_alive:
            print(f"{later['version']} has ended: it gets no requests any more", flush=True)
            self.keep(next=None, share=0)
            is_up = False
        if now and not self.daemon(now).is_alive:
            print(f"start {now['version']}, which should answer and does not run", flush=True)
            self._launch("now", now)
            self._wait_while(lambda: self.daemon(now).is_alive and not self._is_ready(now))
            is_up = False
        if now and not is_up:
            self.shift(self.state["share"])
        if now:
            self._write_command(now["release"])
        self._leave()
        return bool(now)

    def _is_ready(self, version: dict[str, Any]) -> bool:
        with contextlib.suppress(OSError):
            return bool(get(f"http://127.0.0.1:{version['port']}/readyz"))
        return False

    def probe(self) -> None:
        super().probe()
        if not self._is_local:
            with contextlib.suppress(urllib.error.HTTPError):
                self.ask("/api/v1/me")
                raise SystemExit(
                    f"nobody needs a key yet, and --host {self.state['host']} lets other machines in: "
                    f"make one with {self.folder}/aideon keys make USER"
                )

    def _write_command(self, release: str | Path) -> None:
        """Write the command `aideon` of this environment: its version, its settings and its ledger."""
        words = shlex.join(map(str, self.aideon(release)))
        file = self.folder / "aideon"
        file.write_text(f'#!/bin/sh\nexec {words} "$@"\n', encoding="utf-8")
        file.chmod(0o755)
