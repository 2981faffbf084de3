"""What each error leads to: rows, tries, costs and who is asked next, over real HTTP."""

from __future__ import annotations

import dataclasses
import socket
from typing import Any

import pytest

from aideon_agents import errors
from aideon_agents.testing import Fault

pytestmark = pytest.mark.usefixtures("quick")

UNKNOWN, NOTHING, BILLED = None, 0, "billed"
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


@dataclasses.dataclass(frozen=True)
class Case:
    fault: Any
    rows: int
    """How many attempts the primary gets."""
    status: str
    error_type: str | None
    cost: Any
    """Of each of them: nothing, unknown, or what the provider billed."""
    raises: type[Exception] | None = None
    """None: the next candidate answers, or the primary did."""
    only: bool | None = None
    """Streamed alone, plain alone, or None: both."""
    seconds: float | None = None

    def __str__(self) -> str:
        if not isinstance(self.fault, Fault):
            return str(self.fault)
        return f"{self.fault.kind} {self.fault.message or ''}".strip()


def transient(fault: Any, cost: Any, **more: Any) -> Case:
    return Case(fault, 3, "error", "Transient", cost, **more)


def refusal(fault: Any, error_type: str, **more: Any) -> Case:
    return Case(fault, 1, "error", error_type, NOTHING, **more)


TABLE = [
    *(transient(status, NOTHING) for status in (408, 409, 500, 502, 503, 504, 529)),
    transient("reset_before", UNKNOWN),
    transient("reset_after", UNKNOWN),
    transient("garbage", UNKNOWN),
    transient("no_choices", UNKNOWN),
    transient("empty", UNKNOWN),
    transient("cut_before_first_token", UNKNOWN),
    transient("truncated_body", UNKNOWN, only=False),
    transient("cut_after_first_token", UNKNOWN, only=False),
    Case("hang", 1, "error", "Transient", UNKNOWN, seconds=0.5),
    refusal(Fault(429, retry_after=30), "RateLimited"),
    refusal(402, "OutOfCredit"),
    refusal("insufficient_quota", "OutOfCredit"),
    refusal(401, "KeyRejected"),
    refusal(403, "KeyRejected"),
    refusal(404, "ModelGone"),
    refusal(410, "ModelGone"),
    refusal(Fault(400, message="The model m has been decommissioned."), "ModelGone"),
    refusal(413, "ContextTooLong"),
    refusal("context_length_exceeded", "ContextTooLong"),
    refusal("content_filter", "Refused", raises=errors.Refused),
    *(refusal(status, "CallerError", raises=errors.CallerError) for status in (400, 415, 422)),
    refusal(Fault(400, message="m does not support tools"), "Unsupported"),
    refusal(Fault(422, message="Extra inputs are not permitted"), "Unsupported"),
    refusal(Fault(500, message="tools param requires --jinja flag"), "Unsupported"),
    refusal(Fault(400, message="Unable to access non-serverless model m"), "NotThisModel"),
    refusal(Fault(422, message="Nobody has heard of this"), "NotThisModel"),
    Case("content_filtered", 1, "ok", None, BILLED, raises=errors.Refused),
    Case("truncated_body", 1, "broken", "Partial", UNKNOWN, only=True),
    Case("cut_after_first_token", 1, "broken", "Partial", UNKNOWN, only=True),
    Case("no_finish_reason", 1, "broken", "Partial", UNKNOWN, only=True),
    Case("no_finish_reason", 1, "ok", None, BILLED, only=False),
    Case("cumulative_usage", 1, "ok", None, BILLED),
    Case("no_usage", 1, "ok", None, UNKNOWN),
    Case(Fault("slow", seconds=0.001), 1, "ok", None, BILLED),
    Case(Fault("delay", seconds=0.01), 1, "ok", None, BILLED),
]
CASES = [
    pytest.param(case, stream, id=f"{case}-{'streamed' if stream else 'plain'}")
    for case in TABLE
    for stream in (False, True)
    if case.only in {None, stream}
]


@pytest.mark.parametrize(("case", "stream"), CASES)
async def test_each_error_leads_where_the_table_says(counter, case, stream):
    fault = case.fault if isinstance(case.fault, Fault) else Fault(case.fault)
    asked = await counter.ask(fault, stream=stream, timeout=case.seconds)

    primary = [row for row in asked.rows if row.candidate == 0]
    assert [(row.status, row.error_type) for row in primary] == [
        (case.status, case.error_type)
    ] * case.rows
    assert [row.attempt for row in primary] == list(range(1, case.rows + 1))
    assert len(asked.requests) == len(asked.bill) == len(asked.rows)
    for row, billed in zip(asked.rows, asked.bill, strict=True):
        expected = case.cost if row.candidate == 0 else BILLED
        assert row.cost_nanousd == (billed.nanousd if expected == BILLED else expected)
        if expected == BILLED:
            counted = (row.input_tokens, row.output_tokens)
            assert counted == (billed.input_tokens, billed.output_tokens)
    if case.raises:
        assert type(asked.error) is case.raises
        return
    assert asked.answer.text.startswith("Heat pumps")
    steps_in = case.status != "ok"
    assert [row.candidate for row in asked.rows if row.candidate] == [1] * steps_in


@STREAMED
async def test_a_provider_that_cannot_be_reached_charges_nothing(counter, stream):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    settings = counter.settings(together_base_url=nobody)
    asked = await counter.ask(stream=stream, settings=settings)
    assert asked.outcomes == [("error", "Transient")] * 3 + [("ok", None)]
    assert [row.cost_nanousd for row in asked.rows[:3]] == [0, 0, 0]
    assert "cannot be reached" in asked.rows[0].error
    assert len(asked.requests) == 1


@STREAMED
@pytest.mark.parametrize("seconds", [None, 5])
async def test_an_answer_that_met_its_token_limit_is_whole(counter, stream, seconds):
    asked = await counter.ask(stream=stream, max_tokens=3, timeout=seconds)
    (row,) = asked.rows
    assert (row.status, row.finish_reason, row.output_tokens) == ("ok", "length", 3)
