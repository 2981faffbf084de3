"""OpenAI's API over the service, asked with the real `openai` package over a real server."""

from __future__ import annotations

import json
import threading
import uuid

import fastapi
import httpx2
import openai
import pydantic
import pytest

from aideon_agents.access import api_keys, users
from aideon_agents.access.audit import By
from aideon_agents.api.app import create_app
from aideon_agents.api.openai import shapes
from aideon_agents.testing import Fault, SimulatedProvider

BY = By("root")
HELLO = [{"role": "user", "content": "heat pumps"}]
MODEL = "together:Qwen/Qwen3.5-9B"
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather at a place",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string"}},
            "required": ["place"],
        },
    },
}


@pytest.fixture
def client(serve):
    """The real client of a service that rehearses."""
    with openai.OpenAI(base_url=f"{serve()}/v1", api_key="none", timeout=60) as made:
        yield made


@pytest.fixture
def simulated(folder, monkeypatch, make_service, serve):
    """Starts a simulated provider and a service that asks it; gives the provider and a client."""
    made = []

    def start(**options):
        provider = SimulatedProvider(**options).start()
        monkeypatch.setenv("TOGETHER_API_KEY", f"sk-{uuid.uuid4().hex}")  # breakers keep keys
        monkeypatch.setenv("TOGETHER_BASE_URL", provider.base_url)
        url = serve(make_service(rehearse=False))
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", timeout=60)
        made.append((provider, client))
        return provider, client

    yield start
    for provider, client in made:
        client.close()
        provider.close()


def text_of(chunks):
    return "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)


def test_the_workflows_and_the_models_are_listed(client):
    names = {one.id for one in client.models.list()}
    assert {"workflow:one", "workflow:two", MODEL} <= names
    assert client.models.retrieve(MODEL).owned_by == "together"
    with pytest.raises(openai.NotFoundError) as missing:
        client.models.retrieve("workflow:none")
    assert missing.value.code == "model_not_found"


@pytest.mark.parametrize("model", ["workflow:two", MODEL])
def test_a_chat_is_answered(client, ledger, model):
    answer = client.chat.completions.create(model=model, messages=HELLO)
    (choice,) = answer.choices
    assert (choice.message.role, choice.finish_reason) == ("assistant", "stop")
    assert choice.message.content == "heat pumps."
    assert answer.model == model
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    about = answer.model_extra["aideon"]
    assert (about["status"], about["complete"], about["questions"]) == ("completed", True, [])
    assert isinstance(about["usd"], str)
    assert ledger.find_run(about["run_id"]).user == "ada"


@pytest.mark.parametrize("model", ["workflow:two", MODEL])
def test_a_chat_is_streamed_with_its_usage(client, model):
    options = {"include_usage": True}
    with client.chat.completions.create(
        model=model, messages=HELLO, stream=True, stream_options=options
    ) as stream:
        *chunks, last = stream
    assert text_of(chunks) == "heat pumps."
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert chunks[-1].model_extra["aideon"]["status"] == "completed"
    assert (last.choices, last.usage.total_tokens > 0) == ([], True)


def test_what_inner_nodes_write_is_reasoning(client):
    with client.chat.completions.create(
        model="workflow:two", messages=HELLO, stream=True
    ) as stream:
        chunks = list(stream)
    deltas = [one.choices[0].delta for one in chunks]
    inner = "".join((one.model_extra or {}).get("reasoning_content") or "" for one in deltas)
    assert inner == "heat pumps."
    assert text_of(chunks) == "heat pumps."
    assert chunks[-1].usage.total_tokens > 0


def test_the_output_of_several_ends_comes_whole(client):
    with client.chat.completions.create(
        model="workflow:both", messages=HELLO, stream=True
    ) as stream:
        assert text_of(stream) == "# a\n\nheat pumps.\n\n# b\n\nheat pumps."


async def test_the_asynchronous_client_is_answered(serve):
    async with openai.AsyncOpenAI(base_url=f"{serve()}/v1", api_key="none", timeout=60) as client:
        answer = await client.chat.completions.create(model="workflow:one", messages=HELLO)
        assert answer.choices[0].message.content == "heat pumps."
        stream = await client.chat.completions.create(
            model="workflow:one", messages=HELLO, stream=True
        )
        assert text_of([one async for one in stream]) == "heat pumps."
        response = await client.responses.create(model="workflow:one", input="heat pumps")
        assert response.output_text == "heat pumps."


