"""Whatever servers of the protocol do differently is a field of their dialect."""

from __future__ import annotations

import json

import httpx
import pytest

from aideon_agents.testing import SimulatedProvider
from aideon_agents.testing.simulated.dialects.dialect import Dialect

HELLO = {"model": "m", "messages": [{"role": "user", "content": "Heat pumps move heat."}]}
USAGE = {"stream_options": {"include_usage": True}}


def post(dialect, **fields):
    with SimulatedProvider(dialect=dialect) as provider:
        return httpx.post(
            f"{provider.base_url}/chat/completions",
            json={**HELLO, **fields},
            headers={"authorization": "Bearer key"},
        )


def chunks(answer):
    """What the events of a stream hold."""
    return [line.removeprefix("data: ") for line in answer.text.splitlines() if line]


@pytest.mark.parametrize("kind", ["json_object", "json_schema"])
def test_only_the_accepted_response_formats_are_accepted(kind):
    wanted = {"type": kind, "json_schema": {"schema": {"type": "object"}}}
    answer = post(Dialect(response_formats={"text", "json_schema"}), response_format=wanted)
    assert answer.status_code == (200 if kind == "json_schema" else 400)
    assert post(Dialect(response_formats={"text"})).status_code == 200


def test_only_the_accepted_roles_are_accepted():
    dialect = Dialect(roles={"system", "user", "assistant"}, invalid_status=422)
    assert post(dialect).status_code == 200
    refused = post(dialect, messages=[{"role": "developer", "content": "Be brief."}])
    assert refused.status_code == 422
    assert "'developer'" in refused.json()["error"]["message"]


def test_what_is_no_chat_request_has_the_status_of_the_dialect():
    assert post(Dialect(invalid_status=422), messages=[]).status_code == 422


def test_an_error_has_the_form_of_the_dialect():
    dialect = Dialect(error=lambda refused: {"detail": refused.message, "status": refused.status})
    answer = post(dialect, n=2)
    assert answer.json() == {"detail": "Only n=1 is supported.", "status": 400}


@pytest.mark.parametrize("fields", [{}, {"n": 2}, {"stream": True}])
def test_every_answer_has_the_headers_of_the_dialect(fields):
    answer = post(Dialect(headers={"x-ratelimit-limit-requests": "60"}), **fields)
    assert answer.headers["x-ratelimit-limit-requests"] == "60"
    assert answer.headers["x-request-id"] == "req-000001"


@pytest.mark.parametrize("stream", [False, True])
def test_a_finish_reason_may_have_another_name(stream):
    answer = post(Dialect(finish_reasons={"stop": "eos"}), stream=stream)
    assert '"finish_reason": "eos"' in answer.text
    limited = post(Dialect(finish_reasons={"stop": "eos"}), stream=stream, max_tokens=1)
    assert '"finish_reason": "length"' in limited.text


@pytest.mark.parametrize(
    ("when", "wanted", "reported"),
    [
        ("requested", False, 0),
        ("requested", True, 1),
        ("always", False, 1),
        ("always", True, 1),
        ("never", True, 0),
        ("cumulative", False, 5),
        ("cumulative", True, 6),
    ],
)
def test_a_stream_reports_usage_when_the_dialect_does(when, wanted, reported):
    answer = post(Dialect(stream_usage=when), stream=True, **(USAGE if wanted else {}))
    *events, done = chunks(answer)
    usages = [used for event in events if (used := json.loads(event).get("usage"))]
    assert (len(usages), done) == (reported, "[DONE]")


def test_a_stream_may_end_without_done():
    *_, last = chunks(post(Dialect(ends_with_done=False), stream=True))
    assert json.loads(last)["choices"][0]["finish_reason"] == "stop"
