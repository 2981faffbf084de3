"""What real servers say when they refuse, and what each refusal means.

The texts are from public bug reports and from the documentation of the servers; names of accounts and
models are shortened.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from aideon_agents.models.faults import refusal, refusal_in_answer


@dataclasses.dataclass(frozen=True)
class Said:
    server: str
    status: int
    body: Any
    """JSON, or the text as it is sent."""
    kind: str

    @property
    def sent(self) -> bytes:
        body = self.body if isinstance(self.body, str) else json.dumps(self.body)
        return body.encode()


def openai(message: str, code: Any = None, param: Any = None, kind: str = "invalid_request_error"):
    """OpenAI's error document."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def vllm(message: str, kind: str = "BadRequestError", code: int = 400):
    """The form of vLLM before 0.11."""
    return {"object": "error", "message": message, "type": kind, "param": None, "code": code}


def detail(kind: str, loc: list[Any], msg: str):
    """The form of FastAPI's validation."""
    return {"detail": [{"type": kind, "loc": ["body", *loc], "msg": msg, "input": "too long"}]}


def routed(raw: Any, code: int = 400):
    """OpenRouter's wrapping of another provider's refusal."""
    raw = raw if isinstance(raw, str) else json.dumps(raw)
    metadata = {"raw": raw, "provider_name": "Other"}
    return {"error": {"message": "Provider returned error", "code": code, "metadata": metadata}}


VALIDATION = (
    "1 validation error:\n  {'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), "
    "'msg': \"Input should be 'text' or 'json_object'\", 'input': 'json_schema', "
    "'ctx': {'expected': \"'text' or 'json_object'\"}}\n\n  File \"app.py\", line 376"
)
TOO_LONG = "This model's maximum context length is 8192 tokens. However, "
CLOUDFLARE = "<!DOCTYPE html><html><head><title>Just a moment...</title></head></html>"
NGINX = (
    "<html>\r\n<head><title>{0}</title></head>\r\n<body><center><h1>{0}</h1></center></body></html>"
)