@pytest.mark.parametrize("model", ["workflow:two", MODEL])
def test_a_response_is_given_and_streamed(client, model):
    whole = client.responses.create(model=model, input="heat pumps")
    assert (whole.output_text, whole.status, whole.error) == ("heat pumps.", "completed", None)
    assert whole.usage.total_tokens == whole.usage.input_tokens + whole.usage.output_tokens
    with client.responses.stream(model=model, input="heat pumps") as stream:
        kinds = [one.type for one in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert "response.output_text.delta" in kinds
    assert final.output_text == "heat pumps."
    assert final.usage.total_tokens > 0


def test_a_question_is_the_answer_and_its_id_is_beside_it(client):
    answer = client.chat.completions.create(model="workflow:asks", messages=HELLO)
    about = answer.model_extra["aideon"]
    assert about["status"] == "waiting"
    assert about["questions"][0]["node_path"] == "draft/approval"
    assert answer.choices[0].message.content


def test_an_earlier_conversation_is_part_of_the_task(client):
    messages = [
        {"role": "system", "content": "Be brief."},
        *HELLO,
        {"role": "assistant", "content": "They pump."},
        {"role": "user", "content": [{"type": "text", "text": one} for one in ("Now", "Shorter.")]},
    ]
    answer = client.chat.completions.create(model="workflow:one", messages=messages)
    for part in ("Be brief.", "user: heat pumps", "assistant: They pump.", "Now Shorter."):
        assert part in answer.choices[0].message.content


def test_inputs_and_a_budget_are_given_beside_the_messages(client):
    more = {"aideon": {"inputs": {"place": "Oslo"}}}
    answer = client.chat.completions.create(model="workflow:named", messages=HELLO, extra_body=more)
    assert answer.choices[0].message.content
    with pytest.raises(openai.BadRequestError, match="aideon"):
        client.chat.completions.create(
            model="workflow:named", messages=HELLO, extra_body={"aideon": {"color": "red"}}
        )


@pytest.mark.parametrize(
    ("model", "kind", "code"),
    [
        ("workflow:none", openai.NotFoundError, "model_not_found"),
        ("workflow:fails", openai.InternalServerError, "run_failed"),
        ("gpt-4o", openai.NotFoundError, "model_not_found"),
        ("one.py:graph", openai.NotFoundError, "model_not_found"),
        ("", openai.BadRequestError, "invalid"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_have_the_form_that_clients_know(client, ledger, model, kind, code, stream):  # noqa: PLR0917 - cases
    if stream and code == "run_failed":
        kind = openai.APIError  # its first node has answered already
    with pytest.raises(kind) as failed:
        list(client.chat.completions.create(model=model, messages=HELLO, stream=stream))
    assert failed.value.code == code
    assert len(ledger.runs()) == (model == "workflow:fails")  # and not again


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["workflow:one", MODEL])
def test_a_refusal_for_money_is_not_tried_again(simulated, ledger, model, stream):
    provider, client = simulated()
    ledger.set_budget("day", "0.0000001")
    with pytest.raises(openai.RateLimitError) as refused:
        list(client.chat.completions.create(model=model, messages=HELLO, stream=stream))
    assert refused.value.code == "insufficient_quota"
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert len(ledger.runs()) == 1
    assert not provider.requests


def test_an_error_in_the_middle_of_a_stream_reaches_the_client(simulated):
    _, client = simulated(
        faults=Fault("cut_after_first_token"), answer=lambda _: "These words are not all sent."
    )
    with pytest.raises(openai.APIError, match=r"together:Qwen"):
        list(client.chat.completions.create(model=MODEL, messages=HELLO, stream=True))


def system(text):
    return [{"role": "system", "content": text}, *HELLO]


def user(text):
    return [*HELLO, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": text}]


@pytest.mark.parametrize(
    "more",
    [
        {"extra_body": {"metadata": {"task": "title_generation"}}},
        {"messages": user("### Task:\nGenerate a concise title")},
        {"messages": user("### Task:\nSuggest 3-5 relevant follow-up questions or prompts")},
        {"messages": user("### Task:\nGenerate 1-3 broad tags categorizing the main themes")},
        {"messages": user("### Task:\nAnalyze the chat history to determine the necessity")},
        {"messages": user("### Task:\nYou are an autocompletion system. Continue the text")},
        {"messages": user("Your task is to reflect the speaker's likely facial expression")},
        {"messages": system("Available Tools: []\n\nYour task is to choose")},
        {"messages": user("Provide a concise, 5-word-or-less title for the conversation, using")},
        {"messages": user("Analyze this conversation and provide:\n1. The detected language")},
        {
            "messages": system(
                "You are a professional conversation summarizer. Generate a concise title that"
            )
        },
        {"messages": user([{"type": "text", "text": "### Task:\nGenerate a concise title"}])},
    ],
)
def test_what_a_chat_ui_asks_for_itself_is_no_run_of_the_workflow(client, ledger, more):
    asked = {"model": "workflow:two", "messages": HELLO, **more}
    answer = client.chat.completions.create(**asked)
    assert answer.choices[0].message.content
    (run,) = ledger.runs()
    assert (run.workflow, run.tier) == ("text_generation", "free")
    (call,) = ledger.calls(run.run_id)
    assert call.purpose == "ui_task"


@pytest.mark.parametrize(
    "messages",
    [
        user("### Task:\nRespond to the user query using the provided context, incorporating"),
        system("### Task:\nAnswer as a poet."),
        [{"role": "user", "content": "### Task:\nGenerate a poem"}, *user("Go on.")],
        user("What are the available tools: a hammer?"),
    ],
)
def test_what_a_person_asks_in_a_chat_ui_is_a_run_of_the_workflow(client, ledger, messages):
    client.chat.completions.create(model="workflow:one", messages=messages)
    (run,) = ledger.runs()
    assert run.workflow == "one"


def test_a_ui_task_may_ask_for_a_tool_or_a_form(simulated):
    provider, client = simulated()
    messages = user("Analyze this conversation and provide:")
    client.chat.completions.create(
        model="workflow:two", messages=messages, tools=[TOOL], tool_choice="required"
    )
    assert provider.requests[-1].body["tools"][0]["function"]["name"] == "weather"


class Town(pydantic.BaseModel):
    """A town."""

    name: str
    people: int


SAYS_TOWN = {"answer": lambda _: '{"name": "Oslo", "people": 700000}'}


@pytest.mark.parametrize(
    ("options", "requests"),
    [(SAYS_TOWN, 3), ({**SAYS_TOWN, "dialect": "llama-cpp-python"}, 4), ({}, 3)],
    ids=["taken", "refused once", "made up"],
)
def test_an_answer_has_the_form_of_a_schema(simulated, options, requests):
    provider, client = simulated(**options)
    chat = client.chat.completions.parse(model=MODEL, messages=HELLO, response_format=Town)
    assert isinstance(chat.choices[0].message.parsed, Town)
    whole = client.responses.parse(model=MODEL, input="heat pumps", text_format=Town)
    assert isinstance(whole.output_parsed, Town)
    with client.chat.completions.stream(
        model=MODEL, messages=HELLO, response_format=Town
    ) as stream:
        final = stream.get_final_completion()
    assert isinstance(final.choices[0].message.parsed, Town)
    assert len(provider.requests) == requests


def test_a_server_that_counts_no_tokens_of_streams_counts_those_of_whole_answers(simulated):
    _, client = simulated(dialect="llama-cpp-python")
    asked = {"model": MODEL, "messages": HELLO}
    whole = client.chat.completions.create(**asked)
    assert whole.usage.total_tokens > 0
    assert whole.model_extra["aideon"]["complete"]
    with client.chat.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}
    ) as stream:
        *_, last = stream
    assert (last.choices, last.usage) == ([], None)  # unknown, and not 0


def test_json_of_any_form_is_asked_of_the_provider(simulated):
    provider, client = simulated()
    asked = {"model": MODEL, "messages": HELLO, "response_format": {"type": "json_object"}}
    json.loads(client.chat.completions.create(**asked).choices[0].message.content)
    assert provider.requests[-1].body["response_format"] == {"type": "json_object"}
    with pytest.raises(openai.BadRequestError, match="a workflow decides the form"):
        client.chat.completions.create(**asked | {"model": "workflow:one"})


def test_options_reach_the_provider_where_they_change_something(simulated):
    provider, client = simulated()
    asked = {"model": MODEL, "messages": HELLO, "temperature": 0.1}
    client.chat.completions.create(
        **asked, top_p=0.5, seed=7, presence_penalty=0.25, stop="x", max_completion_tokens=9
    )
    sent = provider.requests[-1].body
    known = {"top_p": 0.5, "seed": 7, "presence_penalty": 0.25, "stop": ["x"], "temperature": 0.1}
    assert {name: sent.get(name) for name in known} == known
    assert 9 in {sent.get("max_tokens"), sent.get("max_completion_tokens")}
    client.chat.completions.create(**asked, top_p=1, frequency_penalty=0, presence_penalty=0)
    assert not {"top_p", "frequency_penalty", "presence_penalty"} & {*provider.requests[-1].body}


def test_fields_that_are_null_are_as_if_they_were_not_sent(client):
    nulls = dict.fromkeys(("stream", "tools", "stop", "n", "metadata", "response_format", "aideon"))
    answer = client.chat.completions.create(model=MODEL, messages=HELLO, extra_body=nulls)
    assert answer.choices[0].message.content == "heat pumps."


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"modalities": ["text", "audio"]}, "modalities.1"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"messages": []}, "messages"),
        ({"messages": "heat"}, "messages"),
        ({"messages": ["heat"]}, "messages.0"),
        ({"tools": [1]}, "tools.0"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, None),
        ({"messages": [{"content": "x"}]}, None),
        ({"messages": [{"role": "user", "content": ""}], "model": "workflow:one"}, None),
        ({"messages": [{"role": "user", "content": {"a": 1}}]}, None),
        ({"messages": [{"role": "user", "content": [1]}]}, None),
        ({"response_format": {"type": "json_schema"}, "model": "workflow:one"}, None),
        ({"aideon": {"budget": "-1"}, "model": "workflow:one"}, "aideon.budget"),
        ({"aideon": {"timeout": 0}, "model": "workflow:one"}, "aideon.timeout"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(client, ledger, more, param):
    asked = {"model": MODEL, "messages": HELLO, **more}
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(
            model=asked.pop("model"), messages=asked.pop("messages"), extra_body=asked
        )
    assert (refused.value.type, refused.value.param) == ("invalid_request_error", param)
    assert not ledger.runs()


@pytest.mark.parametrize(
    "more",
    [
        {"input": 5},
        {"input": [5]},
        {"input": ""},
        {"input": [{"type": "computer_call"}]},
        {"input": [{"role": "user", "content": [{"type": "input_audio"}]}]},
        {"tools": [{"type": "web_search"}]},
        {"tools": ["x"]},
        {"text": "x"},
        {"reasoning": "x"},
        {"previous_response_id": "resp_1"},
        {"background": True},
    ],
)
def test_a_response_that_cannot_be_given_is_refused(client, ledger, more):
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model=MODEL, input="heat pumps", extra_body=more)
    assert not ledger.runs()


