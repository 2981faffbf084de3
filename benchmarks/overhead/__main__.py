"""What a call costs the CPU beside the bare client, LangGraph and other frameworks.

Each participant is a process of its own, and all take turns in one run, against a server that answers
at once. The figures are CPU milliseconds per call (user and system, all threads) and their ratio to
`ChatOpenAI.ainvoke` in the same round; medians, with the lowest and the highest ratio. Other
frameworks are measured with `--peers FOLDER`, where each gets an environment of its own. At the end,
`fallback.py` measures how soon a fallback is asked.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import statistics
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

HERE = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Row:
    """One participant."""

    name: str
    title: str
    calls: int
    """Calls in one unit of its work."""
    against: str
    """The participant that it is divided by."""
    must: float | None = None
    goal: float | None = None


ROWS = (
    Row("client", "ChatOpenAI.ainvoke, three calls", 3, "client"),
    Row("langgraph", "LangGraph alone, three nodes", 3, "client"),
    Row("sequential", "ours, three agents in turn", 3, "client", 0.85, 0.55),
    Row("client_parallel", "ChatOpenAI.ainvoke, three at once and one", 4, "client_parallel"),
    Row("parallel", "ours, three at once and one", 4, "client_parallel", 1.0, 0.65),
    Row("budget_end", "with a budget, state kept at the end", 3, "client", 1.1, 0.75),
    Row("budget_each_step", "with a budget, state kept at each step", 3, "client", 1.6, 1.2),
    Row("foreign_handler", "with another callback handler", 3, "client", 1.1, 0.80),
    Row("large_ledger", "three agents in turn, a million rows / none", 3, "sequential", 1.05, 1.0),
    Row("client_stream", "ChatOpenAI.astream, 20 chunks", 1, "client_stream"),
    Row("stream", "our chain, 20 chunks", 1, "client_stream", 0.50, 0.30),
)
PEERS = {
    "agno": ("agno", ["agno", "openai"]),
    "openai_agents": ("OpenAI Agents SDK", ["openai-agents"]),
    "pydantic_ai": ("Pydantic AI", ["pydantic-ai-slim[openai]"]),
    "litellm": ("LiteLLM Router", ["litellm"]),
}
MOST_MEMORY = 1.25
"""Peak memory of ours against LangGraph alone."""


class Participant:
    """A process that works when it is asked to."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(HERE), "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        )
        self._read()
        self.memory = 0
        """The most that it has used, in MiB."""

    def work(self, times: int) -> float:
        """Do its work some times; returns CPU seconds."""
        assert self._process.stdin
        self._process.stdin.write(f"{times}\n")
        self._process.stdin.flush()
        seconds, memory = self._read().split()
        self.memory = int(memory) // 1024
        return float(seconds)

    def end(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(timeout=30)

    def _read(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a participant ended: {self._process.args}")
        return line


@contextlib.contextmanager
def serving() -> Generator[str]:
    """The address of a server in a process of its own."""
    with subprocess.Popen(
        [sys.executable, str(HERE / "server.py")], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"
        server.terminate()


def peers(folder: Path, address: str) -> dict[str, list[str]]:
    """The commands of other frameworks, each in an environment that is made when it is missing."""
    commands: dict[str, list[str]] = {}
    for name, (_, packages) in PEERS.items():
        python = folder / name / "bin" / "python"
        if not python.exists():
            print(f"installing {' '.join(packages)}", file=sys.stderr)
            subprocess.run([sys.executable, "-m", "venv", str(folder / name)], check=True)
            install = [str(python), "-m", "pip", "install", "--quiet", *packages]
            subprocess.run(install, check=True)
        commands[name] = [str(python), str(HERE / "peers" / f"{name}_peer.py"), address]
    return commands


def main() -> None:
    """Measure, print, and exit with 1 if a figure is above its bar."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--runs", type=int, default=40, help="units of work in a round")
    parser.add_argument("--only", nargs="*", help="participants; default all")
    parser.add_argument(
        "--peers", type=Path, help="folder for the environments of other frameworks"
    )
    given = parser.parse_args()
    rows = [row for row in ROWS if not given.only or row.name in given.only]
    needed = {row.against for row in rows}
    rows = [row for row in ROWS if row in rows or row.name in needed]
    with serving() as address:
        own = [sys.executable, str(HERE / "participants.py"), address]
        commands = {row.name: [*own, row.name] for row in rows}
        if given.peers:
            commands |= peers(given.peers.absolute(), address)
            rows += [Row(name, title, 3, "client") for name, (title, _) in PEERS.items()]
        taking_part = {name: Participant(command) for name, command in commands.items()}
        seconds = {name: list[float]() for name in taking_part}
        for _ in range(given.rounds):
            for name, one in taking_part.items():
                seconds[name].append(one.work(given.runs))
        memory = {name: one.memory for name, one in taking_part.items()}
        for one in taking_part.values():
            one.end()
    is_over = report(rows, seconds, memory, given.runs)
    if not given.only:
        is_over = (
            subprocess.run([sys.executable, str(HERE / "fallback.py")], check=False).returncode
            or is_over
        )
    sys.exit(is_over)


def report(
    rows: list[Row], seconds: dict[str, list[float]], memory: dict[str, int], runs: int
) -> bool:
    """Print the figures; returns whether one is above its bar."""
    calls = {row.name: row.calls for row in rows}
    is_over = False
    print(
        f"{'':44} {'ms/call':>8} {'ratio':>6} {'lowest':>7} {'highest':>8} {'MiB':>5}  must  goal"
    )
    for row in rows:
        own = [one / runs / row.calls for one in seconds[row.name]]
        base = [one / runs / calls[row.against] for one in seconds[row.against]]
        ratios = [one / other for one, other in zip(own, base, strict=True)]
        ratio = statistics.median(ratios)
        is_over = is_over or (row.must is not None and ratio > row.must)
        bars = f"{row.must:5.2f} {row.goal:5.2f}" if row.must else ""
        print(
            f"{row.title:44} {statistics.median(own) * 1000:8.2f} {ratio:6.2f} {min(ratios):7.2f} "
            f"{max(ratios):8.2f} {memory[row.name]:5} {bars}"
        )
    if {"sequential", "langgraph"} <= memory.keys():
        share = memory["sequential"] / memory["langgraph"]
        is_over = is_over or share > MOST_MEMORY
        print(f"peak memory of ours / LangGraph alone: {share:.2f} (bar {MOST_MEMORY})")
    return is_over


if __name__ == "__main__":
    main()
