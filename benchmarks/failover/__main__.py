"""How calls get through while providers die and come back, beside LangChain's bare `with_fallbacks`.

    python benchmarks/failover [--seconds 200] [--users 100] [--seed 1]

Users ask a chain of three models at three simulated providers (real HTTP on loopback), which fail by a
plan: refused connections, 500, 429, hangs, garbage, cut answers, a model that is gone. At least one
provider always lives. The bare chain has the same models, time limits and plan. Calls are counted from
LangChain's events, one for each attempt; a probe from what a dead provider receives after it has failed
for long enough to be left alone.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import statistics
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.callbacks import BaseCallbackHandler
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from aideon_agents import Context, Settings
from aideon_agents.models import Models
from aideon_agents.state import ModelRequest
from aideon_agents.testing import Fault, SimulatedProvider

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

NAMES = ("together", "openai", "huggingface")
ANSWER = 0.2
"""Seconds that an answer takes."""
LIMIT = 3.0
"""Seconds that one attempt may take."""
THINK = 1.0
"""Seconds, at most, between two questions of a user."""
REST = 4.0
"""Seconds of the shortest rest after failures: 5, with jitter."""
OPENED = 0.5
"""Seconds until calls that were on their way to a provider that dies have ended, besides `LIMIT`."""
LIMITED = 429
"""It says when the limit resets. It is waited for or left out, and no probe."""
KINDS: tuple[Any, ...] = (
    500,
    "refused",
    "garbage",
    "hang",
    "reset_before",
    "truncated_body",
    404,
    LIMITED,
)
DEAD = ((0,), (0, 1), (1, 2))
"""Which providers die together, one after the other."""
MOST_WASTED = 0.03
"""Share of what the bare chain wastes."""


class Down(NamedTuple):
    """A provider fails from one time until another, in seconds since the begin."""

    provider: int
    kind: Any
    begin: float
    end: float


def plan(seconds: float, seed: int) -> list[Down]:
    """Each kind once, in random order, with a pause between them."""
    kinds = random.Random(seed).sample(KINDS, len(KINDS))
    each = seconds / len(kinds)
    return [
        Down(provider, kind, (nth + 0.1) * each, (nth + 0.9) * each)
        for nth, kind in enumerate(kinds)
        for provider in DEAD[nth % len(DEAD)]
    ]


class Provider:
    """A simulated provider that fails by the plan; what it received, by time and fault."""

    def __init__(self, number: int, downs: Sequence[Down]) -> None:
        self._number = number
        self._downs = [down for down in downs if down.provider == number]
        self.received: list[tuple[float, Any]] = []
        self.began = math.inf  # it lives until the plan begins
        self._running = self._made(0)
        self.base_url = self._running.base_url

    def _made(self, port: int) -> SimulatedProvider:
        return SimulatedProvider(faults=self._fault, announce=False, port=port).start()

    def _fault(self, _request: Any) -> Fault:
        at = time.monotonic() - self.began
        down = next((down for down in self._downs if down.begin <= at < down.end), None)
        self.received.append((at, down and down.kind))
        if down is None:
            return Fault("delay", seconds=ANSWER)
        return Fault(down.kind, retry_after=down.end - at if down.kind == LIMITED else None)

    async def play(self) -> None:
        """Stop listening where the plan says that connections are refused."""
        for down in self._downs:
            if down.kind == "refused":
                await asyncio.sleep(max(0.0, self.began + down.begin - time.monotonic()))
                await asyncio.to_thread(self._running.close)
                await asyncio.sleep(max(0.0, self.began + down.end - time.monotonic()))
                self._running = await asyncio.to_thread(self._made, self._running.port)

    def close(self) -> None:
        """Stop serving."""
        self._running.close()


class Failure(NamedTuple):
    """An attempt that failed, with its model; times are on the monotonic clock."""

    model: str
    begin: float
    end: float


class Counted(BaseCallbackHandler):
    """Counts attempts and their failures."""

    run_inline = True

    def __init__(self) -> None:
        self.began: dict[UUID, tuple[float, str]] = {}
        self.failures: list[Failure] = []

    def on_chat_model_start(self, *_: Any, run_id: UUID, **about: Any) -> None:
        """An attempt begins."""
        model = (about.get("invocation_params") or {}).get("model", "")
        self.began[run_id] = time.monotonic(), str(model)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """An attempt has failed."""
        if not isinstance(error, asyncio.CancelledError):
            began, model = self.began[run_id]
            self.failures.append(Failure(model, began, time.monotonic()))


class Measured(NamedTuple):
    """What came of a plan."""

    asked: int
    answered: int
    calls: int
    failed: int
    unforeseen: int
    """How many of them began before the first failure of their provider's death was known."""
    latencies: list[float]
    probes: list[int]
    """For each time that a provider died, the most calls that it received within one rest."""

    def wasted(self) -> float:
        """Share of the calls that failed."""
        return self.failed / max(1, self.calls)

    def added(self, percent: int) -> float:
        """Milliseconds beyond what an answer takes, at a percentile."""
        cuts = statistics.quantiles(self.latencies, n=100, method="inclusive")
        return (cuts[percent - 1] - ANSWER) * 1000


