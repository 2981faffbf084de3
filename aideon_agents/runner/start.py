"""The ways to start a run: wait for it, await it, or watch it.

What a run can be told, the same for every way to start one.

What a run is given: an id and a Context, once everything that can be checked has been.

What runs have in common that are told the same: worked out once, also for a million of them.

What a workflow costs at most, found by rehearsing it at its dearest.

Every loop comes round until its rounds are used up and every answer is as long as `max_tokens`
lets it be, so each prompt that quotes one is as long as it can get. The routes and the number of
planned steps are those of an ordinary rehearsal, and nothing fails: no retries, no fallbacks.
"""

from __future__ import annotations

import asyncio
import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, cast

from langgraph.graph.state import CompiledStateGraph

from aideon_agents import settings as environment
from aideon_agents.graphs import Graph, Node
from aideon_agents.graphs.topology import model
from aideon_agents.ledger.batch_items import ItemStart
from aideon_agents.ledger.budgets.limits import Amount, Budget
from aideon_agents.ledger.checkpointer import Checkpoints
from aideon_agents.ledger.costs import Cost
from aideon_agents.ledger.rows import RunStart
from aideon_agents.ledger.store import Ledger
from aideon_agents.models import Models
from aideon_agents.models.bridge import blocking
from aideon_agents.patterns import sequential
from aideon_agents.runner import state
from aideon_agents.runner.checks import chains, check, known_tier
from aideon_agents.runner.result import Event, RunResult
from aideon_agents.runner.roots import Root
from aideon_agents.runner.running import Earlier, Running
from aideon_agents.settings import Settings
from aideon_agents.state import Context, Tier

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence


class RunOptions(TypedDict, total=False):
    """Everything that may be said about a run besides its graph and its task."""

    inputs: Mapping[str, Any] | None
    """Whatever else nodes need, by key."""
    tier: Tier | None
    """free, premium or enterprise; None: the Settings'."""
    user: str | None
    """Who it is for; None: the Settings'."""
    model: Mapping[str, str | Sequence[str]] | None
    """`{role: "provider:model"}`, or a list for a chain; it replaces the choice."""
    budget: Budget | Amount | None
    """US dollars that it may cost, or a `Budget`; whatever does not fit is not asked for, and the
    run stops. None: only what stands in the ledger limits it."""
    timeout: float | None
    """Seconds until it is stopped; None: never."""
    rehearse: bool
    """Answer every call by rule: nothing is paid, nothing leaves the process."""
    thread: str | None
    """The conversation that it goes on with; None: it stands alone. What its nodes say is then
    kept in `checkpoints.db` beside the ledger, for the runs that come after it."""
    checkpoint: bool
    """Whether its state is kept, beside the ledger and until it completes, so that it can go on
    after a stop, a crash or a question; True unless given."""
    record_content: bool
    """Keep every prompt and answer in the ledger; by default it holds no word of either."""
    ledger: Ledger | str | Path | None
    """Where to write what it costs: a ledger, or a path; None: the Settings'."""
    settings: Settings | None
    """The environment; None: read now."""
    workflow: str | None
    """What reports call it; None: the graph's name."""
    target: str | None
    """The address it was loaded from, for its row."""
    target_hash: str | None
    """SHA-256 of the file there, for its row; None: it was a graph that was at hand."""


