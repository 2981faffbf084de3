"""What starting costs: wall time, CPU time and peak memory of commands, on a warm disk.

    python benchmarks/startup.py [--rounds N] [--against PYTHON]

Prints medians of the rounds. `first run` is `aideon run brief` without a key in an empty folder,
and `postgres: runs list` lists the runs of a ledger on a real server. `--against` runs the same
commands with another interpreter as well, in turn with this one, so that a busy machine weighs on
both. Leaves with 1 where this interpreter misses a bound: 0.1 s for the import, 0.4 s for help.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
AIDEON = ("-m", "aideon_agents")
RUN = (*AIDEON, "run", "brief", "--task", "Pumps move heat.")
COMMANDS: dict[str, tuple[str, ...]] = {
    "bare python": ("-c", "pass"),
    "import aideon_agents": ("-c", "import aideon_agents"),
    "aideon --help": (*AIDEON, "--help"),
    "aideon run --help": (*AIDEON, "run", "--help"),
    "aideon runs list": (*AIDEON, "runs", "list"),
    "aideon costs": (*AIDEON, "costs", "--rehearsed"),
    "aideon doctor": (*AIDEON, "doctor"),
    "first run": RUN,
    "postgres: runs list": (*AIDEON, "runs", "list"),
}
BOUNDS = {"import aideon_agents": 0.1, "aideon --help": 0.4, "aideon run --help": 0.4}

# In a small process of its own: a child's peak begins with the memory of the process that starts
# it, and this one has imported psycopg and pytest.
METER = """
import os, sys, time
began = time.perf_counter()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, used = os.wait4(pid, 0)
wall = time.perf_counter() - began
print(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@dataclasses.dataclass(frozen=True)
class Figures:
    """What one start took."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds, user and system."""
    memory: float
    """MiB at the peak."""


class Interpreter:
    """A Python with the package, a folder with a ledger, and a ledger on the server."""

    def __init__(self, python: str, folder: Path, ledger_url: str) -> None:
        self._python = python
        self._folder = folder
        dropped = ("AIDEON_", "TOGETHER_", "OPENAI_", "HF_", "PYTHONDONTWRITEBYTECODE")
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
        if python != sys.executable:
            self._environment.pop("PYTHONPATH", None)  # it names this package
        self._on_server = {**self._environment, "AIDEON_LEDGER": ledger_url}
        self._measured(RUN, folder, self._environment)
        self._measured(RUN, folder, self._on_server)

    def measure(self, name: str) -> Figures:
        """Run a command once."""
        with tempfile.TemporaryDirectory() as empty:
            return self._measured(
                COMMANDS[name],
                Path(empty) if name == "first run" else self._folder,
                self._on_server if name.startswith("postgres") else self._environment,
            )

    def _measured(
        self, arguments: tuple[str, ...], folder: Path, environment: dict[str, str]
    ) -> Figures:
        done = subprocess.run(
            [sys.executable, "-S", "-E", "-c", METER, self._python, *arguments],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"{self._python} {' '.join(arguments)}: {done.stderr}")
        return Figures(*map(float, done.stderr.splitlines()[-1].split()))


def postgres() -> contextlib.AbstractContextManager[Any]:
    """The server that the tests start."""
    spec = importlib.util.spec_from_file_location("serving", ROOT / "tests" / "conftest.py")
    if spec is None or spec.loader is None:
        raise SystemExit("tests/conftest.py starts the server: run this in a checkout")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.serving()


def median(taken: list[Figures]) -> Figures:
    """The median of each figure."""
    middle = statistics.median
    return Figures(
        wall=middle(one.wall for one in taken),
        cpu=middle(one.cpu for one in taken),
        memory=middle(one.memory for one in taken),
    )


def report(name: str, columns: list[Figures], bare: Figures) -> bool:
    """Print a command's line; tells whether it keeps its bound."""
    line = f"{name:22}" + "".join(
        f"  {one.wall:6.3f} s wall {one.cpu:6.3f} s CPU {one.memory:6.1f} MiB" for one in columns
    )
    if len(columns) > 1:
        ours, other = columns
        line += f"  {ours.wall / other.wall:.2f} of its wall, {ours.memory / other.memory:.2f} of its memory"
    bound = BOUNDS.get(name)
    if bound is None:
        print(line)
        return True
    own = columns[0].wall - (bare.wall if name.startswith("import") else 0)
    print(f"{line}  {own:.3f} s of its own, bound {bound} s")
    return own < bound


def main() -> None:
    """Print the medians; leave with 1 where a bound is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--against", metavar="PYTHON", help="another interpreter, in pairs")
    given = parser.parse_args()
    pythons = [sys.executable, *([given.against] if given.against else [])]
    taken: list[dict[str, list[Figures]]] = [{name: [] for name in COMMANDS} for _ in pythons]
    with contextlib.ExitStack() as kept:
        server = kept.enter_context(postgres())
        interpreters = [
            Interpreter(
                python,
                Path(kept.enter_context(tempfile.TemporaryDirectory())),
                server.new_schema(),
            )
            for python in pythons
        ]
        for name in COMMANDS:  # warms the disk
            for interpreter in interpreters:
                interpreter.measure(name)
        for number in range(given.rounds):
            order = list(zip(interpreters, taken, strict=True))
            for name in COMMANDS:
                for interpreter, figures in order if number % 2 else reversed(order):
                    figures[name].append(interpreter.measure(name))
    if given.against:
        print(f"{'':22}  {sys.executable}  {given.against}")
    medians = [{name: median(found) for name, found in figures.items()} for figures in taken]
    kept_all = [
        report(name, [each[name] for each in medians], medians[0]["bare python"])
        for name in COMMANDS
    ]
    sys.exit(not all(kept_all))


if __name__ == "__main__":
    main()
