"""What a provider's error means, where HTTP alone cannot show it."""

from __future__ import annotations

import time
from email.utils import formatdate

import httpx2
import openai
import pytest

from aideon_agents import errors
from aideon_agents.models.faults import retry_after, translate


def said(error):
    return translate(error, asked="together:m", key_variable="TOGETHER_API_KEY")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7), ("0.5", 0.5), ("-3", 0), ("soon", None), ("", None), (None, None)],
)
def test_retry_after_is_read_in_seconds(value, seconds):
    assert retry_after({} if value is None else {"retry-after": value}) == seconds


def test_retry_after_is_read_as_a_date():
    later = formatdate(time.time() + 60, usegmt=True)
    assert 55 <= retry_after({"retry-after": later}) <= 60
    assert retry_after({"retry-after": formatdate(0, usegmt=True)}) == 0


@pytest.mark.parametrize("value", ["nan", "inf", "1e999"])
def test_a_retry_after_that_is_no_time_says_nothing(value):
    assert retry_after({"retry-after": value}) is None


@pytest.mark.parametrize(
    "error", [RuntimeError("Event loop is closed"), errors.NoModel("none"), OSError("disk")]
)
def test_what_is_no_providers_doing_stays_as_it_is(error):
    assert said(error) is error


@pytest.mark.parametrize(
    "error", [ValueError("no JSON"), KeyError("choices"), TypeError("null choices")]
)
def test_what_the_client_makes_of_garbage_is_transient(error):
    translated = said(error)
    assert isinstance(translated, errors.Transient)
    assert (translated.billed, translated.timed_out) == (None, False)


def test_a_long_answer_is_cut_in_the_message():
    assert len(str(said(ValueError("x" * 5000)))) < 300


@pytest.mark.parametrize("error", [TimeoutError(), openai.APITimeoutError(request=None)])
def test_a_timeout_is_transient_and_says_so(error):
    translated = said(error)
    assert isinstance(translated, errors.Transient)
    assert translated.timed_out


def refused(status: int, body: object = None):
    answer = httpx2.Response(status, request=httpx2.Request("POST", "http://here/v1"))
    return said(openai.APIStatusError(f"Error code: {status}", response=answer, body=body))


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


def test_a_connection_error_says_what_happened_underneath():
    error = openai.APIConnectionError(request=httpx2.Request("POST", "http://here/v1"))
    error.__cause__ = httpx2.ReadError("")
    error.__cause__.__cause__ = ConnectionResetError(104, "Connection reset by peer")
    assert "Connection reset by peer" in str(said(error))


def test_a_chain_that_failed_says_equal_attempts_once_and_keeps_them_all():
    attempts = ["a:m is off", "a:m is off", "a:m is off", "b:m is gone"]
    failed = errors.AllModelsFailed(attempts)
    assert str(failed) == "every model failed: a:m is off (3 times); b:m is gone"
    assert failed.attempts == tuple(attempts)


def test_a_key_in_a_providers_words_is_not_repeated():
    key = "sk-proj-0123456789abcdefghijkl"
    assert key not in str(said(ValueError(f"bad key {key}")))
