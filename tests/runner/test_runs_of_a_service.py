"""Runs that a service starts for a user: their calls are held to the user's quota of tokens."""

from __future__ import annotations

import dataclasses

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from pydantic import BaseModel

from aideon_agents import Settings, creative, executor, parallel, planner, run, sequential
from aideon_agents.errors import QuotaExceeded
from aideon_agents.ledger.budgets.units import Origin
from aideon_agents.ledger.store import Ledger
from aideon_agents.runner.start import resume
from aideon_agents.testing import Fault, SimulatedProvider

ALICE = Origin(user="alice", key_id="aid_1", request_id="req-1", tokens=10**6)
MODEL = "together:openai/gpt-oss-20b"


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.db") as opened:
        yield opened


@pytest.fixture
def provider():
    with SimulatedProvider() as simulated:
        yield simulated


def settings_for(provider, **given):
    return Settings(together_api_key="sim-key", together_base_url=provider.base_url, **given)


def started(ledger, provider, node, origin, **given):
    options = {"settings": settings_for(provider), "user": "alice", **given}
    return run(sequential(node), "Describe heat pumps", origin=origin, ledger=ledger, **options)


def tokens(ledger):
    rows = ledger.select("SELECT account, used, held FROM counters")
    return {row["account"].rpartition(":")[2]: (row["used"], row["held"]) for row in rows}


def test_the_tokens_of_a_run_are_what_its_calls_reported(ledger, provider):
    node = parallel(executor("facts", model=MODEL), creative("angle", model=MODEL))
    result = started(ledger, provider, node, ALICE)
    assert result.status == "completed", result.error
    calls = ledger.calls(result.run_id)
    used = sum(call.input_tokens + call.output_tokens for call in calls)
    assert tokens(ledger) == {"tokens": (used, 0)}
    assert {(call.provider_key_id, call.key_source) for call in calls} == {(None, "system")}
    row = ledger.find_run(result.run_id)
    assert (row.key_id, row.request_id, row.key_source) == ("aid_1", "req-1", "system")


def test_a_run_without_a_service_counts_nothing(ledger, provider):
    result = started(ledger, provider, executor("facts", model=MODEL), None)
    assert tokens(ledger) == {}
    assert ledger.select("SELECT use_id FROM uses") == []
    (call,) = ledger.calls(result.run_id)
    assert (call.provider_key_id, call.key_source) == (None, None)
    assert ledger.find_run(result.run_id).key_source is None


def test_an_answer_has_no_more_tokens_than_a_quota_gives_each_request(ledger, provider):
    origin = dataclasses.replace(ALICE, tokens_per_request=20)
    node = executor("facts", model=MODEL, max_tokens=500)
    result = started(ledger, provider, node, origin)
    (sent,) = [one.body for one in provider.requests if "messages" in one.body]
    assert sent["max_tokens"] == 20
    assert ledger.calls(result.run_id)[0].shortened
    small = executor("facts", model=MODEL, max_tokens=10)
    started(ledger, provider, small, origin)
    assert provider.requests[-1].body["max_tokens"] == 10


def test_a_free_text_is_shortened_to_what_is_left_of_the_quota(ledger, provider):
    origin = dataclasses.replace(ALICE, tokens=3000)
    node = executor("facts", model=MODEL, max_tokens=100_000)
    result = started(ledger, provider, node, origin)
    assert result.status == "completed", result.error
    assert 64 <= provider.requests[-1].body["max_tokens"] < 3000
    assert ledger.calls(result.run_id)[0].shortened


def test_a_run_stops_where_the_quota_is_used_up_and_resumes_when_there_is_more(ledger, provider):
    origin = dataclasses.replace(ALICE, tokens=10, offers={"upgrade": None, "own_key": True})
    graph = sequential(executor("facts", model=MODEL))
    settings = settings_for(provider)
    options = {"settings": settings, "ledger": ledger, "checkpoint": True}
    result = run(graph, "Describe heat pumps", origin=origin, user="alice", **options)
    assert (result.status, result.stop_reason) == ("stopped", "quota")
    assert provider.requests == []
    assert ledger.calls(result.run_id) == []
    with pytest.raises(QuotaExceeded) as caught:
        result.raise_for_status()
    assert (caught.value.unit, caught.value.used, caught.value.limit) == ("tokens", 0, 10)
    assert caught.value.own_key is True
    assert caught.value.cheaper is None
    again = resume(graph, result.run_id, settings=settings, ledger=ledger, origin=ALICE)
    assert again.status == "completed", again.error


