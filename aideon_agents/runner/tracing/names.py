"""The names of spans and of their attributes, by OpenTelemetry's conventions for generative AI.

The conventions are in development and change their names between versions. The names are in this file
alone, and `SCHEMA_URL` says which version they are of. The conventions have no name for money, for
runs of a ledger, or for places in a graph: those begin with `aideon.`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aideon_agents.ledger.rows import Call, CallEnd, Run

    Attributes = dict[str, str | bool | int | float | list[str]]

SCHEMA_URL = "https://opentelemetry.io/schemas/gen-ai/0.1.0"

ERROR = "error.type"
STATUS = "aideon.status"
STOP_REASON = "aideon.stop_reason"
PROMPT = "gen_ai.input.messages"
ANSWER = "gen_ai.output.messages"
ARGUMENTS = "gen_ai.tool.call.arguments"
RESULT = "gen_ai.tool.call.result"

_PROVIDERS = {
    "amazon_bedrock": "aws.bedrock",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "azure": "azure.ai.openai",
    "google_genai": "gcp.gemini",
    "google_vertexai": "gcp.vertex_ai",
    "mistralai": "mistral_ai",
    "xai": "x_ai",
}
"""What the conventions call providers that have another name here."""


def of_run(start: Run, *, resumes: bool) -> Attributes:
    """What is known of a run when it begins."""
    known = {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.agent.name": start.workflow,
        "gen_ai.conversation.id": start.thread,
        "aideon.run.id": start.run_id,
        "aideon.batch.id": start.batch_id,
        "aideon.rehearsed": start.rehearsed or None,
        "aideon.resumed": resumes or None,
    }
    return _given(known)


def of_node(path: str, round_: object, run_id: str) -> Attributes:
    """What is known of a node when it starts."""
    return _given({"aideon.node_path": path, "aideon.round": round_, "aideon.run.id": run_id})


def of_agent(name: str, role: str) -> Attributes:
    """What is known of a node that is an agent."""
    return {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": name, "aideon.role": role}


def of_tool(name: str, call_id: object, path: str, run_id: str) -> Attributes:
    """What is known of a call of a tool when it starts."""
    known = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": call_id,
        "aideon.node_path": path,
        "aideon.run.id": run_id,
    }
    return _given(known)


def of_call(start: Call, params: Mapping[str, Any], *, streams: bool) -> Attributes:
    """What is known of a call of a model when it starts."""
    room = params.get("max_completion_tokens") or params.get("max_tokens")
    known = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": _PROVIDERS.get(start.provider, start.provider),
        "gen_ai.request.model": start.requested_model,
        "gen_ai.request.max_tokens": room,
        "gen_ai.request.temperature": params.get("temperature"),
        "gen_ai.request.stream": streams or None,
        "aideon.run.id": start.run_id,
        "aideon.call.id": start.call_id,
        "aideon.node_path": start.node_path or None,
        "aideon.round": start.round,
        "aideon.candidate": start.candidate,
        "aideon.attempt": start.attempt,
        "aideon.rehearsed": start.rehearsed or None,
    }
    return _given(known)


_TOKENS = {
    "gen_ai.usage.input_tokens": "input_tokens",
    "gen_ai.usage.output_tokens": "output_tokens",
    "gen_ai.usage.cache_read.input_tokens": "cache_read_tokens",
    "gen_ai.usage.cache_write.input_tokens": "cache_creation_tokens",
    "gen_ai.usage.reasoning.output_tokens": "reasoning_tokens",
}


def of_end(end: CallEnd) -> Attributes:
    """What is known of a call of a model when it has ended, besides its cost."""
    first = end.time_to_first_token_ms
    known = {
        "gen_ai.response.model": end.response_model,
        "gen_ai.response.finish_reasons": [end.finish_reason] if end.finish_reason else None,
        "gen_ai.response.time_to_first_chunk": None if first is None else first / 1000,
        **{name: getattr(end.usage, field, None) for name, field in _TOKENS.items()},
        STATUS: end.status,
        "aideon.simulated": end.simulated or None,
    }
    return _given(known)


def cost(nanousd: int, *, is_complete: bool) -> Attributes:
    """What something cost, or at least: a number, which programs can add up. The ledger is exact."""
    return {"aideon.cost.usd": nanousd / 1e9, "aideon.cost.complete": is_complete}


def messages(recorded: str) -> str:
    """The messages of a call as the ledger records them, in the form of the conventions."""
    given: Any = json.loads(recorded)
    listed = cast("list[Any]", given if isinstance(given, list) else [given])
    return json.dumps([_message(one) for one in listed], ensure_ascii=False)


def _message(one: Any) -> dict[str, Any]:
    if not isinstance(one, dict):  # the prompt or the answer of a model that completes text
        return {"role": "user", "parts": [{"type": "text", "content": str(one)}]}
    message = cast("dict[str, Any]", one)
    content: Any = message.get("content") or []
    pieces: list[Any] = [{"type": "text", "text": content}] if isinstance(content, str) else content
    parts = [_part(piece) for piece in pieces]
    parts += [
        {"type": "tool_call", "id": call.get("id"), **(call.get("function") or {})}
        for call in message.get("tool_calls") or ()
    ]
    if message.get("role") == "tool":
        answer = {"type": "tool_call_response", "id": message.get("tool_call_id")}
        parts = [{**answer, "response": content}]
    return {"role": message.get("role", "user"), "parts": parts}


def _part(piece: Any) -> dict[str, Any]:
    text = piece.get("text") if isinstance(piece, dict) else str(piece)
    return piece if text is None else {"type": "text", "content": text}


def _given(known: Mapping[str, Any]) -> Attributes:
    """Only what is known: an attribute cannot be None."""
    return {name: value for name, value in known.items() if value is not None}
