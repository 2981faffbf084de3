"""What a provider's error means, where HTTP alone cannot show it."""

from __future__ import annotations

import json

import pytest

from aideon_agents import errors
from aideon_agents.models.faults import refusal, translate, unreadable


def said(error):
    return translate(error, asked="together:m")


@pytest.mark.parametrize(
    "error", [RuntimeError("Event loop is closed"), errors.NoModel("none"), OSError("disk")]
)
def test_what_is_no_providers_doing_stays_as_it_is(error):
    assert said(error) is error


def test_a_long_answer_is_cut_in_the_message():
    assert len(str(unreadable("together:m", "x" * 5000))) < 300


def test_a_timeout_is_transient_and_says_so():
    translated = said(TimeoutError())
    assert isinstance(translated, errors.Transient)
    assert (translated.timed_out, translated.billed) == (True, None)


def refused(status: int, body: object = None):
    sent = json.dumps({"error": body}).encode()
    return refusal(status, {}, sent, asked="together:m", key_variable="TOGETHER_API_KEY")


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        (401, errors.KeyRejected, "together:m rejected the key in TOGETHER_API_KEY (401): set a"),
        (402, errors.OutOfCredit, "together:m has no credit left for the key in TOGETHER_API_KEY"),
        (404, errors.ModelGone, "together:m is not to be had (404): name another with --model"),
    ],
)
def test_what_only_a_person_can_mend_is_said_with_what_to_do(status, kind, says):
    error = refused(status, {"message": "bad thing"})
    assert type(error) is kind
    assert str(error).startswith(says)
    assert str(error).endswith("bad thing") is (status != 401)


def test_a_chain_that_failed_says_equal_attempts_once_and_keeps_them_all():
    attempts = ["a:m is off", "a:m is off", "a:m is off", "b:m is gone"]
    failed = errors.AllModelsFailed(attempts)
    assert str(failed) == "every model failed: a:m is off (3 times); b:m is gone"
    assert failed.attempts == tuple(attempts)


def test_a_key_in_a_providers_words_is_not_repeated():
    key = "sk-proj-0123456789abcdefghijkl"
    assert key not in str(unreadable("together:m", f"bad key {key}"))
