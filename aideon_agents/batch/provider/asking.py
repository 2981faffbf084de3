"""Models whose calls become lines of a provider's batch, and whose answers are read from one.

A request is made by the same code as a live one, and so is what is read from its answer. The line of
a call is found by its run, its node, and how many calls that node has made before. So a node that runs
again gets the answers that were bought for it, also where its prompt names the day.
"""

from __future__ import annotations

import collections
import json
from typing import TYPE_CHECKING, Any, cast

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.utils.uuid import uuid7
from langgraph.errors import GraphBubbleUp

from aideon_agents.batch.provider.dialects import LINES
from aideon_agents.batch.provider.lines import Lines
from aideon_agents.errors import (
    AllModelsFailed,
    InputError,
    LimitError,
    ProviderError,
    RateLimited,
    Transient,
)
from aideon_agents.ledger import tags
from aideon_agents.ledger.budgets.limits import Refusal
from aideon_agents.models import faults
from aideon_agents.models.admission import admission_for, run_budget_of
from aideon_agents.models.chain import Models
from aideon_agents.models.fallbacks import pass_of
from aideon_agents.models.features import SHAPE
from aideon_agents.models.guard import with_parent
from aideon_agents.models.shape import cut_off, shaped
from aideon_agents.models.wire import encoded
from aideon_agents.node_paths import node_path
from aideon_agents.runner.outcome import AT_PROVIDER

if TYPE_CHECKING:
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.messages import AIMessage
    from langchain_core.outputs import ChatResult

    from aideon_agents.settings import Settings
    from aideon_agents.state import Context, ModelRequest

_MOST_TRIES = 3
"""Attempts of one call: as many as the guard makes of a live one."""


class Parked(LimitError, GraphBubbleUp):  # noqa: N818 - it says what happened
    """A run stops until a batch at a provider has ended."""

    def __init__(self, asked: str) -> None:
        super().__init__(
            f"{asked} answers in a batch: repeat the command of the batch to continue",
            kind=AT_PROVIDER,
            value=None,
            limit=None,
        )


