"""What one model call does, counted, so that more of it is seen without a clock."""

from __future__ import annotations

import asyncio
import collections
import ssl
import threading

import pytest
from langchain_core.language_models import BaseChatModel
from langgraph.graph import StateGraph

from aideon_agents import Ledger, Settings, arun, executor, sequential
from aideon_agents.ledger.sqlite.database import SqliteDatabase
from aideon_agents.settings import Settings as Read
from aideon_agents.testing import SimulatedProvider


@pytest.fixture
def counted(monkeypatch):
    """How often some things are done."""
    counts = collections.Counter()

    def count(owner, name, what):
        done = getattr(owner, name)

        def counting(*given, **options):
            counts[what] += 1
            return done(*given, **options)

        monkeypatch.setattr(owner, name, counting)

    count(SqliteDatabase, "_executed", "statements")
    count(threading.Thread, "start", "threads")
    count(asyncio.BaseEventLoop, "run_in_executor", "hops")
    count(asyncio.BaseEventLoop, "call_soon_threadsafe", "hops")
    count(ssl, "create_default_context", "tls contexts")
    count(BaseChatModel, "__init__", "models")
    count(StateGraph, "compile", "graphs")
    count(Read, "__init__", "settings")
    return counts


async def test_one_more_call_of_a_warm_run_makes_nothing_anew(counted, tmp_path):
    per_run = []
    with SimulatedProvider() as provider, Ledger(tmp_path / "ledger.db") as ledger:
        settings = Settings(together_api_key="key", together_base_url=provider.base_url)
        options = {"ledger": ledger, "settings": settings}
        for nodes in (1, 2):
            agents = [executor(f"a{nth}", model="together:m") for nth in range(nodes)]
            graph = sequential(*agents)
            await arun(graph, "Heat pumps.", **options)
            counted.clear()
            await arun(graph, "Heat pumps.", **options)
            per_run.append(counted.copy())
    one, two = per_run
    # Two transactions: the worst case and the row, then the cost and the end. One statement reads the
    # limits and the accounts.
    assert two - one == {"statements": 10}
    assert one == {"statements": 14}


async def test_a_run_that_reads_the_environment_reads_it_once(counted, tmp_path, monkeypatch):
    with SimulatedProvider() as provider:
        monkeypatch.setenv("TOGETHER_API_KEY", "key")
        monkeypatch.setenv("TOGETHER_BASE_URL", provider.base_url)
        monkeypatch.setenv("AIDEON_LEDGER", f"sqlite:///{tmp_path / 'ledger.db'}")
        graph = sequential(executor("a", model="together:m"))
        for _ in range(3):
            (await arun(graph, "Heat pumps.")).raise_for_status()
    assert (counted["settings"], counted["models"]) == (1, 1)
