"""`aideon models status`: how each model does, the worst first."""

from __future__ import annotations

import json
import re

import pytest

from aideon_agents import Settings, executor, run
from aideon_agents.ledger.store import Ledger
from aideon_agents.testing import Fault, SimulatedProvider

PRIMARY, OTHER = "together:openai/gpt-oss-120b", "openai:gpt-4o-mini"
KEYS = {"together_api_key": "tgp_secret-of-together", "openai_api_key": "sk-secret-of-openai"}
MODEL_FIELDS = [
    "provider",
    "model",
    "state",
    "rests_until",
    "calls",
    "failed_calls",
    "success_rate",
    "p50_ms",
    "p95_ms",
    "tokens_per_second",
    "last_error",
    "breakers",
]
BREAKER_FIELDS = ["state", "key", "rests_until", "reason", "changed_at", "host", "pid", "has_ended"]


@pytest.fixture
def played(folder):
    """A ledger in which one model failed until it rests, and the other answered."""

    def play(fault, *, calls=2, announce=True):
        faults = {PRIMARY.partition(":")[2]: fault}
        with SimulatedProvider(faults=faults, announce=announce) as provider:
            addresses = {f"{name}_base_url": provider.base_url for name in ("together", "openai")}
            settings = Settings(**KEYS, **addresses, ledger="sqlite:///.aideon/ledger.db")
            node = executor("facts", model=[PRIMARY, OTHER])
            for _ in range(calls):
                assert run(node, "Heat pumps", settings=settings).status == "completed"

    return play


def test_without_calls_it_says_so_and_ends_well(aideon):
    done = aideon("models", "status")
    assert (done.code, done.out) == (0, "")
    assert done.err == (
        "no model was called in this time (--since 6h); "
        "--simulated includes those of a simulated provider\n"
    )
    assert aideon("models", "status", "--json").document["models"] == []


def test_a_model_that_failed_rests_and_is_first_with_its_reason(played, aideon):
    played(Fault(500), announce=False)
    first, second = aideon("models", "status", "--json").document["models"]
    assert (first["provider"], first["model"]) == ("together", "openai/gpt-oss-120b")
    assert (first["state"], first["success_rate"], first["p50_ms"]) == ("open", 0.0, None)
    assert (first["calls"], first["failed_calls"]) == (5, 5)
    assert first["last_error"]["type"] == "Transient"
    assert first["last_error"]["message"].startswith(f"{PRIMARY} answered 500")
    (breaker,) = first["breakers"]
    assert (breaker["key"], breaker["has_ended"]) == ("TOGETHER_API_KEY", False)
    assert breaker["rests_until"] == first["rests_until"] > breaker["changed_at"]
    assert (second["state"], second["success_rate"], second["breakers"]) == ("closed", 1.0, [])
    assert second["p50_ms"] <= second["p95_ms"]
    assert second["tokens_per_second"] > 0


def test_a_rejected_key_is_told_for_all_models_that_have_it(played, aideon):
    played(Fault(401), calls=1, announce=False)
    found = aideon("models", "status", "--json").document["models"]
    assert [(one["provider"], one["model"], one["state"]) for one in found] == [
        ("together", None, "open"),
        ("openai", "gpt-4o-mini", "closed"),
        ("together", "openai/gpt-oss-120b", "closed"),
    ]
    assert "together: all models: open until" in aideon("models", "status").out


def test_the_document_has_these_fields(played, aideon):
    played(Fault(404), calls=1, announce=False)
    document = aideon("models", "status", "--json").document
    assert list(document) == ["since", "models"]
    assert [list(one) for one in document["models"]] == [MODEL_FIELDS] * 2
    assert list(document["models"][0]["breakers"][0]) == BREAKER_FIELDS
    assert list(document["models"][0]["last_error"]) == ["type", "message", "at"]


def test_no_key_and_no_address_reaches_the_output_or_the_table_of_states(played, aideon):
    played(Fault(401, message=f"The key {KEYS['together_api_key']} is wrong."), announce=False)
    shown = aideon("models", "status").out + aideon("models", "status", "--json").out
    with Ledger(".aideon/ledger.db") as ledger:
        kept = json.dumps([dict(row) for row in ledger.select("SELECT * FROM model_states")])
    for text in (shown, kept):
        assert "TOGETHER_API_KEY" in text
        assert not re.search("secret|127.0.0.1", text)


def test_simulated_calls_and_states_are_shown_only_when_asked_for(played, aideon):
    played([None, *[Fault(500)] * 6], calls=4)
    assert aideon("models", "status").out == ""
    found = aideon("models", "status", "--simulated", "--json").document["models"]
    assert [one["state"] for one in found] == ["open", "closed"]


def test_rehearsed_calls_are_never_shown(aideon):
    assert aideon("run", "one.py", "--task", "x").code == 0
    assert aideon("models", "status", "--simulated", "--json").document["models"] == []


def test_a_provider_or_a_period_can_be_named(played, aideon):
    played(Fault(500), announce=False)
    named = aideon(
        "models", "status", "--provider", "openai", "--since", "today", "--json"
    ).document
    assert [one["provider"] for one in named["models"]] == ["openai"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT00:00:00.000Z", named["since"])
    none = aideon("models", "status", "--provider", "huggingface")
    assert (none.code, none.out) == (0, "")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ["--provider", "opnai"],
            r"--provider opnai: no model of it was called; use one of .*openai",
        ),
        (["--since", "lately"], r"--since lately: write .*24h"),
        (["--for", "ever"], r"No such option: --for.*"),
    ],
    ids=["provider", "since", "flag"],
)
def test_a_wrong_flag_is_one_line_and_exit_code_2(aideon, words, complaint):
    done = aideon("models", "status", *words)
    assert done.code == 2
    assert re.match(complaint, done.complaint)


def test_at_80_columns_the_table_fits(played, terminal):
    played(Fault(500), announce=False)
    shown = terminal("models", "status")
    assert shown.ends() == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.shown)
    table = [line for line in plain.splitlines() if "% " in line or "tokens/s" in line]
    assert len(table) == 3
    assert all(len(line) <= 80 for line in table)
