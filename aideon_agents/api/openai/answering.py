"""Answers for OpenAI's clients: of a workflow, or of a model, piece by piece."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias

from fastapi import Header, Request
from langchain_core.messages import convert_to_messages

from aideon_agents.access.callers import Caller
from aideon_agents.api import doors
from aideon_agents.api.asking import Serving, asking
from aideon_agents.api.problems import Problem
from aideon_agents.errors import InputError, ModelNameError, NotFound
from aideon_agents.graphs.output import last_agent
from aideon_agents.ledger.documents import cost_document
from aideon_agents.ledger.redaction import one_line
from aideon_agents.models.pictures.blocks import is_picture, url_of
from aideon_agents.models.providers import ModelName
from aideon_agents.serving.completing import Ask, complete, pieces
from aideon_agents.serving.events import ENDED
from aideon_agents.serving.launching import StartRun
from aideon_agents.state import ModelRequest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from langchain_core.messages import BaseMessage

    from aideon_agents.api.openai.shapes import Asked
    from aideon_agents.serving.completing import Completed
    from aideon_agents.serving.launching import Launcher
    from aideon_agents.serving.service import Service

WORKFLOW = "workflow:"
_TOKENS = 1024
_USUAL = {"top_p": 1, "frequency_penalty": 0, "presence_penalty": 0, "seed": None}
"""Values that are not sent: not every provider takes these options."""
_OF_TOOLS = ("tools", "tool_choice", "parallel_tool_calls")
_ROLES = {"human": "user", "ai": "assistant"}
_STOPPED = {
    "budget": (403, "budget_exceeded"),
    "timeout": (504, "limit_reached"),
    "quota": (429, "quota_exceeded"),
}
_UI_TASKS = {
    "human": (
        "### task:",
        "your task is to reflect the speaker's likely facial expression",
        "analyze this conversation and provide:",
        "provide a concise, 5-word-or-less title",
        "please generate a concise, 5-word-or-less title",
        "please generate a concise title",
    ),
    "system": (
        "available tools:",
        "you are a professional conversation summarizer. generate a concise title",
        "you are an assistant who is good at conversation, and you need to summarize",
        "you are an assistant skilled in conversation. you need to summarize",
    ),
}
"""How the prompts of Open WebUI, LibreChat, LobeChat and Cherry Studio for titles and the like begin."""
_NO_UI_TASK = "### task: respond to the user query"
"""What Open WebUI writes before a person's question where it has documents."""


class Answer(NamedTuple):
    """A whole answer."""

    text: str
    finish_reason: str
    used: tuple[int | None, int | None]
    """The tokens sent and received; None: some provider did not say."""
    about: dict[str, Any]
    """What `aideon` of an answer has: the run, its state, its cost and its questions."""
    tool_calls: Sequence[Any] = ()

    def usage(self, sent: str, received: str) -> dict[str, Any] | None:
        """The tokens under the names of an API; None: they are not known."""
        a, b = self.used
        return None if a is None or b is None else {sent: a, received: b, "total_tokens": a + b}


Pieces: TypeAlias = "AsyncGenerator[dict[str, str] | Answer]"
"""The deltas of an answer, `content` or of inner nodes `reasoning_content`, and the whole answer last."""


@dataclasses.dataclass(frozen=True)
class Door:
    """Where a request comes in: a dependency of each endpoint."""

    request: Request
    service: Serving
    caller: Annotated[Caller, asking("runs:write", "models:call")]
    word: Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)] = None

    async def answered(self, body: Asked) -> tuple[str, Pieces]:
        """The run that answers, and the pieces of the answer."""
        service, caller = self.service, self.caller
        if not body.model.startswith(WORKFLOW):
            _check_model(service.launcher, caller, body.model)
            return self._of_model(body, await _messages(body), model=(body.model,))
        if not caller.may("runs:write"):
            raise Problem(403, "forbidden", "a workflow needs the permission runs:write")
        try:
            workflow = service.workflows.find(caller, body.model.removeprefix(WORKFLOW))
        except NotFound as error:
            raise Problem(404, "model_not_found", str(error)) from None
        messages = await _messages(body)
        if _is_ui_task(body, messages):
            body.aideon.tier = "free"
            return self._of_model(body, messages, purpose="ui_task", complexity="low")
        if body.response_format.get("type", "text") != "text":
            raise InputError("response_format: a workflow decides the form of its output")
        extra = body.aideon.model_dump(exclude_none=True)
        start = StartRun(workflow=workflow.name, task=_task_of(messages), **extra)
        run_id = await service.start(caller, start, word=self.word, stream=body.stream)
        return run_id, self._of_run(run_id, last_agent(workflow.target.graph))

    def _of_model(
        self, body: Asked, messages: list[BaseMessage], **choice: Any
    ) -> tuple[str, Pieces]:
        names = [*_USUAL, *(_OF_TOOLS if body.tools else ())]
        options: dict[str, Any] = {name: getattr(body, name) for name in names}
        options["stop"] = [body.stop] if isinstance(body.stop, str) else body.stop
        request = ModelRequest(
            role="executor",
            max_tokens=body.max_tokens or _TOKENS,
            may_think=body.max_tokens is None,
            temperature=body.temperature,
            reasoning_effort=body.reasoning_effort,
            **choice,
        )
        ask = Ask(
            feature="text_generation",
            request=request,
            messages=messages,
            tier=body.aideon.tier,
            options={
                key: one for key, one in options.items() if one not in (None, _USUAL.get(key))
            },
            response_format=body.response_format,
            request_id=doors.request_id(self.request),
        )
        # Some servers do not say how many tokens a streamed answer has.
        asked = pieces if body.stream else _at_once
        return ask.run_id, _deltas(asked(self.service, self.caller, ask))

    async def _of_run(self, run_id: str, last: str | None) -> Pieces:
        """The pieces of a run. Closing it early cancels the run, because its client has gone."""
        sent, shown = "", None
        with doors.watched(self.service, self.caller, run_id):
            async for _, kind, document in self.service.events(run_id):
                if kind == ENDED:
                    shown = self.service.show(self.caller, run_id)
                elif kind == "token" and document["node_path"] == last:
                    sent += document["text"]
                    yield {"content": document["text"]}
                elif kind == "token":
                    yield {"reasoning_content": document["text"]}
        if shown is None:
            detail = f"this process stops: another one continues the run, GET /api/v1/runs/{run_id}"
            raise Problem(503, "draining", detail, run_id=run_id)
        status, reason, cost = shown["status"], shown["stop_reason"], shown["cost"]
        if status not in ("completed", "waiting"):
            detail = f"run {run_id} did not complete: {shown['error'] or reason or status}"
            number, code = _STOPPED.get(reason, (502, "run_failed"))
            raise Problem(number, code, detail, run_id=run_id)
        asks = [str(one["question"]) for one in shown["questions"]]
        text = "\n\n".join(asks) if status == "waiting" else shown["output"] or ""
        if rest := text[len(sent) :] if text.startswith(sent) else f"\n\n{text}":
            yield {"content": rest}
        used = cost["input_tokens"], cost["output_tokens"]
        yield Answer(text, "stop", used, _about(run_id, cost, status, shown["questions"]))


