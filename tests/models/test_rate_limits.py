"""What a rate limit leads to: who is waited for, for how long, and what is not lost meanwhile."""

from __future__ import annotations

import asyncio
import json

import pytest

from aideon_agents import Context, abatch, arun, errors, executor
from aideon_agents.models import Models, fallbacks
from aideon_agents.state import ModelRequest
from aideon_agents.testing import Fault, SimulatedProvider

PRIMARY = "together:openai/gpt-oss-20b"
OTHER = "openai:gpt-4o-mini"
BOTH = (PRIMARY, OTHER)


@pytest.fixture
def others():
    with SimulatedProvider() as provider:
        yield provider


@pytest.fixture
def settings(counter, others, tmp_path):
    """Settings with a primary that has faults, and another provider beside it."""
    ledger = f"sqlite:///{tmp_path}/runs.db"
    return lambda *faults: counter.settings(*faults, openai_base_url=others.base_url, ledger=ledger)


def node(**options):
    return executor(model=BOTH, **options)


async def test_a_single_run_asks_the_next_model_when_the_wait_is_long(settings, others):
    given = settings([Fault(429, retry_after=21)])
    result = await arun(node(), "Pumps?", settings=given)
    assert (result.status, len(others.requests)) == ("completed", 1)


async def test_a_single_run_waits_for_its_primary_when_the_wait_is_short(settings, others):
    given = settings([Fault(429, retry_after=0.2)] * 5)
    result = await arun(node(), "Pumps?", settings=given)
    assert (result.status, len(others.requests)) == ("completed", 0)


@pytest.mark.parametrize(
    ("of_agent", "of_run"), [("wait", None), ("fallback", "wait"), (None, "wait")]
)
async def test_with_wait_the_primary_answers(settings, others, monkeypatch, of_agent, of_run):
    monkeypatch.setattr(fallbacks, "FALLBACK_AFTER", 0.1)
    given = settings([Fault(429, retry_after=0.3)] * 2)
    result = await arun(
        node(on_rate_limit=of_agent), "Pumps?", settings=given, on_rate_limit=of_run
    )
    assert (result.status, len(others.requests)) == ("completed", 0)


@pytest.mark.parametrize("given", [{"fallback": False}, {}])
async def test_without_fallbacks_only_the_first_model_is_asked(settings, others, given):
    of_agent = {} if given else {"fallback": False}
    result = await arun(node(**of_agent), "Pumps?", settings=settings(Fault(402)), **given)
    assert (result.status, len(others.requests)) == ("failed", 0)


async def test_a_policy_that_does_not_exist_is_refused(settings):
    with pytest.raises(
        errors.UserError, match="on_rate_limit must be wait or fallback, not 'never'"
    ):
        node(on_rate_limit="never")
    with pytest.raises(errors.UserError, match="on_rate_limit is 'never': give wait or fallback"):
        await arun(node(), "Pumps?", settings=settings(), on_rate_limit="never")


async def test_waiting_for_a_limit_takes_nothing_from_the_chains_time(
    settings, others, provider, pass_time, until
):
    given = settings([*[Fault(429, retry_after=0.5)] * 3, Fault("delay", seconds=1)])
    chain = Models(given).chat(
        ModelRequest(role="executor", model=BOTH, timeout=95, on_rate_limit="wait"), Context()
    )
    pace, seen = chain.candidates[0].pace, len(provider.requests)
    asking = asyncio.create_task(chain.ainvoke("Pumps?"))
    for number in (1, 2, 3):
        await until(lambda refused=seen + number: len(provider.requests) == refused)
        await until(lambda: pace.waiting)
        pass_time(30)
    await until(lambda: len(provider.requests) == seen + 4)
    pass_time(30)  # more than half of what the waits would have left
    assert (await asking).text
    assert len(others.requests) == 0


async def test_a_call_that_waits_for_a_limit_holds_no_slot(settings, provider):
    given = settings([Fault(429, retry_after=5), None]).model_copy(update={"model_concurrency": 1})
    chain = Models(given).chat(ModelRequest(role="executor", model=(PRIMARY,)), Context())
    before = len(provider.requests)
    waiting = asyncio.create_task(chain.ainvoke("First?"))
    while len(provider.requests) == before:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert (await chain.ainvoke("Second?")).text
    assert not waiting.done()
    assert (await waiting).text


