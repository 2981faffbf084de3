"""OpenAI Agents SDK: three agents in turn, over chat completions."""

from __future__ import annotations

from agents import Agent, OpenAIChatCompletionsModel, Runner, set_tracing_disabled
from loop import QUESTION, SYSTEM, serve
from openai import AsyncOpenAI


async def make(address: str):
    set_tracing_disabled(True)
    model = OpenAIChatCompletionsModel("m", AsyncOpenAI(base_url=address, api_key="key"))
    agents = [Agent(name=name, instructions=SYSTEM, model=model) for name in "abc"]

    async def work() -> None:
        for agent in agents:
            await Runner.run(agent, QUESTION)

    return work


serve(make)
