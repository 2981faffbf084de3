"""Synchronous callers: from any thread, inside a running loop, interrupted, again and again."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import sys
import textwrap
import threading

import pytest
import warm

from aideon_agents import Context, CostHandler
from aideon_agents.ledger.rows import Run
from aideon_agents.models import Models
from aideon_agents.models.bridge import blocking, blocking_stream
from aideon_agents.state import ModelRequest

VARIABLE = contextvars.ContextVar("variable", default="unset")


async def doubled(number):
    await asyncio.sleep(0)
    return number * 2


def test_a_coroutine_is_run_and_waited_for():
    assert blocking(doubled(21)) == 42


async def test_it_works_while_a_loop_runs_in_the_same_thread():
    assert blocking(doubled(21)) == 42


async def test_it_works_inside_of_its_own_work():
    async def outer():
        return blocking(doubled(blocking(doubled(10))))

    assert await asyncio.to_thread(blocking, outer()) == 40


def test_many_threads_share_one_loop():
    loops, results = set(), []

    async def note(number):
        loops.add(asyncio.get_running_loop())
        return number

    threads = [
        threading.Thread(target=lambda number=number: results.append(blocking(note(number))))
        for number in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(loops), sorted(results)) == (1, list(range(20)))


@pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside its own work"])
def test_context_variables_are_seen(inside):
    async def read():
        return VARIABLE.get()

    async def nested():
        return blocking(read())

    token = VARIABLE.set("set")
    try:
        assert blocking(nested() if inside else read()) == "set"
    finally:
        VARIABLE.reset(token)


def test_what_the_work_raises_is_raised():
    async def fail():
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        blocking(fail())


def test_a_nodes_exit_reaches_its_caller_and_the_loop_goes_on():
    async def leave():
        await asyncio.create_task(exit_in_a_task())

    async def exit_in_a_task():
        sys.exit(3)

    for _ in range(2):
        with pytest.raises(SystemExit) as left:
            blocking(leave())
        assert left.value.code == 3
    assert blocking(doubled(1)) == 2


def test_an_interrupt_cancels_the_work_and_waits_until_it_has_cleaned_up():
    events = []

    async def work():
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            events.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        blocking(work())
    assert events == ["cleaned up"]
    assert blocking(doubled(1)) == 2


def test_a_stream_is_passed_on_item_by_item():
    async def count():
        for number in range(3):
            await asyncio.sleep(0)
            yield number

    assert list(blocking_stream(count())) == [0, 1, 2]


def test_a_stream_that_is_left_is_closed():
    closed = []

    async def count():
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    stream = blocking_stream(count())
    assert next(stream) == 1
    stream.close()
    assert closed == [True]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_a_chain_answers_synchronous_callers_too(counter, ledger, stream):
    run_id = ledger.start_run(Run(workflow="question"))
    chain = Models(counter.settings()).chat(
        ModelRequest(role="planner", model=("together:m",)), Context(stream=stream)
    )
    config = {"callbacks": [CostHandler(ledger, run_id=run_id)]}
    assert chain.invoke("Heat pumps move heat.", config).text == "Heat pumps move heat."
    chunks = [chunk.text for chunk in chain.stream("Heat pumps move heat.", config)]
    assert "".join(chunks) == "Heat pumps move heat."
    assert (len(chunks) > 1) is stream
    assert [row.status for row in ledger.calls(run_id)] == ["ok", "ok"]


def test_an_interrupted_call_leaves_a_row_that_says_so_and_a_process_that_ends(tmp_path):
    script = tmp_path / "ask.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, signal, sys, threading
            from aideon_agents import Context, CostHandler, Ledger, Settings
            from aideon_agents.ledger.rows import Run
            from aideon_agents.models import Models
            from aideon_agents.state import ModelRequest
            from aideon_agents.testing import Fault, SimulatedProvider

            def faults(request):
                threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
                return Fault("hang")

            with SimulatedProvider(faults=faults) as provider, Ledger(sys.argv[1]) as ledger:
                settings = Settings(together_api_key="k", together_base_url=provider.base_url)
                run_id = ledger.start_run(Run(workflow="question"))
                chain = Models(settings).chat(
                    ModelRequest(role="planner", model=("together:m",)), Context(stream=True)
                )
                try:
                    chain.invoke("hi", {"callbacks": [CostHandler(ledger, run_id=run_id)]})
                except KeyboardInterrupt:
                    print([(row.status, row.cost_nanousd) for row in ledger.calls(run_id)])
            """
        )
    )
    environment = os.environ | {"PYTHONWARNINGS": "error"}
    words = [script, tmp_path / "ledger.db"]
    done = warm.run(words, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[('cancelled', None)]\n", "")
