"""What a chain is made of, what it never shows, and the servers that it asks."""

from __future__ import annotations

import logging

import pytest
from yarl import URL

from aideon_agents import Context, Settings, errors
from aideon_agents.models import Models, default_models
from aideon_agents.models.fallbacks import Attempts
from aideon_agents.models.providers import providers
from aideon_agents.state import ModelRequest
from aideon_agents.testing import Fault, SimulatedProvider

KEY = "sk-very-secret-0123456789"
NOBODY = "http://127.0.0.1:9/v1"
"""The discard port: nothing listens."""


async def test_a_key_is_never_shown(counter, quick):
    settings = counter.settings(Fault(401), openai_api_key=KEY)
    secret = settings.together_api_key.get_secret_value()
    chain = Models(settings).chat(
        ModelRequest(role="planner", model=("together:m", "openai:m")), Context()
    )
    asked = await counter.ask_chain(chain)
    failed = await counter.ask(settings=settings, model=("together:m",))
    bound = chain.bind_tools([]).with_config({"run_name": "x"})
    for shown in (
        repr(chain),
        repr(bound),
        str(chain.runnable._identifying_params),
        repr(settings),
        repr(providers(settings)),
        repr(asked.rows),
        repr(failed.error),
        str(failed.error),
        str(failed.error.__cause__),
    ):
        assert secret not in shown
        assert KEY not in shown


async def test_every_request_names_its_limit_and_asks_for_usage(counter):
    plain = await counter.ask(max_tokens=77, temperature=0.3)
    (request,) = plain.requests
    assert (request.body["max_tokens"], request.body["temperature"]) == (77, 0.3)
    streamed = await counter.ask(stream=True)
    assert streamed.requests[0].body["stream_options"] == {"include_usage": True}


async def test_a_reasoning_model_is_sent_no_temperature(counter):
    asked = await counter.ask(model=("openai:gpt-6-luna",), temperature=0.3, max_tokens=50)
    body = asked.requests[0].body
    assert "temperature" not in body
    assert body["max_completion_tokens"] == 50


async def test_a_provider_behind_hugging_face_takes_max_tokens(counter, provider):
    settings = counter.settings(hf_token="hf-key", hf_base_url=provider.base_url)
    asked = await counter.ask(settings=settings, model=("huggingface:org/m:together",))
    assert asked.requests[0].body["max_tokens"] == 1024
    assert asked.rows[0].provider == "huggingface"


async def test_local_any_is_the_first_model_that_the_server_lists(counter):
    with SimulatedProvider(models=["llama", "phi"]) as server:
        settings = Settings(local_base_url=server.base_url)
        asked = await counter.ask(settings=settings, model=("local:any",))
        assert [request.path for request in server.requests] == [
            "/v1/models",
            "/v1/chat/completions",
        ]
    (row,) = asked.rows
    assert (row.provider, row.requested_model, row.cost_nanousd) == ("local", "llama", 0)


def test_a_redirect_of_the_list_of_models_is_not_followed_with_the_key(server):
    server.answers = [
        (307, {}, {"location": f"{server.url}/elsewhere?key=x"}),
        {"data": [{"id": "m"}]},
    ]
    with pytest.raises(
        errors.ModelNameError, match=r"it answered 307, a redirect to .*/elsewhere,"
    ):
        Models(Settings(local_base_url=server.url)).chat(ModelRequest(role="planner"), Context())
    assert len(server.asked) == 1


@pytest.mark.parametrize("listed", [{"data": []}, {"data": None}, [], b"data: {}", {"models": [1]}])
def test_a_list_of_models_that_lists_none_is_a_clear_mistake(server, listed):
    server.answers = [listed]
    with pytest.raises(errors.ModelNameError, match="does not list its models"):
        Models(Settings(local_base_url=server.url)).chat(ModelRequest(role="planner"), Context())


def test_a_local_server_that_is_off_is_a_clear_mistake():
    with pytest.raises(errors.ModelNameError, match="does not list its models") as off:
        Models(Settings(local_base_url=NOBODY)).chat(ModelRequest(role="planner"), Context())
    assert NOBODY in str(off.value)
    assert "start it" in str(off.value)


def test_a_local_server_without_v1_in_its_address_is_told_apart():
    with SimulatedProvider() as server:
        models = Models(Settings(local_base_url=server.base_url.removesuffix("/v1")))
        with pytest.raises(errors.ModelNameError) as off:
            models.chat(ModelRequest(role="planner"), Context())
    assert "end AIDEON_LOCAL_BASE_URL with /v1" in str(off.value)


@pytest.mark.parametrize(
    ("model", "longest"),
    [("together:m", 120), ("local:m", 600), ("local:m,together:m", 300)],
    ids=str,
)
def test_an_attempt_at_a_local_server_may_take_what_the_chain_has(model, longest):
    settings = Settings(local_base_url=NOBODY, together_api_key=KEY)
    asked = ModelRequest(role="planner", model=tuple(model.split(",")), timeout=600)
    chain = Models(settings).chat(asked, Context())
    candidates = chain.candidates
    attempts = Attempts(candidates, seconds=600, slots=chain.slots, logged=set())
    assert attempts.seconds_for(candidates[0]) == pytest.approx(longest, abs=5)


async def test_a_local_server_that_is_off_stops_nobody_who_has_others(counter, caplog):
    settings = counter.settings(local_base_url=NOBODY)
    models = Models(settings)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            chain = models.chat(ModelRequest(role="planner"), Context())
            assert "local" not in {one.provider for one in chain.candidates}
    assert len(caplog.records) == 1


async def test_a_local_server_that_was_off_is_asked_as_soon_as_it_is_there(counter):
    with SimulatedProvider() as provider:
        address = provider.base_url
    models = Models(counter.settings(local_base_url=address))
    request = ModelRequest(role="planner")
    assert "local" not in {one.provider for one in models.chat(request, Context()).candidates}
    with SimulatedProvider(port=URL(address).port):
        assert "local" in {one.provider for one in models.chat(request, Context()).candidates}


def test_the_default_models_are_those_of_the_environment(monkeypatch):
    default_models.cache_clear()
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    monkeypatch.delenv("TOGETHER_API_KEY", raising=False)
    try:
        chain = default_models().chat(ModelRequest(role="planner"), Context())
        assert [one.provider for one in chain.candidates] == ["openai"]
    finally:
        default_models.cache_clear()


async def test_tools_reach_every_candidate(counter, quick):
    def weather(city: str) -> str:
        """Tell the weather."""
        return city

    settings = counter.settings(Fault(500))
    chain = Models(settings).chat(
        ModelRequest(role="executor", model=("together:m", "openai:m")), Context()
    )
    asked = await counter.ask_chain(chain.bind_tools([weather]))
    assert [call["name"] for call in asked.answer.tool_calls] == ["weather"]
    assert asked.rows[-1].candidate == 1
