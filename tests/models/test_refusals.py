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
    Said("Together", 503, openai("The server is overloaded or not ready yet.", None, None, "service_unavailable"), "Transient"),
    Said("TGI", 424, {"error": "Request failed during generation: Server error: CUDA out of memory", "error_type": "generation"}, "Transient"),
    Said("Ollama", 500, {"error": "llama runner process has terminated: signal: killed"}, "Transient"),
    Said("Starlette", 500, "Internal Server Error", "Transient"),
    Said("nginx", 502, NGINX.format("502 Bad Gateway"), "Transient"),
    Said("Cloudflare", 524, "<html><title>524: A timeout occurred</title></html>", "Transient"),
    Said("Groq", 498, openai("capacity exceeded", "capacity_exceeded"), "Transient"),
    Said("Groq", 400, {"error": {"message": "Failed to call a function. Please adjust your prompt. See 'failed_generation' for more details.", "type": "invalid_request_error", "code": "tool_use_failed", "failed_generation": "does not support tools"}}, "Transient"),
]  # fmt: skip

ALL = [*CONTEXT, *UNSUPPORTED, *MODEL, *ACCOUNT, *CALLER, *SERVER]


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
