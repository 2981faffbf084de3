"""What a model takes is learnt from its refusals, once for the process."""

from __future__ import annotations

import asyncio
import json

import pytest

from aideon_agents import Context, CostHandler, Settings, errors, executor
from aideon_agents.ledger.rows import Run
from aideon_agents.models import Models
from aideon_agents.models.features import RUNGS, Features, features_of
from aideon_agents.state import ModelRequest, Verdict

NAME = "openai/gpt-oss-120b"
MODEL = f"together:{NAME}"
GOOD = '{"passed": true, "score": 0.5, "feedback": "fine"}'
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


class Asking:
    """A server that refuses what a test says, and answers what a test says, and a chain that asks it."""

    def __init__(self, server, ledger):
        server.answers = [self._answer]
        self.plain = server
        self.address, self.bodies, self.ledger = server.url, server.asked, ledger
        self.refuses = lambda _body: None
        self.says = lambda _body: GOOD
        self.finish = "stop"
        self.rows = []

    @property
    def features(self):
        return features_of(self.address, NAME)

    async def ask(self, *, stream=False, typed=True, **request):
        settings = Settings(together_api_key="k", together_base_url=self.address)
        asked = ModelRequest(**{"role": "validator", "model": (MODEL,)} | request)
        chain = Models(settings).chat(asked, Context(stream=stream))
        run_id = self.ledger.start_run(Run(workflow="verdict"))
        config = {"callbacks": [CostHandler(self.ledger, run_id=run_id)]}
        chain = chain.with_structured_output(Verdict) if typed else chain
        self.bodies.clear()
        try:
            return await chain.ainvoke([("system", "Be kind."), ("user", "Judge.")], config)
        finally:
            self.rows = self.ledger.calls(run_id)

    def _answer(self, body):
        if refused := self.refuses(body):
            return refused
        said = self.says(body)
        message = {"role": "assistant", "content": said}
        finish = self.finish(body) if callable(self.finish) else self.finish
        if kind(body) == "tool" and isinstance(said, str) and said.startswith("{"):
            call = {"name": "Verdict", "arguments": said}
            call = {"index": 0, "id": "c", "type": "function", "function": call}
            message = {"role": "assistant", "content": None, "tool_calls": [call]}
        choice = {"index": 0, "finish_reason": finish}
        if not body["stream"]:
            return {"choices": [{**choice, "message": message}], "usage": USAGE, "model": NAME}
        chunks = [
            {"choices": [{"index": 0, "delta": message, "finish_reason": None}]},
            {"choices": [{**choice, "delta": {}}]},
            {"choices": [], "usage": USAGE},
        ]
        sent = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
        return sent + b"data: [DONE]\n\n"


@pytest.fixture
def server(server, ledger):
    return Asking(server, ledger)


def kind(body):
    if body.get("tools"):
        return "tool"
    is_in_words = "JSON schema" in str(body["messages"])
    return (body.get("response_format") or {}).get("type") or ("words" if is_in_words else "text")


def error(message, **more):
    return {"error": {"message": message, "type": "invalid_request_error", **more}}


REFUSALS = {
    "json_schema": [
        (500, error("1 validation error:\n {'type': 'literal_error', 'loc': ('body', "
            "'response_format', 'type'), 'msg': \"Input should be 'text' or 'json_object'\", "
            "'input': 'json_schema'}", type="internal_server_error")),
        (400, error("This response_format type is unavailable now")),
        (400, error("Invalid parameter: 'response_format' of type 'json_schema' is not supported "
            "with this model.", param="response_format")),
        (422, {"detail": [{"loc": ["body", "response_format", "type"], "msg": "unexpected value"}]}),
        (400, error("Failed to convert the schema to a grammar")),
        (501, error("structured outputs are not implemented")),
    ],
    "json_object": [(400, error("Unknown parameter: 'response_format.schema'."))],
    "tool": [
        (400, error("registry.ollama.ai/library/gemma does not support tools")),
        (400, error('"auto" tool choice requires --enable-auto-tool-choice, which is not available')),
        (500, error("tools param requires --jinja flag: it is not supported here")),
    ],
}  # fmt: skip


@STREAMED
@pytest.mark.parametrize("refused", REFUSALS["json_schema"])
async def test_a_model_that_refuses_a_json_schema_is_asked_otherwise_at_once(
    server, refused, stream
):
    server.refuses = lambda body: refused if kind(body) == "json_schema" else None
    assert (await server.ask(stream=stream)).passed
    assert [kind(body) for body in server.bodies] == ["json_schema", "json_object"]
    assert server.bodies[1]["response_format"]["schema"]["title"] == "Verdict"
    assert "JSON" in server.bodies[1]["messages"][-1]["content"]
    assert [(row.status, row.error_type, row.feature, row.attempt) for row in server.rows] == [
        ("error", "Unsupported", "json_schema", 1),
        ("ok", None, "json_object", 2),
    ]
    assert server.rows[0].cost_nanousd == 0
    assert (await server.ask(stream=stream)).passed  # remembered, also for another chain
    assert [kind(body) for body in server.bodies] == ["json_object"]


