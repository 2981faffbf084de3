"""Uses the package with the lowest versions that pyproject.toml promises; `make lowest` runs it.

It runs in an environment of its own, which has no pytest.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel, HttpUrl

import aideon_agents
from aideon_agents import abatch, creative, executor, parallel, planner, resume, run, sequential
from aideon_agents.settings import Settings
from aideon_agents.testing import SimulatedProvider


class Facts(BaseModel):
    facts: list[str]
    source: HttpUrl


def main() -> None:
    os.chdir(tempfile.mkdtemp())
    for name in aideon_agents.__all__:
        assert getattr(aideon_agents, name) is not None, name
    graph = sequential(planner(), parallel(executor("facts", output=Facts), creative("angle")))
    assert run(graph, "Heat pumps.", rehearse=True).raise_for_status().output
    asking = executor("facts", output=Facts, approve=True)
    assert run(asking, "Heat pumps.", rehearse=True).status == "waiting"
    assert resume(asking, answer="yes").data.facts
    with SimulatedProvider() as provider:
        settings = Settings(together_api_key="key", together_base_url=provider.base_url)
        paid = run(graph, "Heat pumps.", settings=settings, budget=1).raise_for_status()
        assert paid.cost.calls == len(provider.requests) == 3, paid.cost
        done = asyncio.run(abatch(graph, ["a", "b", "c"], Path("out.jsonl"), settings=settings))
        assert done.completed == 3, done
    Path("mine.py").write_text(
        "from aideon_agents import creative, sequential\ngraph = sequential(creative('draft'))\n"
    )
    aideon = [sys.executable, "-m", "aideon_agents"]
    for words in (
        ["graph", "mine.py", "-o", "mine.svg"],
        ["graph", "mine.py"],
        ["run", "mine.py", "--task", "Hi.", "--rehearse"],
        ["costs", "--rehearsed"],
        ["doctor"],
        ["schema"],
    ):
        done = subprocess.run([*aideon, *words], check=False, capture_output=True, text=True)
        assert done.returncode == 0, (words, done.stderr)
    assert "<svg" in Path("mine.svg").read_text()
    names = ("langchain-core", "langgraph", "openai", "pydantic")
    print("works with", ", ".join(f"{name} {version(name)}" for name in names))


main()