async def test_a_batch_waits_for_its_primary(settings, others, tmp_path, monkeypatch):
    monkeypatch.setattr(fallbacks, "FALLBACK_AFTER", 0.1)
    given = settings([Fault(429, retry_after=0.3), None] * 10)
    result = await abatch(node(), ["a", "b", "c"], tmp_path / "out.jsonl", settings=given)
    assert (result.completed, len(others.requests)) == (3, 0)


async def test_a_limit_that_resets_too_late_stops_a_batch(settings, others, tmp_path):
    given = settings([None, Fault(429, retry_after=3600), Fault(429, retry_after=3600)])
    out = tmp_path / "out.jsonl"
    items = [f"task {number}" for number in range(5)]
    result = await abatch(node(), items, out, settings=given, max_concurrency=1)
    assert (result.completed, result.failed, result.pending) == (1, 0, 4)
    assert result.stop_reason == "rate_limit"
    assert PRIMARY in result.stopped_by
    assert " UTC" in result.stopped_by
    assert len(others.requests) == 0

    again = await abatch(
        node(), items, out, settings=given, max_concurrency=1, on_rate_limit="fallback"
    )
    assert (again.completed, again.pending) == (5, 0)
    written = [json.loads(line)["status"] for line in out.read_text().splitlines()]
    assert written == ["completed"] * 5


async def test_a_limit_of_one_model_is_none_of_another(settings):
    given = settings(
        lambda request: Fault(429, retry_after=30) if "-20b" in request.model else None
    )
    chains = Models(given)
    limited = chains.chat(ModelRequest(role="executor", model=(PRIMARY,), timeout=20), Context())
    for _ in range(3):
        with pytest.raises(errors.AllModelsFailed):
            await limited.ainvoke("Pumps?")
    free = ModelRequest(role="executor", model=("together:openai/gpt-oss-120b",), timeout=20)
    assert (await chains.chat(free, Context()).ainvoke("Pumps?")).text


async def test_a_refusal_holds_only_its_own_call_back(settings, provider):
    given = settings([Fault(429, retry_after=30)])
    request = ModelRequest(role="executor", model=(PRIMARY,), timeout=60)
    chain = Models(given).chat(request, Context())
    before = len(provider.requests)
    held_back = asyncio.create_task(chain.ainvoke("First?"))
    while len(provider.requests) == before:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    async with asyncio.timeout(10):
        assert (await chain.ainvoke("Second?")).text
    held_back.cancel()


async def test_a_server_that_cuts_one_call_off_for_another_is_asked_one_at_a_time(counter):
    """As llama-cpp-python does: a second request ends the stream of the first."""
    serving = []

    def one_at_a_time(request):
        serving.append(provider.in_flight)
        crowded = provider.in_flight > 1
        return Fault("cut_after_first_token") if crowded else Fault("slow", seconds=0.02)

    with SimulatedProvider(faults=one_at_a_time) as provider:
        given = counter.settings(local_base_url=provider.base_url)
        request = ModelRequest(role="executor", model=("local:m",), timeout=60)
        chain = Models(given).chat(request, Context(stream=True))
        answers = await asyncio.gather(*(chain.ainvoke(f"Question {n}?") for n in range(4)))
        assert all(answer.text for answer in answers)
        first = len(serving)
        answers = await asyncio.gather(*(chain.ainvoke(f"Question {n}?") for n in range(4)))
        assert all(answer.text for answer in answers)
        assert serving[first:] == [1] * 4


async def test_a_slow_server_of_ones_own_is_waited_for_as_long_as_it_answers(counter):
    with SimulatedProvider(faults=lambda _: Fault("delay", seconds=2)) as provider:
        given = counter.settings(local_base_url=provider.base_url)
        request = ModelRequest(role="executor", model=("local:slow",), timeout=5.5)
        chain = Models(given).chat(request, Context())
        chain.candidates[0].pace.be_alone()
        asked = (chain.ainvoke(f"Question {n}?") for n in range(4))
        answers = await asyncio.gather(*asked)  # the last one waits for longer than its own timeout
    assert all(answer.text for answer in answers)