def test_what_the_service_does_not_have_is_a_404_in_the_form_that_clients_know(client):
    for call in (
        lambda: client.completions.create(model=MODEL, prompt="heat pumps"),
        lambda: client.embeddings.create(model=MODEL, input="heat pumps"),
        lambda: client.responses.retrieve("resp_1"),
        lambda: client.images.generate(prompt="x"),
        client.files.list,
    ):
        with pytest.raises(openai.NotFoundError, match=r"POST /v1/chat/completions") as missing:
            call()
        assert missing.value.code == "not_found"


async def test_an_error_that_nobody_expected_is_not_tried_again(service, client_of):
    app = create_app(service)
    routes = fastapi.APIRouter(route_class=shapes.Route)

    @routes.get("/broken")
    def broken():
        raise ZeroDivisionError("sk-proj-abcdefghijklmnopqrstuvwxyz123456")

    app.include_router(routes)
    async with client_of(app) as asking:
        answer = await asking.get("/broken", headers={"X-Request-Id": "mine"})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (500, "server_error", "internal")
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["x-request-id"] == "mine"
    assert "sk-proj" not in answer.text


def test_a_response_that_fails_on_the_way_ends_with_its_error(simulated):
    _, client = simulated(
        faults=Fault("cut_after_first_token"), answer=lambda _: "These words are not all sent."
    )
    *_, last = client.responses.create(model=MODEL, input="heat pumps", stream=True)
    assert (last.type, last.response.status) == ("response.failed", "failed")
    assert "together:Qwen" in last.response.error.message


