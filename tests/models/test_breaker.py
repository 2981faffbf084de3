"""A model that keeps failing rests, one call finds out whether it is back, others go elsewhere."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import os
import random
import threading

import pytest

from aideon_agents import Context, errors
from aideon_agents.ledger.models import states as model_states
from aideon_agents.models import Models
from aideon_agents.models.candidates import breaker_for
from aideon_agents.models.health import Breaker
from aideon_agents.state import ModelRequest
from aideon_agents.testing import Fault, SimulatedProvider

PRIMARY = "together:openai/gpt-oss-120b"
OTHER = "openai:gpt-4o-mini"
DEAD = errors.Transient("m answered 500")
REQUEST = ModelRequest(role="planner", model=(PRIMARY, OTHER))
STREAM = Context(stream=True)


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return Breaker(clock)


def call(breaker, error=None, *, early=False):
    """One call, if it may be made; returns whether it was."""
    permit = breaker.admit(early=early)
    if permit is not None:
        permit.record(error)
    return permit is not None


def fail(breaker, times):
    return [call(breaker, DEAD) for _ in range(times)]


def test_five_failures_in_a_row_open_it(breaker):
    assert fail(breaker, 4) == [True] * 4
    assert breaker.rest_left() == 0
    assert fail(breaker, 2) == [True, False]
    assert 4 <= breaker.rest_left() <= 6
    assert breaker.why == "m answered 500"


def test_a_success_in_between_starts_the_row_anew(breaker):
    for _ in range(10):
        call(breaker)
    fail(breaker, 4)
    call(breaker)
    assert fail(breaker, 4) == [True] * 4


def test_half_of_at_least_five_in_thirty_seconds_open_it(breaker, clock):
    for error in (None, DEAD, None, DEAD, None):
        clock.now += 5
        assert call(breaker, error)
    assert call(breaker, DEAD)
    assert not call(breaker)


def test_failures_longer_ago_than_thirty_seconds_do_not_count(breaker, clock):
    for error in (None, DEAD, None, DEAD, None):
        call(breaker, error)
    clock.now += 31
    assert call(breaker, DEAD)
    assert call(breaker)


def test_the_rest_doubles_from_five_seconds_to_five_minutes(breaker, clock, monkeypatch):
    monkeypatch.setattr(random, "uniform", lambda _least, _most: 1.0)
    fail(breaker, 5)
    rests = []
    for _ in range(8):
        rests.append(round(breaker.rest_left(), 6))
        clock.now += breaker.rest_left()
        assert call(breaker, DEAD)
    assert rests == [5, 10, 20, 40, 80, 160, 300, 300]


def test_a_success_of_the_probe_closes_it_and_the_next_rest_is_short_again(breaker, clock):
    fail(breaker, 5)
    clock.now += 6
    assert call(breaker, DEAD)
    clock.now += 12
    assert call(breaker)
    assert breaker.rest_left() == 0
    assert fail(breaker, 5) == [True] * 4 + [False]  # with the success four of five: over half
    assert breaker.rest_left() <= 6


def test_many_that_were_on_their_way_do_not_prolong_the_rest(breaker):
    permits = [breaker.admit() for _ in range(40)]
    for permit in permits:
        permit.record(DEAD)
    assert breaker.rest_left() <= 6


def test_of_forty_at_once_exactly_one_probes(breaker, clock):
    fail(breaker, 5)
    clock.now += 6
    permits = [breaker.admit(early=bool(number % 2)) for number in range(40)]
    assert [permit is not None for permit in permits] == [True] + [False] * 39
    assert breaker.rest_left() > 0
    permits[0].record(None)
    assert all(breaker.admit() for _ in range(40))


def test_a_late_end_of_another_call_is_not_taken_for_the_probes(breaker, clock):
    late = [breaker.admit(), breaker.admit()]
    fail(breaker, 5)
    clock.now += 6
    probe = breaker.admit()
    for permit, error in zip(late, (DEAD, None), strict=True):
        permit.record(error)
        assert breaker.admit(early=True) is None
    probe.record(DEAD)
    assert breaker.rest_left() > 6


def test_a_call_is_settled_once(breaker, clock):
    fail(breaker, 5)
    clock.now += 6
    probe = breaker.admit()
    probe.give_back()
    probe.record(DEAD)
    assert breaker.rest_left() == 0
    assert breaker.admit() is not None


def test_an_early_probe_that_fails_changes_nothing_of_its_rest(breaker, clock):
    fail(breaker, 5)
    rest = breaker.rest_left()
    assert [call(breaker, DEAD, early=True) for _ in range(9)] == [True] * 9
    assert breaker.rest_left() == rest
    clock.now += rest
    assert call(breaker, DEAD)
    assert 8 <= breaker.rest_left() <= 12


def test_a_probe_whose_permit_was_dropped_is_over(breaker):
    fail(breaker, 5)
    probe = breaker.admit(early=True)
    assert breaker.admit(early=True) is None
    del probe
    assert breaker.admit(early=True) is not None


def test_a_probe_on_a_loop_that_is_closed_is_over_and_its_late_end_ends_no_other(breaker):
    async def probe():
        return breaker.admit(early=True)

    fail(breaker, 5)
    loop = asyncio.new_event_loop()
    left = loop.run_until_complete(probe())
    assert breaker.admit(early=True) is None
    loop.close()
    other = breaker.admit(early=True)
    assert other is not None
    left.give_back()
    assert breaker.admit(early=True) is None
    other.record(None)
    assert breaker.rest_left() == 0


def test_of_many_threads_one_probes(breaker):
    fail(breaker, 5)
    begin = threading.Barrier(20)

    def ask(_number):
        begin.wait(30)
        return [breaker.admit(early=True) for _ in range(50)]

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        given = [permit for permits in pool.map(ask, range(20)) for permit in permits]
    assert len([permit for permit in given if permit]) == 1


def test_a_call_that_is_collected_while_the_breaker_is_held_settles_its_permit(breaker):
    permit = breaker.admit()
    with breaker._lock:
        permit.record(DEAD)  # as its cleanup does, wherever the garbage collector runs
    assert fail(breaker, 5) == [True] * 4 + [False]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_probes_for_itself_and_takes_the_rest_over(breaker):
    fail(breaker, 5)
    probe = breaker.admit(early=True)
    child = os.fork()
    if child == 0:
        is_right = breaker.admit() is None and breaker.admit(early=True) is not None
        os._exit(0 if is_right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert breaker.admit(early=True) is None
    probe.give_back()


def test_before_its_time_it_is_probed_only_when_asked_to(breaker):
    fail(breaker, 5)
    assert not call(breaker)
    assert call(breaker, early=True)
    assert breaker.rest_left() == 0


@pytest.mark.parametrize(
    ("error", "least", "most"),
    [
        (errors.OutOfCredit("402"), 300, 300),
        (errors.KeyRejected("401"), 300, 300),
        (errors.ModelGone("404"), 300, 300),
    ],
    ids=["credit", "key", "gone"],
)
def test_some_errors_open_it_at_once(breaker, error, least, most):
    assert call(breaker, error)
    assert not call(breaker)
    assert least <= breaker.rest_left() <= most


@pytest.mark.parametrize(
    "error",
    [
        errors.ContextTooLong("413"),
        errors.RateLimited("429", retry_after=7),
        errors.Refused("filtered"),
        errors.CallerError("400"),
        errors.Malformed("no JSON"),
        ValueError("a bug"),
        asyncio.CancelledError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_not_the_models_doing_never_opens_it(breaker, error):
    assert all(call(breaker, error) for _ in range(20))


def test_a_stream_that_broke_counts_as_a_failure(breaker):
    assert [call(breaker, errors.Partial("cut")) for _ in range(6)] == [True] * 5 + [False]


def test_breakers_are_kept_by_address_model_and_key():
    assert breaker_for("a", "m", 1) is breaker_for("a", "m", 1)
    assert (
        len({id(breaker_for(*what)) for what in (("a", "m", 1), ("b", "m", 1), ("a", "m", 2))}) == 3
    )


# Over HTTP


async def test_a_dead_primary_is_left_alone_after_five_failures(counter, quick):
    settings = counter.settings(Fault(500))
    asked = [await counter.ask(settings=settings) for _ in range(4)]
    assert [len(one.requests) for one in asked] == [4, 3, 1, 1]
    assert all(one.answer for one in asked)


async def test_with_one_candidate_it_is_asked_all_the_same(counter, quick):
    settings = counter.settings([Fault(500)] * 6)
    first = await counter.ask(settings=settings, model=(PRIMARY,))
    second = await counter.ask(settings=settings, model=(PRIMARY,))
    third = await counter.ask(settings=settings, model=(PRIMARY,))
    assert [len(one.requests) for one in (first, second, third)] == [3, 3, 1]
    assert isinstance(second.error, errors.AllModelsFailed)
    assert third.answer.text.startswith("Heat pumps")


async def test_while_one_probes_the_only_model_the_others_wait_for_what_it_finds(
    counter, quick, until
):
    gate = threading.Event()

    async def answer(_request):
        await until(gate.is_set)
        return "back"

    with SimulatedProvider(answer=answer, faults=[Fault(500)] * 6) as provider:
        settings = counter.settings(together_base_url=provider.base_url)
        for _ in range(2):
            await counter.ask(settings=settings, model=(PRIMARY,))
        chain = Models(settings)
        request = ModelRequest(role="planner", model=(PRIMARY,), timeout=60)
        asking = [
            asyncio.create_task(chain.chat(request, Context()).ainvoke(f"question {number}"))
            for number in range(40)
        ]
        await until(lambda: len(provider.requests) == 7)
        await asyncio.sleep(0.05)  # as long as the others wait before they look again
        assert len(provider.requests) == 7
        gate.set()
        assert len(await asyncio.gather(*asking)) == 40
        assert len(provider.requests) == 6 + 40


async def test_when_all_rest_the_one_soonest_back_is_asked(counter, quick):
    settings = counter.settings([Fault(404)])
    request = ModelRequest(role="planner", model=(PRIMARY, OTHER))
    line = Models(settings).chat(request, Context()).candidates
    for _ in range(5):
        line[1].model_breaker.admit().record(DEAD)
    first = await counter.ask(settings=settings)  # the primary is gone for 300 s, the other for 5
    assert [(row.candidate, row.status) for row in first.rows] == [(0, "error"), (1, "ok")]


def candidates(settings, *names):
    request = ModelRequest(role="planner", model=names or (PRIMARY, OTHER))
    return Models(settings).chat(request, Context()).candidates


def rest(candidate, error=DEAD):
    """Let a model rest as after five failures."""
    for _ in range(5):
        candidate.model_breaker.admit().record(error)
        if candidate.rest_left():
            return


async def test_while_all_rest_the_one_soonest_back_is_asked_first_and_the_others_after_it(
    counter, quick
):
    settings = counter.settings([None])
    primary, other = candidates(settings)
    rest(primary, errors.ModelGone("gone"))
    rest(other)
    found = await counter.ask(settings=settings)
    assert [(row.candidate, row.status) for row in found.rows] == [(1, "ok")]
    rest(other)
    settings = settings.model_copy(update={"openai_base_url": "http://127.0.0.1:9/v1"})
    dead = candidates(settings)[1]
    rest(dead)
    found = await counter.ask(settings=settings)
    assert [(row.candidate, row.status) for row in found.rows] == [(1, "error"), (0, "ok")]
    assert primary.rest_left() == 0


async def test_a_model_that_rests_but_lives_answers_when_the_others_have_died_meanwhile(
    counter, quick
):
    settings = counter.settings([None], openai_base_url="http://127.0.0.1:9/v1")
    primary, _ = candidates(settings)
    rest(primary)
    asked = await counter.ask(settings=settings)
    assert [(row.candidate, row.status) for row in asked.rows] == [(1, "error")] * 3 + [(0, "ok")]
    rest(primary)
    streamed = [chunk async for chunk in Models(settings).chat(REQUEST, STREAM).astream("Pumps?")]
    assert "".join(chunk.text for chunk in streamed).startswith("Pumps")


async def test_a_chain_of_models_that_are_all_dead_names_each_of_them_once_or_with_its_tries(
    counter, quick
):
    settings = counter.settings(Fault(500), openai_base_url="http://127.0.0.1:9/v1")
    for candidate in candidates(settings):
        rest(candidate)
    asked = await counter.ask(settings=settings)
    assert isinstance(asked.error, errors.AllModelsFailed)
    assert len(asked.error.attempts) == len(asked.rows) == 6
    assert all("rests another" not in line for line in asked.error.attempts)


async def test_calls_that_wait_for_a_probe_do_not_each_find_out_again_that_a_model_is_dead(
    counter, quick
):
    settings = counter.settings(Fault(500))
    (only,) = candidates(settings, PRIMARY)
    rest(only)
    models = Models(settings)
    request = ModelRequest(role="planner", model=(PRIMARY,))
    before = only.model_breaker.failed_probes
    asking = (models.chat(request, Context()).ainvoke(f"question {n}") for n in range(40))
    ended = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(one) for one in ended} == {errors.AllModelsFailed}
    assert only.model_breaker.failed_probes - before < 40  # each would make 3


async def test_a_probe_that_is_cancelled_lets_the_next_call_probe(counter, quick, until):
    with SimulatedProvider(faults=[Fault("hang"), None]) as provider:
        settings = counter.settings(together_base_url=provider.base_url)
        (only,) = candidates(settings, PRIMARY)
        rest(only)
        chain = Models(settings).chat(ModelRequest(role="planner", model=(PRIMARY,)), Context())
        probe = asyncio.create_task(chain.ainvoke("Pumps?"))
        await until(lambda: len(provider.requests) == 1)
        probe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probe
        assert (await chain.ainvoke("Pumps?")).text.startswith("Pumps")
        assert only.rest_left() == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_stream_that_is_left_with_its_loop_lets_the_next_call_probe(counter):
    with SimulatedProvider(faults=[Fault("slow", seconds=0.01), None]) as provider:
        settings = counter.settings(together_base_url=provider.base_url)
        (only,) = candidates(settings, PRIMARY)
        rest(only)
        chain = Models(settings).chat(ModelRequest(role="planner", model=(PRIMARY,)), STREAM)
        stream = chain.astream("Pumps?")
        loop = asyncio.new_event_loop()
        loop.run_until_complete(anext(stream))
        assert only.model_breaker.admit(early=True) is None
        loop.close()
        del stream
        gc.collect()
        assert asyncio.run(chain.ainvoke("Pumps?")).text.startswith("Pumps")
        assert only.rest_left() == 0


async def test_two_keys_of_one_model_rest_apart(counter, quick):
    rejected, good = counter.settings(Fault(401)), counter.settings()
    assert isinstance((await counter.ask(settings=rejected, model=(PRIMARY,))).error, Exception)
    again = await counter.ask(settings=rejected, model=(PRIMARY,))
    assert not again.requests
    assert (await counter.ask(settings=good, model=(PRIMARY,))).answer


async def test_calls_wait_for_a_probe_of_their_only_key(counter, quick, until):
    gate = threading.Event()

    async def answer(_request):
        await until(gate.is_set)
        return "back"

    with SimulatedProvider(answer=answer) as provider:
        settings = counter.settings(together_base_url=provider.base_url)
        (only,) = candidates(settings, PRIMARY)
        only.key_breaker.admit().record(errors.KeyRejected("401"))
        only.key_breaker._open_until = 0.0  # the rest is over
        chain = Models(settings).chat(ModelRequest(role="planner", model=(PRIMARY,)), Context())
        asking = [asyncio.create_task(chain.ainvoke(f"question {n}")) for n in range(10)]
        await until(lambda: len(provider.requests) == 1)
        gate.set()
        assert [one.text for one in await asyncio.gather(*asking)] == ["back"] * 10


# In the ledger


def states_in(ledger):
    model_states.wait_until_written()
    rows = ledger.select("SELECT model, state, key_name, reason FROM model_states")
    return {row["model"]: (row["state"], row["key_name"], row["reason"]) for row in rows}


async def test_each_change_of_state_is_in_the_ledger_that_records_the_calls(
    counter, quick, ledger, until
):
    gate = threading.Event()

    async def answer(_request):
        await until(gate.is_set)
        return "back"

    with SimulatedProvider(answer=answer, announce=False, faults=[Fault(500)] * 5) as provider:
        settings = counter.settings(together_base_url=provider.base_url)
        (only,) = candidates(settings, PRIMARY)
        await counter.ask(settings=settings, model=(PRIMARY,))
        assert states_in(ledger) == {}
        asking = asyncio.create_task(counter.ask(settings=settings, model=(PRIMARY,)))
        await until(lambda: len(provider.requests) == 6)
        state, key, reason = states_in(ledger)[only.model]
        assert (state, key) == ("half_open", "TOGETHER_API_KEY")
        assert reason.startswith(f"{PRIMARY} answered 500")
        gate.set()
        await asking
    assert states_in(ledger)[only.model] == ("closed", "TOGETHER_API_KEY", None)


async def test_many_failures_of_an_open_breaker_are_written_once(counter, monkeypatch, ledger):
    written = []
    monkeypatch.setattr(model_states, "record", lambda _ledgers, change: written.append(change))
    (only,) = candidates(counter.settings(), PRIMARY)
    only.model_breaker.ledgers.add(ledger.database)
    permits = [only.model_breaker.admit() for _ in range(40)]
    for permit in permits:
        permit.record(DEAD)
    assert [change["state"] for change in written] == ["open"]


async def test_a_rehearsal_writes_no_state(counter, ledger):
    settings = counter.settings()
    request = ModelRequest(role="planner", model=(PRIMARY,))
    chain = Models(settings).chat(request, Context(rehearse=True))
    rest(chain.candidates[0])
    await counter.ask_chain(chain)
    assert states_in(ledger) == {}
