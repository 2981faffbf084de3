"""A chain and an agent that ask the server, which sends exactly what a test says."""

from __future__ import annotations

from typing import Any

import pytest

from aideon_agents import Context, CostHandler, Ledger, Settings, executor, sequential
from aideon_agents.ledger.rows import Run
from aideon_agents.models import Models
from aideon_agents.state import ModelRequest


@pytest.fixture
def settings(server):
    address = server.url
    return Settings(
        together_api_key="key",
        together_base_url=address,
        openai_api_key="key",
        openai_base_url=address,
        local_base_url=address,
    )


class Asking:
    """Asks the server, with a ledger of its own."""

    def __init__(self, server: Any, settings: Settings, ledger: Ledger) -> None:
        self._server = server
        self._settings = settings
        self._ledger = ledger
        self.rows: list[Any] = []
        """The rows of what was asked last."""

    async def _run(self, asked: Any, question: Any, **options: Any) -> Any:
        run_id = self._ledger.start_run(Run(workflow="question"))
        config = {"callbacks": [CostHandler(self._ledger, run_id=run_id)]}
        del self._server.asked[:]
        try:
            return await asked.ainvoke(question, config, **options)
        finally:
            self.rows = self._ledger.calls(run_id)

    async def model(
        self,
        *answers: Any,
        model: str = "local:m",
        stream: bool = False,
        tools: Any = (),
        question: Any = "Heat pumps.",
        **bound: Any,
    ) -> Any:
        """The message of a model that gets these answers."""
        self._server.answers = list(answers)
        request = ModelRequest(role="executor", model=(model,))
        chain: Any = Models(self._settings).chat(request, Context(stream=stream))
        chain = chain.bind_tools(list(tools), **bound) if tools else chain
        return await self._run(chain, question)

    async def agent(
        self, *answers: Any, model: str = "local:m", stream: bool = False, **options: Any
    ) -> Any:
        """The result of an agent whose model gets these answers."""
        self._server.answers = list(answers)
        graph = sequential(executor("work", model=model, **options))
        context = Context(models=Models(self._settings), stream=stream)
        values = await self._run(graph, {"task": "Heat pumps."}, context=context)
        return values["results"]["work"]


@pytest.fixture
def asking(server, settings, tmp_path):
    with Ledger(tmp_path / "ledger.db") as ledger:
        yield Asking(server, settings, ledger)
