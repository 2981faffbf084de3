"""Messages of LlamaIndex as LangChain's, and answers as its own."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from langchain_core.messages import convert_to_messages
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ImageBlock,
    TextBlock,
    ToolCallBlock,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import AIMessage, BaseMessage


def converted(messages: Sequence[ChatMessage]) -> list[BaseMessage]:
    """Messages of LlamaIndex as LangChain's."""
    return convert_to_messages([_message(one) for one in messages])


def _message(one: ChatMessage) -> dict[str, Any]:
    parts = [shown for block in one.blocks if (shown := _part(block))]
    is_text = all(part["type"] == "text" for part in parts)
    content: Any = "\n".join(part["text"] for part in parts) if is_text else parts
    more: dict[str, Any] = {"tool_calls": calls} if (calls := calls_in(one)) else {}
    if one.role.value == "tool":
        more["tool_call_id"] = one.additional_kwargs.get("tool_call_id", "")
    return {"role": one.role.value, "content": content, **more}


def _part(block: Any) -> dict[str, Any] | None:
    if isinstance(block, TextBlock):
        return {"type": "text", "text": block.text}
    if not isinstance(block, ImageBlock):
        return None
    if block.url:
        return {"type": "image", "url": str(block.url)}
    data = base64.b64encode(block.resolve_image().read()).decode()
    return {"type": "image", "base64": data, "mime_type": block.image_mimetype or "image/png"}


def calls_in(message: ChatMessage) -> list[dict[str, Any]]:
    return [
        {"id": one.tool_call_id, "name": one.tool_name, "args": one.tool_kwargs}
        for one in message.blocks
        if isinstance(one, ToolCallBlock)
    ]


def response_of(message: AIMessage, delta: str | None = None) -> ChatResponse:
    calls = [
        ToolCallBlock(tool_call_id=one["id"], tool_name=one["name"], tool_kwargs=one["args"])
        for one in message.tool_calls
    ]
    used = message.usage_metadata
    counted = (
        {"prompt_tokens": used["input_tokens"], "completion_tokens": used["output_tokens"]}
        if used
        else {}
    )
    content = ChatMessage(role="assistant", blocks=[TextBlock(text=str(message.text)), *calls])
    return ChatResponse(
        message=content, delta=delta, raw=message.response_metadata, additional_kwargs=counted
    )
