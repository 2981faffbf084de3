"""How a server of the OpenAI protocol reads requests and writes answers."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from typing import TYPE_CHECKING, Any, cast

from aideon_agents.models.answers import Answer, Ask, Turn, estimate_tokens, text_of
from aideon_agents.models.answers.reply import filled
from aideon_agents.models.pictures.blocks import seen
from aideon_agents.testing.simulated.dialects.dialect import format_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from aideon_agents.testing.simulated.dialects.dialect import Dialect


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One well-formed request to /v1/chat/completions."""

    request_id: str
    key: str
    """The caller's key, as sent."""
    model: str
    """The requested model, before aliases."""
    ask: Ask
    """The conversation and what is requested."""
    stream: bool
    include_usage: bool
    """Whether the caller wants a stream to end with its usage."""
    body: Mapping[str, Any]
    """The request as it was sent."""


def read_chat(
    body: object, dialect: Dialect, *, request_id: str, key: str, blind: Collection[str] = ()
) -> ChatRequest:
    """Read a request's body; None: it was not JSON. `blind` are models that take no pictures."""
    if not isinstance(body, dict):
        raise dialect.invalid("The body is not a JSON object.")
    sent = cast("dict[str, Any]", body)
    if not isinstance(sent.get("model"), str) or not sent["model"]:
        raise dialect.invalid("You must provide a model parameter.")
    if sent.get("n", 1) != 1:
        raise dialect.invalid("Only n=1 is supported.")
    read = {name: value for name, value in sent.items() if name not in dialect.ignores}
    ask = _ask(read, dialect)
    dialect.check(ask, sent)
    pictures = [one for turn in ask.turns for one in turn.pictures]
    if pictures and sent["model"] in blind:
        usual = dialect.invalid("This model does not support image input.")
        raise dialect.worded("blind", "", sent["model"]) or usual
    for one in pictures:
        dialect.check_picture(one, sent["model"])
    tokens = sum(dialect.picture_tokens(one.size) for one in pictures)
    ask = dataclasses.replace(ask, picture_tokens=tokens)
    options: dict[str, Any] = read.get("stream_options") or {}
    return ChatRequest(
        request_id=request_id,
        key=key,
        model=sent["model"],
        ask=ask,
        stream=bool(sent.get("stream")),
        include_usage=bool(options.get("include_usage")),
        body=sent,
    )


def _ask(body: dict[str, Any], dialect: Dialect) -> Ask:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise dialect.invalid("'messages' must be a list with at least one message.")
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise dialect.invalid("The maximum of tokens must be a positive integer.")
    stop = body.get("stop") or ()
    tools = body.get("tools") or []
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise dialect.invalid("'tools' must be a list of objects.")
    choice = body.get("tool_choice")
    if dialect.only_named_tools and not isinstance(choice, dict):
        tools = []
    return Ask(
        turns=tuple(_turn(message, dialect) for message in cast("list[Any]", messages)),
        tools=tuple(cast("list[dict[str, Any]]", tools)),
        tool_choice=choice,
        response_format=_format(body, cast("list[Any]", messages), dialect),
        max_tokens=limit,
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
    )


_SCHEMA = re.compile(r"\bjson\b[^{}]{0,200}(?=\{)", re.IGNORECASE)
"""What introduces a schema in the words of a prompt."""


def _format(
    body: dict[str, Any], messages: list[Any], dialect: Dialect
) -> Mapping[str, Any] | None:
    """The format of the answer, for which the words of the last message count as well."""
    wanted = format_of(body)
    kind = wanted.get("type", "text")
    beside = wanted.get("schema") if dialect.reads_schema_of_json_object else None
    if "json_schema" in wanted or (kind == "json_object" and beside):
        return wanted
    if isinstance(value := wanted.get("value"), dict):  # as TGI takes it
        return {"type": kind, "schema": value.get("schema", value)}
    if (schema := _schema_in(text_of(messages[-1].get("content")))) is not None:
        return {"type": kind if kind != "text" else "json_object", "schema": schema}
    return {"type": kind} if wanted else None


def _schema_in(words: str) -> dict[str, Any] | None:
    """The JSON schema that a prompt asks for; None: there is none."""
    for introduced in _SCHEMA.finditer(words):
        try:
            found, _ = json.JSONDecoder().raw_decode(words, introduced.end())
        except ValueError:
            continue
        if isinstance(found, dict) and ("properties" in found or "$ref" in found):
            return cast("dict[str, Any]", found)
    return None


def _turn(message: object, dialect: Dialect) -> Turn:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise dialect.invalid("Each message must be an object with a role.")
    made = cast("dict[str, Any]", message)
    functions = [call.get("function", {}) for call in made.get("tool_calls") or ()]
    calls = tuple((call.get("name", ""), call.get("arguments", "")) for call in functions)
    return Turn(made["role"], text_of(made.get("content")), calls, tuple(seen(made.get("content"))))