async def _at_once(service: Service, caller: Caller, ask: Ask) -> AsyncGenerator[Completed]:
    yield await complete(service, caller, ask)


async def _deltas(source: AsyncGenerator[str | Completed]) -> Pieces:
    async with contextlib.aclosing(source):
        async for piece in source:
            if isinstance(piece, str):
                yield {"content": piece}
                continue
            calls, call = piece.message.tool_calls, piece.call
            reason = "tool_calls" if calls else "length" if call.truncated else "stop"
            about = _about(piece.run_id, cost_document(piece.cost))
            yield Answer(piece.text, reason, (call.input_tokens, call.output_tokens), about, calls)


def _about(
    run_id: str, cost: dict[str, Any], status: str = "completed", questions: Any = ()
) -> dict[str, Any]:
    sums = {"usd": cost["usd"], "complete": cost["complete"]}
    return {"run_id": run_id, "status": status, **sums, "questions": list(questions)}


def _check_model(launcher: Launcher, caller: Caller, model: str) -> None:
    if not caller.may("models:call"):
        raise Problem(403, "forbidden", "a model needs the permission models:call")
    try:
        name = str(ModelName.parse(model))
    except ModelNameError as error:
        detail = f"{error}; or a workflow, as workflow:NAME: GET /v1/models lists both"
        raise Problem(404, "model_not_found", detail) from None
    if not launcher.may_name(caller, name):
        detail = f"{name} is not among the models of the tier {caller.tier}: see GET /v1/models"
        raise Problem(404, "model_not_found", detail)


async def _messages(body: Asked) -> list[BaseMessage]:
    """The messages of a request. Parts that are all text become one, which every model takes."""
    given: list[Any] = []
    for message in body.messages:
        content: Any = message.get("content")
        if isinstance(content, list):
            text = _joined(content)
            if text is None and body.model.startswith(WORKFLOW):
                raise InputError("messages: a workflow takes text, and a part of a message is none")
            content = [await _sendable(one) for one in content] if text is None else text
        known = {key: one for key, one in message.items() if one is not None}
        given.append({**known, "content": content or ""})
    try:
        return convert_to_messages(given)
    except (ValueError, TypeError, KeyError, NotImplementedError) as error:
        raise InputError(f"messages: {one_line(str(error))[:300]}") from None


def _joined(parts: list[Any]) -> str | None:
    """The text of parts that are all text; None: some are not."""
    texts = [one.get("text", one.get("refusal")) for one in parts if isinstance(one, dict)]
    known = [one for one in texts if isinstance(one, str)]
    return "\n".join(known) if len(known) == len(parts) else None


async def _sendable(part: Any) -> Any:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise InputError("messages: a part of a message must be an object with a type")
    return await doors.picture(url_of(part) or "") if is_picture(part) else part


def _is_ui_task(body: Asked, messages: Sequence[BaseMessage]) -> bool:
    """Whether a chat UI asks for a title or the like, which no person has asked a workflow for."""
    asks = [
        one for nth, one in enumerate(messages, 1) if one.type == "system" or nth == len(messages)
    ]
    texts = [(one.type, " ".join(str(one.text).lower().split())) for one in asks]
    return bool(body.metadata.get("task")) or any(
        text.startswith(_UI_TASKS.get(kind, ())) and not text.startswith(_NO_UI_TASK)
        for kind, text in texts
    )


def _task_of(messages: Sequence[BaseMessage]) -> str:
    """The task of a workflow: the last message, below what was written before it."""
    *before, last = messages
    system = [str(one.text) for one in before if one.type == "system"]
    earlier = [
        f"{_ROLES.get(one.type, one.type)}: {one.text}" for one in before if one.type != "system"
    ]
    if earlier:
        earlier = ["The conversation so far:", *earlier, "What is to be done now:"]
    if not last.text.strip():
        raise InputError("messages: the last one is empty: say what to do")
    return "\n\n".join([*system, *earlier, str(last.text)])
