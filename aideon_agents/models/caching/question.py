"""A question whose answer is kept: what identifies it, who asks it, and what is kept of its answer."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import logging
import time
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from uuid import uuid4
from weakref import WeakValueDictionary

import orjson
from langchain_core.messages import AIMessage, message_to_dict, messages_from_dict
from pydantic import BaseModel

from aideon_agents.errors import LedgerError, Malformed, Transient
from aideon_agents.ledger import answers
from aideon_agents.ledger.calls import is_truncated
from aideon_agents.ledger.redaction import without_keys
from aideon_agents.models.features import FOR_TRACERS, SHAPE
from aideon_agents.models.shape import parse

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from langchain_core.messages import BaseMessage

    from aideon_agents.ledger.database import Database, Row
    from aideon_agents.models.candidates import Candidate
    from aideon_agents.models.fallbacks import Attempts

_log = logging.getLogger("aideon_agents.models")

_OF_ONE_ANSWER = {"id", "response_metadata", "usage_metadata", "artifact"}
"""Fields of messages that differ each time, and are not sent."""
_FIRST_LOOK, _LONGEST_LOOK = 0.02, 0.5
"""Seconds between looks for the answer to a question that another process asks, doubled each time."""

_in_process: WeakValueDictionary[object, asyncio.Lock] = WeakValueDictionary()
"""By event loop, database and key: who asks in this process. The others wait without the database."""
_logged: set[str] = set()
"""Warnings that were logged: each one once."""


class Kept(NamedTuple):
    """An answer of the cache."""

    message: AIMessage
    model: str
    """`provider:model`, as it was asked."""
    age: float
    """Seconds since it was given."""
    simulated: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """One question to one model."""

    database: Database
    key: str
    """A digest of the model and of everything that the answer depends on."""
    prompt: str
    """The same without the model and its parameters."""
    model: str
    """`provider:model`."""
    max_age: float
    """Seconds for which an answer is used again; 0: it is only kept."""
    shape: type[BaseModel] | None
    """What the answer has to fit; None: it is a text, or calls tools."""

    @contextlib.asynccontextmanager
    async def answered_once(
        self, attempts: Attempts, candidate: Candidate
    ) -> AsyncGenerator[Kept | None]:
        """The kept answer; None: the block has to ask, and no other caller asks the same meanwhile."""
        if not self.max_age:
            yield None
            return
        place = id(asyncio.get_running_loop()), self.database.key, self.key
        lock = _in_process.setdefault(place, asyncio.Lock())
        async with contextlib.AsyncExitStack() as held:
            try:
                async with asyncio.timeout(attempts.seconds_for(candidate)):
                    await held.enter_async_context(lock)
                    kept = await self._kept_or_leased(held)
            except TimeoutError:
                late = (
                    f"{candidate} was not asked: another call asks it the same, and has no answer"
                )
                attempts.give_up(candidate, Transient(late, billed=False))
            yield kept

    async def _kept_or_leased(self, held: contextlib.AsyncExitStack) -> Kept | None:
        since, owner, pause = time.time() - self.max_age, uuid4().hex, _FIRST_LOOK
        try:
            while True:
                if row := answers.find(self.database, self.key, since):
                    if kept := self._read(row):
                        return kept
                    answers.delete(self.database, self.key)
                if answers.lease(self.database, self.key, owner, since):
                    await held.enter_async_context(self._renewed(owner))
                    return None
                await asyncio.sleep(pause)
                pause = min(_LONGEST_LOOK, pause * 2)
        except LedgerError as refused:
            _warn(f"the answer cache cannot be used: {refused}")
            return None

    @contextlib.asynccontextmanager
    async def _renewed(self, owner: str) -> AsyncGenerator[None]:
        """Hold the lease for the length of a block."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(answers.LEASE / 3)
                with contextlib.suppress(LedgerError):
                    answers.renew(self.database, self.key, owner)

        renewing = asyncio.create_task(renew())
        try:
            yield
        finally:
            renewing.cancel()
            with contextlib.suppress(LedgerError):
                answers.give_up(self.database, self.key, owner)

    def newest(self, models: Sequence[str]) -> Kept | None:
        """The newest answer that one of some models gave to this prompt, however old."""
        try:
            row = answers.newest(self.database, self.prompt, models)
            return self._read(row) if row else None
        except LedgerError as refused:
            _warn(f"the answer cache cannot be used: {refused}")
            return None

    def keep(self, answer: AIMessage, *, simulated: bool) -> None:
        """Keep an answer that is whole, fits its shape and quotes no key."""
        if is_truncated(answer.response_metadata) or answer.invalid_tool_calls:
            return
        document = message_to_dict(answer.model_copy(update={"id": None}))
        try:
            if self.shape:
                parse(answer, self.shape)
            text = orjson.dumps(document).decode()
            if without_keys(text) != text:
                return
            answers.keep(
                self.database,
                self.key,
                prompt=self.prompt,
                model=self.model,
                answer=text,
                simulated=simulated,
            )
        except (Malformed, TypeError):  # of another shape, or with objects that are no JSON
            return
        except LedgerError as refused:
            _warn(f"an answer is not kept in the answer cache: {refused}")

    def _read(self, row: Row) -> Kept | None:
        """An answer as it was; None: its row is damaged."""
        try:
            (message,) = messages_from_dict([orjson.loads(row["answer"])])
        except Exception as damaged:  # noqa: BLE001 - whatever LangChain raises for what is no message
            message = damaged
        if not isinstance(message, AIMessage):
            _warn("a damaged answer in the answer cache is left out, and its model is asked")
            return None
        age = max(0.0, time.time() - row["stored_at"])
        return Kept(message, row["model"], age, bool(row["simulated"]))


def _warn(words: str) -> None:
    if words not in _logged:
        _logged.add(words)
        _log.warning("%s", words)


def question_to(
    database: Database,
    model: str,
    parameters: object,
    messages: Sequence[BaseMessage],
    options: Mapping[str, Any],
    *,
    max_age: float,
) -> Question | None:
    """A question to a model with some parameters; None: it holds what has no JSON."""
    sent = {
        name: value
        for name, value in options.items()
        if value is not None and name not in FOR_TRACERS
    }
    asked = [one.model_dump(exclude=_OF_ONE_ANSWER) for one in messages]
    try:
        prompt = _digest([asked, sent])
        key = _digest([prompt, model, parameters])
    except TypeError:
        return None
    return Question(database, key, prompt, model, max_age, sent.get(SHAPE))


def _digest(values: object) -> str:
    options = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
    return hashlib.sha256(orjson.dumps(values, default=_schema, option=options)).hexdigest()


def _schema(value: object) -> object:
    """The schema of a class that an answer has to fit; TypeError: it is no such class."""
    if isinstance(value, type) and issubclass(value, BaseModel):
        return cast("Any", value).model_json_schema()
    raise TypeError
