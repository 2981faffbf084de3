"""What one model call passes inside the package, from `arun` to the wire.

Runs a workflow of one node twice, through the real HTTP client to the simulated provider, with a
SQLite ledger and a budget, and counts the files and functions of `aideon_agents` that the second
run calls before its request leaves. Exits with 1 above the bounds; `--list` names them in order.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp.http import StreamWriter

import aideon_agents
from aideon_agents import Settings, arun, executor, sequential
from aideon_agents.testing import SimulatedProvider

if TYPE_CHECKING:
    from types import FrameType

MAX_FILES = 40
MAX_FUNCTIONS = 150

_PACKAGE = f"{Path(aideon_agents.__file__).parent}/"
_PROVIDER = f"{_PACKAGE}testing/"  # the simulated provider runs in the same process
_WIRE = StreamWriter.write.__code__
_INNER = ("<genexpr>", "<listcomp>", "<dictcomp>", "<setcomp>", "<module>")
"""Code objects that are parts of a function, and from Python 3.12 on mostly not even that."""

_LENGTHS = itertools.count(2)
"""Words of the traced task. A call of a new size is not in the cache of prices, so that each trace in
a process finds the same functions."""


class _Trace:
    """Notes each function of the package, once, in the order in which they are called."""

    def __init__(self) -> None:
        self.is_on = False
        self.passed: dict[tuple[str, str], None] = {}

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if not self.is_on or event != "call":
            return
        code = frame.f_code
        if code is _WIRE:
            self.is_on = False
            return
        file = code.co_filename
        if not file.startswith(_PACKAGE) or file.startswith(_PROVIDER) or code.co_name in _INNER:
            return
        self.passed[file.removeprefix(_PACKAGE), code.co_qualname] = None


async def _second_run(settings: Settings, trace: _Trace) -> None:
    graph = sequential(executor())
    await arun(graph, "a task", settings=settings, budget=1)
    trace.is_on = True
    result = await arun(graph, "a task " * next(_LENGTHS), settings=settings, budget=1)
    result.raise_for_status()


def trace() -> list[tuple[str, str]]:
    """The functions that a warm run calls before its request leaves, as (file, name)."""
    found = _Trace()
    with tempfile.TemporaryDirectory() as folder, SimulatedProvider(announce=False) as provider:
        settings = Settings(
            together_api_key="key",
            together_base_url=provider.base_url,
            ledger=f"{folder}/ledger.db",
        )
        # Threads that the first run starts are traced in the second.
        threading.setprofile(found)
        sys.setprofile(found)
        try:
            asyncio.run(_second_run(settings, found))
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
    if found.is_on:
        raise RuntimeError("the run sent no request over HTTP")
    return list(found.passed)


def measure(passed: list[tuple[str, str]] | None = None) -> tuple[int, int]:
    """How many files and functions of the package a warm run passes."""
    passed = trace() if passed is None else passed
    return len({file for file, _ in passed}), len(passed)


def main() -> None:
    """Print the figures; exit with 1 above a bound."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--list", action="store_true", help="name the functions in order")
    is_list = parser.parse_args().list
    passed = trace()
    for file, name in passed if is_list else ():
        print(f"{file:36} {name}")
    files, functions = measure(passed)
    print(f"{files} files (bound {MAX_FILES}), {functions} functions (bound {MAX_FUNCTIONS})")
    sys.exit(files > MAX_FILES or functions > MAX_FUNCTIONS)


if __name__ == "__main__":
    main()
