"""Servers that people start themselves."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import TYPE_CHECKING, Any

from aideon_agents.testing.simulated.dialects.dialect import (
    ROLES,
    TOO_LONG,
    Dialect,
    Refused,
    format_of,
    openai_error,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_CLIENT = 400
_UNAUTHORIZED = 401
_NOT_FOUND = 404
_INTERNAL = 500

# --- llama-cpp-python ---------------------------------------------------------------------------------
# https://github.com/abetlen/llama-cpp-python (llama_cpp/server/errors.py, types.py and app.py,
# llama_chat_format.py), tried with version 0.3.36: what its types do not accept is status 500, a
# stream has no usage, the next request ends a stream with [DONE], and tools are only called if
# `tool_choice` names one.


def _llama_cpp_python_error(refused: Refused) -> dict[str, Any]:
    if refused.status == _UNAUTHORIZED:
        return {"detail": refused.message}
    internal = "internal_server_error" if refused.status == _INTERNAL else "invalid_request_error"
    named = Refused(refused.status, refused.code, refused.message, kind=internal)
    named.code = None if refused.status == _INTERNAL else refused.code
    return openai_error(named)


_WRONG_TYPE = (
    "1 validation error:\n  {'type': 'literal_error', 'loc': ('body', %s), 'msg': \"Input should be"
    " %s\", 'input': '{value}', 'ctx': {'expected': \"%s\"}}\n"
)
LLAMA_CPP_PYTHON = Dialect(
    needs_key=False,
    roles=(*ROLES, "function"),
    response_formats=("text", "json_object"),
    ignores=("max_completion_tokens", "stream_options"),
    invalid_status=500,
    refusals={
        401: partial(Refused, 401, None, "Invalid API key"),
        "role": partial(
            Refused, 500, None, _WRONG_TYPE % ("'messages', 0, 'role'", "'system'", "'system'")
        ),
        "response_format": partial(
            Refused,
            500,
            None,
            _WRONG_TYPE % ("'response_format', 'type'", *["'text' or 'json_object'"] * 2),
        ),
        TOO_LONG: partial(
            Refused,
            400,
            TOO_LONG,
            "This model's maximum context length is 512 tokens. However, you requested 4348 tokens"
            " (4092 in the messages, 256 in the completion). Please reduce the length of the messages"
            " or completion.",
        ),
    },
    error=_llama_cpp_python_error,
    call_id="call__0_{tool}_cmpl-{request}",
    streamed_calls="repeated",
    only_named_tools=True,
    pings=True,
    one_at_a_time=True,
)

# --- llama-server -------------------------------------------------------------------------------------
# Errors: https://github.com/ggml-org/llama.cpp (tools/server/server-common.cpp)
# A prompt that is too long: https://github.com/llmmllab/llmmllab-api/issues/69
# Tools without --jinja: https://github.com/defilantech/LLMKube/issues/126
# Pictures without --mmproj: https://github.com/ggml-org/llama.cpp/issues/15377
# A model that is being loaded: https://github.com/mostlygeek/llama-swap/issues/146


def _llama_server_error(refused: Refused) -> dict[str, Any]:
    document = openai_error(refused)["error"]
    wanted = {"code": refused.status, "message": refused.message, "type": document["type"]}
    if refused.code == TOO_LONG:
        wanted |= {"n_prompt_tokens": 25837, "n_ctx": 25088}
    return {"error": wanted}


LLAMA_SERVER = Dialect(
    needs_key=False,
    response_formats=("text", "json_object", "json_schema"),
    refusals={
        401: partial(Refused, 401, None, "Invalid API Key"),
        503: partial(Refused, 503, None, "Loading model", kind="unavailable_error"),
        "response_format": partial(
            Refused,
            400,
            None,
            'response_format type must be one of "text" or "json_object", but got: {value}',
        ),
        "blind": partial(
            Refused,
            500,
            None,
            "image input is not supported - hint: if this is unexpected, you may need to provide the"
            " mmproj",
        ),
        TOO_LONG: partial(
            Refused,
            400,
            TOO_LONG,
            "request (25837 tokens) exceeds the available context size (25088 tokens), try increasing"
            " it",
            kind="exceed_context_size_error",
        ),
    },
    error=_llama_server_error,
    thoughts="reasoning_content",
    call_id="{request}",
)

# --- Ollama -------------------------------------------------------------------------------------------
# https://github.com/ollama/ollama (openai/openai.go, middleware/openai.go): the arguments of an earlier
# tool call must be a JSON object, a message needs content or tool calls, a tool call comes in one chunk
# of a stream, and of parameters that it does not know it says nothing.
# Pictures: https://github.com/ollama/ollama/issues/6753
# Models without tools: https://github.com/ollama/ollama/issues/5793

_WITHOUT_TOOLS = re.compile(r"llama[23](:|$)|gemma2|phi3|stablelm|deepseek-r1:(latest|7b|8b)$")


def _refused_by_ollama(body: Mapping[str, Any]) -> Refused | None:
    refused = partial(Refused, _CLIENT, None)
    for message in body["messages"]:
        calls = message.get("tool_calls") or ()
        if message.get("content") is None and not calls:
            return refused("invalid message content type: <nil>")
        if any(not _is_object(call["function"].get("arguments")) for call in calls):
            return refused("invalid tool call arguments")
    if body.get("tools") and _WITHOUT_TOOLS.match(body["model"]):
        return refused(f"registry.ollama.ai/library/{body['model']} does not support tools")
    return None


def _is_object(arguments: object) -> bool:
    try:
        return isinstance(arguments, str) and isinstance(json.loads(arguments), dict)
    except ValueError:
        return False


def _ollama_error(refused: Refused) -> dict[str, Any]:
    kinds = {_CLIENT: "invalid_request_error", _NOT_FOUND: "not_found_error"}
    kind = kinds.get(refused.status, "api_error")
    return openai_error(Refused(refused.status, None, refused.message, kind=kind))


OLLAMA = Dialect(
    needs_key=False,
    reads_schema_of_json_object=False,
    ignores=("max_completion_tokens", "tool_choice", "parallel_tool_calls"),
    refuse=_refused_by_ollama,
    refusals={
        404: partial(Refused, 404, None, "model '{model}' not found"),
        "picture": partial(Refused, 400, None, "invalid image input"),
    },
    picture_urls=False,
    error=_ollama_error,
    thoughts="reasoning",
    streamed_calls="whole",
)

# --- vLLM ---------------------------------------------------------------------------------------------
# Errors were not nested in `error` up to version 0.10: https://github.com/vllm-project/vllm/issues/4667
# Models without the system role: https://github.com/vllm-project/vllm/pull/2964
# Tools without --enable-auto-tool-choice: https://github.com/langchain4j/langchain4j/issues/3475
# A prompt that is too long: https://github.com/ogx-ai/ogx/issues/4534
# Pictures for a model of text: https://github.com/studio-dots-ai/dots.ocr/issues/61


def _has_system(body: Mapping[str, Any]) -> bool:
    return any(message.get("role") in {"system", "developer"} for message in body["messages"])


def _refused_by_vllm(body: Mapping[str, Any]) -> Refused | None:
    if "gemma-2" in body["model"] and _has_system(body):
        return Refused(_CLIENT, None, "System role not supported")
    if body.get("tools") and body.get("tool_choice", "auto") == "auto":
        return Refused(
            _CLIENT,
            None,
            '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
        )
    return None


def _vllm_error(refused: Refused) -> dict[str, Any]:
    kind = "NotFoundError" if refused.status == _NOT_FOUND else "BadRequestError"
    if refused.status >= _INTERNAL:
        kind = "InternalServerError"
    described = {"message": refused.message, "type": kind, "param": refused.param}
    return {"object": "error", **described, "code": refused.status}


VLLM = Dialect(
    needs_key=False,
    response_formats=("text", "json_object", "json_schema", "structural_tag"),
    reads_schema_of_json_object=False,
    refuse=_refused_by_vllm,
    refusals={
        404: partial(Refused, 404, None, "The model `{model}` does not exist."),
        "blind": partial(Refused, 400, None, "{model} is not a multimodal model"),
        TOO_LONG: partial(
            Refused,
            400,
            None,
            "This model's maximum context length is 6048 tokens. However, you requested 6616 tokens"
            " (568 in the messages, 6048 in the completion). Please reduce the length of the messages"
            " or completion.",
        ),
    },
    error=_vllm_error,
    thoughts="reasoning_content",
    call_id="chatcmpl-tool-{request}",
)

# --- LM Studio ----------------------------------------------------------------------------------------
# Response formats: https://github.com/lmstudio-ai/lmstudio-bug-tracker/issues/189 and /307
# A prompt that is too long: https://github.com/lmstudio-ai/lmstudio-bug-tracker/issues/546
# Errors inside a stream: https://github.com/zendev-sh/goai/pull/110
# Pictures: https://github.com/lmstudio-ai/lmstudio-bug-tracker/issues/1120 and /1027

LM_STUDIO = Dialect(
    needs_key=False,
    response_formats=("text", "json_schema"),
    refusals={
        "response_format": partial(
            Refused, 400, None, "'response_format.type' must be 'json_schema' or 'text'"
        ),
        "picture": partial(Refused, 400, None, "'url' field must be a base64 encoded image."),
        TOO_LONG: partial(
            Refused,
            400,
            None,
            "Trying to keep the first 14538 tokens when context the overflows. However, the model is"
            " loaded with context length of only 2048 tokens, which is not enough. Try to load the"
            " model with a larger context length, or provide a shorter input",
        ),
    },
    picture_urls=False,
    pictures=("image/png", "image/jpeg"),
    error=lambda refused: {"error": refused.message},
    stream_error=lambda refused: {
        "error": {"message": refused.message},
        "message": refused.message,
    },
    thoughts="reasoning_content",
)

# --- TGI ----------------------------------------------------------------------------------------------
# https://github.com/huggingface/text-generation-inference (router/src/server.rs, chat.rs and lib.rs)
# Response formats need a `value`, not OpenAI's fields: issues/2899 and pull/3276
# A refused stream has status 200: issues/2749


def _refused_by_tgi(body: Mapping[str, Any]) -> Refused | None:
    wanted = format_of(body)
    if not wanted or "value" in wanted:
        return None
    known = wanted.get("type") in {"json", "json_object", "json_schema", "regex"}
    problem = "missing field `value`" if known else f"unknown variant `{wanted.get('type')}`"
    return Refused(
        422,
        "deserialize",
        "Failed to deserialize the JSON body into the target type: response_format:"
        f" {problem} at line 1 column 168",
    )


def _tgi_error(refused: Refused) -> dict[str, Any] | str:
    return refused.message if refused.code == "deserialize" else _tgi_document(refused)


def _tgi_document(refused: Refused) -> dict[str, Any]:
    kinds = {422: "validation", 424: "generation", 429: "overloaded"}
    kind = kinds.get(refused.status, "incomplete_generation")
    return {"error": refused.message, "error_type": kind}


TGI = Dialect(
    needs_key=False,
    ignores=("max_completion_tokens",),
    refuse=_refused_by_tgi,
    invalid_status=422,
    refusals={
        429: partial(Refused, 429, None, "Model is overloaded"),
        TOO_LONG: partial(
            Refused,
            422,
            None,
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 1887"
            " `inputs` tokens and 1024 `max_new_tokens`",
        ),
    },
    error=_tgi_error,
    stream_error=_tgi_document,
    call_id="0",
)
