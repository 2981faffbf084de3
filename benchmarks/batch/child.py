"""One measurement, in a process of its own: as a batch, or as a bare loop over the same graph.

Prints a JSON line: wall and CPU seconds of the work, without the start of the process, and the peak
of its memory. A few items come first that are not counted: both ways import much when they begin.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from peak import peak_kb
from three_nodes import graph

from aideon_agents import Context, Settings, abatch
from aideon_agents.models import Models

TASK = (
    "Heat pumps move heat from outdoor air into a house. Installers are scarce in small towns."
    " Say whether a unit of 9 kW pays for house number"
)
FIRST = 10
"""Items that are not counted."""


async def bare(tasks: list[str], at_once: int, settings: Settings) -> int:
    """The shortest loop that does the same calls; returns how many items it finished."""
    turn = asyncio.Semaphore(at_once)
    context = Context(models=Models(settings))

    async def one(task: str) -> bool:
        async with turn:
            given = await graph.ainvoke({"task": task}, context=context)
        return len(given["results"]) == 3

    return sum(await asyncio.gather(*map(one, tasks)))


async def batch(tasks: list[str], at_once: int, settings: Settings, folder: Path) -> int:
    """The same as a batch; returns how many items it finished."""
    items = folder / "items.jsonl"
    items.write_text("".join(json.dumps({"task": task}) + "\n" for task in tasks), "utf-8")
    result = await abatch(
        graph,
        items,
        folder / "out.jsonl",
        max_concurrency=at_once,
        settings=settings,
        ledger=folder / "ledger.db",
    )
    return result.completed


def _done(way: str, tasks: list[str], at_once: int, settings: Settings) -> int:
    if way == "bare":
        return asyncio.run(bare(tasks, at_once, settings))
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(batch(tasks, at_once, settings, Path(folder)))


def main() -> None:
    """Run one of the two, and print what it took."""
    way, base_url, items, at_once = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    settings = Settings(
        together_api_key="key",  # pyright: ignore[reportArgumentType] - pydantic makes it a secret
        together_base_url=base_url,
        model_concurrency=at_once,
    )
    tasks = [f"{TASK} {number}." for number in range(items)]
    _done(way, tasks[:FIRST], at_once, settings)
    wall, cpu = time.perf_counter(), time.process_time()
    done = _done(way, tasks, at_once, settings)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(json.dumps({"done": done, "wall_s": wall, "cpu_s": cpu, "rss_kb": peak_kb("self")}))


if __name__ == "__main__":
    main()
