"""One HTTP client for the process, whose connections belong to the loop that uses them."""

from __future__ import annotations

import asyncio
import os
import textwrap
import threading
import time

import warm

from aideon_agents import Context, Settings
from aideon_agents.models import Models
from aideon_agents.models.clients import shared_client, timeouts
from aideon_agents.state import ModelRequest
from aideon_agents.testing import SimulatedProvider

REQUEST = ModelRequest(role="planner", model=("together:m", "openai:m"))


def test_two_loops_one_after_the_other_ask_the_same_model(counter):
    models = Models(counter.settings())
    chain = models.chat(REQUEST, Context())
    first, second = (asyncio.run(counter.ask_chain(chain)) for _ in range(2))
    for asked in (first, second):
        assert [(row.candidate, row.status) for row in asked.rows] == [(0, "ok")]


def test_loops_in_many_threads_ask_at_the_same_time(counter):
    models = Models(counter.settings())
    said = []

    def ask():
        answer = asyncio.run(models.chat(REQUEST, Context()).ainvoke("Heat pumps."))
        said.append(answer.text)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == ["Heat pumps."] * 8


async def test_connections_are_kept_between_calls():
    ports = set()

    class Watching(SimulatedProvider):
        async def _connected(self, reader, writer):
            ports.add(writer.get_extra_info("peername"))
            await super()._connected(reader, writer)

    with Watching() as provider:
        settings = Settings(together_api_key="key", together_base_url=provider.base_url)
        for _ in range(5):
            await Models(settings).chat(REQUEST, Context()).ainvoke("Heat pumps.")
        assert (len(ports), provider.bill.requests) == (1, 5)


class Counting(SimulatedProvider):
    """Knows how many connections are open."""

    open = 0

    async def _connected(self, reader, writer):
        self.open += 1
        await super()._connected(reader, writer)
        self.open -= 1


def test_a_loop_that_ends_takes_its_client_and_its_connections_along():
    known = shared_client()._transport._clients
    before = len(known)
    with Counting() as provider:
        settings = Settings(together_api_key="key", together_base_url=provider.base_url)
        for _ in range(3):
            asyncio.run(Models(settings).chat(REQUEST, Context()).ainvoke("Heat pumps."))
        deadline = time.monotonic() + 5
        while provider.open and time.monotonic() < deadline:
            time.sleep(0.005)
        assert (provider.open, provider.bill.requests, len(known)) == (0, 3, before)


def test_nothing_is_left_open_when_the_loop_ends(tmp_path):
    script = tmp_path / "ask.py"
    script.write_text(
        textwrap.dedent(
            """
            import asyncio, gc
            from aideon_agents import Context, Settings
            from aideon_agents.models import Models
            from aideon_agents.state import ModelRequest
            from aideon_agents.testing import SimulatedProvider

            request = ModelRequest(role="planner", model=("together:m",))

            async def ask(settings):
                chains = [Models(settings).chat(request, Context()) for _ in range(3)]
                await asyncio.gather(*(chain.ainvoke("Heat pumps.") for chain in chains))

            with SimulatedProvider() as provider:
                settings = Settings(together_api_key="k", together_base_url=provider.base_url)
                asyncio.run(ask(settings))
                asyncio.run(ask(settings))
                Models(settings).chat(request, Context()).invoke("Heat pumps.")
                gc.collect()
                print(provider.bill.requests)
            """
        )
    )
    environment = os.environ | {"PYTHONWARNINGS": "error"}
    done = warm.run([script], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "7\n", "")


def test_a_netrc_entry_does_not_replace_the_key(tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with SimulatedProvider(keys={"the-key"}) as provider:
        settings = Settings(together_api_key="the-key", together_base_url=provider.base_url)
        asyncio.run(Models(settings).chat(REQUEST, Context()).ainvoke("Heat pumps."))
        assert provider.bill.calls[0].key_tail == "-key"


def test_there_is_one_client_for_all_models():
    assert shared_client() is shared_client()


def test_connecting_takes_at_most_ten_seconds():
    assert (timeouts(120).connect, timeouts(120).read, timeouts(2).connect) == (10, 120, 2)