class Desk:
    """Parks the calls of a batch as lines, and gives the answers of those that have one."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.lines: Lines = cast("Any", None)
        """Those of the batch, once its ledger is open."""
        self.models: dict[str, Any] = {}
        """By the address of their providers, models that are asked."""
        self.full: Refusal | None = None
        """The budget that holds too much for another line now; None: there is room."""
        self.parked = 0
        """Lines since the last batch was made."""
        self._calls = collections.Counter[tuple[str, str]]()

    def begin_pass(self) -> None:
        """Each node counts its calls from the first one again."""
        self._calls.clear()
        self.full, self.parked = None, 0

    async def ask(
        self, model: Any, question: LanguageModelInput, config: RunnableConfig | None, options: Any
    ) -> AIMessage:
        """The answer to a call; Parked: there is none yet."""
        given = with_parent(config)
        path, candidate = node_path(given.get("metadata") or {}), model.candidate
        budget = run_budget_of(given)
        run_id = str(budget.run.run) if budget else ""
        self._calls[run_id, path] += 1
        key: dict[str, Any] = {
            "run_id": run_id,
            "node_path": path,
            "number": self._calls[run_id, path],
        }
        line = self.lines.find(**key)
        if line is not None and line.state in ("parked", "sent"):
            raise Parked(str(candidate))
        if line is not None and line.state == "answered":
            try:
                return _answer(model, line.answer, options)
            except (Transient, RateLimited) as error:
                if line.tries >= _MOST_TRIES:
                    raise AllModelsFailed([str(error)]) from error
            except ProviderError as error:
                raise AllModelsFailed([str(error)]) from error
        if line is not None and line.state == "lost" and line.tries >= _MOST_TRIES:
            raise AllModelsFailed([f"{candidate} sent no line for it in {line.tries} batches"])
        tries = 1 if line is None else line.tries + (line.state != "undone")
        self._park({**key, "tries": tries}, model, question, given, options)
        raise Parked(str(candidate))

    def _park(
        self,
        key: dict[str, Any],
        model: Any,
        question: LanguageModelInput,
        config: RunnableConfig,
        options: dict[str, Any],
    ) -> None:
        """Hold the money of a line, and write it and the row of its call."""
        candidate = model.candidate
        attempts = pass_of(config, candidate)
        prompt = model._convert_input(question)  # noqa: SLF001 - as the guard does
        model._check(attempts, prompt, options)  # noqa: SLF001 - what may not leave, or is too long
        call_id = uuid7()
        metadata = {
            **(config.get("metadata") or {}),
            tags.PROVIDER: candidate.provider,
            tags.MODEL: candidate.model,
            tags.ATTEMPT: key["tries"],
            tags.REHEARSED: False,
            **attempts.place_of(candidate),
        }
        if SHAPE in options:
            metadata[tags.FEATURE] = candidate.features.rung
        own = cast("RunnableConfig", {**config, "metadata": metadata, "run_id": call_id})
        admission, payload = admission_for(model, [candidate], own, prompt, options)
        if admission is None or payload is None:
            raise InputError("nothing records this call: it cannot be part of a batch")
        self.lines.park(key, str(call_id), str(candidate), _line(model, call_id, payload))
        try:
            granted = admission.hold(candidate)
        except BaseException:
            self.lines.drop(str(call_id))
            raise
        if isinstance(granted, Refusal):
            self.lines.drop(str(call_id))
            self.full = granted
            return
        if granted.max_tokens is not None:
            room = {**options, "max_tokens": granted.max_tokens}
            payload = model._get_request_payload(prompt, **room)  # noqa: SLF001 - as admission does
            self.lines.amend(str(call_id), _line(model, call_id, payload))
        self.lines.keep_hold(str(call_id))
        budgets = admission.budget.budgets
        budgets.unsent.pop(str(call_id), None)
        admission.release()  # the line keeps it from now on
        self.parked += 1


_NOT_SENT = (SHAPE, "extra_headers", "extra_query", "timeout", "stream", "stream_options")


def _line(model: Any, call_id: object, payload: dict[str, Any]) -> str:
    """The line of a request, in ASCII, so that it has as many bytes as characters."""
    sent = model.candidate.features.fitted(payload)
    sent |= sent.pop("extra_body", None) or {}
    wanted = {key: value for key, value in sent.items() if key not in _NOT_SENT}
    body = json.loads(encoded(wanted, model.candidate.name))
    return json.dumps(
        {"custom_id": str(call_id), **LINES[model.candidate.row.dialect], "body": body}
    )


def read(model: Any, sent: Any, options: dict[str, Any]) -> ChatResult:
    """What a line of a provider says; raises the error that it reports."""
    line: dict[str, Any] = sent if isinstance(sent, dict) else {}
    response: dict[str, Any] = line.get("response") or {}
    status, body, error = response.get("status_code"), response.get("body"), line.get("error")
    place = model._place  # noqa: SLF001 - as the wire does
    if isinstance(status, int) and status // 100 != 2:  # noqa: PLR2004 - any status of success
        raise faults.refusal(status, {}, json.dumps(body).encode(), **place)
    if error and not body:
        found = faults.refusal_in_answer(error, **place)
        found.billed = False
        raise found
    if not isinstance(body, dict):
        raise faults.unreadable(str(model.candidate), "the line of the batch has no answer")
    result = model._result(cast("dict[str, Any]", body), options)  # noqa: SLF001 - as the wire does
    return faults.validated(result, str(model.candidate), model._room(options))  # noqa: SLF001


def _answer(model: Any, sent: Any, options: dict[str, Any]) -> AIMessage:
    """The message in a line, checked as the guard checks it."""
    result = read(model, sent, options)
    message = cast("AIMessage", result.generations[0].message)
    about = {**(result.generations[0].generation_info or {}), **message.response_metadata}
    message.response_metadata = {**(result.llm_output or {}), **about}
    if message.response_metadata.get("finish_reason") == "content_filter":
        raise model._filtered()  # noqa: SLF001 - as the guard does
    if (cut := cut_off(message, options.get(SHAPE))) is not None:
        raise cut
    model._note(message)  # noqa: SLF001 - as the guard does
    return message


class Asked(Runnable[Any, Any]):
    """A model whose calls are lines of a batch."""

    def __init__(self, model: Any, desk: Desk) -> None:
        self.candidate = model.candidate
        self._model = model
        self._desk = desk

    def with_structured_output(self, schema: Any, **kwargs: Any) -> Runnable[Any, Any]:
        """The model, whose answers are instances of `schema`."""
        return shaped(self, schema, **kwargs)

    def _convert_input(self, question: Any) -> Any:
        return self._model._convert_input(question)  # noqa: SLF001 - the same question

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002 - LangChain's name
        """Refuse synchronous code."""
        del input, config, kwargs
        raise InputError("the models of a provider's batch are asked asynchronously")

    async def ainvoke(
        self,
        input: Any,  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        """The answer; Parked: there is none yet."""
        return await self._desk.ask(self._model, input, config, kwargs)


class BatchModels(Models):
    """The models of a batch, of which those are asked whose provider takes batches."""

    def __init__(self, settings: Settings, desk: Desk) -> None:
        super().__init__(settings)
        self._desk = desk

    def chat(self, request: ModelRequest, context: Context) -> Any:
        """The first model of the chain whose provider takes batches."""
        chain: Any = super().chat(request, context)
        if context.rehearse or self.settings.rehearses:
            return chain
        model = offered(chain)
        self._desk.models.setdefault(model.candidate.address, model)
        return Asked(model, self._desk)


def offered(chain: Any) -> Any:
    """The first model of a chain whose provider takes batches; refused: there is none."""
    for model in (chain.runnable, *chain.fallbacks):
        if model.candidate.row.dialect in LINES and not model.candidate.rehearsed:
            return model
    names = ", ".join(map(str, chain.candidates))
    raise InputError(
        f"{names}: no provider of these takes batches: name a model of openai or together with "
        "--model, or use --engine local, which asks the models live"
    )