@STREAMED
@pytest.mark.parametrize("refused", REFUSALS["tool"])
async def test_the_ladder_is_gone_down_to_its_end(server, refused, stream):
    steps = {"json_schema": 0, "json_object": 0}
    refusals = {name: REFUSALS[name][at] for name, at in steps.items()} | {"tool": refused}
    server.refuses = lambda body: refusals.get(kind(body))
    assert (await server.ask(stream=stream)).passed
    assert [kind(body) for body in server.bodies] == list(RUNGS)
    assert "tools" not in server.bodies[-1]
    assert "SHAPE" not in json.dumps(server.bodies).upper().replace("AIDEON_SHAPE", "SHAPE")


@STREAMED
async def test_arguments_of_the_tool_are_the_answer(server, stream):
    server.refuses = lambda body: None if kind(body) == "tool" else REFUSALS["json_schema"][1]
    assert (await server.ask(stream=stream)).feedback == "fine"
    assert server.bodies[-1]["tool_choice"]["function"]["name"] == "Verdict"
    assert server.rows[-1].feature == "tool"


async def test_many_calls_at_once_go_one_rung_down_and_not_more(server):
    server.refuses = lambda body: (
        REFUSALS["json_schema"][0] if kind(body) == "json_schema" else None
    )
    await asyncio.gather(*(server.ask() for _ in range(8)))
    assert server.features.rung == "json_object"


async def test_refused_ways_do_not_count_as_failures_of_the_model(server):
    steps = {"json_schema": 0, "json_object": 0}
    refusals = {name: REFUSALS[name][at] for name, at in steps.items()}
    fails = iter([True, True])
    busy = (503, error("busy"))
    server.refuses = lambda body: refusals.get(kind(body)) or (busy if next(fails, None) else None)
    assert (await server.ask()).passed
    assert [row.error_type for row in server.rows] == [
        "Unsupported", "Unsupported", "Transient", "Transient", None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "refused", "seen"),
    [
        ({"temperature": 0.2}, (400, error("Unsupported value: 'temperature' does not support 0.2 "
            "with this model. Only the default (1) value is supported.", param="temperature")),
            lambda body: "temperature" in body),
        ({}, (400, error("Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead.", param="max_tokens")),
            lambda body: "max_tokens" in body),
        ({}, (400, error("System role not supported")), lambda body: body["messages"][0]["role"] == "system"),
        ({}, (500, error("Jinja Exception: Conversation roles must alternate user/assistant")),
            lambda body: body["messages"][0]["role"] == "system"),
        ({}, (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"],
            "msg": "Extra inputs are not permitted"}]}), lambda body: "stream_options" in body),
    ],
    ids=["temperature", "max_tokens", "system", "alternate", "stream_options"],
)  # fmt: skip
async def test_a_parameter_that_is_refused_is_left_out_or_said_otherwise(
    server, given, refused, seen
):
    server.refuses = lambda body: refused if seen(body) else None
    stream = "stream_options" in json.dumps(refused)
    answer = await server.ask(typed=False, stream=stream, **given)
    assert (answer.text, len(server.bodies)) == (GOOD, 2)
    sent = server.bodies[1]
    assert sent.get("max_tokens") or sent["max_completion_tokens"] == 1024
    assert "Be kind." in json.dumps(sent["messages"])
    await server.ask(typed=False, stream=stream, **given)
    assert len(server.bodies) == 1
    assert "without" in server.features.described()


async def test_a_value_out_of_its_range_is_the_callers_mistake(server):
    server.refuses = lambda _: (400, error("temperature must be between 0 and 1"))
    with pytest.raises(errors.RunError):
        await server.ask(temperature=1.5)
    assert not server.features.refused


async def test_a_server_that_ignores_the_format_twice_gets_the_schema_in_words(server):
    server.says = lambda body: (
        GOOD if "JSON schema" in str(body["messages"]) else "Well, it passed."
    )
    assert (await server.ask()).passed
    assert (await server.ask()).passed
    assert [len(server.bodies), server.features.rung] == [2, "json_object"]
    assert (await server.ask()).passed
    assert len(server.bodies) == 1


