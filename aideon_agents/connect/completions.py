"""One chat completion of OpenAI: what is asked of which model of ours, and the answer in its form."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import httpx2
from langchain_core.messages import AIMessage, AIMessageChunk, convert_to_messages
from langchain_core.runnables import RunnableLambda

from aideon_agents.agents import chat_model
from aideon_agents.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from langchain_core.runnables import Runnable

_SAME = ("temperature", "reasoning_effort")
"""Fields of a request that `chat_model` takes."""
_PASSED = ("top_p", "frequency_penalty", "presence_penalty", "seed", "stop", "parallel_tool_calls")
"""Fields that every model is asked with."""
_JSON = {"content-type": "application/json"}


class Asked:
    """One chat completion: what is asked of which model, and its answer in OpenAI's form."""

    def __init__(self, path: str, content: bytes, options: Mapping[str, Any]) -> None:
        if not path.endswith("/chat/completions"):
            raise InputError(f"{path}: our models answer /chat/completions alone")
        self.body: dict[str, Any] = json.loads(content)
        sent = {name: one for name, one in self.body.items() if one is not None}
        given = {name: sent[name] for name in _SAME if name in sent}
        if most := sent.get("max_completion_tokens") or sent.get("max_tokens"):
            given["max_tokens"] = most
        self.messages = convert_to_messages([_message(one) for one in sent["messages"]])
        model = chat_model(sent["model"], **{**options, **given})
        self.model: Runnable[Any, Any] = model.bind(
            **{name: sent[name] for name in _PASSED if name in sent}
        )
        form = sent.get("response_format") or {}
        if tools := sent.get("tools"):
            self.model = model.bind_tools(
                tools, **{name: sent[name] for name in ("tool_choice", *_PASSED) if name in sent}
            )
        elif schema := form.get("json_schema", {}).get("schema"):
            schema = {"title": "answer", "description": "The answer.", **schema}
            typed: Any = model.with_structured_output(schema, include_raw=True)
            self.model = typed | RunnableLambda(_as_message)
        self.usage: dict[str, int] | None = None
        self.reason = "stop"
        self.number = f"chatcmpl-{uuid4().hex}"
        self.created = int(time.time())

    def answer(self, message: AIMessage) -> httpx2.Response:
        """The whole completion."""
        self._note(message)
        calls = [
            {**_call(one["id"], one["name"], json.dumps(one["args"]))} for one in message.tool_calls
        ]
        content = {"role": "assistant", "content": str(message.text) or None}
        choice = {"message": {**content, **({"tool_calls": calls} if calls else {})}}
        return httpx2.Response(200, headers=_JSON, content=self._document("", choice))

    def begin(self) -> bytes:
        """The first chunk."""
        return self._line({"delta": {"role": "assistant", "content": ""}, "finish_reason": None})

    def chunk(self, message: AIMessage) -> bytes:
        """A piece of the answer; nothing, if it has no content."""
        self._note(message)
        delta: dict[str, Any] = {"content": str(message.text)} if message.text else {}
        if calls := list(_pieces(message)):
            delta["tool_calls"] = calls
        return self._line({"delta": delta, "finish_reason": None}) if delta else b""

    def end(self) -> bytes:
        """The last chunks: why the answer ends, and what was used."""
        last = self._line({"delta": {}, "finish_reason": self.reason})
        is_asked = (self.body.get("stream_options") or {}).get("include_usage")
        used = b"data: " + self._document(".chunk", None) + b"\n\n" if is_asked else b""
        return last + used + b"data: [DONE]\n\n"

    def _note(self, message: AIMessage) -> None:
        if message.tool_calls or getattr(message, "tool_call_chunks", None):
            self.reason = "tool_calls"
        elif message.response_metadata.get("finish_reason") in ("length", "content_filter"):
            self.reason = message.response_metadata["finish_reason"]
        if used := message.usage_metadata:
            self.usage = {
                "prompt_tokens": used["input_tokens"],
                "completion_tokens": used["output_tokens"],
                "total_tokens": used["total_tokens"],
            }

    def _line(self, choice: dict[str, Any]) -> bytes:
        return b"data: " + self._document(".chunk", choice) + b"\n\n"

    def _document(self, kind: str, choice: dict[str, Any] | None) -> bytes:
        named = {"id": self.number, "object": f"chat.completion{kind}", "created": self.created}
        choices = (
            [{"index": 0, "finish_reason": self.reason, "logprobs": None} | choice]
            if choice
            else []
        )
        usage = {} if kind and choice else {"usage": self.usage}
        return json.dumps(
            {**named, "model": self.body["model"], "choices": choices, **usage}
        ).encode()


def _message(sent: dict[str, Any]) -> dict[str, Any]:
    """A message as LangChain reads it: without empty fields, and with a content."""
    return {"content": ""} | {name: one for name, one in sent.items() if one is not None}


def _call(number: str | None, name: str | None, arguments: str | None) -> dict[str, Any]:
    return {"id": number, "type": "function", "function": {"name": name, "arguments": arguments}}


def _pieces(message: AIMessage) -> Iterable[dict[str, Any]]:
    if isinstance(message, AIMessageChunk):
        for one in message.tool_call_chunks:
            yield {
                "index": one.get("index") or 0,
                **_call(one["id"], one["name"], one["args"] or ""),
            }
    else:  # a model that does not stream
        for nth, one in enumerate(message.tool_calls):
            yield {"index": nth, **_call(one["id"], one["name"], json.dumps(one["args"]))}


def _as_message(both: dict[str, Any]) -> AIMessage:
    """The answer to a schema as a message: its JSON, with what the model used."""
    if both["parsing_error"] is not None:
        raise both["parsing_error"]
    raw = cast("AIMessage", both["raw"])
    text = json.dumps(both["parsed"], ensure_ascii=False)
    return AIMessage(text, usage_metadata=raw.usage_metadata)
