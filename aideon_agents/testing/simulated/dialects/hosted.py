"""Services of providers: OpenAI, Together and the router of Hugging Face."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import TYPE_CHECKING, Any

from aideon_agents.models.pictures.sight import openai_tiled
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
_PAYMENT_REQUIRED = 402

# --- OpenAI -------------------------------------------------------------------------------------------
# max_tokens of reasoning models: https://github.com/microsoft/clarity-agent/issues/59
# temperature of reasoning models: https://github.com/diffbot/code-gpt-docs/issues/445
# Parameters that it does not know: https://github.com/davidmigloz/langchain_dart/issues/712
# JSON mode without the word: https://github.com/ultimatejimmy/xray.koplugin/issues/33
# Pictures: https://github.com/browser-use/web-ui/issues/274,
#   https://github.com/marketing-factory/ai-filemetadata/issues/18
# Headers: https://community.openai.com/t/how-to-get-rate-limit-reset-time-for-response-api/1268905

_PARAMETERS = """
model messages stream stream_options max_tokens max_completion_tokens temperature top_p n stop seed tools
tool_choice parallel_tool_calls response_format frequency_penalty presence_penalty logprobs top_logprobs
logit_bias user metadata store service_tier reasoning_effort modalities audio prediction functions
function_call verbosity prompt_cache_key prompt_cache_retention safety_identifier web_search_options
"""
_REASONING_MODEL = re.compile(r"gpt-5|o[134](-|$)")


def _refused_by_openai(body: Mapping[str, Any]) -> Refused | None:
    refused = partial(Refused, _CLIENT)
    if unknown := sorted(body.keys() - set(_PARAMETERS.split())):
        return refused(None, f"Unrecognized request argument supplied: {unknown[0]}")
    wanted = format_of(body)
    if wanted.get("type") == "json_object":
        if "schema" in wanted:
            name = "response_format.schema"
            return refused("unknown_parameter", f"Unknown parameter: '{name}'.", param=name)
        if "json" not in json.dumps(body["messages"]).lower():
            words = "in some form, to use 'response_format' of type 'json_object'."
            return refused(
                None, f"'messages' must contain the word 'json' {words}", param="messages"
            )
    reasons = _REASONING_MODEL.match(body["model"])
    if reasons and "max_tokens" in body:
        words = "is not supported with this model. Use 'max_completion_tokens' instead."
        return refused(
            "unsupported_parameter",
            f"Unsupported parameter: 'max_tokens' {words}",
            param="max_tokens",
        )
    if reasons and body.get("temperature", 1) != 1:
        words = "with this model. Only the default (1) value is supported."
        return refused(
            "unsupported_value",
            f"Unsupported value: 'temperature' does not support {body['temperature']} {words}",
            param="temperature",
        )
    return None


OPENAI = Dialect(
    roles=(*ROLES, "developer", "function"),
    response_formats=("text", "json_object", "json_schema"),
    refuse=_refused_by_openai,
    refusals={
        404: partial(
            Refused,
            404,
            "model_not_found",
            "The model `{model}` does not exist or you do not have access to it.",
            kind="invalid_request_error",
        ),
        "response_format": partial(
            Refused,
            400,
            "invalid_value",
            "Invalid value: '{value}'. Supported values are: 'json_object', 'json_schema', and 'text'.",
            param="response_format.type",
        ),
        "picture": partial(
            Refused,
            400,
            "invalid_image_format",
            "You uploaded an unsupported image. Please make sure your image has of one the following"
            " formats: ['png', 'jpeg', 'gif', 'webp'].",
        ),
        "blind": partial(
            Refused,
            400,
            None,
            "Invalid content type. image_url is only supported by certain models.",
            param="messages.[1].content.[1].type",
        ),
    },
    picture_tokens=openai_tiled,
    headers={
        "x-ratelimit-limit-requests": "5000",
        "x-ratelimit-remaining-requests": "4999",
        "x-ratelimit-reset-requests": "12ms",
        "x-ratelimit-limit-tokens": "160000",
        "x-ratelimit-remaining-tokens": "159976",
        "x-ratelimit-reset-tokens": "9ms",
    },
)

# --- Together -----------------------------------------------------------------------------------------
# Roles, response formats, finish reasons, tool choices:
#   https://github.com/togethercomputer/together-python (types/chat_completions.py, types/common.py)
# Models that are not served: https://github.com/HeyPuter/puter/issues/3168
# A rate limit is called `credit_limit`: https://github.com/bespokelabsai/curator/issues/205
# Tokens of a picture: https://docs.together.ai/docs/vision-overview
# A prompt that is too long: https://portkey.ai/error-library/input-validation-error-10151
# Headers: https://docs.together.ai/docs/rate-limits

TOGETHER = Dialect(
    roles=ROLES,
    response_formats=("text", "json_object", "json_schema", "regex"),
    ignores=("max_completion_tokens",),
    refusals={
        404: partial(
            Refused,
            400,
            "model_not_available",
            "Unable to access non-serverless model {model}. Please visit"
            " https://api.together.ai/models/{model} to create and start a new dedicated endpoint for"
            " the model.",
        ),
        429: partial(
            Refused,
            429,
            None,
            "Request was rejected due to request rate limiting. Your rate limits are 600 RPM (10 QPS)"
            " and 180000 TPM (3000 TPS). See details: https://docs.together.ai/docs/rate-limits",
            kind="credit_limit",
        ),
        TOO_LONG: partial(
            Refused,
            400,
            None,
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097. Given: 5013"
            " `inputs` tokens and 128 `max_new_tokens`",
        ),
    },
    error=lambda refused: {"id": "okkMWqL-2kFHot", **openai_error(refused)},
    headers={
        "x-ratelimit-limit": "10",
        "x-ratelimit-remaining": "9",
        "x-ratelimit-reset": "1",
        "x-tokenlimit-limit": "3000",
        "x-tokenlimit-remaining": "2900",
    },
    finish_reasons={"stop": "eos"},
    thoughts="reasoning",
    cached_beside=True,
)

# --- Hugging Face -------------------------------------------------------------------------------------
# Models without a provider: https://github.com/cline/cline/issues/5098
# A wrong key: https://github.com/coreply/coreply/issues/19
# No credit left: https://github.com/huggingface/agents-course/issues/386


def _huggingface_error(refused: Refused) -> dict[str, Any]:
    return (
        {"error": refused.message}
        if refused.status in {_UNAUTHORIZED, _PAYMENT_REQUIRED}
        else openai_error(refused)
    )


HUGGING_FACE = Dialect(
    roles=ROLES,
    response_formats=("text", "json_object", "json_schema"),
    reads_schema_of_json_object=False,
    ignores=("max_completion_tokens",),
    refusals={
        401: partial(Refused, 401, None, "Invalid username or password."),
        402: partial(
            Refused,
            402,
            None,
            "You have exceeded your monthly included credits for Inference Providers. Subscribe to PRO"
            " to get 20x more monthly included credits.",
        ),
        404: partial(
            Refused,
            400,
            "model_not_supported",
            "The requested model '{model}' is not supported by any provider you have enabled.",
            param="model",
        ),
    },
    error=_huggingface_error,
)
