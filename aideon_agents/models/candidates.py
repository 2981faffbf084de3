"""A candidate of a chain, and one attempt at it."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import hashlib
import itertools
import math
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeAlias

import aiohttp
from langchain_core.callbacks import BaseCallbackHandler
from langgraph.config import get_stream_writer

from aideon_agents import errors
from aideon_agents.ledger.calls import answer_of, call_start
from aideon_agents.ledger.rows import Call
from aideon_agents.models.features import Features
from aideon_agents.models.health import MOMENT, Breaker, Permit
from aideon_agents.models.limits.pace import Pace
from aideon_agents.node_paths import node_path
from aideon_agents.settings.providers import ProviderRow

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
    from uuid import UUID

    from langchain_core.messages import AIMessage, AIMessageChunk
    from langchain_core.outputs import LLMResult
    from langchain_core.runnables import RunnableConfig


LONGEST_ATTEMPT = 120.0
"""Seconds."""
simulators: dict[str, float] = {}
"""The base URLs whose last answer said that a simulated provider gave it, and until when that is
believed, on the monotonic clock. A call that begins until then counts as simulated also if it gets no
answer. Later, another server may have the address."""
SIMULATED_FOR = 60.0
"""Seconds for which an answer of a simulated provider is believed."""

_STARTING = frozenset({502, 503})
"""How a gateway answers while the deployment behind it starts."""
UNLISTED = ProviderRow(name="unlisted")


def breaker_names(
    provider: str, model: str, *, key_name: str | None, address: str = "", key: str
) -> Callable[[], Mapping[str, object]]:
    """What gives the columns of `model_states` that name a breaker; `model` empty: the key's."""
    names = {
        "breaker": fingerprint(f"{address} {key} {model}"),
        "provider": provider,
        "model": model,
        "key_name": key_name,
    }
    return lambda: {**names, "simulated": int(simulators.get(address, 0.0) > time.monotonic())}


def fingerprint(secret: str) -> str:
    """Names a text that cannot be read from it."""
    return hashlib.sha256(secret.encode()).hexdigest()[:16]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """One model at one provider, as chains ask it. Chains share it."""

    name: str
    """`provider:model`."""
    provider: str
    model: str
    key_variable: str | None
    """The environment variable that holds its key; None: it needs no key."""
    address_variable: str
    """The environment variable that holds its provider's base URL."""
    address: str = ""
    """That base URL; empty: unknown, as of a model that was given as an object."""
    rehearsed: bool
    window: int | None
    """Tokens of input and output together that it can take; None: unknown."""
    model_breaker: Breaker
    key_breaker: Breaker
    """Shared by all models with the same key."""
    pace: Pace
    """Shared by all models of a server of one's own, which limits what it does at once."""
    features: Features
    """What the model takes."""
    row: ProviderRow = UNLISTED
    """That of its provider."""
    sees: bool | None = None
    """Whether it takes pictures, by the catalog or its provider; None: unknown, so it is asked."""
    image_tokens: int | None = None
    """The most tokens of one picture, by the same; None: unknown."""

    def __str__(self) -> str:
        return self.name

    @property
    def is_blind(self) -> bool:
        """Whether it takes no pictures, by the catalog or by an earlier refusal."""
        return self.sees is False or self.features.is_blind

    def rest_left(self) -> float:
        """Seconds until it may be asked, 0 when it may now."""
        return max(self.model_breaker.rest_left(), self.key_breaker.rest_left())

    def probe_in(self) -> float:
        """Seconds until it is back; infinite while its key rests: an early probe cannot fix a key."""
        of_key = self.key_breaker.rest_left()
        return math.inf if of_key > MOMENT else max(of_key, self.model_breaker.rest_left())

    def is_free(self) -> bool:
        """Whether it may be asked now, and nothing speaks against it."""
        is_doubted = self.model_breaker.doubt.since <= self.model_breaker.clock()
        return not (is_doubted or self.pace.is_limiting or self.rest_left())

    def why_not_asked(self, known: Sequence[str]) -> str:
        """Why it is not asked now: how long it rests, and the error before that if it is not known."""
        if not (rest := self.rest_left()):
            return f"{self} was not asked: another call finds out whether it answers"
        why = (self.key_breaker if self.key_breaker.rest_left() else self.model_breaker).why
        skipped = f"{self} was not asked, it rests another {rest:.0f} s"
        return skipped if any(why in failure for failure in known) else f"{skipped}: {why}"

    def patience_with(self, error: BaseException, longest: float, *, alone: bool) -> float:
        """Seconds for which it is waited for in all after an error that says that it starts.

        A provider that loads a model is waited for no longer than `longest`, a deployment that is cold
        only where no other model is to be asked.
        """
        if not isinstance(error, errors.Transient) or error.timed_out:
            return 0.0
        refuses = error.status in _STARTING or type(error.__cause__) is aiohttp.ClientConnectorError
        if alone and refuses and self.row.cold_start:
            return self.row.cold_start
        return longest if error.loading else 0.0

    def refused(self, error: errors.ProviderError, began: float) -> None:
        """Record the error of a call that still holds its slot, so that the next are not too many."""
        if self.row.own and self.pace.held > 1 and _was_cut(error):
            self.pace.be_alone()
        self.pace.record(error, began)

    def may_give_no_reason(self) -> bool:
        """Whether a stream that ends with `[DONE]`, but without a finish reason, may be whole.

        llama-cpp-python ends a stream so when the next request comes, and gives a reason otherwise.
        """
        if not self.row.gives_no_reason or self.features.gives_reasons:
            return False
        return self.pace.held <= 1

    def admit(self, *, early: bool = False, spare: bool = False) -> Permit | None:
        """A permit for one call, which must be settled; None: it may not be asked now.

        `early` probes before its pause is over, because no other candidate is left; `spare`: one is,
        if there is doubt about this one.
        """
        of_key = self.key_breaker.admit()
        if of_key is None:
            return None
        permit = self.model_breaker.admit(early=early, spare=spare, of_key=of_key)
        if permit is None:
            of_key.give_back()
        return permit