_WORD = re.compile(r"\s*\S{1,40}\s*|\s+")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UsageDetails:
    """What the provider reports beside the plain token counts."""

    cache_read_tokens: int = 0
    """How many input tokens of each request are read from the cache, at most."""
    reasoning_tokens: int = 0
    """How many tokens of reasoning each answer begins with; they are billed as output."""
    top_level: bool = False
    """Whether cached tokens are reported as Together does, beside the counts, not inside."""
    service_tier: str | None = None
    """The service tier that answers; None: no answer names one."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A chat completion, whole or in chunks."""

    request: ChatRequest
    model: str
    """The model that answers, after aliases."""
    answer: Answer
    details: UsageDetails
    dialect: Dialect

    @property
    def input_tokens(self) -> int:
        """The estimated tokens of the request."""
        return self.request.ask.input_tokens

    @property
    def cache_read_tokens(self) -> int:
        """The input tokens that were read from the cache."""
        return min(self.details.cache_read_tokens, self.input_tokens)

    @property
    def reasoning_tokens(self) -> int:
        """The tokens of reasoning, within the request's limit."""
        limit = self.request.ask.max_tokens
        tokens = self.details.reasoning_tokens
        return tokens if limit is None else min(tokens, limit)

    @property
    def output_tokens(self) -> int:
        """Everything generated, reasoning included."""
        return self.reasoning_tokens + self.answer.output_tokens

    @property
    def words(self) -> list[str]:
        """The text, or the call's arguments, in the pieces of a stream."""
        if self.answer.tool and self.dialect.streamed_calls == "whole":
            return [self.answer.arguments]
        return _WORD.findall(self.answer.arguments if self.answer.tool else self.answer.text)

    def output_tokens_after(self, words: int) -> int:
        """What was generated when this number of words was sent."""
        return self.reasoning_tokens + estimate_tokens("".join(self.words[:words]))

    def whole(self, *, with_usage: bool, with_finish: bool) -> bytes:
        """The answer in one piece."""
        text = self.answer.text
        message: dict[str, Any] = {"role": "assistant", "content": text, **self._thoughts()}
        if self.answer.tool:
            calls = [self._call(self._arguments())]
            message |= {"content": text or None, "tool_calls": calls}
        choice = self._choice(message=message, finished=with_finish)
        body = {**self._frame("chat.completion"), "choices": [choice]}
        if with_usage:
            body["usage"] = self._usage(self.output_tokens)
        return json.dumps(body).encode()

    def opening(self) -> bytes:
        """The first chunk: the role, and the tool that is called."""
        delta: dict[str, Any] = {"role": "assistant", "content": None if self.answer.tool else ""}
        if self.answer.tool and self.dialect.streamed_calls == "pieces":
            delta["tool_calls"] = self._calls(self._call(""))
        chunks = self._chunk([self._choice(delta=delta)])
        if thoughts := self._thoughts():
            chunks += self._chunk([self._choice(delta=thoughts)])
        return chunks + (b": ping\n\n" if self.dialect.pings else b"")

    def word_chunks(self, *, with_usage: bool) -> Iterator[bytes]:
        """A chunk for each word, each with the usage so far if that is wanted."""
        for number, word in enumerate(self.words, 1):
            delta = self._called(word) if self.answer.tool else {"content": word}
            tokens = self.output_tokens_after(number) if with_usage else None
            yield self._chunk([self._choice(delta=delta)], tokens)

    def closing(self, *, with_usage: bool) -> bytes:
        """The chunk with the finish reason."""
        tokens = self.output_tokens if with_usage else None
        return self._chunk([self._choice(delta={}, finished=True)], tokens)

    def usage_chunk(self) -> bytes:
        """The chunk without choices that reports the usage of the stream."""
        return self._chunk([], self.output_tokens)

    def _usage(self, output_tokens: int) -> dict[str, Any]:
        usage: dict[str, Any] = {
            "prompt_tokens": self.input_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": self.input_tokens + output_tokens,
        }
        beside = self.details.top_level or self.dialect.cached_beside
        if self.details.cache_read_tokens and beside:
            usage["cached_tokens"] = self.cache_read_tokens
        elif self.details.cache_read_tokens:
            usage["prompt_tokens_details"] = {"cached_tokens": self.cache_read_tokens}
        if self.details.reasoning_tokens:
            usage["completion_tokens_details"] = {"reasoning_tokens": self.reasoning_tokens}
        return usage

    def _thoughts(self) -> dict[str, str]:
        """What the model thinks, where this server sends it."""
        if not (self.dialect.thoughts and self.reasoning_tokens):
            return {}
        return {self.dialect.thoughts: filled("Let me think.", self.reasoning_tokens)}

    def _called(self, word: str) -> dict[str, Any]:
        """The delta with a part of a tool call."""
        if self.dialect.streamed_calls != "pieces":
            return {"tool_calls": self._calls(self._call(word))}
        return {"tool_calls": self._calls({"function": {"arguments": word}})}

    def _calls(self, call: dict[str, Any]) -> Any:
        """A part of a tool call in a chunk."""
        part = {"index": 0, **call}
        return part if self.dialect.calls_as_objects else [part]

    def _arguments(self) -> Any:
        """The arguments in the form of this server."""
        sent = self.answer.arguments
        return json.loads(sent) if self.dialect.calls_as_objects else sent

    def _call(self, arguments: Any) -> dict[str, Any]:
        call_id = self.dialect.call_id.format(
            request=self.request.request_id, tool=self.answer.tool
        )
        return {
            "id": call_id,
            "type": "function",
            "function": {"name": self.answer.tool, "arguments": arguments},
        }

    def _frame(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self.request.request_id}",
            "object": kind,
            "created": int(time.time()),
            "model": self.model,
            **({"service_tier": tier} if (tier := self.details.service_tier) else {}),
        }

    def _choice(self, *, finished: bool = False, **content: Any) -> dict[str, Any]:
        reason = self.answer.finish_reason if finished else None
        sent = reason and self.dialect.finish_reasons.get(reason, reason)
        return {"index": 0, **content, "finish_reason": sent, "logprobs": None}

    def _chunk(self, choices: list[Any], output_tokens: int | None = None) -> bytes:
        chunk = {**self._frame("chat.completion.chunk"), "choices": choices}
        if output_tokens is not None:
            chunk["usage"] = self._usage(output_tokens)
        return b"data: " + json.dumps(chunk).encode() + b"\n\n"
