"""What a LangGraph client sends, as our words: tasks, options, answers; and our texts as messages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, cast

from fastapi import Depends
from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from aideon_agents.access.callers import Caller
from aideon_agents.access.roles import Permission
from aideon_agents.api.asking import Serving, asking
from aideon_agents.errors import InputError
from aideon_agents.ledger.store import Ledger
from aideon_agents.runner.resume_state import is_approval
from aideon_agents.serving.launching import Dollars
from aideon_agents.serving.service import Service
from aideon_agents.state import Tier

Document: TypeAlias = dict[str, Any]
MESSAGE_ID = "message_id"
"""Metadata of a run: the id under which its client knows the message that it answers."""
_MODES = "values|messages|messages-tuple|updates|tasks|custom"
_NEVER_SENT = "events|debug|checkpoints|tools|lifecycle"
"""Modes that a client may name as well."""
StreamMode: TypeAlias = Annotated[str, Field(pattern=f"^({_MODES}|{_NEVER_SENT})$")]
_STATE = ("messages", "task", "inputs", "results", "output", "plan", "verdict", "route")
_UNDONE = ("webhook", "interrupt_before", "interrupt_after", "after_seconds")
_IS_UNDONE = "{name} is not supported: leave it out"
_WITHOUT_EFFECT = (
    *("stream_resumable", "checkpoint_during", "durability", "on_completion", "feedback_keys"),
    *("strict_resume", "langsmith_tracer"),
)
"""What the SDKs send and a run of ours does not need."""


class Client(NamedTuple):
    """Who asks, and the service that answers."""

    service: Service
    caller: Caller

    @property
    def ledger(self) -> Ledger:
        return self.service.ledger


def _client(permission: Permission) -> Any:
    async def client(
        service: Serving,
        caller: Any = asking(permission),  # noqa: B008 - a dependency
    ) -> Client:
        return Client(service, caller)

    return Depends(client)


Reader = Annotated[Client, _client("runs:own")]
Writer = Annotated[Client, _client("runs:write")]
Owner = Annotated[Client, _client("context:own")]


class Body(BaseModel):
    """What a client sends. What it may not send is refused."""

    model_config = ConfigDict(extra="forbid")


class Page(Body):
    """Which part of a list a client wants."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 10
    offset: Annotated[int, Field(ge=0)] = 0
    select: list[str] | None = None
    """The keys of each document; None: all."""

    def of(self, found: list[Any]) -> list[Any]:
        return found[self.offset : self.offset + self.limit]

    def selected(self, found: Sequence[Document]) -> list[Document]:
        keys = self.select
        return [{key: one[key] for key in one if keys is None or key in keys} for one in found]


class RunContext(Body):
    """Options of a run of ours, as LangGraph's `context`."""

    budget: Dollars | None = None
    tier: Tier | None = None
    timeout: Annotated[float, Field(gt=0, le=86_400)] | None = None
    model: dict[str, str | list[str]] | None = None
    record_content: bool = False


class Command(Body):
    """How a thread continues. RemoteGraph sends what is not meant as well, empty."""

    resume: JsonValue = None
    update: JsonValue = None
    goto: JsonValue = None
    graph: str | None = None


class RunCreate(Body):
    """What a run is given. What a client may send and we do not do is refused, and says so."""

    assistant_id: Annotated[str, Field(max_length=100)]
    input: JsonValue = None
    command: Command | None = None
    config: Document | None = None
    context: RunContext | None = None
    metadata: Document | None = None
    stream_mode: StreamMode | list[StreamMode] = "values"
    stream_subgraphs: bool = False
    on_disconnect: Literal["cancel", "continue"] = "continue"
    multitask_strategy: Literal["reject", "interrupt", "rollback", "enqueue"] | None = None
    if_not_exists: Literal["create", "reject"] = "reject"
    checkpoint: Document | None = None
    checkpoint_id: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        sent = cast("Document", given)
        if undone := [name for name in _UNDONE if sent.get(name)]:
            raise PydanticCustomError("undone", _IS_UNDONE, {"name": undone[0]})
        return {k: one for k, one in sent.items() if k not in (*_UNDONE, *_WITHOUT_EFFECT)}

    def resumed(self, questions: Sequence[Mapping[str, Any]]) -> Command | None:
        """How a RemoteGraph is resumed whose own graph is: with answers by id, in its config."""
        answers = ((self.config or {}).get("configurable") or {}).get("__pregel_resume_map") or {}
        known = {one["id"] for one in questions} & answers.keys()
        return Command(resume={one: answers[one] for one in known}) if known else None

    def refuse_undone(self, newest: str | None) -> None:
        """Refuse what would otherwise be ignored; `newest` is the checkpoint of the thread."""
        if self.multitask_strategy == "enqueue":
            raise InputError(
                "multitask_strategy enqueue is not supported: use reject, interrupt or rollback"
            )
        one = self.command
        if one and (one.update or one.graph or one.goto not in (None, [], "__end__", ["__end__"])):
            raise InputError(
                'command takes resume, or "__end__" as goto: nothing else is supported'
            )
        wanted = self.checkpoint_id or (self.checkpoint or {}).get("checkpoint_id")
        if wanted is not None and wanted != newest:
            raise InputError(
                f"checkpoint: a run continues from the newest state of its thread, which is {newest}"
            )


