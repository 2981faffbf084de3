"""A ledger in a file of its own, rows to put into it, and a chat model made elsewhere."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import Field

from aideon_agents.ledger.rows import CallEnd, CallStart, RunStart
from aideon_agents.ledger.store import Ledger

USAGE = {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}


class ForeignModel(BaseChatModel):
    """A stock chat model that knows nothing of this package."""

    model: str = "gpt-4o-mini"
    provider: str = "openai"
    usage: Any = Field(default_factory=lambda: dict(USAGE))
    answers_as: str | None = None
    error: Any = None
    chunks: tuple[Any, ...] = ()

    @property
    def _llm_type(self):
        return "foreign"

    def _get_ls_params(self, stop=None, **kwargs):
        return {"ls_provider": self.provider, "ls_model_name": self.model, "ls_model_type": "chat"}

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        if self.error is not None:
            raise self.error
        said = {"finish_reason": "stop"}
        if self.answers_as:
            said["model_name"] = self.answers_as
        message = AIMessage("hello", usage_metadata=self.usage, response_metadata=said)
        return ChatResult(generations=[ChatGeneration(message=message)])


class StreamingModel(ForeignModel):
    """The same with an answer in chunks, each with the usage it is given."""

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        for usage in self.chunks:
            yield ChatGenerationChunk(message=AIMessageChunk("word ", usage_metadata=usage))
        if self.error is not None:
            raise self.error


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.db") as opened:
        yield opened


@pytest.fixture
def foreign():
    return ForeignModel


@pytest.fixture
def streaming():
    return StreamingModel


@pytest.fixture(scope="session")
def record():
    """Writes one call, finished unless `status` is started, and gives back its id."""
    numbers = itertools.count()

    def write(
        ledger,
        run_id,
        *,
        status="ok",
        usage=None,
        nanousd=None,
        at="2026-11-20T09:00:00.000Z",
        **start,
    ):
        call_id = f"call-{next(numbers)}"
        named = {"node_path": "draft", "role": "creative", "provider": "together"} | start
        named = {"requested_model": "small"} | named
        ledger.start_call(CallStart(call_id=call_id, run_id=run_id, started_at=at, **named))
        if status != "started":
            end = CallEnd(status=status, duration_ms=5, usage=usage, cost_nanousd=nanousd)
            ledger.finish_call(call_id, end)
        return call_id

    return write


@pytest.fixture
def run_id(ledger):
    return ledger.start_run(RunStart(workflow="article", user="ada"))
