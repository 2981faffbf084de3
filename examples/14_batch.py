"""A batch: many items through one workflow, one line each, and what all of them cost."""

import asyncio
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from aideon_agents import abatch, creative, executor, sequential

graph = sequential(executor("facts"), creative("text"), name="notes")
items = [{"id": f"pump-{number}", "task": f"Pump {number} moves heat."} for number in range(1, 6)]


async def main(folder: Path) -> None:
    """Run the items; the same call again would only run what is not done."""
    result = await abatch(
        graph,
        items,
        folder / "out.jsonl",
        max_concurrency=3,
        budget="0.50",
        rehearse=True,
        ledger=folder / "ledger.db",
    )
    print(f"{result.completed} of {result.items} completed, ${result.usd}")
    for line in map(json.loads, (folder / "out.jsonl").read_text("utf-8").splitlines()):
        print(line["id"], line["status"], line["output"])


with TemporaryDirectory() as folder:
    asyncio.run(main(Path(folder)))
