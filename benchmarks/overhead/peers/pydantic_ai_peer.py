"""Pydantic AI: three agents in turn."""

from __future__ import annotations

from loop import QUESTION, SYSTEM, serve
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


async def make(address: str):
    model = OpenAIChatModel("m", provider=OpenAIProvider(base_url=address, api_key="key"))
    agents = [Agent(model, instructions=SYSTEM) for _ in range(3)]

    async def work() -> None:
        for agent in agents:
            await agent.run(QUESTION)

    return work


serve(make)
