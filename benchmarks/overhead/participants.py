"""What is measured in this package's own environment: the bare client, LangGraph, and ours.

Run as `participants.py ADDRESS NAME`.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import tempfile
from collections.abc import Awaitable, Callable
from typing import Any

from loop import QUESTION, SYSTEM, serve

Work = Callable[[], Awaitable[object]]
MESSAGES = [("system", SYSTEM), ("human", QUESTION)]


def _client(address: str, **options: Any) -> Any:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model="m", base_url=address, api_key="key", **options)


async def client(address: str) -> Work:
    model = _client(address)

    async def work() -> None:
        for _ in range(3):
            await model.ainvoke(MESSAGES)

    return work


async def client_parallel(address: str) -> Work:
    model = _client(address)

    async def work() -> None:
        await asyncio.gather(*(model.ainvoke(MESSAGES) for _ in range(3)))
        await model.ainvoke(MESSAGES)

    return work


async def client_stream(address: str) -> Work:
    model = _client(address, stream_usage=True)

    async def work() -> None:
        async for _ in model.astream(MESSAGES):
            pass

    return work


async def langgraph(address: str) -> Work:
    from langgraph.graph import MessagesState, StateGraph

    model = _client(address)
    builder = StateGraph(MessagesState)

    async def node(_: Any) -> Any:
        return {"messages": [await model.ainvoke(MESSAGES)]}

    before = "__start__"
    for name in ("a", "b", "c"):
        builder.add_node(name, node)
        builder.add_edge(before, name)
        before = name
    graph = builder.compile()

    async def work() -> None:
        await graph.ainvoke({"messages": []})

    return work


def _environment(address: str) -> Any:
    os.environ.update(TOGETHER_API_KEY="key", TOGETHER_BASE_URL=address)
    os.environ["AIDEON_LEDGER"] = f"sqlite:///{tempfile.mkdtemp()}/ledger.db"
    from aideon_agents import Ledger

    return Ledger.from_url(os.environ["AIDEON_LEDGER"])


_CHAIN = ["together:Qwen/Qwen3.5-9B", "together:openai/gpt-oss-120b"]


def _agent(name: str) -> Any:
    from aideon_agents import executor

    # The same words as the others send: the role's own instructions would be longer.
    return executor(name, description=QUESTION, instructions=SYSTEM, model=_CHAIN)


async def _ours(address: str, graph: Any, **options: Any) -> Work:
    from aideon_agents import arun

    ledger = _environment(address)

    async def work() -> None:
        result = await arun(graph, "heat pumps", ledger=ledger, **options)
        result.raise_for_status()

    return work


def _sequence() -> Any:
    from aideon_agents import sequential

    return sequential(*map(_agent, "abc"))


async def sequential(address: str) -> Work:
    return await _ours(address, _sequence())


async def parallel(address: str) -> Work:
    from aideon_agents import parallel as at_once
    from aideon_agents import sequential as in_turn

    return await _ours(address, in_turn(at_once(*map(_agent, "abc")), _agent("d")))


async def budget_end(address: str) -> Work:
    return await _ours(address, _sequence(), budget=1000)


async def budget_each_step(address: str) -> Work:
    return await _ours(address, _sequence(), budget=1000, checkpoint=True)


async def foreign_handler(address: str) -> Work:
    from langchain_core.callbacks import AsyncCallbackHandler

    return await _ours(address, _sequence().with_config(callbacks=[AsyncCallbackHandler()]))


async def stream(address: str) -> Work:
    from aideon_agents import Context
    from aideon_agents.models import default_models
    from aideon_agents.state import ModelRequest

    _environment(address)
    request = ModelRequest(role="executor", model=tuple(_CHAIN))

    async def work() -> None:
        async for _ in default_models().chat(request, Context(stream=True)).astream(MESSAGES):
            pass

    return work


async def large_ledger(address: str) -> Work:
    """With a million rows of calls in the ledger."""
    work = await sequential(address)
    await work()
    _fill(os.environ["AIDEON_LEDGER"].removeprefix("sqlite:///"), 1_000_000)
    return work


def _fill(path: str, count: int) -> None:
    """Copy the calls in a ledger until there are so many."""
    with sqlite3.connect(path) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(calls)")]
        others = ", ".join(f'"{name}"' for name in columns if name not in {"call_id", "run_id"})
        (known,) = connection.execute("SELECT count(*) FROM calls").fetchone()
        connection.execute(
            f"WITH RECURSIVE copies(nth) AS (SELECT 1 UNION ALL SELECT nth + 1 FROM copies"  # noqa: S608 - our own columns
            f" WHERE nth < {count // known}) INSERT INTO calls (call_id, run_id, {others})"
            f" SELECT hex(randomblob(16)), hex(randomblob(13)), {others} FROM calls, copies"
        )


if __name__ == "__main__":
    serve(globals()[sys.argv[2]])
