"""LiteLLM's Router with a fallback: three calls in turn, costs counted."""

from __future__ import annotations

import litellm
from litellm import Router
from loop import QUESTION, SYSTEM, serve


async def make(address: str):
    litellm.telemetry = False
    options = {"model": "openai/gpt-4o-mini", "api_base": address, "api_key": "key"}
    router = Router(
        model_list=[
            {"model_name": "first", "litellm_params": options},
            {"model_name": "second", "litellm_params": options},
        ],
        fallbacks=[{"first": ["second"]}],
    )
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]

    async def work() -> None:
        for _ in range(3):
            await router.acompletion(model="first", messages=messages)

    return work


serve(make)
