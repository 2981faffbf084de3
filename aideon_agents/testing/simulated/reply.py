"""A chat completion, whole or in chunks, as OpenAI's protocol writes it."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from typing import TYPE_CHECKING, Any

from aideon_agents.models.answers import Answer, estimate_tokens
from aideon_agents.testing.simulated.faults import ChatRequest

if TYPE_CHECKING:
    from collections.abc import Iterator


_WORD = re.compile(r"\s*\S{1,40}\s*|\s+")
DONE = b"data: [DONE]\n\n"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UsageDetails:
    """What the provider reports beside the plain token counts."""

    cache_read_tokens: int = 0
    """How many input tokens of each request are read from the cache, at most."""
    reasoning_tokens: int = 0
    """How many output tokens each answer thinks before it speaks; they are billed."""
    top_level: bool = False
    """Whether cached tokens are reported as Together does, beside the counts, not inside."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer on its way."""

    request: ChatRequest
    model: str
    """The model that answers, after aliases."""
    answer: Answer
    details: UsageDetails

    @property
    def input_tokens(self) -> int:
        """The estimated tokens of the request."""
        return self.request.ask.input_tokens

    @property
    def cache_read_tokens(self) -> int:
        """Those of them that were read from the cache."""
        return min(self.details.cache_read_tokens, self.input_tokens)

    @property
    def reasoning_tokens(self) -> int:
        """What was thought, within the request's limit."""
        limit = self.request.ask.max_tokens
        thought = self.details.reasoning_tokens
        return thought if limit is None else min(thought, limit)

    @property
    def output_tokens(self) -> int:
        """Everything generated, thoughts included."""
        return self.reasoning_tokens + self.answer.output_tokens

    @property
    def words(self) -> list[str]:
        """The text, or the call's arguments, as a stream hands them out."""
        return _WORD.findall(self.answer.arguments if self.answer.tool else self.answer.text)

    def output_tokens_after(self, words: int) -> int:
        """What was generated when so many words were out."""
        return self.reasoning_tokens + estimate_tokens("".join(self.words[:words]))

    def usage(self, output_tokens: int | None = None) -> dict[str, Any]:
        """The usage object, of the whole answer or of its beginning."""
        output = self.output_tokens if output_tokens is None else output_tokens
        usage: dict[str, Any] = {
            "prompt_tokens": self.input_tokens,
            "completion_tokens": output,
            "total_tokens": self.input_tokens + output,
        }
        if self.details.cache_read_tokens and self.details.top_level:
            usage["cached_tokens"] = self.cache_read_tokens
        elif self.details.cache_read_tokens:
            usage["prompt_tokens_details"] = {"cached_tokens": self.cache_read_tokens}
        if self.details.reasoning_tokens:
            usage["completion_tokens_details"] = {"reasoning_tokens": self.reasoning_tokens}
        return usage

    def whole(self, *, with_usage: bool = True, with_finish: bool = True) -> bytes:
        """The answer in one piece."""
        message: dict[str, Any] = {"role": "assistant", "content": self.answer.text or None}
        if self.answer.tool:
            message["tool_calls"] = [self._call(self.answer.arguments)]
        elif message["content"] is None:
            message["content"] = ""
        reason = self.answer.finish_reason if with_finish else None
        choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
        body = {**self._frame("chat.completion"), "choices": [choice]}
        if with_usage:
            body["usage"] = self.usage()
        return json.dumps(body).encode()

    def opening(self) -> bytes:
        """The first chunk: who speaks, and which tool is called."""
        delta: dict[str, Any] = {"role": "assistant", "content": None if self.answer.tool else ""}
        if self.answer.tool:
            delta["tool_calls"] = [{"index": 0, **self._call("")}]
        return self._chunk(delta)

    def word_chunks(self, *, with_usage: bool = False) -> Iterator[bytes]:
        """A chunk for each word; with the usage so far where that is wanted."""
        for nth, word in enumerate(self.words):
            delta: dict[str, Any] = {"content": word}
            if self.answer.tool:
                delta = {"tool_calls": [{"index": 0, "function": {"arguments": word}}]}
            usage = self.usage(self.output_tokens_after(nth + 1)) if with_usage else None
            yield self._chunk(delta, usage=usage)

    def closing(self, *, with_usage: bool = False) -> bytes:
        """The chunk that says why the answer ends."""
        usage = self.usage() if with_usage else None
        return self._chunk({}, finish_reason=self.answer.finish_reason, usage=usage)

    def usage_chunk(self) -> bytes:
        """The chunk without choices that reports what the stream cost."""
        return _event(
            {**self._frame("chat.completion.chunk"), "choices": [], "usage": self.usage()}
        )

    def _call(self, arguments: str) -> dict[str, Any]:
        return {
            "id": f"call_{self.request.request_id}",
            "type": "function",
            "function": {"name": self.answer.tool, "arguments": arguments},
        }

    def _frame(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self.request.request_id}",
            "object": kind,
            "created": int(time.time()),
            "model": self.model,
        }

    def _chunk(
        self,
        delta: dict[str, Any],
        *,
        finish_reason: str | None = None,
        usage: dict[str, Any] | None = None,
    ) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        chunk = {**self._frame("chat.completion.chunk"), "choices": [choice]}
        return _event(chunk if usage is None else {**chunk, "usage": usage})


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"
