"""A ledger of its own on either database, rows to put into it, and a chat model made elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import Field

from aideon_agents.ledger.checkpoints import open_checkpointer
from aideon_agents.ledger.rows import Call, CallEnd, Run
from aideon_agents.ledger.schema import table_names
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


@pytest.fixture(scope="session")
def emptied(postgres):
    """Empties one ledger on the server and gives its address: making tables takes longer."""
    url = postgres.new_schema()
    (schema,) = re.findall("ledger_[0-9]+", url)
    with Ledger.from_url(url) as made:
        asyncio.run(_with_checkpoints(made))
    kept = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
    tables = [f"{schema}.{name}" for name in (*table_names(), *kept)]
    postgres.execute(*(f"CREATE TABLE {one}_new AS TABLE {one}" for one in tables))
    again = "; ".join(f"DELETE FROM {one}; INSERT INTO {one} TABLE {one}_new" for one in tables)  # noqa: S608 - our names

    def empty():
        postgres.execute(again)
        return url

    return empty


async def _with_checkpoints(ledger):
    async with open_checkpointer(ledger, []):
        pass


@pytest.fixture(params=["sqlite", "postgres"])
def ledger_url(request, tmp_path):
    """The address of a ledger without runs: in a file, and again on a server.

    Whatever takes this, or `ledger`, is the contract of both. A test of files alone makes its own
    ledger: `Ledger(tmp_path / "ledger.db")`, or a `ledger` fixture of its module.
    """
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    return request.getfixturevalue("emptied")()


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def new_ledger(request, tmp_path_factory):
    """Opens a ledger without runs as often as it is called: for tests of many examples."""

    def opened():
        if request.param == "sqlite":
            return Ledger(tmp_path_factory.mktemp("ledger") / "ledger.db")
        return Ledger.from_url(request.getfixturevalue("emptied")())

    return opened


@pytest.fixture
def ledger(ledger_url):
    with Ledger.from_url(ledger_url) as opened:
        yield opened


@pytest.fixture
def another(ledger_url):
    """Opens the same ledger once more, as another process does."""
    with contextlib.ExitStack() as opened:
        yield lambda: opened.enter_context(Ledger.from_url(ledger_url))


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
        end=None,
        **start,
    ):
        call_id = f"call-{next(numbers)}"
        named = {"node_path": "draft", "role": "creative", "provider": "together"} | start
        named = {"requested_model": "small"} | named
        ledger.start_call(Call(call_id=call_id, run_id=run_id, started_at=at, **named))
        if status != "started":
            said = {"duration_ms": 5, "usage": usage, "cost_nanousd": nanousd, **(end or {})}
            ledger.finish_call(call_id, CallEnd(status=status, **said))
        return call_id

    return write


@pytest.fixture
def run_id(ledger):
    return ledger.start_run(Run(workflow="article", user="ada"))