class Answer(BaseModel):
    text: str


def test_a_typed_answer_is_not_shortened_and_the_refusal_says_what_would_fit(ledger, provider):
    origin = dataclasses.replace(ALICE, tokens=4000)
    node = executor("facts", model=MODEL, output=Answer, max_tokens=100_000)
    result = started(ledger, provider, node, origin)
    assert result.stop_reason == "quota"
    left = result.exception.cheaper["max_tokens"]
    assert 64 < left < 4000
    assert f"ask for max_tokens {left}" in str(result.exception)
    node = executor("facts", model=MODEL, output=Answer, max_tokens=left)
    assert started(ledger, provider, node, origin).status == "completed"


def test_calls_wait_for_the_tokens_that_others_hold(ledger, provider):
    origin = dataclasses.replace(ALICE, tokens=9000)
    branches = [executor(f"b{n}", model=MODEL, output=Answer, max_tokens=2000) for n in range(6)]
    result = started(ledger, provider, parallel(*branches), origin)
    assert result.status == "completed", result.error
    assert tokens(ledger)["tokens"][1] == 0


def test_calls_with_the_users_own_key_use_no_quota_and_no_standing_budget(ledger, provider):
    ledger.set_budget("day:user:alice", "0")
    keys = {"together": ("pk-1", "user")}
    origin = dataclasses.replace(ALICE, tokens=0, keys=keys)
    result = started(ledger, provider, executor("facts", model=MODEL), origin, budget="1")
    assert result.status == "completed", result.error
    (call,) = ledger.calls(result.run_id)
    assert (call.provider_key_id, call.key_source) == ("pk-1", "user")
    assert ledger.find_run(result.run_id).key_source == "user"
    assert tokens(ledger) == {}
    spent = {
        row["account"]: row["spent_nanousd"] for row in ledger.select("SELECT * FROM accounts")
    }
    assert spent[f"run:{result.run_id}"] == call.cost_nanousd
    ledger.set_budget("month:user:alice", "1")  # opened with what there is
    assert started(ledger, provider, planner("p", model=MODEL), origin).status == "completed"
    spent = {
        row["account"]: row["spent_nanousd"] for row in ledger.select("SELECT * FROM accounts")
    }
    assert sum(amount for name, amount in spent.items() if "user:alice" in name) == 0


def test_a_candidate_with_the_users_own_key_is_asked_where_the_quota_is_used_up(ledger, provider):
    settings = settings_for(provider, openai_api_key="own-key", openai_base_url=provider.base_url)
    origin = dataclasses.replace(ALICE, tokens=0, keys={"openai": ("pk-2", "user")})
    node = executor("facts", model=[MODEL, "openai:gpt-4o-mini"])
    result = started(ledger, provider, node, origin, settings=settings)
    assert result.status == "completed", result.error
    assert [call.provider for call in ledger.calls(result.run_id)] == ["openai"]


def test_a_failed_call_uses_no_tokens_and_a_broken_one_its_bound(ledger):
    with SimulatedProvider(faults=Fault(400, message="bad")) as provider:
        result = started(ledger, provider, executor("facts", model=MODEL), ALICE)
        assert result.status == "failed"
    assert tokens(ledger) == {"tokens": (0, 0)}


def test_a_model_that_is_not_ours_is_refused_once_the_quota_is_used_up_and_is_counted(
    ledger, provider
):
    usage = {"input_tokens": 30, "output_tokens": 12, "total_tokens": 42}

    async def node(state):
        answers = iter([AIMessage("hello", usage_metadata=usage)])
        answer = await GenericFakeChatModel(messages=answers).ainvoke("hi")
        return answer.text

    origin = dataclasses.replace(ALICE, tokens=40)
    first = started(ledger, provider, node, origin)
    assert first.status == "completed", first.error
    assert tokens(ledger) == {"tokens": (42, 0)}
    result = started(ledger, provider, node, origin)
    assert (result.status, result.stop_reason) == ("stopped", "quota")
    assert tokens(ledger) == {"tokens": (42, 0)}