def test_tools_are_called_and_answered(simulated):
    provider, client = simulated()
    asked = {"model": MODEL, "messages": HELLO, "tools": [TOOL], "tool_choice": "required"}
    answer = client.chat.completions.create(**asked)
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls
    assert call.function.name == "weather"
    assert "place" in json.loads(call.function.arguments)
    with client.chat.completions.create(**asked, stream=True) as stream:
        pieces = [one.choices[0].delta.tool_calls for one in stream if one.choices]
    assert [one[0].function.name for one in pieces if one] == ["weather"]
    reply = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    messages = [*HELLO, choice.message.model_dump(), reply]
    client.chat.completions.create(model=MODEL, messages=messages, tools=[TOOL])
    assert [one["role"] for one in provider.requests[-1].body["messages"]] == [
        "user",
        "assistant",
        "tool",
    ]


def test_tools_are_called_in_a_response(simulated):
    _, client = simulated()
    tool = {"type": "function", **TOOL["function"]}
    asked = {"model": MODEL, "input": "heat pumps", "tools": [tool], "tool_choice": "required"}
    calls = [one for one in client.responses.create(**asked).output if one.type == "function_call"]
    assert [one.name for one in calls] == ["weather"]
    output = {"type": "function_call_output", "call_id": calls[0].call_id, "output": "rain"}
    items = [{"role": "user", "content": "heat pumps"}, calls[0].model_dump(), output]
    assert client.responses.create(model=MODEL, input=items).output_text


