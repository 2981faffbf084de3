"""Batches of workers whose answers are kept, and whose items have pictures."""

from __future__ import annotations

import asyncio
import base64
import functools
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_pictures import jpeg, png

from aideon_agents import Settings
from aideon_agents.testing import SimulatedProvider

ONE = "from aideon_agents import executor, sequential\ngraph = sequential(executor('facts'))\n"
SLOW = """
import asyncio, pathlib
from aideon_agents import executor, sequential

async def slow(state):
    pathlib.Path("begun").touch()
    while not pathlib.Path("go").exists():
        await asyncio.sleep(0.02)
    return "slow"

graph = sequential(executor("facts"), slow)
"""
MODEL = {"executor": "together:Qwen/Qwen3.5-9B"}
CAT, DOG = png(640, 480), jpeg(30, 40)


@pytest.fixture
def paid(batch, worker, folder):
    """A provider, and batches and workers that have its key."""
    (folder / "one.py").write_text(ONE, encoding="utf-8")
    (folder / "cat.png").write_bytes(CAT)
    with SimulatedProvider(dialect="together") as provider:
        keyed = {"together_api_key": "key", "together_base_url": provider.base_url}
        settings = Settings(ledger="x", **keyed)
        yield SimpleNamespace(
            batch=functools.partial(batch, target="one.py", settings=settings, model=MODEL),
            worker=functools.partial(worker, **keyed),
            provider=provider,
        )


def pictures(request):
    """The bytes of the pictures in a request."""
    messages = (one["content"] for one in request.body["messages"])
    parts = [part for content in messages if isinstance(content, list) for part in content]
    urls = (part["image_url"]["url"] for part in parts if part["type"] == "image_url")
    return [base64.b64decode(url.partition("base64,")[2]) for url in urls]


def statuses(ledger):
    return sorted(row["status"] for row in ledger.select("SELECT status FROM calls"))


async def test_workers_that_are_asked_the_same_pay_once(paid, ledger, lines):
    paid.worker(4)
    paid.worker(4)
    items = [{"id": f"i{n}", "task": f"Pumps {n % 2}."} for n in range(8)]
    result = await paid.batch(items, cache="1d").to_end()
    assert result.completed == 8
    assert len(paid.provider.requests) == 2
    assert statuses(ledger) == ["cached"] * 6 + ["ok"] * 2
    assert len({line["output"] for line in lines()}) == 2


async def test_an_item_that_begins_again_is_answered_from_the_cache(paid, folder, ledger, until):
    (folder / "slow.py").write_text(SLOW, encoding="utf-8")
    leaves = paid.worker(1)
    items = [{"id": "a", "task": "Pumps."}, {"id": "b", "task": "Pumps."}]
    given = paid.batch(items, target="slow.py", cache="1d", checkpoint=False)
    running = asyncio.create_task(given.to_end())
    await until(lambda: Path("begun").exists())
    leaves.cut_off()
    Path("go").touch()
    paid.worker(2)
    assert (await running).completed == 2
    assert len(paid.provider.requests) == 1
    assert statuses(ledger) == ["cached", "cached", "ok"]


async def test_workers_send_the_pictures_of_the_batch_and_of_its_items(paid, folder, written):
    (folder / "sub").mkdir()
    (folder / "sub" / "dog.jpg").write_bytes(DOG)
    own = {"id": "own", "task": "Look.", "images": "dog.jpg"}  # beside the file of the items
    path = written([own, {"id": "none", "task": "Look at all."}], "sub/items.jsonl")
    paid.worker(1)
    result = await paid.batch(path, images=["cat.png"]).to_end()
    assert result.completed == 2
    assert [pictures(one) for one in paid.provider.requests] == [[CAT, DOG], [CAT]]


async def test_pictures_given_as_bytes_reach_the_workers(paid):
    paid.worker(1)
    items = [{"id": "own", "task": "Look.", "images": [DOG]}]
    result = await paid.batch(items, images=CAT).to_end()
    assert result.completed == 1
    assert [pictures(one) for one in paid.provider.requests] == [[CAT, DOG]]


async def test_a_picture_that_a_worker_cannot_read_ends_its_item_alone(
    paid, folder, lines, until, queued
):
    gone = {"id": "gone", "task": "Look.", "images": "cat.png"}
    running = asyncio.create_task(paid.batch([gone, {"id": "none", "task": "Look."}]).to_end())
    await until(lambda: len(queued()) == 2)
    (folder / "cat.png").unlink()
    paid.worker(1)
    result = await running
    assert (result.completed, result.invalid) == (1, 1)
    (line,) = [line for line in lines() if line["id"] == "gone"]
    assert line["error"].startswith(f"line 1: the picture {folder / 'cat.png'} cannot be read")
    assert [pictures(one) for one in paid.provider.requests] == [[]]


async def test_equal_questions_about_other_pictures_are_asked(paid):
    paid.worker(2)
    items = [
        {"id": str(n), "task": "Look.", "images": [one]} for n, one in enumerate([DOG, CAT, DOG])
    ]
    result = await paid.batch(items, cache="1d").to_end()
    assert result.completed == 3
    assert len(paid.provider.requests) == 2
