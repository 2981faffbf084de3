"""Every fault reaches the real clients as the failure it stands for, and the bill knows."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
from langchain_openai import ChatOpenAI
from langchain_together import ChatTogether

from aideon_agents.errors import UserError
from aideon_agents.testing import Fault, RandomFaults, SimulatedProvider

if TYPE_CHECKING:
    from collections.abc import Callable

PUMPS = "Heat pumps move heat from outdoor air into a house. Installers are scarce."
ALL = 19
"""Tokens of PUMPS: as a prompt, and as its own digest."""
CLIENTS = pytest.mark.parametrize("client", [ChatOpenAI, ChatTogether])
STREAMED = pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])


def ask(model: Any, streamed: bool) -> Any:  # noqa: FBT001 - a test's parameter
    if not streamed:
        return model.invoke(PUMPS)
    chunks = list(model.stream(PUMPS))
    return sum(chunks[1:], start=chunks[0])


def request_of(model: str) -> Any:
    """What a plan looks at."""
    return type("Request", (), {"model": model})()


@dataclass(frozen=True)
class Case:
    kind: Any
    error: type[Exception]
    status: int


STATUS_CASES = [
    Case(400, openai.BadRequestError, 400),
    Case(401, openai.AuthenticationError, 401),
    Case(402, openai.APIStatusError, 402),
    Case(403, openai.PermissionDeniedError, 403),
    Case(404, openai.NotFoundError, 404),
    Case(408, openai.APIStatusError, 408),
    Case(409, openai.ConflictError, 409),
    Case(410, openai.APIStatusError, 410),
    Case(413, openai.APIStatusError, 413),
    Case(415, openai.APIStatusError, 415),
    Case(422, openai.UnprocessableEntityError, 422),
    Case(429, openai.RateLimitError, 429),
    Case(500, openai.InternalServerError, 500),
    Case(502, openai.InternalServerError, 502),
    Case(503, openai.InternalServerError, 503),
    Case(504, openai.InternalServerError, 504),
    Case(529, openai.InternalServerError, 529),
    Case("context_length_exceeded", openai.BadRequestError, 400),
    Case("insufficient_quota", openai.RateLimitError, 429),
    Case("content_filter", openai.BadRequestError, 400),
]


@CLIENTS
@STREAMED
@pytest.mark.parametrize("case", STATUS_CASES, ids=lambda case: str(case.kind))
def test_an_error_status_is_raised_and_costs_nothing(chat, client, streamed, case):
    with SimulatedProvider(faults=[Fault(case.kind)]) as provider:
        with pytest.raises(case.error) as caught:
            ask(chat(client, provider), streamed)
        call = provider.bill.calls[0]
        assert caught.value.status_code == call.status == case.status
        assert (call.input_tokens, call.output_tokens, call.delivered) == (0, 0, False)
        assert provider.requests[0].outcome == str(case.kind)
        assert ask(chat(client, provider), streamed).content == PUMPS


@pytest.mark.parametrize(
    "kind", ["context_length_exceeded", "insufficient_quota", "content_filter"]
)
def test_a_named_refusal_carries_its_code(chat, kind):
    with (
        SimulatedProvider(faults=Fault(kind, message="no")) as provider,
        pytest.raises(openai.APIStatusError) as caught,
    ):
        ask(chat(ChatOpenAI, provider), streamed=False)
    assert caught.value.code == kind
    assert "no" in str(caught.value)


def test_a_rate_limit_says_when_to_come_back(chat):
    with (
        SimulatedProvider(faults=Fault(429, retry_after=1.5)) as provider,
        pytest.raises(openai.RateLimitError) as caught,
    ):
        ask(chat(ChatOpenAI, provider), streamed=False)
    assert caught.value.response.headers["retry-after"] == "1.5"


@CLIENTS
@STREAMED
@pytest.mark.parametrize(("kind", "billed"), [("reset_before", 0), ("reset_after", ALL)])
def test_a_reset_connection_is_billed_when_the_work_was_done(chat, client, streamed, kind, billed):
    with SimulatedProvider(faults=Fault(kind)) as provider:
        with pytest.raises(openai.APIConnectionError) as caught:
            ask(chat(client, provider), streamed)
        call = provider.bill.calls[0]
    assert root(caught.value).__class__ is ConnectionResetError
    assert (call.input_tokens, call.output_tokens) == (billed, billed)
    assert (call.status, call.delivered) == (None, False)


def root(error: BaseException) -> BaseException:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("garbage", ValueError),
        ("no_choices", TypeError),
        ("empty", json.JSONDecodeError),
        ("truncated_body", openai.APIConnectionError),
        ("cut_before_first_token", openai.APIConnectionError),
        ("cut_after_first_token", openai.APIConnectionError),
    ],
)
@CLIENTS
def test_a_spoiled_body_fails_and_is_billed_whole(chat, client, kind, error):
    with SimulatedProvider(faults=Fault(kind)) as provider:
        with pytest.raises(error):
            ask(chat(client, provider), streamed=False)
        call = provider.bill.calls[0]
    assert (call.input_tokens, call.output_tokens) == (ALL, ALL)
    assert (call.status, call.delivered) == (200, False)


@pytest.mark.parametrize(
    ("fault", "billed", "shown"),
    [
        (Fault("cut_before_first_token"), 0, ""),
        (Fault("cut_after_first_token"), 2, "Heat "),
        (Fault("cut_after_first_token", after_tokens=3), 4, "Heat pumps move "),
        (Fault("cut_after_first_token", after_tokens=99), ALL, PUMPS),
        (Fault("truncated_body"), 9, "Heat pumps move heat from outdoor "),
    ],
)
@CLIENTS
def test_a_cut_stream_is_billed_up_to_the_cut(chat, client, fault, billed, shown):
    got: list[str] = []
    with SimulatedProvider(faults=fault) as provider:
        stream = chat(client, provider).stream(PUMPS)
        with pytest.raises(openai.APIConnectionError):
            got.extend(chunk.content for chunk in stream)
        call = provider.bill.calls[0]
    assert "".join(got) == shown
    assert (call.input_tokens, call.output_tokens, call.delivered) == (ALL, billed, False)


@pytest.mark.parametrize("kind", ["garbage", "no_choices", "empty"])
def test_a_spoiled_stream_has_no_chunks(chat, kind):
    with SimulatedProvider(faults=Fault(kind)) as provider:
        with pytest.raises(ValueError, match="No generation chunks"):
            ask(chat(ChatOpenAI, provider), streamed=True)
        assert provider.bill.output_tokens == ALL


@pytest.mark.parametrize(("after", "billed"), [(None, ALL), (2, 3)])
def test_a_stream_can_end_cleanly_without_saying_why(chat, after, billed):
    with SimulatedProvider(faults=Fault("no_finish_reason", after_tokens=after)) as provider:
        answer = ask(chat(ChatOpenAI, provider), streamed=True)
        call = provider.bill.calls[0]
    assert "finish_reason" not in answer.response_metadata
    assert answer.usage_metadata is None
    assert (call.output_tokens, call.delivered) == (billed, False)


def test_an_answer_in_one_piece_can_lack_its_finish_reason(chat):
    with SimulatedProvider(faults=Fault("no_finish_reason")) as provider:
        assert (
            ask(chat(ChatOpenAI, provider), streamed=False).response_metadata["finish_reason"]
            is None
        )


def test_cumulative_usage_grows_chunk_by_chunk_to_what_is_billed():
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": PUMPS}]}
    with SimulatedProvider(faults=Fault("cumulative_usage")) as provider:
        answer = httpx.post(
            f"{provider.base_url}/chat/completions",
            json=body,
            headers={"authorization": "Bearer k"},
        )
        billed = provider.bill.output_tokens
    events = [
        json.loads(line[6:]) for line in answer.text.split("\n\n") if line.startswith("data: {")
    ]
    counts = [event["usage"]["completion_tokens"] for event in events if "usage" in event]
    assert len(counts) > 10
    assert counts == sorted(counts)
    assert counts[-1] == billed == ALL


@STREAMED
def test_usage_can_be_missing_though_it_is_billed(chat, streamed):
    with SimulatedProvider(faults=Fault("no_usage")) as provider:
        answer = ask(chat(ChatOpenAI, provider), streamed)
        assert answer.content == PUMPS
        assert answer.usage_metadata is None
        assert provider.bill.output_tokens == ALL
        assert provider.bill.calls[0].delivered


@STREAMED
def test_a_filtered_answer_breaks_off_and_says_so(chat, streamed):
    with SimulatedProvider(faults=Fault("content_filtered")) as provider:
        answer = ask(chat(ChatOpenAI, provider), streamed)
        assert answer.response_metadata["finish_reason"] == "content_filter"
        assert PUMPS.startswith(answer.content)
        assert answer.usage_metadata["output_tokens"] == provider.bill.output_tokens < ALL


@STREAMED
@pytest.mark.parametrize("kind", ["hang", "delay"])
def test_a_late_answer_still_arrives(chat, kind, streamed):
    with SimulatedProvider(faults=Fault(kind, seconds=0.05)) as provider:
        started = time.monotonic()
        assert ask(chat(ChatOpenAI, provider), streamed).content == PUMPS
        assert time.monotonic() - started >= 0.05
        assert provider.bill.calls[0].delivered


@STREAMED
def test_a_slow_answer_takes_its_time_for_each_word(chat, streamed):
    with SimulatedProvider(faults=Fault("slow", seconds=0.01)) as provider:
        started = time.monotonic()
        assert ask(chat(ChatOpenAI, provider), streamed).content == PUMPS
        assert time.monotonic() - started >= 0.01 * len(PUMPS.split())


PATIENCE = httpx.Timeout(60, read=0.5)  # the read begins when the question is sent


@CLIENTS
@STREAMED
def test_a_hang_ends_with_the_callers_patience_and_is_billed(chat, client, streamed):
    with SimulatedProvider(faults=[Fault("hang")]) as provider:
        with pytest.raises(openai.APITimeoutError):
            ask(chat(client, provider, timeout=PATIENCE), streamed)
        left(provider)
        call = provider.bill.calls[0]
        assert (call.output_tokens, call.status, call.delivered) == (ALL, None, False)


def test_a_caller_who_leaves_a_slow_stream_is_billed_for_what_was_generated(chat):
    with SimulatedProvider(faults=Fault("slow", seconds=0.05)) as provider:
        for chunk in (stream := chat(ChatOpenAI, provider).stream(PUMPS)):
            if chunk.content:
                break
        stream.close()
        left(provider)
        call = provider.bill.calls[0]
    assert 0 < call.output_tokens < ALL
    assert not call.delivered


@pytest.mark.parametrize("fault", [Fault("hang"), Fault("slow", seconds=30)])
def test_a_caller_who_resets_the_connection_is_noticed(fault):
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": PUMPS}]}).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    with SimulatedProvider(faults=fault) as provider:
        caller = socket.create_connection(("127.0.0.1", provider.port))
        caller.sendall(head.encode() + body)
        waited(lambda: provider.bill.requests == 1)
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        caller.close()
        left(provider)
        assert provider.bill.output_tokens == ALL


def waited(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def left(provider: SimulatedProvider) -> None:
    """Wait until the provider has noticed that its caller is gone."""
    waited(lambda: provider.requests[0].outcome == "gone")


def test_a_slow_stream_can_be_left_before_its_first_word():
    with SimulatedProvider(faults=Fault("slow", seconds=30)) as provider:
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": PUMPS}]}
        url, key = f"{provider.base_url}/chat/completions", {"authorization": "Bearer k"}
        with httpx.stream("POST", url, json=body, headers=key) as answer:
            assert answer.status_code == 200
        left(provider)
        assert provider.bill.output_tokens == 0


def test_a_sequence_holds_one_entry_per_request_and_then_health(chat):
    with SimulatedProvider(faults=[None, Fault(500)]) as provider:
        model = chat(ChatOpenAI, provider)
        ask(model, streamed=False)
        with pytest.raises(openai.InternalServerError):
            ask(model, streamed=False)
        ask(model, streamed=False)
        assert [call.fault for call in provider.bill.calls] == [None, 500, None]


def test_a_mapping_holds_faults_by_model(chat):
    with SimulatedProvider(faults={"bad": Fault(503), "once": [Fault(404)]}) as provider:
        asked = ["bad", "m", "once", "bad", "once"]
        for model in asked:
            try:
                chat(ChatOpenAI, provider).bind(model=model).invoke(PUMPS)
            except openai.APIStatusError:
                continue
        assert [call.status for call in provider.bill.calls] == [503, 200, 404, 503, 200]


def test_a_function_decides_by_the_request(chat):
    with SimulatedProvider(
        faults=lambda request: Fault(422) if request.stream else None
    ) as provider:
        ask(chat(ChatOpenAI, provider), streamed=False)
        with pytest.raises(openai.UnprocessableEntityError):
            ask(chat(ChatOpenAI, provider), streamed=True)


def test_random_faults_are_the_same_for_the_same_seed():
    def drawn(seed: int) -> list[Any]:
        plan = RandomFaults(seed, 0.3)
        return [plan(request_of("m")) for _ in range(300)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert 60 < sum(fault is not None for fault in drawn(1)) < 120


def test_random_faults_keep_to_their_models_and_kinds():
    plan = RandomFaults(1, 1.0, kinds=[429, Fault("slow", seconds=1)], models=["bad"])
    assert plan(request_of("good")) is None
    assert {plan(request_of("bad")).kind for _ in range(50)} == {429, "slow"}


def test_random_faults_are_drawn_from_one_sequence_by_many_threads():
    plan, seen, lock = RandomFaults(7, 0.5), [], threading.Lock()

    def draw() -> None:
        for _ in range(100):
            fault = plan(request_of("m"))
            with lock:
                seen.append(fault)

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = RandomFaults(7, 0.5)
    expected = [alone(request_of("m")) for _ in range(400)]
    assert sorted(map(repr, seen)) == sorted(map(repr, expected))


@pytest.mark.parametrize(
    "wrong", [{"kind": 418}, {"kind": "explode"}, {"kind": "slow"}, {"kind": "delay"}]
)
def test_a_fault_that_cannot_happen_is_refused(wrong):
    with pytest.raises(UserError, match=r"no fault|needs seconds"):
        Fault(**wrong)