def refuse_unknown(options: Mapping[str, Any]) -> None:
    """Refuse a word that no option has, as a function with these parameters would."""
    unknown = [word for word in options if word not in RunOptions.__annotations__]
    if unknown:
        raise TypeError(
            f"a run has no option {unknown[0]!r}: {', '.join(RunOptions.__annotations__)}"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Common:
    """Everything about a run but its id, its task and its inputs; fields as in `Running`."""

    root: Root
    context: Context
    start: RunStart
    """The beginning of every run's row."""
    seconds: float | None
    budget: Budget | None
    ledger: Ledger | str | Path
    records: bool
    keeps: bool
    saver: Checkpoints | None = None

    def running(
        self,
        start: RunStart,
        task: str,
        entry: dict[str, Any],
        *,
        earlier: Earlier | None = None,
        item: ItemStart | None = None,
    ) -> Running:
        """One run, about to begin."""
        return Running(
            root=self.root,
            task=task,
            entry=entry,
            context=self.context,
            start=start,
            seconds=self.seconds,
            budget=self.budget,
            ledger=self.ledger,
            records=self.records,
            keeps=self.keeps,
            saver=self.saver,
            earlier=earlier,
            item=item,
        )


def prepare(
    graph: Graph | Node, task: str, *, stream: bool = False, **options: Unpack[RunOptions]
) -> Running:
    """Check everything that can be checked before a run begins."""
    made = common(graph, stream=stream, **options)
    inputs = options.get("inputs") or {}
    check(made.root.graph, task, inputs, made.context, made.seconds)
    start = dataclasses.replace(made.start, graph=model(made.root.graph))
    return made.running(start, task, made.root.entry(task, inputs))


def common(graph: Graph | Node, *, stream: bool = False, **options: Unpack[RunOptions]) -> Common:
    """Work out what a run is given besides its task."""
    refuse_unknown(options)
    settings = options.get("settings") or environment.load()
    root = Root(compiled(graph))
    context = Context(
        models=Models(settings),
        tier=known_tier(options.get("tier") or settings.tier),
        user=options.get("user") or settings.user,
        model=chains(options.get("model")),
        stream=stream,
        rehearse=options.get("rehearse", False) or settings.offline,
    )
    seconds, limit = options.get("timeout"), options.get("budget")
    records = options.get("record_content", False)
    start = RunStart(
        workflow=options.get("workflow") or root.graph.get_name(),
        target=options.get("target"),
        user=context.user,
        tier=context.tier,
        thread=state.checked(options.get("thread")),
        rehearsed=context.rehearse,
        options={
            "model": {role: list(chain) for role, chain in context.model.items()},
            "timeout": seconds,
            "stream": stream,
            "record_content": records,
        },
        target_hash=options.get("target_hash"),
    )
    return Common(
        root=root,
        context=context,
        start=start,
        seconds=seconds,
        budget=None if limit is None else Budget.of(limit),
        ledger=options.get("ledger") or settings.ledger,
        records=records,
        keeps=options.get("checkpoint", True),
    )


def compiled(graph: Graph | Node) -> Graph:
    """A graph to run: a node alone becomes one."""
    if isinstance(graph, CompiledStateGraph):
        return cast("Graph", graph)
    return sequential(graph)


def run(graph: Graph | Node, task: str, **options: Unpack[RunOptions]) -> RunResult:
    """Run a workflow and wait for it.

    Args:
        graph: A compiled graph, or a node.
        task: What the user wants, in words.
        **options: See `RunOptions`.

    Returns:
        What came of it, also when it failed or was stopped: look at `status`, or call
        `raise_for_status()`.

    Raises:
        UserError: The caller's mistake; nothing was called.
    """
    return blocking(arun(graph, task, **options))


async def arun(graph: Graph | Node, task: str, **options: Unpack[RunOptions]) -> RunResult:
    """Run a workflow.

    Args:
        graph: A compiled graph, or a node.
        task: What the user wants, in words.
        **options: See `RunOptions`.

    Returns:
        What came of it, also when it failed or was stopped: look at `status`, or call
        `raise_for_status()`.

    Raises:
        UserError: The caller's mistake; nothing was called.
    """
    return await prepare(graph, task, **options).to_end()


async def astream(
    graph: Graph | Node, task: str, **options: Unpack[RunOptions]
) -> AsyncGenerator[Event]:
    """Run a workflow and watch it. Its model calls stream.

    The run goes at its own pace, however slowly it is watched. Closing the iterator early cancels
    it; `contextlib.aclosing` does so at the end of a block.

    Args:
        graph: A compiled graph, or a node.
        task: What the user wants, in words.
        **options: See `RunOptions`.

    Yields:
        Events as they happen; the last one is `RunEnded`, with the result.

    Raises:
        UserError: The caller's mistake; nothing was called.
    """
    running = prepare(graph, task, stream=True, **options)
    events: asyncio.Queue[Event | None] = asyncio.Queue()
    work = asyncio.create_task(running.to_end(events.put_nowait))
    work.add_done_callback(lambda _: events.put_nowait(None))
    try:
        while (event := await events.get()) is not None:
            yield event
        work.result()
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def most(running: Running) -> Cost:
    """Rehearse a run once more, at its dearest.

    The graph's plain functions run once more as well. Nothing is written to the run's ledger.
    """
    with tempfile.TemporaryDirectory() as folder:
        dearest = dataclasses.replace(
            running,
            context=dataclasses.replace(running.context, longest=True),
            start=dataclasses.replace(running.start, thread=None),
            ledger=Path(folder) / "ledger.db",
            records=False,
            keeps=False,
        )
        result = await dearest.to_end()
    is_whole = result.cost.complete and result.status == "completed"
    return dataclasses.replace(result.cost, complete=is_whole)