def test_a_client_that_leaves_ends_the_run(simulated, ledger):
    provider, client = simulated(faults=Fault("slow", seconds=0.2), answer=lambda _: "word " * 1000)
    with client.chat.completions.create(
        model="workflow:one", messages=HELLO, stream=True
    ) as stream:
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                break
    moment = threading.Event()
    for _ in range(600):
        (run,) = ledger.runs()
        if run.status != "running" and not provider.in_flight:
            break
        moment.wait(0.1)
    assert (run.status, run.stop_reason) == ("cancelled", "cancelled")
    assert provider.in_flight == 0


def test_a_key_asks_for_the_models_of_its_tier_and_scopes(serve, ledger):
    users.add(ledger, "bob", BY, tier="free")
    _, secret = api_keys.make(ledger, "bob", BY, scopes=("models",))
    url = f"{serve()}/v1"
    with openai.OpenAI(base_url=url, api_key=secret, timeout=60) as client:
        names = {one.id for one in client.models.list()}
        assert MODEL in names
        assert not any(one.startswith("workflow:") for one in names)
        assert "together:deepseek-ai/DeepSeek-V4-Pro-0813" not in names
        assert client.chat.completions.create(model=MODEL, messages=HELLO).choices
        for name in ("together:deepseek-ai/DeepSeek-V4-Pro-0813", "together:unknown/model"):
            with pytest.raises(openai.NotFoundError):
                client.chat.completions.create(model=name, messages=HELLO)
        with pytest.raises(openai.PermissionDeniedError):
            client.chat.completions.create(model="workflow:one", messages=HELLO)
    with (
        openai.OpenAI(base_url=url, api_key="none", timeout=60) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1/a.png", "http://example.com/a.png", "file:///etc/passwd"]
)
def test_a_picture_of_an_inner_address_is_not_fetched(client, url):
    part = {"type": "image_url", "image_url": {"url": url}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "What?"}, part]}]
    for model in (MODEL, "workflow:one"):
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model=model, messages=messages)


def test_the_order_of_events_is_that_of_the_specification(serve):
    with httpx2.stream(
        "POST",
        f"{serve()}/v1/responses",
        json={"model": "workflow:one", "input": "heat pumps", "stream": True},
        timeout=60,
    ) as answer:
        lines = [one for one in answer.iter_lines() if one.startswith("data: ")]
    events = [json.loads(one.removeprefix("data: ")) for one in lines]
    assert [one["sequence_number"] for one in events] == list(range(len(events)))
    kinds = [one["type"].removeprefix("response.") for one in events]
    assert [one for one in kinds if one != "output_text.delta"] == [
        *("created", "in_progress", "output_item.added", "content_part.added"),
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