_breakers: dict[tuple[object, ...], Breaker] = {}


def breaker_for(
    *identity: object, named: Callable[[], Mapping[str, object]] | None = None
) -> Breaker:
    """The process's breaker for an address, a key and a model, or for a key alone.

    `named` gives the columns of `model_states` that name it.
    """
    return _breakers.get(identity) or _breakers.setdefault(identity, Breaker(named=named))


def distinct(models: list[Any]) -> list[Any]:
    """The models of a chain with a number behind each name that another one has before it.

    Two objects can be the same model with two keys.
    """
    seen = collections.Counter[str]()
    for nth, model in enumerate(models):
        name = model.candidate.name
        seen[name] += 1
        if seen[name] > 1:
            other = dataclasses.replace(model.candidate, name=f"{name} ({seen[name]})")
            models[nth] = model.model_copy(update={"candidate": other})
    return models


def _was_cut(error: errors.ProviderError) -> bool:
    """Whether the connection to a server was lost after the request was sent."""
    if not isinstance(error, errors.Partial | errors.Transient) or error.timed_out:
        return False
    return error.status is None and error.billed is None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt at a model that was admitted."""

    call_id: UUID
    """Names its row; LangChain's run id."""
    seconds: float
    """How long it may take."""
    options: dict[str, Any]
    """What the model is called with, the config included."""
    payload: dict[str, Any] | None
    """Its request, as admission has made it; None: it is still to be made."""
    kept: AIMessage | None = None
    """The answer that the cache gives; None: the model is asked."""
    private: bool = False
    """Whether its prompt may not leave, and no text of an error may repeat it."""


current_attempt: ContextVar[Attempt | None] = ContextVar("current_attempt", default=None)
"""The attempt that the running code belongs to. It ends where LangChain calls the model's own code,
and LangChain hands nothing else through."""


Answered: TypeAlias = tuple[str, bool, int | None]
"""`provider:model` of a model that answered, whether its answer met `max_tokens`, and the age of an old
answer that was used because all models failed, in seconds; None: it was not."""

answers: ContextVar[list[Answered] | None] = ContextVar("answers", default=None)
"""Where the models that answer are noted. An answer in the shape of a class names no model."""


@contextlib.contextmanager
def answers_noted() -> Generator[list[Answered]]:
    """The models that answer within a block, in order."""
    noted: list[Answered] = []
    before = answers.set(noted)
    try:
        yield noted
    finally:
        answers.reset(before)


def note_answer(name: str, *, truncated: bool, stale_s: int | None = None) -> None:
    """Note that a model has answered."""
    if (noted := answers.get()) is not None:
        noted.append((name, truncated, stale_s))


def models_of(noted: Sequence[Answered]) -> list[str]:
    """Who answered, in order; a model that answered several times in a row is named once."""
    return [name for name, _ in itertools.groupby(name for name, *_ in noted)]


RESTART = "aideon_restart"
"""The one key of the custom stream event; its value is the node path."""


def announce_restart(config: RunnableConfig | None) -> None:
    """Write a `restart` event into the graph's stream: the shown tokens are void, the answer restarts."""
    try:
        write = get_stream_writer()
    except (RuntimeError, KeyError):  # outside a graph
        return
    write({RESTART: node_path((config or {}).get("metadata") or {})})


class AnswerListener(BaseCallbackHandler):
    """Notes the answers of chat models that are not ours."""

    run_inline = True

    def __init__(self) -> None:
        self._begun: dict[UUID, Call] = {}

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],  # noqa: ARG002 - LangChain's event
        messages: Any,  # noqa: ARG002 - as above
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Remember whom a call asks."""
        params = kwargs.get("invocation_params")
        self._begun[run_id] = call_start(str(run_id), "", metadata or {}, params)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:  # noqa: ARG002 - as above
        """Note the answer."""
        if call := self._begun.pop(run_id, None):
            name, truncated = answer_of(call, response)
            note_answer(name, truncated=truncated)


async def of_attempt(
    source: AsyncGenerator[AIMessageChunk], attempt: Attempt
) -> AsyncGenerator[AIMessageChunk]:
    """A stream, each step of which knows its attempt; the consumer's context does not change."""
    async with contextlib.aclosing(source):
        while True:
            current = current_attempt.set(attempt)
            try:
                chunk = await anext(source)
            except StopAsyncIteration:
                return
            finally:
                current_attempt.reset(current)
            yield chunk
