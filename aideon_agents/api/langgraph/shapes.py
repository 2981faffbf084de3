"""What a LangGraph client sends, as our words: tasks, options, answers; and our texts as messages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from aideon_agents.errors import InputError
from aideon_agents.runner.resume_state import is_approval
from aideon_agents.serving.launching import Dollars
from aideon_agents.state import Tier

Document: TypeAlias = dict[str, Any]
StreamMode: TypeAlias = Literal[
    "values",
    "messages",
    "messages-tuple",
    "updates",
    "tasks",
    "custom",
    "events",
    "debug",
    "checkpoints",
    "tools",
    "lifecycle",
]
"""The last five are never sent: a client may name them."""
MESSAGE_ID = "message_id"
"""Metadata of a run: the id under which its client knows the message that it answers."""
_STATE = ("messages", "task", "inputs", "results", "output", "plan", "verdict", "route")


class RunContext(BaseModel):
    """Options of a run of ours, as LangGraph's `context`."""

    model_config = ConfigDict(extra="forbid")

    budget: Dollars | None = None
    tier: Tier | None = None
    timeout: Annotated[float, Field(gt=0, le=86_400)] | None = None
    model: dict[str, str | list[str]] | None = None
    record_content: bool = False


class Command(BaseModel):
    """How a thread continues."""

    model_config = ConfigDict(extra="forbid")

    resume: JsonValue = None
    update: JsonValue = None
    goto: JsonValue = None
    graph: str | None = None


class RunCreate(BaseModel):
    """What a run is given. What a client may send and we do not do is refused, and says so."""

    model_config = ConfigDict(extra="forbid")

    assistant_id: Annotated[str, Field(max_length=100)]
    input: JsonValue = None
    command: Command | None = None
    config: Document | None = None
    context: RunContext | None = None
    metadata: Document | None = None
    stream_mode: StreamMode | list[StreamMode] = "values"
    stream_subgraphs: bool = False
    stream_resumable: bool = False
    on_disconnect: Literal["cancel", "continue"] = "continue"
    multitask_strategy: Literal["reject", "interrupt", "rollback", "enqueue"] | None = None
    if_not_exists: Literal["create", "reject"] = "reject"
    checkpoint: Document | None = None
    checkpoint_id: str | None = None
    checkpoint_during: bool | None = None
    durability: Literal["sync", "async", "exit"] | None = None
    on_completion: Literal["delete", "keep"] | None = None
    feedback_keys: list[str] | None = None
    strict_resume: bool | None = None
    langsmith_tracer: Document | None = None
    webhook: str | None = None
    interrupt_before: Literal["*"] | list[str] | None = None
    interrupt_after: Literal["*"] | list[str] | None = None
    after_seconds: float | None = None

    def refuse_undone(self, newest: str | None) -> None:
        """Refuse what would otherwise be ignored; `newest` is the checkpoint of the thread."""
        for name in ("webhook", "interrupt_before", "interrupt_after", "after_seconds"):
            if getattr(self, name):
                raise InputError(f"{name} is not supported: leave it out")
        if self.multitask_strategy in ("enqueue", "rollback"):
            raise InputError(
                f"multitask_strategy {self.multitask_strategy} is not supported: use reject, or interrupt"
            )
        one = self.command
        if one and (one.update or one.goto or one.graph):  # RemoteGraph sends them empty
            raise InputError("command takes resume alone: update and goto are not supported")
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
    inputs = {name: one for name, one in given.items() if name not in _STATE}
    own = given.get("inputs") or {}
    if not isinstance(own, dict):
        raise InputError("input.inputs takes an object")
    inputs |= own
    task = given.get("task")
    ids = {one["id"] for one in known}
    messages = given.get("messages") or []
    messages = messages if isinstance(messages, list) else [messages]
    new = [one for one in map(_message, messages) if one["id"] is None or one["id"] not in ids]
    if isinstance(task, str) and not new:
        return task, inputs, []
    if not new or new[-1]["type"] != "human":
        raise InputError("input.messages ends with no new message of a person: nothing is asked")
    spoken = [(one["type"], text_of(one["content"])) for one in new]
    if len(spoken) == 1:
        return spoken[0][1], inputs, new
    return "\n\n".join(f"{kind}: {text}" for kind, text in spoken if text), inputs, new


_EMPTY: Document = {"additional_kwargs": {}, "response_metadata": {}, "name": None}
_KINDS = {"user": "human", "assistant": "ai", "developer": "system", "AIMessageChunk": "ai"}


def _message(given: JsonValue) -> Document:
    """A message as a client sends it, in LangChain's keys."""
    if isinstance(given, str):
        given = {"type": "human", "content": given}
    if not isinstance(given, dict) or not isinstance(given.get("content"), str | list):
        raise InputError('each of input.messages takes {"type": "human", "content": "..."}')
    kind = str(given.get("type") or given.get("role") or "human")
    if not isinstance(given.get("id"), str | None):
        raise InputError("the id of each of input.messages is a text, or is left out")
    return {**_EMPTY, **given, "type": _KINDS.get(kind, kind), "id": given.get("id")}


def text_of(content: Any) -> str:
    """The text of a message's content; pictures and files are refused."""
    if isinstance(content, str):
        return content
    parts: list[str] = []
    for one in cast("list[Any]", content):
        text = one if isinstance(one, str) else one.get("text") if isinstance(one, dict) else None
        if not isinstance(text, str):
            raise InputError("a message here is text alone: pictures and files are not supported")
        parts.append(text)
    return "\n".join(parts)


def message(kind: Literal["human", "ai", "AIMessageChunk"], text: str, identity: str) -> Document:
    """A message as LangChain writes it."""
    more: Document = {} if kind == "human" else {"tool_calls": [], "invalid_tool_calls": []}
    return {"content": text, **_EMPTY, "type": kind, "id": identity, **more}


def metadata_of(given: Document | None, message_id: str | None) -> dict[str, str]:
    """A run's metadata: texts as they are, other values as JSON."""
    found = {MESSAGE_ID: message_id} if message_id else {}
    for name, value in (given or {}).items():
        found[name] = value if isinstance(value, str) else json.dumps(value)
    return found


def interrupt(question: Mapping[str, Any]) -> Document:
    """A question of ours as an interrupt; an approval in the form that chat pages draw buttons for."""
    value, schema = question["question"], question["schema"]
    if is_approval(schema):
        name, text = value.get("node_path", question["node_path"]), value.get("result")
        value = {
            **value,
            "action_requests": [
                {"name": name, "args": {"content": text}, "description": value.get("question")}
            ],
            "review_configs": [
                {"action_name": name, "allowed_decisions": ["approve", "reject"]},
            ],
        }
    more = {} if schema is None else {"response_schema": schema}
    return {"id": question["id"], "value": value, **more}


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
    kinds = {"approve": True, "edit": True, "accept": True, "reject": False}
    one = decisions[0] if len(decisions) == 1 else None
    if not isinstance(one, dict) or one.get("type") not in kinds:
        raise InputError(
            'decisions takes one {"type": "approve"}, or {"type": "reject", "message"}'
        )
    found: Document = {"approved": kinds[str(one["type"])]}
    edited = one.get("edited_action")
    if one["type"] == "edit" and isinstance(edited, dict):
        arguments = cast("Document", edited).get("args") or {}
        found["content"] = arguments.get("content")
    if not found["approved"]:
        found["feedback"] = one.get("message")
    return found


def selected(found: list[Document], keys: list[str] | None) -> list[Document]:
    """Documents with some of their keys; None: with all."""
    return [{key: one[key] for key in one if keys is None or key in keys} for one in found]