CONTEXT = [
    Said("OpenAI", 400, openai(TOO_LONG + "your messages resulted in 9100 tokens. Please reduce the length of the messages.", "context_length_exceeded", "messages"), "ContextTooLong"),
    Said("OpenAI", 400, openai("Invalid 'messages[1].content': string too long. Expected a string with maximum length 10485760, but got a string with length 11000000 instead.", "string_above_max_length", "messages[1].content"), "ContextTooLong"),
    Said("OpenAI", 429, openai("Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Requested 342389. The input or output tokens must be reduced in order to run successfully.", "rate_limit_exceeded", None, "tokens"), "ContextTooLong"),
    Said("Groq", 413, openai("Request too large for model `llama` in organization `org_x` service tier `on_demand` on tokens per minute (TPM): Limit 6000, Requested 12328, please reduce your message size and try again.", "rate_limit_exceeded", None, "tokens"), "ContextTooLong"),
    Said("vLLM", 400, vllm(TOO_LONG + "you requested 9000 tokens (8000 in the messages, 1000 in the completion). Please reduce the length of the messages or completion."), "ContextTooLong"),
    Said("vLLM", 400, vllm("max_tokens must be at least 1, got -186."), "ContextTooLong"),
    Said("vLLM", 400, vllm("The decoder prompt (length 40000) is longer than the maximum model length of 32768."), "ContextTooLong"),
    Said("vLLM", 400, openai("This model's maximum context length is 2048 tokens. However, your request has 8 input tokens plus 2045 'max_tokens'. Please reduce one or the other.", 400, "input_tokens, max_tokens", "BadRequestError"), "ContextTooLong"),
    Said("llama-server", 400, {"error": {"code": 400, "message": "the request exceeds the available context size, try increasing it", "type": "exceed_context_size_error", "n_prompt_tokens": 14429, "n_ctx": 8192}}, "ContextTooLong"),
    Said("llama-server", 500, {"error": {"code": 500, "message": "input is too large to process. increase the physical batch size", "type": "server_error"}}, "ContextTooLong"),
    Said("llama-cpp-python", 400, openai("This model's maximum context length is 2048 tokens. However, you requested 2500 tokens (2285 in the messages, 215 in the completion). Please reduce the length of the messages or completion.", "context_length_exceeded", "messages"), "ContextTooLong"),
    Said("TGI", 422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 1244 `inputs` tokens and 1000 `max_new_tokens`", "error_type": "validation"}, "ContextTooLong"),
    Said("TGI", 422, {"error": "Input validation error: `inputs` must have less than 4096 tokens. Given: 4545", "error_type": "validation"}, "ContextTooLong"),
    Said("LM Studio", 400, {"error": "Trying to keep the first 15857 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens, which is not enough."}, "ContextTooLong"),
    Said("LM Studio", 400, {"error": "The number of tokens to keep from the initial prompt is greater than the context length (n_keep: 13055>= n_ctx: 4096)."}, "ContextTooLong"),
    Said("Together", 400, {"message": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097. Given: 3997 `inputs` tokens and 200 `max_new_tokens`", "type_": "invalid_request_error"}, "ContextTooLong"),
    Said("Fireworks", 400, openai("The prompt is too long: 40000, model maximum context length: 32768"), "ContextTooLong"),
    Said("Mistral", 400, vllm("Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length", "invalid_request_prompt", 3051), "ContextTooLong"),
    Said("Anthropic", 400, {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 208310 tokens > 200000 maximum"}}, "ContextTooLong"),
    Said("Anthropic", 413, {"type": "error", "error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}}, "ContextTooLong"),
    Said("Gemini", 400, [{"error": {"code": 400, "message": "The input token count (1072364) exceeds the maximum number of tokens allowed (1048575).", "status": "INVALID_ARGUMENT"}}], "ContextTooLong"),
    Said("xAI", 400, {"code": "Client specified an invalid argument", "error": "This model's maximum prompt length is 131072 but the request contains 537812 tokens."}, "ContextTooLong"),
    Said("Moonshot", 400, openai("Invalid request: Your request exceeded model token limit: 8192", None), "ContextTooLong"),
    Said("Alibaba", 400, openai("<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 30720]", "invalid_parameter_error"), "ContextTooLong"),
    Said("OpenRouter", 400, {"error": {"message": "This endpoint's maximum context length is 32768 tokens. However, you requested about 90000 tokens.", "code": 400}}, "ContextTooLong"),
    Said("OpenRouter", 400, routed(openai(TOO_LONG + "your messages resulted in 9100 tokens.", "context_length_exceeded", "messages")), "ContextTooLong"),
    Said("nginx", 413, NGINX.format("413 Request Entity Too Large"), "ContextTooLong"),
]  # fmt: skip

UNSUPPORTED = [
    Said("Ollama", 400, openai("registry.ollama.ai/library/gemma3:4b does not support tools", None, None, "api_error"), "Unsupported"),
    Said("Ollama", 400, {"error": "llama3 does not support tools"}, "Unsupported"),
    Said("llama-cpp-python", 500, {"error": {"message": VALIDATION, "type": "internal_server_error", "param": None, "code": None}}, "Unsupported"),
    Said("llama-server", 500, {"error": {"code": 500, "message": "tools param requires --jinja flag", "type": "server_error"}}, "Unsupported"),
    Said("llama-server", 500, {"error": {"code": 500, "message": 'response_format type must be one of "text" or "json_object", but got: json_schema', "type": "server_error"}}, "Unsupported"),
    Said("llama-server", 500, {"error": {"code": 500, "message": "Jinja Exception: System message must be at the beginning.", "type": "server_error"}}, "Unsupported"),
    Said("llama-server", 500, {"error": {"code": 500, "message": "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj", "type": "server_error"}}, "Unsupported"),
    Said("llama-server", 501, {"error": {"code": 501, "message": "This server does not support multimodal", "type": "not_supported_error"}}, "Unsupported"),
    Said("vLLM", 400, vllm('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'), "Unsupported"),
    Said("vLLM", 400, vllm("Conversation roles must alternate user/assistant/user/assistant/..."), "Unsupported"),
    Said("vLLM", 400, vllm("System role not supported"), "Unsupported"),
    Said("vLLM", 400, vllm("some/model is not a multimodal model"), "Unsupported"),
    Said("vLLM", 400, vllm("As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat template if the tokenizer does not define one."), "Unsupported"),
    Said("vLLM", 400, vllm("[{'type': 'extra_forbidden', 'loc': ('body', 'reasoning_effort'), 'msg': 'Extra inputs are not permitted', 'input': 'low'}]"), "Unsupported"),
    Said("LM Studio", 400, {"error": "'response_format.type' must be 'json_schema' or 'text'"}, "Unsupported"),
    Said("OpenAI", 400, openai("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", "unsupported_parameter", "max_tokens"), "Unsupported"),
    Said("OpenAI", 400, openai("Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is supported.", "unsupported_value", "temperature"), "Unsupported"),
    Said("OpenAI", 400, openai("Unsupported value: 'messages[0].role' does not support 'system' with this model.", "unsupported_value", "messages[0].role"), "Unsupported"),
    Said("OpenAI", 400, openai("Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.", None, "response_format"), "Unsupported"),
    Said("OpenAI", 400, openai("Invalid schema for response_format 'plan': In context=(), 'additionalProperties' is required to be supplied and to be false.", None, "response_format"), "Unsupported"),
    Said("OpenAI", 400, openai("Invalid content type. image_url is only supported by certain models.", None, "messages.[0].content.[1].type"), "Unsupported"),
    Said("OpenAI", 400, openai("Unrecognized request argument supplied: top_k"), "Unsupported"),
    Said("Groq", 400, openai("This model does not support response format `json_schema`. See supported models at https://console.groq.com/docs/structured-outputs"), "Unsupported"),
    Said("Groq", 400, openai("invalid schema for response format: response_format/json_schema/next_step: minItems is not supported"), "Unsupported"),
    Said("Groq", 400, openai("property 'reasoning_content' is unsupported"), "Unsupported"),
    Said("DeepSeek", 400, openai("deepseek-reasoner does not support this tool_choice", "invalid_request_error"), "Unsupported"),
    Said("DeepSeek", 400, openai("Failed to deserialize the JSON body into the target type: response_format: This response_format type is unavailable now at line 1 column 10", "invalid_request_error"), "Unsupported"),
    Said("Mistral", 422, {"object": "error", "message": detail("extra_forbidden", ["parallel"], "Extra inputs are not permitted"), "type": "invalid_request_error"}, "Unsupported"),
    Said("OpenRouter", 404, {"error": {"message": "No endpoints found that support tool use. To learn more about provider routing, visit: https://openrouter.ai/docs/provider-routing", "code": 404}}, "Unsupported"),
    Said("OpenRouter", 404, {"error": {"message": "No endpoints found that support the provided 'tool_choice' value.", "code": 404}}, "Unsupported"),
    Said("OpenRouter", 400, routed(openai("Response input messages must contain the word 'json' in some form to use 'text.format' of type 'json_object'.", None, "input")), "NotThisModel"),
    Said("OpenRouter", 400, routed(openai("Model 'kimi' supports at most 1 image per prompt.", "invalid_request_error")), "Unsupported"),
    Said("Gemini", 400, [{"error": {"code": 400, "message": 'Invalid JSON payload received. Unknown name "seed": Cannot find field.', "status": "INVALID_ARGUMENT"}}], "Unsupported"),
    Said("Anthropic", 400, {"type": "error", "error": {"type": "invalid_request_error", "message": "`temperature` is deprecated for this model."}}, "Unsupported"),
    Said("Together", 400, openai("meta-llama/x does not support JSON mode", "json_mode_not_supported"), "Unsupported"),
]  # fmt: skip

MODEL = [
    Said("Together", 400, openai("Unable to access non-serverless model a/b. Please visit https://api.together.ai/models/a/b to create and start a new dedicated endpoint for the model.", "model_not_available"), "NotThisModel"),
    Said("Together", 400, openai("The dedicated endpoint for a/b is not running. Please visit https://api.together.ai/models to start the endpoint.", "dedicated_endpoint_not_running"), "NotThisModel"),
    Said("Hugging Face", 400, openai("The requested model 'a/b' is not supported by any provider you have enabled.", "model_not_supported", "model"), "NotThisModel"),
    Said("Hugging Face", 400, {"error": "Model not supported by provider together"}, "NotThisModel"),
    Said("Hugging Face", 403, {"error": "The model a/b is too large to be loaded automatically (14GB > 10GB)."}, "NotThisModel"),
    Said("Copilot", 400, openai("The requested model is not supported.", "model_not_supported", "model"), "NotThisModel"),
    Said("OpenAI", 403, openai("Project `proj_x` does not have access to model `gpt-4.1`", "model_not_found"), "NotThisModel"),
    Said("OpenAI", 404, openai("Your organization must be verified to use the model `gpt-5`.", "model_not_found"), "NotThisModel"),
    Said("OpenAI", 404, openai("This is not a chat model and thus not supported in the v1/chat/completions endpoint. Did you mean to use v1/completions?", None, "model"), "NotThisModel"),
    Said("OpenRouter", 404, {"error": {"message": "No endpoints found matching your data policy (Free model publication).", "code": 404}}, "NotThisModel"),
    Said("OpenRouter", 404, {"error": {"message": "No allowed providers are available for the selected model.", "code": 404}}, "NotThisModel"),
    Said("Groq", 400, openai("The model `x` requires terms acceptance. Please have the org admin accept the terms at https://console.groq.com/playground?model=x", "model_terms_required"), "NotThisModel"),
    Said("Ollama", 500, {"error": "model requires more system memory (5.6 GiB) than is available (3.2 GiB)"}, "NotThisModel"),
    Said("LM Studio", 404, openai("No models loaded. Please load a model in the developer page or use the `lms load` command.", "model_not_found", "model"), "NotThisModel"),
    Said("Mistral", 400, vllm("Tool call id was call_abc but must be a-z, A-Z, 0-9, with a length of 9.", "invalid_function_call", 3280), "NotThisModel"),
    Said("DeepSeek", 400, openai("The `reasoning_content` in the thinking mode must be passed back to the API.", "invalid_request_error"), "NotThisModel"),
    Said("OpenAI", 400, openai("max_tokens is too large: 100000. This model supports at most 16384 completion tokens, whereas you provided 100000.", "invalid_value", "max_tokens"), "Unsupported"),
    Said("Together", 400, {"message": "Input validation error", "type_": "invalid_request_error"}, "NotThisModel"),
    Said("OpenAI", 404, openai("The model `gpt-x` does not exist or you do not have access to it.", "model_not_found"), "ModelGone"),
    Said("vLLM", 404, vllm("The model `x` does not exist.", "NotFoundError", 404), "ModelGone"),
    Said("Ollama", 404, openai('model "llama3" not found, try pulling it first', None, None, "api_error"), "ModelGone"),
    Said("Groq", 400, openai("The model `x` has been decommissioned and is no longer supported.", "model_decommissioned"), "ModelGone"),
    Said("DeepSeek", 400, openai("Model Not Exist", "invalid_request_error"), "ModelGone"),
    Said("Mistral", 400, {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "param": None, "code": "1500"}, "ModelGone"),
    Said("OpenRouter", 400, {"error": {"message": "x is not a valid model ID", "code": 400}}, "ModelGone"),
    Said("OpenRouter", 404, {"error": {"message": "No endpoints found for a/b:free.", "code": 404}}, "ModelGone"),
    Said("Azure", 404, {"error": {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}}, "ModelGone"),
    Said("Fireworks", 404, {"message": "Model not found, inaccessible, and/or not deployed", "param": "model", "code": "NOT_FOUND", "type": "error"}, "ModelGone"),
    Said("llama-cpp-python", 400, openai("The model `x.gguf` does not exist", "model_not_found"), "ModelGone"),
    Said("Ollama", 404, "404 page not found", "ModelGone"),
    Said("FastAPI", 404, {"detail": "Not Found"}, "ModelGone"),
    Said("OpenAI", 404, openai("Invalid URL (POST /chat/completions)"), "ModelGone"),
    Said("TGI", 404, "", "ModelGone"),
]  # fmt: skip

ACCOUNT = [
    Said("OpenAI", 401, openai("Incorrect API key provided: sk-abcde***wxyz.", "invalid_api_key"), "KeyRejected"),
    Said("xAI", 400, {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xa***yz."}, "KeyRejected"),
    Said("Gemini", 400, [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}}], "KeyRejected"),
    Said("DeepSeek", 401, openai("Authentication Fails (no such user)", "invalid_request_error", None, "authentication_error"), "KeyRejected"),
    Said("Mistral", 401, {"message": "Unauthorized", "request_id": "x"}, "KeyRejected"),
    Said("OpenRouter", 401, {"error": {"message": "No auth credentials found", "code": 401}}, "KeyRejected"),
    Said("Hugging Face", 403, {"error": "This authentication method does not have sufficient permissions to call Inference Providers on behalf of user x"}, "KeyRejected"),
    Said("OpenAI", 403, {"error": {"code": "unsupported_country_region_territory", "message": "Country, region, or territory not supported", "param": None, "type": "request_forbidden"}}, "KeyRejected"),
    Said("Cloudflare", 403, CLOUDFLARE, "KeyRejected"),
    Said("OpenAI", 429, openai("You exceeded your current quota, please check your plan and billing details.", "insufficient_quota", None, "insufficient_quota"), "OutOfCredit"),
    Said("Together", 402, openai("Credit limit exceeded. Please navigate to https://api.together.xyz/settings/billing to add credit or upgrade your plan.", None, None, "credit_limit"), "OutOfCredit"),
    Said("DeepSeek", 402, openai("Insufficient Balance", "invalid_request_error", None, "unknown_error"), "OutOfCredit"),
    Said("a gateway to DeepSeek", 400, openai("Insufficient Balance", "invalid_request_error", None, "unknown_error"), "OutOfCredit"),
    Said("Anthropic", 400, {"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."}}, "OutOfCredit"),
    Said("OpenRouter", 402, {"error": {"message": "This request requires more credits, or fewer max_tokens. You requested up to 64000 tokens, but can only afford 61586.", "code": 402}}, "OutOfCredit"),
    Said("Hugging Face", 402, {"error": "You have exceeded your monthly included credits for Inference Providers. Subscribe to PRO to get 20x more monthly included credits."}, "OutOfCredit"),
    Said("Moonshot", 429, openai("Your account is suspended, please check your plan and billing details", None, None, "exceeded_current_quota_error"), "OutOfCredit"),
    Said("Zhipu", 429, {"error": {"code": "1113", "message": "余额不足或无可用资源包,请充值。"}}, "OutOfCredit"),
    Said("OpenAI", 429, openai("Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000. Please try again in 2s.", "rate_limit_exceeded", None, "tokens"), "RateLimited"),
    Said("Groq", 429, openai("Rate limit reached for model `x` on tokens per day (TPD): Limit 100000, Used 97050, Requested 3619. Please try again in 9m38.016s. Need more tokens? Upgrade to Dev Tier today", "rate_limit_exceeded", None, "tokens"), "RateLimited"),
    Said("Gemini", 429, [{"error": {"code": 429, "message": "You exceeded your current quota, please check your plan and billing details. Please retry in 19.5s.", "status": "RESOURCE_EXHAUSTED"}}], "RateLimited"),
    Said("OpenRouter", 429, routed("z-ai/glm is temporarily rate-limited upstream. Please retry shortly, or add your own key.", 429), "RateLimited"),
    Said("Mistral", 429, {"message": "Requests rate limit exceeded"}, "RateLimited"),
    Said("Azure", 400, {"error": {"message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.", "type": None, "param": "prompt", "code": "content_filter", "status": 400, "innererror": {"code": "ResponsibleAIPolicyViolation"}}}, "Refused"),
    Said("OpenAI", 400, openai("Invalid prompt: your prompt was flagged as potentially violating our usage policy.", "invalid_prompt"), "Refused"),
    Said("DeepSeek", 400, openai("Content Exists Risk", "invalid_request_error"), "Refused"),
    Said("Anthropic", 400, {"type": "error", "error": {"type": "invalid_request_error", "message": "Output blocked by content filtering policy"}}, "Refused"),
    Said("OpenRouter", 403, {"error": {"code": 403, "message": "Input was flagged", "metadata": {"reasons": ["violence"], "flagged_input": "..."}}}, "Refused"),
    Said("Alibaba", 400, openai("Input data may contain inappropriate content.", "data_inspection_failed"), "Refused"),
]  # fmt: skip

CALLER = [
    Said("OpenAI", 400, openai("Invalid 'tools[0].function.name': string too long. Expected a string with maximum length 64, but got a string with length 81 instead.", "string_above_max_length", "tools[0].function.name"), "CallerError"),
    Said("DeepSeek", 400, openai("Invalid 'tools[43].function.name': string too long. Expected a string with maximum length 64, but got a string with length 71 instead.", "invalid_request_error"), "CallerError"),
    Said("Alibaba", 400, openai("<400> InternalError.Algo.InvalidParameter: The length of the tool name cannot exceed 64.", "invalid_parameter_error"), "CallerError"),
    Said("OpenAI", 400, openai("Invalid 'tools[0].function.name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.", "invalid_value", "tools[0].function.name"), "CallerError"),
    Said("OpenAI", 400, openai("Invalid schema for function 'save': schema must be a JSON Schema of 'type: \"object\"', got 'type: \"None\"'.", "invalid_function_parameters", "tools[0].function.parameters"), "CallerError"),
    Said("OpenAI", 400, openai("[] is too short - 'messages'"), "CallerError"),
    Said("OpenAI", 400, openai("Missing required parameter: 'messages'.", "missing_required_parameter", "messages"), "CallerError"),
    Said("OpenAI", 400, openai("Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.", None, "messages.[1].role"), "CallerError"),
    Said("OpenAI", 400, openai("An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'.", None, "messages"), "CallerError"),
    Said("OpenAI", 400, openai("Invalid value: 'boss'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'.", "invalid_value", "messages[0].role"), "CallerError"),
    Said("OpenAI", 400, openai("We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library correctly.)"), "CallerError"),
    Said("Anthropic", 400, {"type": "error", "error": {"type": "invalid_request_error", "message": "messages: at least one message is required"}}, "CallerError"),
    Said("Anthropic", 400, {"type": "error", "error": {"type": "invalid_request_error", "message": "messages: text content blocks must be non-empty"}}, "CallerError"),
    Said("Anthropic", 400, {"type": "error", "error": {"type": "invalid_request_error", "message": "tools.0.custom.input_schema: JSON schema is invalid. It must match JSON Schema draft 2020-12"}}, "CallerError"),
    Said("vLLM", 422, detail("missing", ["messages"], "Field required"), "CallerError"),
    Said("vLLM", 422, detail("json_invalid", [12], "JSON decode error"), "CallerError"),
    Said("llama-server", 400, {"error": {"code": 400, "message": "'messages' is required", "type": "invalid_request_error"}}, "CallerError"),
]  # fmt: skip

SERVER = [
    Said("OpenAI", 500, openai("The server had an error while processing your request. Sorry about that!", None, None, "server_error"), "Transient"),
    Said("Anthropic", 529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "Transient"),
    Said("llama-server", 503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}, "Transient"),
    Said("Together", 429, openai("Request was rejected due to request rate limiting. Your rate limits are 600 RPM (10 QPS) and 180000 TPM (3000 TPS). See details: https://docs.together.ai/docs/rate-limits", None, None, "credit_limit"), "RateLimited"),
    Said("Together", 429, openai("You have been rate limited. Your rate limit is 60 queries per minute. Please navigate to https://api.together.xyz/settings/billing to upgrade to a paid plan.", None, None, "credit_limit"), "RateLimited"),
    Said("Together", 429, {"error": {"message": "Rate limited.", "type": "dynamic_request_limited"}}, "RateLimited"),
    Said("Together", 503, openai("The server is overloaded or not ready yet.", None, None, "service_unavailable"), "Transient"),
    Said("TGI", 424, {"error": "Request failed during generation: Server error: CUDA out of memory", "error_type": "generation"}, "Transient"),
    Said("Ollama", 500, {"error": "llama runner process has terminated: signal: killed"}, "Transient"),
    Said("Starlette", 500, "Internal Server Error", "Transient"),
    Said("nginx", 502, NGINX.format("502 Bad Gateway"), "Transient"),
    Said("Cloudflare", 524, "<html><title>524: A timeout occurred</title></html>", "Transient"),
    Said("Groq", 498, openai("capacity exceeded", "capacity_exceeded"), "Transient"),
    Said("Groq", 400, {"error": {"message": "Failed to call a function. Please adjust your prompt. See 'failed_generation' for more details.", "type": "invalid_request_error", "code": "tool_use_failed", "failed_generation": "does not support tools"}}, "Transient"),
]  # fmt: skip

OTHERS = [
    Said("SGLang", 400, vllm("The input (9000 tokens) is longer than the model's context length (8192 tokens)."), "ContextTooLong"),
    Said("SGLang", 400, vllm("Requested token count exceeds the model's maximum context length of 4096 tokens. You requested a total of 5000 tokens"), "ContextTooLong"),
    Said("LocalAI", 500, {"error": {"code": 500, "message": "could not load model: rpc error: code = Unknown desc = stat /build/models/x: no such file", "type": ""}}, "Transient"),
    Said("LiteLLM proxy", 400, {"error": {"message": "litellm.BadRequestError: LLM Provider NOT provided. Pass in the LLM provider you are trying to call. You passed model=foo", "type": None, "param": None, "code": "400"}}, "NotThisModel"),
    Said("LiteLLM proxy", 400, {"error": {"message": "/chat/completions: Invalid model name passed in model=foo. Call `/v1/models` to view available models for your key.", "type": "None", "param": "None", "code": "400"}}, "ModelGone"),
    Said("LiteLLM proxy", 400, {"error": {"message": "litellm.UnsupportedParamsError: ollama does not support parameters: ['tools'], for model=x.", "type": "None", "code": "400"}}, "Unsupported"),
    Said("LiteLLM proxy", 400, {"error": {"message": "Budget has been exceeded! Current cost: 10.0, Max budget: 5.0", "type": "budget_exceeded", "param": None, "code": "400"}}, "OutOfCredit"),
    Said("LiteLLM proxy", 401, {"error": {"message": "Authentication Error, Invalid proxy server token passed.", "type": "auth_error", "param": "None", "code": "401"}}, "KeyRejected"),
    Said("LiteLLM proxy", 403, {"error": {"message": "key not allowed to access model. This key can only access models=['a']. Tried to access b", "type": "key_model_access_denied", "param": "model", "code": "403"}}, "KeyRejected"),
    Said("Cerebras", 400, {"message": "Please reduce the length of the messages or completion. Current length is 10141 while limit is 8192", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}, "ContextTooLong"),
    Said("Cerebras", 422, {"message": "body.messages.0.content: Input should be a valid string", "type": "invalid_request_error", "param": "validation_error", "code": "wrong_api_format"}, "NotThisModel"),
    Said("Cerebras", 404, {"message": "Model x does not exist or you do not have access to it.", "type": "not_found_error", "param": "model", "code": "model_not_found"}, "ModelGone"),
    Said("SambaNova", 400, {"error": {"code": None, "message": "Model did not output valid JSON.", "param": None, "type": "Error when parsing request"}}, "NotThisModel"),
    Said("SambaNova", 410, {"error": {"message": "model has been deprecated"}}, "ModelGone"),
    Said("NVIDIA NIM", 404, {"status": 404, "title": "Not Found", "detail": "Function '12ab': Not found for account 'xyz'"}, "ModelGone"),
    Said("NVIDIA NIM", 400, vllm("Tool use has not been enabled, because it is unsupported by the given model"), "Unsupported"),
    Said("NVIDIA NIM", 402, {"status": 402, "title": "Payment Required", "detail": "Account 'x': Cloud credits expired - Please contact NVIDIA representatives"}, "OutOfCredit"),
    Said("NVIDIA NIM", 422, {"type": "urn:inference-service:problem-details:unprocessable-entity", "title": "Unprocessable Entity", "status": 422, "detail": "The model expects an input shape (-1, 77) but received..."}, "NotThisModel"),
    Said("Perplexity", 400, {"error": {"message": "Invalid model 'llama'. Permitted models can be found in the documentation at https://docs.perplexity.ai/guides/model-cards.", "type": "invalid_model", "code": 400}}, "ModelGone"),
    Said("Perplexity", 400, {"error": {"message": "Last message must have role `user`.", "type": "invalid_message", "code": 400}}, "NotThisModel"),
    Said("Perplexity", 400, {"error": {"message": "After the (optional) system message(s), user and assistant roles should be alternating.", "type": "invalid_message", "code": 400}}, "NotThisModel"),
    Said("Cohere", 400, {"message": "invalid request: message must be at least 1 token long or tool results must be specified."}, "NotThisModel"),
    Said("Cohere", 400, {"message": "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5555. Try using a shorter prompt"}, "ContextTooLong"),
    Said("Cohere", 401, {"message": "invalid api token"}, "KeyRejected"),
    Said("GitHub Models", 413, {"error": {"code": "tokens_limit_reached", "message": "Request body too large for gpt-4o model. Max size: 8000 tokens.", "details": "..."}}, "ContextTooLong"),
    Said("GitHub Models", 400, {"error": {"code": "unknown_model", "message": "Unknown model: gpt-9"}}, "ModelGone"),
    Said("GitHub Models", 403, {"error": {"code": "no_access", "message": "No access to model: o1", "details": "No access to model: o1"}}, "NotThisModel"),
    Said("GitHub Models", 429, {"error": {"code": "RateLimitReached", "message": "Rate limit of 50 per 86400s exceeded for UserByModelByDay. Please wait 3000 seconds before retrying."}}, "RateLimited"),
    Said("DeepInfra", 404, {"error": {"message": "The model `foo` does not exist"}}, "ModelGone"),
    Said("DeepInfra", 402, {"detail": {"error": "Payment Required: balance"}}, "OutOfCredit"),
    Said("DeepInfra", 400, {"detail": {"error": "inference request failed: requested input length 50000 exceeds maximum input length 32767"}}, "ContextTooLong"),
    Said("Novita", 403, {"code": 403, "reason": "NOT_ENOUGH_BALANCE", "message": "not enough balance", "metadata": {}}, "OutOfCredit"),
    Said("Novita", 404, {"code": 404, "reason": "MODEL_NOT_FOUND", "message": "model: x not found", "metadata": {}}, "ModelGone"),
    Said("Hyperbolic", 400, vllm("[{'type': 'value_error', 'loc': ('body',), 'msg': 'Value error, When using `tool_choice`, `tools` must be set.', 'input': {}}]"), "Unsupported"),
    Said("vLLM", 400, {"error": {"message": "[{'type': 'missing', 'loc': ('body', 'messages'), 'msg': 'Field required', 'input': {'model': 'x'}}]", "type": "Bad Request", "param": None, "code": 400}}, "CallerError"),
    Said("vLLM", 400, vllm('Grammar error: Unimplemented keys: ["uniqueItems"]'), "NotThisModel"),
    Said("vLLM", 400, vllm("max_model_len (4096) must be greater than max_tokens"), "NotThisModel"),
    Said("vLLM", 400, vllm("1 validation error for ValidatorIterator\n0.tool_calls ..."), "NotThisModel"),
    Said("vLLM", 400, vllm("At most 1 image(s) may be provided in one request."), "Unsupported"),
    Said("vLLM", 400, vllm("logprobs is not supported"), "Unsupported"),
    Said("vLLM", 401, {"error": "Unauthorized"}, "KeyRejected"),
    Said("Anthropic compat", 400, openai("messages.0.content.1.image.source.base64: invalid base64 data", "invalid_request_error"), "CallerError"),
    Said("Anthropic", 400, {"type": "error", "error": {"type": "invalid_request_error", "message": "max_tokens: 100000 > 8192, which is the maximum allowed number of output tokens for claude-3-5-sonnet"}}, "NotThisModel"),
    Said("Anthropic", 400, {"type": "error", "error": {"type": "invalid_request_error", "message": 'messages: roles must alternate between "user" and "assistant", but found multiple "user" roles in a row'}}, "Unsupported"),
    Said("Anthropic", 400, {"type": "error", "error": {"type": "invalid_request_error", "message": "messages.2: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_01. Each `tool_use` block must have a corresponding `tool_result` block in the next message."}}, "CallerError"),
    Said("Anthropic", 400, {"type": "error", "error": {"type": "invalid_request_error", "message": "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'"}}, "CallerError"),
    Said("Anthropic", 400, {"type": "error", "error": {"type": "invalid_request_error", "message": "This organization has been disabled."}}, "NotThisModel"),
    Said("Anthropic", 400, {"type": "error", "error": {"type": "invalid_request_error", "message": "You have reached your specified API usage limits. You will regain access on 2026-01-01 at 00:00 UTC."}}, "NotThisModel"),
    Said("Anthropic", 403, {"type": "error", "error": {"type": "permission_error", "message": "Your API key does not have permission to use the specified resource."}}, "KeyRejected"),
    Said("Anthropic", 404, {"type": "error", "error": {"type": "not_found_error", "message": "model: claude-9"}}, "ModelGone"),
    Said("Gemini", 404, [{"error": {"code": 404, "message": "models/gemini-9 is not found for API version v1main, or is not supported for generateContent.", "status": "NOT_FOUND"}}], "NotThisModel"),
    Said("Gemini", 400, [{"error": {"code": 400, "message": "User location is not supported for the API use.", "status": "FAILED_PRECONDITION"}}], "KeyRejected"),
    Said("Gemini", 400, [{"error": {"code": 400, "message": "Function calling is not enabled for models/gemma-3-27b-it", "status": "INVALID_ARGUMENT"}}], "Unsupported"),
    Said("Gemini", 400, [{"error": {"code": 400, "message": "Developer instruction is not enabled for models/gemma-3-27b-it", "status": "INVALID_ARGUMENT"}}], "Unsupported"),
    Said("Gemini", 400, [{"error": {"code": 400, "message": "JSON mode is not enabled for models/gemma-3-27b-it", "status": "INVALID_ARGUMENT"}}], "Unsupported"),
    Said("Gemini", 400, [{"error": {"code": 400, "message": "* GenerateContentRequest.contents: contents is not specified", "status": "INVALID_ARGUMENT"}}], "NotThisModel"),
    Said("Gemini", 400, [{"error": {"code": 400, "message": "Please ensure that function call turn comes immediately after a user turn or after a function response turn.", "status": "INVALID_ARGUMENT"}}], "NotThisModel"),
    Said("Gemini", 400, [{"error": {"code": 400, "message": "* GenerateContentRequest.tools[0].function_declarations[3].name: Invalid function name. Must start with a letter or an underscore.", "status": "INVALID_ARGUMENT"}}], "CallerError"),
    Said("Gemini", 503, [{"error": {"code": 503, "message": "The model is overloaded. Please try again later.", "status": "UNAVAILABLE"}}], "Transient"),
    Said("Gemini", 403, [{"error": {"code": 403, "message": "Generative Language API has not been used in project 1 before or it is disabled.", "status": "PERMISSION_DENIED"}}], "KeyRejected"),
    Said("Azure", 401, {"error": {"code": "401", "message": "Access denied due to invalid subscription key or wrong API endpoint."}}, "KeyRejected"),
    Said("Azure", 400, {"error": {"code": "OperationNotSupported", "message": "The chatCompletion operation does not work with the specified model, text-davinci-003. Please choose different model and try again."}}, "NotThisModel"),
    Said("Azure", 400, openai("Unrecognized request argument supplied: tools"), "Unsupported"),
    Said("Azure", 404, {"error": {"code": "404", "message": "Resource not found"}}, "ModelGone"),
    Said("Azure", 403, {"error": {"code": "AccessDenied", "message": "Access denied due to Virtual Network/Firewall rules."}}, "KeyRejected"),
    Said("Azure", 400, openai("response_format value as json_schema is enabled only for api versions 2024-08-01-preview and later", "BadRequest", "response_format"), "Unsupported"),
    Said("Together", 422, {"id": "x", "error": {"message": "max_tokens must be less than or equal to 8192", "type": "invalid_request_error", "param": "max_tokens", "code": None}}, "NotThisModel"),
    Said("Together", 404, {"id": "x", "error": {"message": "Unable to access model foo. Please visit https://api.together.ai/models to view the list of supported models.", "type": "invalid_request_error", "param": None, "code": "model_not_available"}}, "NotThisModel"),
    Said("Together", 401, {"id": "x", "error": {"message": "Invalid API key provided. You can find your API key at https://api.together.xyz/settings/api-keys.", "type": "invalid_request_error", "param": None, "code": "invalid_api_key"}}, "KeyRejected"),
    Said("Together", 400, {"id": "x", "error": {"message": "Input validation error: messages: Array must contain at least 1 element(s)", "type": "invalid_request_error"}}, "CallerError"),
    Said("Together", 403, {"id": "x", "error": {"message": "Access to this model is allowed for build tier 2 and above", "type": "invalid_request_error"}}, "NotThisModel"),
    Said("Together", 400, {"error": {"message": "tool_choice is not supported for this model", "type": "invalid_request_error"}}, "Unsupported"),
    Said("Together", 429, {"error": {"message": "You have reached the rate limit specific to this model foo. The maximum rate limit for this model is 0.6 queries and 5000 tokens per minute.", "type": "model_rate_limit"}}, "RateLimited"),
    Said("HF", 400, openai("The requested model 'x' does not exist", "model_not_found", "model"), "ModelGone"),
    Said("HF", 401, {"error": "Invalid username or password."}, "KeyRejected"),
    Said("HF", 403, {"error": "The model x is too large to be loaded automatically (141GB > 10GB)."}, "NotThisModel"),
    Said("HF", 422, {"error": {"message": "response_format is not supported by provider", "type": "x"}}, "Unsupported"),
    Said("HF", 503, {"error": "Model x is currently loading", "estimated_time": 20.0}, "Transient"),
    Said("HF", 400, {"error": "Model requires a Pro subscription; check out hf.co/pricing to learn more."}, "NotThisModel"),
    Said("OpenAI", 400, openai("Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.", "empty_array", "messages"), "CallerError"),
    Said("OpenAI", 400, openai("Invalid 'messages': array too long. Expected an array with maximum length 2048, but got an array with length 3000 instead.", "array_above_max_length", "messages"), "CallerError"),
    Said("OpenAI", 400, openai("Invalid 'tools': array too long. Expected an array with maximum length 128, but got an array with length 200 instead.", "array_above_max_length", "tools"), "CallerError"),
    Said("OpenAI", 400, openai("Invalid value for 'content': expected a string, got null.", None, "messages.[1].content"), "CallerError"),
    Said("OpenAI", 400, openai("you must provide a model parameter"), "CallerError"),
    Said("OpenAI", 400, openai("Invalid type for 'temperature': expected a decimal, but got a string instead.", "invalid_type", "temperature"), "NotThisModel"),
    Said("OpenAI", 400, openai("Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.", "decimal_above_max_value", "temperature"), "NotThisModel"),
    Said("OpenAI", 400, openai("Invalid image data. Could not process image."), "CallerError"),
    Said("OpenAI", 400, openai("Your organization must be verified to stream this model. Please go to: https://platform.openai.com/settings/organization/general", "unsupported_value", "stream"), "NotThisModel"),
    Said("OpenAI", 403, openai("You are not allowed to sample from this model", "None"), "KeyRejected"),
    Said("OpenAI", 429, {"error": {"message": "Your account is not active, please check your billing details on our website.", "type": "billing_not_active", "param": None, "code": "billing_not_active"}}, "OutOfCredit"),
    Said("OpenAI", 401, openai("Your account has been deactivated, please check your email", "account_deactivated"), "KeyRejected"),
    Said("OpenAI", 404, openai("The model `gpt-3.5-turbo-0301` has been deprecated, learn more here: https://platform.openai.com/docs/deprecations", "model_not_found"), "ModelGone"),
    Said("OpenAI", 400, openai("Function tools with reasoning_effort are not supported for gpt-5.4 in /v1/chat/completions. Please use /v1/responses instead.", None, "reasoning_effort"), "Unsupported"),
    Said("OpenAI", 400, openai("Invalid schema for function 'f': In context=('properties', 'x'), array schema missing items.", "invalid_function_parameters", "tools[0].function.parameters"), "CallerError"),
    Said("Mistral", 400, {"object": "error", "message": "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant", "type": "invalid_request_message_order", "param": None, "code": "3230"}, "NotThisModel"),
    Said("Mistral", 400, {"object": "error", "message": "Unexpected role 'system' after role 'user'", "type": "invalid_request_message_order", "param": None, "code": "3230"}, "CallerError"),
    Said("Mistral", 400, {"object": "error", "message": "Not the same number of function calls and responses", "type": "invalid_request_message_order", "code": "3230"}, "NotThisModel"),
    Said("Mistral", 422, {"detail": [{"type": "string_too_short", "loc": ["body", "messages", 0, "user", "content"], "msg": "String should have at least 1 character", "input": ""}]}, "NotThisModel"),
    Said("Mistral", 429, {"object": "error", "message": "Service tier capacity exceeded for this model.", "type": "service_tier_capacity_exceeded", "param": None, "code": "3505"}, "RateLimited"),
    Said("xAI", 403, {"code": "The caller does not have permission to execute the specified operation", "error": "Your newly created team doesn't have any credits yet. You can purchase credits at https://console.x.ai"}, "OutOfCredit"),
    Said("xAI", 404, {"code": "Some requested entity was not found", "error": "The model grok-9 does not exist or your team does not have access to it."}, "ModelGone"),
    Said("xAI", 400, {"code": "Client specified an invalid argument", "error": "Model grok-4 does not support parameter presencePenalty."}, "Unsupported"),
    Said("xAI", 400, {"code": "Client specified an invalid argument", "error": "Argument not supported on this model: reasoningEffort"}, "Unsupported"),
    Said("xAI", 403, {"code": "permission", "error": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_CSAM"}, "Refused"),
    Said("Moonshot", 400, {"error": {"message": "Invalid request: tool call id call_0 is not found", "type": "invalid_request_error"}}, "NotThisModel"),
    Said("Moonshot", 400, {"error": {"message": "Invalid request: message at position 2 with role 'assistant' must not be empty", "type": "invalid_request_error"}}, "CallerError"),
    Said("Moonshot", 400, {"error": {"message": "invalid temperature: only 1 is allowed for this model", "type": "invalid_request_error"}}, "Unsupported"),
    Said("Moonshot", 429, {"error": {"message": "The engine is currently overloaded, please try again later", "type": "engine_overloaded_error"}}, "RateLimited"),
    Said("Moonshot", 401, {"error": {"message": "Invalid Authentication", "type": "invalid_authentication_error"}}, "KeyRejected"),
    Said("Moonshot", 404, {"error": {"message": "Not found the model kimi-x or Permission denied", "type": "resource_not_found_error"}}, "ModelGone"),
    Said("Alibaba", 400, {"error": {"message": "parameter.enable_thinking must be set to false for non-streaming calls", "type": "invalid_request_error", "code": "invalid_parameter_error"}}, "NotThisModel"),
    Said("Alibaba", 400, {"error": {"message": "Access denied, please make sure your account is in good standing.", "type": "Arrearage", "code": "Arrearage"}}, "OutOfCredit"),
    Said("Alibaba", 404, {"error": {"message": "The model `x` does not exist or you do not have access to it.", "type": "invalid_request_error", "code": "model_not_found"}}, "ModelGone"),
    Said("Alibaba", 400, {"error": {"message": "<400> InternalError.Algo.InvalidParameter: Repetitive tool", "code": "invalid_parameter_error"}}, "NotThisModel"),
    Said("Zhipu", 400, {"error": {"code": "1210", "message": "API 调用参数有误, 请检查文档。"}}, "NotThisModel"),
    Said("Zhipu", 400, {"error": {"code": "1261", "message": "Prompt 超长"}}, "NotThisModel"),
    Said("SiliconFlow", 400, {"code": 20012, "message": "Model does not exist. Please check it carefully.", "data": None}, "ModelGone"),
    Said("SiliconFlow", 403, {"code": 30001, "message": "Sorry, your account balance is insufficient", "data": None}, "OutOfCredit"),
    Said("SiliconFlow", 400, {"code": 20015, "message": "length of prompt_tokens (40000) must be less than max_seq_len (32768).", "data": None}, "ContextTooLong"),
    Said("SiliconFlow", 400, {"code": 20037, "message": "Function call is not supported for this model.", "data": None}, "Unsupported"),
    Said("one-api", 429, {"error": {"message": "当前分组上游负载已饱和, 请稍后再试", "type": "new_api_error", "code": "x"}}, "RateLimited"),
    Said("one-api", 503, {"error": {"message": "当前分组 default 下对于模型 gpt-x 无可用渠道", "type": "one_api_error"}}, "Transient"),
    Said("one-api", 401, {"error": {"message": "无效的令牌", "type": "one_api_error"}}, "KeyRejected"),
    Said("one-api", 403, {"error": {"message": "用户额度不足", "type": "one_api_error", "code": "insufficient_user_quota"}}, "OutOfCredit"),
    Said("Bedrock", 400, {"message": "Invocation of model ID anthropic.claude-x with on-demand throughput isn't supported. Retry your request with the ID or ARN of an inference profile that contains this model."}, "Unsupported"),
    Said("Bedrock", 403, {"Message": "You don't have access to the model with the specified model ID."}, "NotThisModel"),
    Said("Bedrock", 400, {"message": "Input is too long for requested model."}, "ContextTooLong"),
    Said("Bedrock", 400, {"message": "This model doesn't support tool use."}, "Unsupported"),
    Said("Bedrock", 400, {"message": "The model returned the following errors: Malformed input request: #: extraneous key [x] is not permitted, please reformat your input and try again."}, "NotThisModel"),
    Said("Cloudflare AI", 400, {"errors": [{"message": "AiError: Bad input: Error: oneOf at '/' not met", "code": 5006}], "success": False, "result": {}, "messages": []}, "NotThisModel"),
    Said("Cloudflare AI", 400, {"errors": [{"message": "No such model @cf/x or task", "code": 5007}], "success": False}, "ModelGone"),
    Said("Cloudflare AI", 401, {"errors": [{"message": "Authentication error", "code": 10000}], "success": False}, "KeyRejected"),
    Said("Databricks", 403, {"error_code": "403", "message": "Invalid access token. [TraceId: x]"}, "KeyRejected"),
    Said("Databricks", 400, {"error_code": "BAD_REQUEST", "message": "BAD_REQUEST: Model does not support tools"}, "Unsupported"),
    Said("Databricks", 404, {"error_code": "ENDPOINT_NOT_FOUND", "message": "The given endpoint does not exist, please retry after checking the specified model and version deployment exists."}, "ModelGone"),
    Said("Ollama", 400, openai("invalid message format"), "NotThisModel"),
    Said("Ollama", 400, {"error": {"message": "json: cannot unmarshal array into Go struct field ChatRequest.messages of type string", "type": "invalid_request_error"}}, "NotThisModel"),
    Said("Ollama", 403, {"error": {"message": "this model requires a subscription, upgrade for access: https://ollama.com/upgrade", "type": "api_error"}}, "KeyRejected"),
    Said("Ollama", 400, {"error": "[] is too short - 'messages'"}, "CallerError"),
    Said("Ollama", 500, {"error": {"message": "an error was encountered while running the model: unexpected EOF", "type": "api_error"}}, "Transient"),
    Said("Ollama", 400, {"error": {"message": 'think value "low" is not supported for this model', "type": "invalid_request_error"}}, "Unsupported"),
    Said("Ollama", 400, {"error": {"message": '"llama3" does not support thinking', "type": "api_error"}}, "Unsupported"),
    Said("Ollama", 503, {"error": "server busy, please try again.  maximum pending requests exceeded"}, "Transient"),
    Said("Ollama", 400, {"error": {"message": "this model is missing data required for image input", "type": "api_error"}}, "NotThisModel"),
    Said("llama-server", 400, {"error": {"code": 400, "message": 'Failed to parse messages: Missing \'content\' in ChatMsg: {"role":"assistant"}', "type": "invalid_request_error"}}, "NotThisModel"),
    Said("llama-server", 400, {"error": {"code": 400, "message": "JSON schema conversion failed:\nUnresolved $ref", "type": "invalid_request_error"}}, "NotThisModel"),
    Said("llama-server", 400, {"error": {"code": 400, "message": "Cannot use custom grammar constraints with tools.", "type": "invalid_request_error"}}, "NotThisModel"),
    Said("llama-server", 500, {"error": {"code": 500, "message": "[json.exception.parse_error.101] parse error at line 1, column 1: syntax error while parsing value - invalid literal", "type": "server_error"}}, "Transient"),
    Said("llama-server", 401, {"error": {"message": "Invalid API Key", "type": "authentication_error", "code": 401}}, "KeyRejected"),
    Said("llama-server", 404, {"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}}, "ModelGone"),
    Said("llama-server", 500, {"error": {"code": 500, "message": "Failed to parse input at pos 30: <tool_call>", "type": "server_error"}}, "Transient"),
    Said("llama-server", 400, {"error": {"code": 400, "message": "Unsupported param: tools", "type": "invalid_request_error"}}, "Unsupported"),
    Said("LM Studio", 400, {"error": 'Error rendering prompt with jinja template: "Only user and assistant roles are supported!".'}, "Unsupported"),
    Said("LM Studio", 400, {"error": "Model is unloaded."}, "NotThisModel"),
    Said("LM Studio", 404, openai('Model "x" not found. Please specify a valid model.', "model_not_found", "model"), "ModelGone"),
    Said("LM Studio", 400, {"error": "'messages' array must only contain objects with a 'content' field that is not empty."}, "CallerError"),
    Said("LM Studio", 400, {"error": "Invalid tool_choice type: 'object'. Supported string values: none, auto, required"}, "Unsupported"),
    Said("TabbyAPI", 400, {"detail": {"error": {"message": "Prompt length 9000 is greater than max_seq_len 8192", "trace": None}}}, "ContextTooLong"),
    Said("mlx-lm", 404, '{"error": "Repo id must be in the form \'repo_name\'"}', "ModelGone"),
    Said("TGI", 422, {"error": "Template error: invalid operation: Conversation roles must alternate user/assistant/user/assistant/... (in <string>:1)", "error_type": "template_error"}, "Unsupported"),
    Said("TGI", 422, {"error": "Tool error: Grammar is required when using tools", "error_type": "tool_error"}, "NotThisModel"),
    Said("TGI", 429, {"error": "Model is overloaded", "error_type": "overloaded"}, "RateLimited"),
    Said("TGI", 422, "Failed to deserialize the JSON body into the target type: response_format: unknown variant `json_schema`, expected one of `json`, `json_object`, `regex` at line 1 column 99", "Unsupported"),
    Said("TGI", 422, {"error": "Input validation error: `inputs` cannot be empty", "error_type": "validation"}, "NotThisModel"),
    Said("TGI", 415, "Expected request with `Content-Type: application/json`", "CallerError"),
    Said("DeepSeek", 400, openai("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", "invalid_request_error"), "NotThisModel"),
    Said("DeepSeek", 400, openai("deepseek-reasoner does not support successive user or assistant messages (messages[1] and messages[2] in your input). You should interleave the user/assistant messages in the message sequence.", "invalid_request_error"), "Unsupported"),
    Said("DeepSeek", 422, "Failed to deserialize the JSON body into the target type: messages[0].role: unknown variant `developer`, expected one of `system`, `user`, `assistant`, `tool`", "NotThisModel"),
    Said("DeepSeek", 400, openai("The last message of deepseek-reasoner must be a user message, or an assistant message with prefix mode on", "invalid_request_error"), "NotThisModel"),
    Said("DeepSeek", 503, {"error": {"message": "Service is too busy. We advise users to temporarily switch to alternative LLM API service providers.", "type": "service_unavailable_error", "param": None, "code": "service_unavailable_error"}}, "Transient"),
    Said("Fireworks", 412, {"error": {"message": "Account x is suspended, possibly due to reaching the monthly spending limit or failure to pay past invoices.", "code": "PRECONDITION_FAILED"}}, "OutOfCredit"),
    Said("Fireworks", 400, {"error": {"object": "error", "type": "invalid_request_error", "message": "Extra inputs are not permitted, field: 'messages[1].reasoning'"}}, "Unsupported"),
    Said("Fireworks", 400, {"error": {"object": "error", "type": "invalid_request_error", "message": "Requests with max_tokens > 4096 must have stream=true"}}, "NotThisModel"),
    Said("Groq", 400, openai("`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` is less than the `context_window` for this model", None, "max_tokens"), "ContextTooLong"),
    Said("Groq", 400, openai("'messages.0' : for 'role:system' the following must be satisfied[('messages.0.content' : value must be a string)]"), "NotThisModel"),
    Said("Groq", 400, openai("'messages' : minimum number of items is 1"), "CallerError"),
    Said("Groq", 404, openai("The model `x` does not exist or you do not have access to it.", "model_not_found"), "ModelGone"),
    Said("Groq", 404, openai("Unknown request URL: POST /openai/chat/completions. Please check the URL for typos, or see the docs at https://console.groq.com/docs/", "unknown_url"), "ModelGone"),
    Said("Groq", 403, openai("Access denied. Please check your network settings."), "KeyRejected"),
    Said("Groq", 400, openai("Organization has been restricted. Please reach out to support if you believe this was in error.", "organization_restricted"), "NotThisModel"),
    Said("Groq", 400, openai("json mode cannot be combined with tool/function calling"), "Unsupported"),
    Said("Groq", 400, openai("Tool choice is none, but model called a tool", "tool_use_failed"), "Transient"),
    Said("OpenRouter", 403, {"error": {"message": "Key limit exceeded (total limit). Manage it using https://openrouter.ai/settings/keys", "code": 403}}, "OutOfCredit"),
    Said("OpenRouter", 403, {"error": {"message": "openai/gpt-5 is not available in your region", "code": 403}}, "NotThisModel"),
    Said("OpenRouter", 400, {"error": {"message": 'Input required: specify "prompt" or "messages"', "code": 400}}, "CallerError"),
    Said("OpenRouter", 402, {"error": {"message": "Insufficient credits. Add more using https://openrouter.ai/credits", "code": 402}}, "OutOfCredit"),
    Said("OpenRouter", 502, {"error": {"message": "Provider returned error", "code": 502}}, "Transient"),
    Said("OpenRouter", 404, {"error": {"message": "No endpoints found that can handle the requested parameters.", "code": 404}}, "Unsupported"),
    Said("OpenRouter", 404, {"error": {"message": "No endpoints found that support image input", "code": 404}}, "Unsupported"),
    Said("OpenRouter", 400, {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": '{"error":{"message":"`tool_choice` is not supported","type":"BadRequestError"}}', "provider_name": "x"}}}, "Unsupported"),
    Said("Kong", 404, {"message": "no Route matched with those values"}, "ModelGone"),
    Said("nginx", 405, "<html><head><title>405 Not Allowed</title></head></html>", "NotThisModel"),
    Said("Express", 404, "<!DOCTYPE html><html><pre>Cannot POST /chat/completions</pre></html>", "ModelGone"),
    Said("squid", 403, "<!DOCTYPE HTML PUBLIC><html><head><title>ERROR: The requested URL could not be retrieved</title>", "KeyRejected"),
    Said("Envoy", 503, "upstream connect error or disconnect/reset before headers. reset reason: connection failure", "Transient"),
    Said("plain", 400, "Bad Request", "NotThisModel"),
    Said("plain", 403, "", "KeyRejected"),
    Said("plain", 429, "", "RateLimited"),
    Said("plain", 405, {"detail": "Method Not Allowed"}, "NotThisModel"),
    Said("MiniMax", 422, {"type": "error", "error": {"type": "unprocessable_entity_error", "message": "output new_sensitive (1027)", "http_code": "422"}}, "Refused"),
    Said("LlamaFactory", 422, {"detail": [{"loc": ["body", "messages", 2, "content"], "msg": "none is not an allowed value", "type": "type_error.none.not_allowed"}]}, "NotThisModel"),
]  # fmt: skip
"""From servers that are tried less often, and more words of the others."""

ALL = [*CONTEXT, *UNSUPPORTED, *MODEL, *ACCOUNT, *CALLER, *SERVER, *OTHERS]


def name(said: Said) -> str:
    return f"{said.kind}-{said.server}-{said.status}"


@pytest.mark.parametrize("said", ALL, ids=name)
def test_a_real_refusal_means_what_its_server_means(said):
    error = refusal(said.status, {}, said.sent, asked="a:m", key_variable="A_KEY")
    assert type(error).__name__ == said.kind, str(error)
    assert error.billed is False


@pytest.mark.parametrize("said", [one for one in ALL if isinstance(one.body, dict)], ids=name)
def test_the_same_error_inside_an_answer_keeps_its_class(said):
    inner = said.body.get("error", said.body)
    known = inner if isinstance(inner, dict) else {"message": inner}
    sent = {**known, "status": said.status}
    error = refusal_in_answer(sent, asked="a:m", key_variable="A_KEY")
    assert type(error).__name__ == said.kind, str(error)
