"""Token counts that the client drops: Together names its cached tokens at the top of `usage`.

Everybody else puts them into `prompt_tokens_details`, and that is the only place LangChain reads.
They are cheaper, so a call that loses them is priced too high.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from langchain_openai.chat_models.base import BaseChatOpenAI
from openai.types.completion_usage import CompletionUsage, PromptTokensDetails

if TYPE_CHECKING:
    import openai
    from langchain_core.outputs import ChatGenerationChunk, ChatResult


class Counted(BaseChatOpenAI):
    """Reads top-level `cached_tokens`, in an answer and in a stream. Mixed in before a client."""

    def _create_chat_result(
        self, response: dict[str, Any] | openai.BaseModel, generation_info: Any = None
    ) -> ChatResult:
        usage = getattr(response, "usage", None)
        if isinstance(usage, CompletionUsage):
            cached = getattr(usage, "cached_tokens", None)
            details = usage.prompt_tokens_details
            if cached is not None and (details is None or details.cached_tokens is None):
                usage.prompt_tokens_details = PromptTokensDetails(cached_tokens=cached)
        return super()._create_chat_result(response, generation_info)

    def _convert_chunk_to_generation_chunk(
        self, chunk: dict[str, Any], default_chunk_class: type, base_generation_info: Any
    ) -> ChatGenerationChunk | None:
        usage = cast("dict[str, Any] | None", chunk.get("usage"))
        if usage and usage.get("cached_tokens") is not None:
            details = usage.get("prompt_tokens_details") or {}
            details.setdefault("cached_tokens", usage["cached_tokens"])
            usage["prompt_tokens_details"] = details
        return super()._convert_chunk_to_generation_chunk(
            chunk, default_chunk_class, base_generation_info
        )