async def test_one_answer_in_prose_teaches_nothing(server):
    said = iter(["Well.", GOOD, GOOD, "Well.", GOOD])
    server.says = lambda _: next(said)
    for _ in range(3):
        assert (await server.ask()).passed
    assert server.features.rung == "json_schema"


@STREAMED
@pytest.mark.parametrize("typed", [False, True], ids=["text", "typed"])
async def test_an_answer_without_room_is_asked_for_once_more_with_twice_the_room(
    server, stream, typed
):
    is_short = lambda body: body["max_tokens"] < 1500  # noqa: E731
    server.says = lambda body: (GOOD[:9] if typed else "") if is_short(body) else GOOD
    server.finish = lambda body: "length" if is_short(body) else "stop"
    answer = await server.ask(stream=stream, typed=typed)
    assert (answer.passed if typed else answer.text) in (True, GOOD)
    assert [body["max_tokens"] for body in server.bodies] == [1024, 2048]
    assert [row.attempt for row in server.rows] == [1, 2]
    assert all(row.cost_nanousd for row in server.rows)


THOUGHTS = [
    "<think>It is so",
    "<think>It is so.</think>\n\n",
    "<think>a</think>\n<think>b</think><|im_end|>",
    "It is so.\n</think>\n\n",
    "[THINK]It is so.[/THINK]",
    "<|channel|>analysis<|message|>It is so.<|end|>",
    "<|channel|>analysis<|message|>x<|end|><|start|>assistant<|channel|>final<|message|>",
    "analysisIt is so.assistantfinal",
]


@STREAMED
@pytest.mark.parametrize("thoughts", THOUGHTS)
async def test_thoughts_alone_are_no_answer_whatever_marks_them(server, stream, thoughts):
    said = iter([thoughts, GOOD])
    server.says, server.finish = lambda _: next(said), "length"
    server.finish = lambda body: "length" if body["max_tokens"] == 1024 else "stop"
    assert (await server.ask(stream=stream, typed=False)).text == GOOD
    assert [body["max_tokens"] for body in server.bodies] == [1024, 2048]
    assert [row.status for row in server.rows] == ["error", "ok"]


@STREAMED
async def test_thoughts_alone_are_an_error_that_names_max_tokens(server, stream):
    server.says, server.finish = lambda _: THOUGHTS[0], "length"
    with pytest.raises(errors.AllModelsFailed, match=r"met max_tokens \(1024\)"):
        await server.ask(stream=stream, typed=False)


@STREAMED
@pytest.mark.parametrize(
    "answer",
    [
        "<think>x</think>Heat moves.",
        "<think>x</think> Write <think></think> around it.",
        "Write </think> behind it.",
        "analysis of heat pumps",
        "[1] says so.",
        "<b>Heat</b> moves.",
        "<",
    ],
)
async def test_an_answer_beside_thoughts_or_about_them_is_one(server, stream, answer):
    server.says = lambda _: answer
    assert (await server.ask(stream=stream, typed=False)).text == answer
    assert len(server.bodies) == 1


@STREAMED
async def test_the_row_of_an_empty_answer_says_that_it_met_max_tokens(server, stream):
    server.says, server.finish = lambda _: "", "length"
    with pytest.raises(errors.AllModelsFailed):
        await server.ask(stream=stream, typed=False)
    rows = [(row.status, row.finish_reason, row.truncated) for row in server.rows]
    assert rows == [("error", "length", True)] * 2


@pytest.mark.parametrize("said", ["", None, '{"passed": tr'])
async def test_where_more_room_does_not_help_the_error_names_max_tokens(server, said):
    server.says, server.finish = lambda _: said, "length"
    with pytest.raises(errors.AllModelsFailed, match="max_tokens"):
        await server.ask()
    assert len(server.bodies) == 2


async def test_a_model_that_refuses_more_room_is_given_up_for_what_it_said_before(server):
    server.says, server.finish = lambda _: None, "length"
    server.refuses = lambda body: (
        (400, error("max_tokens is too large: at most 1024")) if body["max_tokens"] > 1024 else None
    )
    with pytest.raises(errors.AllModelsFailed, match=r"empty answer: it met max_tokens \(1024\)"):
        await server.ask()


def test_servers_that_take_no_schema_are_known():
    assert features_of("https://api.deepseek.com/v1", "x").rung == "json_object"
    assert Features().described() == "typed answers by json_schema"


async def test_effort_is_sent_where_it_is_given_and_left_out_where_it_is_refused(server):
    await server.ask(typed=False)
    assert "reasoning_effort" not in server.bodies[0]
    refused = (400, error("Unrecognized request argument supplied: reasoning_effort"))
    server.refuses = lambda body: refused if "reasoning_effort" in body else None
    await server.ask(typed=False, reasoning_effort="low")
    assert [body.get("reasoning_effort") for body in server.bodies] == ["low", None]


