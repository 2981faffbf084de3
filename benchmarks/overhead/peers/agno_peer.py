"""agno: three agents in turn."""

from __future__ import annotations

from agno.agent import Agent
from agno.models.openai.like import OpenAILike
from loop import QUESTION, SYSTEM, serve


async def make(address: str):
    agents = [
        Agent(
            model=OpenAILike(id="m", base_url=address, api_key="key"),
            instructions=SYSTEM,
            telemetry=False,
        )
        for _ in range(3)
    ]

    async def work() -> None:
        for agent in agents:
            await agent.arun(QUESTION)

    return work


serve(make)