def ours(providers: Sequence[Provider]) -> Any:
    """A chain of this package."""
    keys = ("together_api_key", "openai_api_key", "hf_token")
    addresses = ("together_base_url", "openai_base_url", "hf_base_url")
    known = dict.fromkeys(keys, f"key-{time.monotonic()}")
    known |= dict(zip(addresses, (one.base_url for one in providers), strict=True))
    names = tuple(f"{name}:model-{nth}" for nth, name in enumerate(NAMES))
    request = ModelRequest(role="executor", model=names, timeout=LIMIT * len(NAMES))
    return Models(Settings(**known, model_concurrency=200)).chat(request, Context())


def bare(providers: Sequence[Provider]) -> Any:
    """LangChain's own chain of the same models."""
    first, *others = (
        ChatOpenAI(
            model=f"model-{nth}",
            base_url=one.base_url,
            api_key=SecretStr("k"),
            timeout=LIMIT,
            max_retries=0,
        )
        for nth, one in enumerate(providers)
    )
    return first.with_fallbacks(others)


async def measured(make: Any, downs: Sequence[Down], seconds: float, users: int) -> Measured:
    """Let users ask a chain while its providers fail by the plan."""
    providers = [Provider(number, downs) for number in range(len(NAMES))]
    chain, counted = make(providers), Counted()
    await chain.ainvoke("Warm up.")
    began = time.monotonic()
    for one in providers:
        one.began = began
        one.received.clear()
    playing = [asyncio.create_task(one.play()) for one in providers]
    asked, latencies = [0], list[float]()

    async def use(number: int) -> None:
        drawn = random.Random(number)
        await asyncio.sleep(drawn.uniform(0, THINK))
        while (at := time.monotonic()) < began + seconds:
            asked[0] += 1
            try:
                await chain.ainvoke("Say a word.", {"callbacks": [counted]})
            except Exception as error:  # noqa: BLE001 - whatever it is, there is no answer
                if make is ours:
                    print(f"not answered at {at - began:.1f} s: {str(error)[:300]}", flush=True)
            else:
                latencies.append(time.monotonic() - at)
            await asyncio.sleep(drawn.uniform(0, THINK))

    await asyncio.gather(*(use(number) for number in range(users)))
    await asyncio.gather(*playing)
    for one in providers:
        one.close()
    events = [(at - began, model) for at, model in counted.began.values()]
    failures = [Failure(one.model, one.begin - began, one.end - began) for one in counted.failures]
    probes = [
        probes_of(down, providers[down.provider], events) for down in downs if down.kind != LIMITED
    ]
    unforeseen = sum(unforeseen_of(down, failures) for down in downs)
    return Measured(
        asked[0], len(latencies), len(events), len(failures), unforeseen, latencies, probes
    )


def unforeseen_of(down: Down, failures: Sequence[Failure]) -> int:
    """How many calls to a provider that died began before the first of them had failed."""
    of_death = [
        one
        for one in failures
        if one.model == f"model-{down.provider}" and down.begin <= one.end < down.end
    ]
    first = min((one.end for one in of_death), default=0.0)
    return sum(one.begin <= first for one in of_death)


def probes_of(down: Down, provider: Provider, events: Sequence[tuple[float, str]]) -> int:
    """The most calls that a dead provider received within one rest, once it was left alone."""
    received = [at for at, kind in provider.received if kind == down.kind]
    if down.kind == "refused":  # nothing arrives
        received = [at for at, model in events if model == f"model-{down.provider}"]
    begin = down.begin + OPENED + LIMIT
    times = [at for at in received if begin <= at < down.end]
    return max((sum(at <= other < at + REST for other in times) for at in times), default=0)


async def main(seconds: float, users: int, seed: int) -> int:
    """Print each figure beside its bar; returns 1 if one is missed."""
    downs = plan(seconds, seed)
    beside = await measured(bare, downs, seconds, users)
    found = await measured(ours, downs, seconds, users)
    for name, one in (("with_fallbacks", beside), ("aideon_agents", found)):
        print(
            f"{name:15} asked {one.asked:,}, answered {one.answered / one.asked:.2%}, calls {one.calls:,}, "
            f"wasted {one.failed:,} = {one.wasted():.2%} ({one.unforeseen:,} of them in flight when the "
            f"first failure of a death was known), probes per half-open at most {max(one.probes)}, "
            f"added latency p50 {one.added(50):.0f} ms, p95 {one.added(95):.0f} ms"
        )
    share = found.wasted() / max(beside.wasted(), 1e-9)
    bars = {
        f"answered {found.answered / found.asked:.2%} (bar 100 %)": found.answered == found.asked,
        f"wasted {share:.2%} of what with_fallbacks wastes (bar 3 %)": share < MOST_WASTED,
        f"probes per half-open {max(found.probes)} (bar 1)": max(found.probes) <= 1,
    }
    for text, is_met in bars.items():
        print(f"{text}{'' if is_met else '   MISSED'}")
    return 0 if all(bars.values()) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=200.0, help="how long each chain is used")
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    raise SystemExit(asyncio.run(main(given.seconds, given.users, given.seed)))