@pytest.mark.parametrize(
    ("options", "tokens"),
    [
        ({"model": "openai:gpt-6-luna"}, 4096),
        ({"model": "openai:gpt-4o-mini"}, 1024),
        ({"model": "openai:gpt-6-luna", "max_tokens": 100}, 100),
    ],
)
def test_models_that_think_have_room_for_it_unless_room_is_given(options, tokens):
    request = executor(**options).spec.request
    models = Models(Settings(openai_api_key="k"))
    assert models.chat(request, Context()).runnable.max_tokens == tokens
    window = models.chat(request, Context()).candidates[0].window
    assert models.window(request, Context()) == window - tokens + request.max_tokens


THINKERS = """
    openai/gpt-oss-120b gpt-oss:20b o3-mini o1 gpt-5 gpt-5.2-mini gpt-6.1-sol deepseek-reasoner
    deepseek-ai/DeepSeek-R1 deepseek-r1:8b DeepSeek-R1-Distill-Llama-70B deepseek-ai/DeepSeek-V3.1
    deepseek-ai/DeepSeek-V4-Pro-0813 Qwen/Qwen3-235B-A22B Qwen/Qwen3-Next-80B-A3B-Thinking
    Qwen/Qwen3.5-9B qwen3:4b QwQ-32B moonshotai/Kimi-K2-Thinking moonshotai/Kimi-K2.5
    zai-org/GLM-4.6 zai-org/GLM-5.3-Flash mistralai/Magistral-Small-2506 MiniMaxAI/MiniMax-M3
    Phi-4-reasoning allenai/Olmo-3-32B-Think
"""
OTHERS = """
    gpt-4o-mini gpt-4.1 gpt-5-chat-latest meta-llama/Llama-3.3-70B-Instruct-Turbo phi-4 any-o1x
    Qwen/Qwen2.5-7B-Instruct Qwen/Qwen3-235B-A22B-Instruct-2507 Qwen/Qwen3-Coder-30B
    Qwen/Qwen3-Embedding-8B deepseek-ai/DeepSeek-V3 moonshotai/Kimi-K2-Instruct zai-org/GLM-4-9B
    mistralai/Mistral-Small-24B google/gemma-3-27b-it
"""


@pytest.mark.parametrize("name", THINKERS.split())
def test_models_that_think_are_known_by_their_names(name):
    assert Features(name=name).thinks


@pytest.mark.parametrize("name", OTHERS.split())
def test_models_that_answer_at_once_get_no_room_to_think(name):
    assert not Features(name=name).thinks


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("shows", ["reasoning_content", "reasoning", "marks", "usage"])
async def test_a_model_that_has_shown_its_thoughts_gets_room_from_then_on(asked, shows, stream):
    text = "<think>x</think>Warm." if shows == "marks" else "Warm."
    message = {"content": text} | ({shows: "x"} if shows.startswith("reasoning") else {})
    details = {"completion_tokens_details": {"reasoning_tokens": 3}} if shows == "usage" else {}
    answer = asked(message, {**USAGE, **details}, stream=stream)
    for room in (1024, 4096):
        await answer()
        assert answer.server.asked[-1]["max_tokens"] == room
    assert (await answer(max_tokens=50)).server.asked[-1]["max_tokens"] == 50


@pytest.fixture
def asked(request, tmp_path):
    """Asks an agent's model of an unknown name, whose server always says the same."""
    plain = request.getfixturevalue("server").plain

    class Answer:
        server = plain

        def __init__(self, message, usage, *, stream):
            choice = {"index": 0, "finish_reason": "stop"}
            whole = {"choices": [{**choice, "message": message}], "usage": usage, "model": "m"}
            chunks = [
                {"choices": [{"index": 0, "delta": message, "finish_reason": None}]},
                {"choices": [{**choice, "delta": {}}], "usage": usage},
            ]
            sent = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in chunks)
            plain.answers = [sent + b"data: [DONE]\n\n" if stream else whole]
            self.models = Models(Settings(local_base_url=plain.url))
            self.stream = stream

        async def __call__(self, **options):
            spec = executor(model="local:somebodys", **options).spec
            await self.models.chat(spec.request, Context(stream=self.stream)).ainvoke("Heat pumps.")
            return self

    return Answer


def test_an_unknown_effort_is_the_callers_mistake():
    wanted = "must be none, minimal, low, medium or high, not 'much'"
    with pytest.raises(errors.UserError, match=wanted):
        executor(reasoning_effort="much")