def asked(given: JsonValue, known: Sequence[Document]) -> tuple[str, Document, list[Document]]:
    """The task, the inputs and the new messages of a run's input.

    `known` are the messages of the thread. Several new ones become one task, as a transcript.
    """
    if isinstance(given, str):
        given = {"task": given}
    if not isinstance(given, dict):
        raise InputError('input takes {"messages": [...]}, or {"task": "...", "inputs": {...}}')
    own = given.get("inputs") or {}
    if not isinstance(own, dict):
        raise InputError("input.inputs takes an object")
    inputs = {name: one for name, one in given.items() if name not in _STATE} | own
    messages = given.get("messages") or []
    sent = map(_message, messages if isinstance(messages, list) else [messages])
    ids = {None: False} | {one["id"]: True for one in known}
    new = [one for one in sent if not ids.get(one["id"])]
    task = given.get("task")
    if isinstance(task, str) and not new:
        return task, inputs, []
    if not new or new[-1]["type"] != "human":
        raise InputError("input.messages ends with no new message of a person: nothing is asked")
    spoken = [(one["type"], _text(one["content"])) for one in new]
    if len(spoken) == 1:
        return spoken[0][1], inputs, new
    return "\n\n".join(f"{kind}: {text}" for kind, text in spoken if text), inputs, new


_EMPTY: Document = {"additional_kwargs": {}, "response_metadata": {}, "name": None}
_KINDS = {"user": "human", "assistant": "ai", "developer": "system", "AIMessageChunk": "ai"}


def _message(given: JsonValue) -> Document:
    """A message as a client sends it, in LangChain's keys."""
    sent = {"content": given} if isinstance(given, str) else given
    if not isinstance(sent, dict) or not isinstance(sent.get("content"), str | list):
        raise InputError('each of input.messages takes {"type": "human", "content": "..."}')
    if not isinstance(sent.get("id"), str | None):
        raise InputError("the id of each of input.messages is a text, or is left out")
    kind = str(sent.get("type") or sent.get("role") or "human")
    return {**_EMPTY, "id": None, **sent, "type": _KINDS.get(kind, kind)}


def _text(content: Any) -> str:
    """The text of a message's content; pictures and files are refused."""
    parts = [content] if isinstance(content, str) else cast("list[Any]", content)
    texts: list[Any] = [one.get("text") if isinstance(one, dict) else one for one in parts]
    if not all(isinstance(one, str) for one in texts):
        raise InputError("a message here is text alone: pictures and files are not supported")
    return "\n".join(texts)


def message(kind: Literal["human", "ai", "AIMessageChunk"], text: str, identity: str) -> Document:
    """A message as LangChain writes it."""
    more: Document = {} if kind == "human" else {"tool_calls": [], "invalid_tool_calls": []}
    return {"content": text, **_EMPTY, "type": kind, "id": identity, **more}


def answer_message(run_id: object, text: str) -> Document:
    """What a run answers, under an id that is always the same."""
    return message("ai", text, f"{run_id}.answer")


def metadata_of(given: Document | None, message_id: str | None) -> dict[str, str]:
    """A run's metadata: texts as they are, other values as JSON."""
    own = {MESSAGE_ID: message_id} if message_id else {}
    sent = (given or {}).items()
    return own | {name: one if isinstance(one, str) else json.dumps(one) for name, one in sent}


def interrupt(question: Mapping[str, Any]) -> Document:
    """A question of ours as an interrupt; an approval in the form that chat pages draw buttons for."""
    value, schema = question["question"], question["schema"]
    if is_approval(schema):
        name, text = value.get("node_path", question["node_path"]), value.get("result")
        shown = {"name": name, "args": {"content": text}, "description": value.get("question")}
        config = {"action_name": name, "allowed_decisions": ["approve", "reject"]}
        value = {**value, "action_requests": [shown], "review_configs": [config]}
    more = {} if schema is None else {"response_schema": schema}
    return {"id": question["id"], "value": value, **more}


def question_message(run: Mapping[str, Any]) -> Document:
    """What a waiting run asks about, as its message: chat pages show a question below one of these."""
    value = run["questions"][0]["question"]
    parts = (value.get("result") or value.get("question")) if isinstance(value, dict) else value
    return answer_message(run["run_id"], parts if isinstance(parts, str) else "")


def answer(given: JsonValue, questions: Sequence[Mapping[str, Any]]) -> Any:
    """The answer that a client resumes with, in our words; by id where it is so."""
    by_id = {one["id"]: one for one in questions}
    if isinstance(given, dict) and given and given.keys() <= by_id.keys():
        return {one: _decided(value, by_id[one]["schema"]) for one, value in given.items()}
    return _decided(given, questions[0]["schema"] if questions else None)


def _decided(given: JsonValue, schema: Any) -> Any:
    decisions = given.get("decisions") if isinstance(given, dict) else None
    if not is_approval(schema) or not isinstance(decisions, list):
        return given
    one = decisions[0] if len(decisions) == 1 else None
    kind = one.get("type") if isinstance(one, dict) else None
    if not isinstance(one, dict) or kind not in ("approve", "accept", "edit", "reject"):
        raise InputError(
            'decisions takes one {"type": "approve"}, or {"type": "reject", "message"}'
        )
    if kind == "reject":
        return {"approved": False, "feedback": one.get("message")}
    edited = one.get("edited_action") if kind == "edit" else None
    if not isinstance(edited, dict):
        return {"approved": True}
    arguments = cast("Document", edited).get("args") or {}
    return {"approved": True, "content": arguments.get("content")}
