from __future__ import annotations

import pytest

from aideon_agents.ledger.redaction import one_line
from aideon_agents.ledger.rows import Call, CallEnd, Run

SECRETS = [
    "sk-abcdefgh12345678",
    "sk-proj-AB_cd-ef12",
    "sk-ab********************wxyz",
    "tgp_v1_aBcDeFgHiJkLmNoP",
    "hf_AbCdEfGhIjKl",
    "0123456789abcdef" * 4,
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "text", ["bad key: {}. See the docs", "{}", "key='{}',", "Authorization: Bearer {} refused"]
)
def test_anything_that_looks_like_a_key_is_replaced(secret, text):
    line = one_line(text.format(secret))
    assert secret not in line
    assert line.count("[key]") == 1
    assert line.replace("[key]", "{}") == text


@pytest.mark.parametrize(
    "variable", ["TOGETHER_API_KEY", "TOGETHER_AI_API_KEY", "OPENAI_API_KEY", "HF_TOKEN"]
)
def test_the_keys_in_the_environment_are_replaced_whatever_they_look_like(monkeypatch, variable):
    monkeypatch.setenv(variable, "ordinary")
    assert one_line("an ordinary-looking key") == "an [key]-looking key"


def test_an_empty_variable_replaces_nothing(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "")
    assert one_line("no key here") == "no key here"


@pytest.mark.parametrize("short", ["x", "key", "model", "1234567"])
def test_a_key_as_short_as_a_word_does_not_wipe_words_out(monkeypatch, short):
    monkeypatch.setenv("TOGETHER_API_KEY", short)
    text = "every model failed: together:x, key 1234567"
    assert one_line(text) == text


def test_words_that_only_contain_a_prefix_stay():
    text = "the task-runner took a risk-free path over the half_open breaker"
    assert one_line(text) == text


def test_an_error_is_one_line_of_at_most_2000_characters():
    line = one_line("first\n  second\tthird " + "x" * 3000)
    assert line.startswith("first second third xxx")
    assert (len(line), line[-1]) == (2000, "…")


def test_a_key_at_the_cut_is_replaced_before_it_is_cut():
    assert "sk-" not in one_line("x" * 1990 + " sk-abcdefgh12345678")


def test_the_name_of_a_variable_is_no_key():
    text = "set TOGETHER_API_KEY or OPENAI_API_KEY or HF_TOKEN, perhaps HF_BASE_URL"
    assert one_line(text) == text


@pytest.mark.parametrize("said", [SECRETS[0], "\ud800", f"half \udfff of {SECRETS[3]}"])
def test_what_a_provider_calls_its_model_ends_the_row_and_holds_no_key(ledger, said):
    run_id = ledger.start_run(Run(workflow="w"))
    named = {"call_id": "c", "run_id": run_id, "node_path": "a", "role": "executor"}
    asked = {"provider": "p", "requested_model": "m", "started_at": "2026-11-20T09:00:00.000Z"}
    ledger.start_call(Call(**named, **asked))
    texts = {"response_model": said, "finish_reason": said, "error": said}
    ended = CallEnd(status="ok", duration_ms=1, **texts)
    assert ledger.finish_call("c", ended)
    (call,) = ledger.calls(run_id)
    assert call.status == "ok"
    for text in (call.response_model, call.finish_reason, call.error):
        assert text
        assert not any(secret in text for secret in SECRETS)
