"""What real servers say of a mistake is read for what it means, in an answer and in a stream."""

from __future__ import annotations

from typing import get_args

import pytest

from aideon_agents import Settings, errors
from aideon_agents.testing import Fault, SimulatedProvider
from aideon_agents.testing.simulated.dialects import DialectName

MEANING = {
    "context_length_exceeded": errors.ContextTooLong,
    401: errors.KeyRejected,
    404: errors.NotThisModel | errors.ModelGone,
    500: errors.Transient,
}
HOSTED = ("together", "openai", "huggingface")


async def ask(counter, name, faults, *, stream):
    """Ask a server of this dialect with a key of its own."""
    provider = name if name in HOSTED else "local"
    with SimulatedProvider(dialect=name, faults=faults) as server:
        short = {"huggingface": "hf"}.get(provider, provider)
        given = {f"{short}_base_url": server.base_url}
        if provider != "local":
            key = f"key-{server.port}"
            given["hf_token" if short == "hf" else f"{short}_api_key"] = key
        return await counter.ask(
            settings=Settings(**given), model=(f"{provider}:m",), stream=stream
        )


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("kind", MEANING, ids=str)
@pytest.mark.parametrize("name", get_args(DialectName))
async def test_a_refusal_means_the_same_in_the_words_of_every_server(
    counter, quick, name, kind, stream
):
    asked = await ask(counter, name, Fault(kind), stream=stream)
    meant = MEANING[kind]
    names = {one.__name__ for one in getattr(meant, "__args__", (meant,))}
    found = {row.error_type for row in asked.rows}
    assert (len(found), found <= names) == (1, True), asked.error


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", get_args(DialectName))
async def test_a_rate_limit_is_waited_for_in_the_words_of_every_server(
    counter, quick, name, stream
):
    asked = await ask(counter, name, [Fault(429, retry_after=0.01)], stream=stream)
    assert asked.outcomes == [("error", "RateLimited"), ("ok", None)]
