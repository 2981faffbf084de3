"""One run, in one of the ways in which people start, watch and stop workflows."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
from typing import TYPE_CHECKING, Any, Literal

from composing import Composer

from aideon_agents import Context, CostHandler, Ledger, Settings, aresume, arun, astream, run
from aideon_agents.errors import AideonError
from aideon_agents.models import Models

if TYPE_CHECKING:
    from collections.abc import Sequence

Way = Literal["run", "arun", "astream", "invoke", "ainvoke", "stream", "watch"]
WAYS: tuple[Way, ...] = ("run", "arun", "astream", "invoke", "ainvoke", "stream", "watch")
"""By the runner and bare, sync and async, with a viewer (astream, stream, watch) and without."""

_LIMITED = 0.5
"""The share of runs that have a budget."""

_SHARED = 0.2
"""The share of runs whose users share a standing budget."""

_MORE = "1"
"""US dollars that a run which its budget stopped goes on with."""

_TASK = (
    "Heat pumps move heat from outdoor air into a house. Installers are scarce in small towns."
    " A unit of 9 kW costs 12,000 euros and saves 900 euros a year. Say whether it pays."
)


@dataclasses.dataclass(frozen=True)
class Play:
    """What one run is and how it is started."""

    number: int
    seed: int
    way: Way
    streamed: bool
    """Whether model calls stream; the runner decides that by itself."""
    stop_after: float | None
    """Seconds until it is cancelled or runs out of time; None: it is left alone."""
    budget: str | None
    """US dollars that it may cost: some are tight, some wide; None: nothing limits it."""
    user: str | None
    """Whose standing budget it is on; None: on nobody's."""

    @property
    def name(self) -> str:
        """What reports call it."""
        return f"run {self.number} ({self.way})"


def plays(count: int, seed: int, stopped: float) -> list[Play]:
    """Draw runs.

    Args:
        count: How many.
        seed: The same seed gives the same runs.
        stopped: The share that is stopped on the way, 0 to 1.

    Returns:
        Every way and both kinds of call about equally often.
    """
    chance = random.Random(seed)
    return [
        Play(
            number=number,
            seed=chance.randrange(2**32),
            way=WAYS[number % len(WAYS)],
            streamed=chance.random() < 0.5,
            stop_after=chance.uniform(0.0, 1.0) if chance.random() < stopped else None,
            budget=f"{10 ** chance.uniform(-4.5, -2):.9f}" if chance.random() < _LIMITED else None,
            user=chance.choice(("ada", "bob")) if chance.random() < _SHARED else None,
        )
        for number in range(count)
    ]


async def play(one: Play, base_url: str, ledger: Ledger) -> str | None:
    """Play one run to whatever end it takes.

    Args:
        one: The run.
        base_url: The provider.
        ledger: Where its rows go.

    Returns:
        None, or one line about an error that is none of ours and so a bug.
    """
    work = asyncio.create_task(_started(one, base_url, ledger))
    if one.way not in {"run", "invoke", "stream"}:  # nobody can cancel a thread
        await asyncio.wait({work}, timeout=one.stop_after)
        if one.stop_after is not None:
            work.cancel()
    try:
        await work
    except (AideonError, asyncio.CancelledError):
        return None
    except Exception as error:  # noqa: BLE001 - whatever it is, it is reported
        return f"{one.name}: {type(error).__name__}: {error}"
    return None


def play_until_killed(some: Sequence[Play], base_url: str, path: str) -> None:
    """Play runs at the same time, in a process that does not live to see their end."""
    logging.disable(logging.WARNING)  # as in the parent

    async def every() -> None:
        with Ledger(path) as ledger:
            await asyncio.gather(*(play(one, base_url, ledger) for one in some))

    asyncio.run(every())


def _settings(one: Play, base_url: str) -> Settings:
    """Two providers and nobody else's keys; each run has its own, and so breakers of its own."""
    return Settings(
        together_api_key=f"together-{one.seed}-{one.number}",
        together_base_url=base_url,
        openai_api_key=f"openai-{one.seed}-{one.number}",
        openai_base_url=base_url,
        hf_token=None,
        local_base_url=None,
        catalog=None,
        profile="current",
        offline=False,
    )


async def _started(one: Play, base_url: str, ledger: Ledger) -> None:
    graph = Composer(random.Random(one.seed)).workflow()
    settings = _settings(one, base_url)
    if one.way in {"run", "arun", "astream"}:
        await _by_the_runner(one, graph, settings, ledger)
    else:
        await _bare(one, graph, Models(settings), ledger)


async def _by_the_runner(one: Play, graph: Any, settings: Settings, ledger: Ledger) -> None:
    """Run it; one that its budget stops goes on with more."""
    where: Any = {"settings": settings, "ledger": ledger}
    options = {**where, "workflow": one.name, "budget": one.budget, "user": one.user}
    if one.way == "run":
        result = await asyncio.to_thread(run, graph, _TASK, timeout=one.stop_after, **options)
    elif one.way == "arun":
        result = await arun(graph, _TASK, **options)
    else:
        events = [event async for event in astream(graph, _TASK, **options)]
        result = events[-1].result
    if result.stop_reason == "budget":
        await aresume(graph, result.run_id, budget=_MORE, **where)


async def _bare(one: Play, graph: Any, models: Models, ledger: Ledger) -> None:
    context = Context(models=models, stream=one.streamed)
    handler = CostHandler(ledger, workflow=one.name, budget=one.budget, user=one.user)
    config: Any = {"callbacks": [handler]}
    entry: Any = {"task": _TASK}
    if one.way == "ainvoke":
        await graph.ainvoke(entry, config, context=context)
    elif one.way == "invoke":
        await asyncio.to_thread(graph.invoke, entry, config, context=context)
    elif one.way == "watch":
        async for _ in graph.astream(
            entry, config, context=context, stream_mode=["messages", "updates"], subgraphs=True
        ):
            pass
    else:
        await asyncio.to_thread(
            lambda: list(graph.stream(entry, config, context=context, stream_mode="messages"))
        )
