"""The real chat clients, on connections that are closed when the tests are over."""

from __future__ import annotations

from typing import Any

import openai
import pytest_asyncio


@pytest_asyncio.fixture(scope="session")
async def chat():
    """Make a chat model that talks to a provider: `chat(ChatOpenAI, provider, **fields)`."""
    with openai.DefaultHttpxClient() as connections:
        async with openai.DefaultAsyncHttpxClient() as async_connections:

            def make(client: Any, provider: Any, **fields: Any) -> Any:
                return client(
                    base_url=provider.base_url,
                    api_key="key-1234",
                    model="m",
                    max_retries=0,
                    stream_usage=True,
                    http_client=connections,
                    http_async_client=async_connections,
                    **fields,
                )

            yield make
