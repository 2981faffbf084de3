"""What providers say about their limits, in the forms that they really use."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import formatdate

import pytest

from aideon_agents import errors
from aideon_agents.models.faults import refusal, refusal_in_answer
from aideon_agents.models.limits import seconds, stated, used_up

OPENAI = (
    "Rate limit reached for gpt-4o in organization org-1 on tokens per min (TPM): Limit 30000, "
    "Used 29937, Requested 385. Please try again in 644ms."
)
GROQ = (
    "Rate limit reached for model `llama-3.3-70b-versatile` in organization `org_1` service tier "
    "`on_demand` on tokens per day (TPD): Limit 100000, Used 99336, Requested 1500. Please try "
    "again in 12m2.304s. Need more tokens? Upgrade at https://console.groq.com/settings/billing"
)
AZURE = (
    "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-05-01 "
    "have exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after 20 "
    "seconds. Please go here: https://aka.ms/oai/quotaincrease"
)
GEMINI = {
    "code": 429,
    "message": "You exceeded your current quota, please check your plan and billing details. "
    "Please retry in 34.074824224s.",
    "status": "RESOURCE_EXHAUSTED",
    "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}],
}
ANTHROPIC = (
    "This request would exceed the rate limit for your organization of 20,000 input tokens per "
    "minute. You may also contact sales to discuss your options for a rate limit increase."
)
TOO_LARGE = (
    "Request too large for gpt-4o in organization org-1 on tokens per min (TPM): Limit 30000, "
    "Requested 36055. The input or output tokens must be reduced in order to run successfully."
)
QUOTA = {
    "message": "You exceeded your current quota, please check your plan and billing details.",
    "type": "insufficient_quota",
    "code": "insufficient_quota",
}


def openrouter(at):
    headers = {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": at}
    return {
        "message": "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free "
        "model requests per day",
        "code": 429,
        "metadata": {"headers": headers},
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("7", 7),
        ("0.5", 0.5),
        (" 3 ", 3),
        ("-3", 0),
        ("2s", 2),
        ("1m30s", 90),
        ("6m0s", 360),
        ("1.5s", 1.5),
        ("120ms", 0.12),
        ("850µs", 0.00085),
        ("1h2m3.5s", 3723.5),
        ("2 minutes", 120),
        ("1 hour 5 minutes", 3900),
        ("1d", 86400),
        ("PT20S", 20),
        ("soon", None),
        ("", None),
        ("nan", None),
        ("inf", None),
        ("1e999", None),
        ("12 parsecs", None),
        ("99999999999999999999", None),
    ],
)
def test_a_time_is_a_number_or_a_duration(value, expected):
    assert seconds(value) == (expected if expected is None else pytest.approx(expected))


def in_60_s():
    return datetime.now(UTC) + timedelta(seconds=60)


@pytest.mark.parametrize(
    "value",
    [
        lambda: formatdate(time.time() + 60, usegmt=True),
        lambda: formatdate(time.time() + 60, usegmt=True).removesuffix(" GMT"),
        lambda: formatdate(time.time() + 60).replace("-0000", "+0000"),
        lambda: in_60_s().astimezone(tz=None).strftime("%a, %d %b %Y %H:%M:%S %z"),
        lambda: in_60_s().strftime("%A, %d-%b-%y %H:%M:%S GMT"),
        lambda: in_60_s().isoformat(),
        lambda: in_60_s().strftime("%Y-%m-%dT%H:%M:%SZ"),
        lambda: in_60_s().strftime("%Y-%m-%dT%H:%M:%S"),
        lambda: str(int(time.time() + 60)),
        lambda: str(int((time.time() + 60) * 1000)),
    ],
    ids=["GMT", "no zone", "offset", "local", "old", "ISO", "Z", "ISO no zone", "epoch", "ms"],
)
def test_a_time_is_a_date_in_utc_unless_it_says_more(value, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert 30 <= seconds(value()) <= 60
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_date_in_the_past_is_now():
    assert seconds(formatdate(0, usegmt=True)) == 0


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "2"}, 2),
        ({"retry-after": "1m30s"}, 90),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"x-ms-retry-after-ms": "250"}, 0.25),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "120ms"}, 0.12),
        (
            {
                "x-ratelimit-remaining-requests": "14370",
                "x-ratelimit-reset-requests": "2m59.56s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "7.66s",
            },
            7.66,
        ),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1"}, 1),
        ({"x-tokenlimit-remaining": "0", "x-tokenlimit-reset": "3"}, 3),
        ({"ratelimit-limit": "100", "ratelimit-remaining": "0", "ratelimit-reset": "50"}, 50),
        ({"RateLimit": "limit=100, remaining=0, reset=5"}, 5),
        ({"RateLimit": '"default";r=0;t=5', "RateLimit-Policy": '"default";q=100;w=10'}, 5),
        ({"RateLimit": '"burst";r=5;t=1, "daily";r=0;t=40'}, 40),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "5, 10;w=60"}, 5),
        ({"x-rate-limit-remaining": "0", "x-rate-limit-reset": "12"}, 12),
        ({"x-ratelimit-remaining": "0"}, None),
        ({"x-request-id": "1"}, None),
    ],
    ids=str,
)
def test_headers_say_how_long_to_wait(headers, wait):
    assert stated(headers).wait == (wait if wait is None else pytest.approx(wait))


@pytest.mark.parametrize("unit", [1, 1000])
def test_a_reset_may_be_a_date(unit):
    at = str(int((time.time() + 30) * unit))
    limit = stated({"x-ratelimit-remaining": "0", "x-ratelimit-reset": at})
    assert 15 <= limit.wait <= 30
    assert limit.is_used_up


def test_anthropic_names_dates():
    at = in_60_s().strftime("%Y-%m-%dT%H:%M:%SZ")
    headers = {
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": at,
        "anthropic-ratelimit-tokens-remaining": "90000",
        "anthropic-ratelimit-tokens-reset": formatdate(0),
    }
    limit = stated(headers, ANTHROPIC)
    assert (limit.kind, limit.is_used_up) == ("minute", True)
    assert 30 <= limit.wait <= 60


@pytest.mark.parametrize(
    ("sent", "kind", "wait"),
    [
        ({"message": OPENAI, "type": "tokens", "code": "rate_limit_exceeded"}, "minute", 0.644),
        ({"message": GROQ, "type": "tokens"}, "day", 722.304),
        ({"message": AZURE, "code": "429"}, "unknown", 20),
        (GEMINI, "unknown", 34),
        ({"message": ANTHROPIC, "type": "rate_limit_error"}, "minute", None),
        ({"message": TOO_LARGE}, "too_large", None),
        (QUOTA, "credit", None),
        ("Rate limit is exceeded. Try again in 50 seconds.", "unknown", 50),
        ("Limit: 3 / min. Please try again in 20s.", "minute", 20),
        ("limit: 10000 / min. Please try again in 6ms.", "minute", 0.006),
        ("Please retry after 20", "unknown", 20),
        ("Too many requests, please wait 1 minute and 5 seconds.", "unknown", 65),
        ("You have been rate limited: 10 requests per second.", "second", None),
        ("Your app hit the limit of 600 RPM.", "minute", None),
        ("Rate limit reached for QPS", "second", None),
        ("Too many concurrent requests.", "in_flight", None),
        ("max number of requests in flight reached", "in_flight", None),
        ("Model too busy, unable to get response in less than 60 second(s)", "overloaded", None),
        ("The model is overloaded. Please try again later.", "overloaded", None),
        ("We're currently at capacity", "overloaded", None),
        ({"error": "Model x is currently loading", "estimated_time": 20.5}, "overloaded", 20.5),
        ({"detail": "slow down", "retry_after": 4}, "unknown", 4),
        ("Too Many Requests", "unknown", None),
        ("", "unknown", None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_the_words_say_what_is_limited_and_for_how_long(sent, kind, wait):
    limit = stated({}, sent)
    assert (limit.kind, limit.is_used_up) == (kind, False)
    assert limit.wait == (wait if wait is None else pytest.approx(wait))


def test_a_body_may_repeat_headers():
    limit = stated({}, openrouter(str(int((time.time() + 3600) * 1000))))
    assert (limit.kind, limit.is_used_up) == ("day", True)
    assert 3500 <= limit.wait <= 3600


def test_headers_count_more_than_words():
    assert stated({"retry-after": "2"}, OPENAI).wait == 2


def test_a_limit_per_day_that_names_no_time_ends_with_the_day():
    limit = stated({}, "Daily limit reached.")
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0) + timedelta(days=1)
    assert abs(limit.wait - (midnight - datetime.now(UTC)).total_seconds()) < 2


def test_an_answer_may_say_that_nothing_remains():
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "3s"}
    assert used_up(headers) == 3
    assert used_up({**headers, "x-ratelimit-remaining-requests": "1"}) is None
    assert used_up({"content-type": "application/json"}) is None


@pytest.mark.parametrize(
    ("words", "kind"), [(OPENAI, errors.RateLimited), (QUOTA, errors.OutOfCredit)]
)
def test_the_error_of_a_refusal_knows_its_limit(words, kind):
    error = refusal_in_answer(
        words if isinstance(words, dict) else {"message": words, "code": 429},
        asked="openai:gpt-4o",
        key_variable="OPENAI_API_KEY",
    )
    if kind is errors.RateLimited:
        assert type(error) is kind
        assert (error.retry_after, error.limit.kind) == (0.644, "minute")


def test_a_refusal_has_the_wait_of_its_headers():
    error = refusal(429, {"Retry-After": "2s"}, b"busy", asked="together:m", key_variable=None)
    assert type(error) is errors.RateLimited
    assert (error.retry_after, error.limit.kind) == (2, "overloaded")
