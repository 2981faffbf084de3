"""Going on with a run that ended before its end: stopped, failed, cancelled, killed, or asking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aideon_agents import settings as environment
from aideon_agents.errors import UserError
from aideon_agents.graphs import Graph, Node
from aideon_agents.graphs.topology import changes, model
from aideon_agents.ledger.budgets.limits import Amount, Budget
from aideon_agents.ledger.rows import Run, RunStart
from aideon_agents.ledger.store import Ledger
from aideon_agents.models import Models
from aideon_agents.models.bridge import blocking
from aideon_agents.runner.checks import chains, check_models, known_tier
from aideon_agents.runner.outcome import DECLINED
from aideon_agents.runner.result import RunResult
from aideon_agents.runner.resume_state import NOTHING
from aideon_agents.runner.roots import Root
from aideon_agents.runner.running import Earlier, Running, opened
from aideon_agents.runner.start import compiled
from aideon_agents.settings import Settings
from aideon_agents.state import Context

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def resume(
    graph: Graph | Node,
    run: str = "last",
    *,
    answer: object = NOTHING,
    budget: Budget | Amount | None = None,
    ledger: Ledger | str | Path | None = None,
    settings: Settings | None = None,
) -> RunResult:
    """Go on with a run that ended before its end, and wait for it.

    What its nodes have given is not asked for again: only what was refused, failed or was under
    way is done. It is the same run with the same id, and what it costs is added to its row.

    Args:
        graph: What was run, or what has become of it; its nodes and edges must be the same.
        run: A run id, the unique beginning of one, or `last`.
        answer: What a waiting run is told: to one question the answer itself, to several
            `{id: answer}`. None is an answer.
        budget: What it may cost from now on, in US dollars and in all: what it has spent counts.
            None: as before.
        ledger: Where it is written: a ledger, or a path; None: the Settings'.
        settings: The environment; None: read now.

    Returns:
        What came of it, also when it failed or was stopped again.

    Raises:
        UserError: It cannot go on, or the answer does not fit; nothing was called.
    """
    return blocking(
        aresume(graph, run, answer=answer, budget=budget, ledger=ledger, settings=settings)
    )


async def aresume(
    graph: Graph | Node,
    run: str = "last",
    *,
    answer: object = NOTHING,
    budget: Budget | Amount | None = None,
    ledger: Ledger | str | Path | None = None,
    settings: Settings | None = None,
) -> RunResult:
    """Go on with a run that ended before its end, as `resume` does.

    Args:
        graph: What was run; its nodes and edges must be the same.
        run: A run id, the unique beginning of one, or `last`.
        answer: What a waiting run is told: to one question the answer itself, to several
            `{id: answer}`. None is an answer.
        budget: What it may cost in all, in US dollars; None: as before.
        ledger: Where it is written: a ledger, or a path; None: the Settings'.
        settings: The environment; None: read now.

    Returns:
        What came of it, also when it failed or was stopped again.

    Raises:
        UserError: It cannot go on, or the answer does not fit; nothing was called.
    """
    running = prepare_resume(
        graph, run, answer=answer, budget=budget, ledger=ledger, settings=settings
    )
    return await running.to_end()


def prepare_resume(
    graph: Graph | Node,
    run: str = "last",
    *,
    answer: object = NOTHING,
    budget: Budget | Amount | None = None,
    stream: bool = False,
    ledger: Ledger | str | Path | None = None,
    settings: Settings | None = None,
) -> Running:
    """Check everything that can be checked before a run goes on."""
    settings = settings or environment.load()
    where = ledger or settings.ledger
    with opened(where) as book:
        seen = book.find_run(run)
    refuse_unless_resumable(seen)
    root = Root(compiled(graph))
    _refuse_changed(root.graph, seen)
    context = _context(seen, settings, stream=stream)
    check_models(root.graph, context)
    told = seen.options or {}
    return Running(
        root=root,
        task="",
        entry={},
        context=context,
        start=_start(seen),
        seconds=told.get("timeout"),
        budget=None if budget is None else Budget.of(budget),
        ledger=where,
        records=told.get("record_content", False),
        earlier=Earlier(seen=seen, answer=answer),
    )


def _context(seen: Run, settings: Settings, *, stream: bool) -> Context:
    """What the run was given when it began."""
    if settings.offline and not seen.rehearsed:
        raise UserError(f"AIDEON_OFFLINE is set, and run {seen.run_id} asks models: unset it")
    told: Mapping[str, Any] = seen.options or {}
    return Context(
        models=Models(settings),
        tier=known_tier(seen.tier or settings.tier),
        user=seen.user,
        model=chains(told.get("model")),
        stream=stream or told.get("stream", False),
        rehearse=seen.rehearsed,
    )


def _start(seen: Run) -> RunStart:
    return RunStart(
        workflow=seen.workflow,
        run_id=seen.run_id,
        target=seen.target,
        user=seen.user,
        tier=seen.tier,
        thread=seen.thread,
        rehearsed=seen.rehearsed,
        batch_id=seen.batch_id,
        item_id=seen.item_id,
    )


def refuse_unless_resumable(seen: Run) -> None:
    """Refuse to go on with a run that is done or on its way."""
    if seen.status == "running":
        raise UserError(f"run {seen.run_id} is still running: interrupt it, or wait for its end")
    if seen.status == "completed":
        raise UserError(f"run {seen.run_id} is completed: there is nothing left to do")
    if seen.stop_reason == DECLINED:
        raise UserError(f"run {seen.run_id} was declined: start it again")


def _refuse_changed(graph: Graph, seen: Run) -> None:
    if seen.graph is None:  # of a run from before it was kept
        return
    if told := changes(seen.graph, model(graph)):
        raise UserError(
            f"run {seen.run_id} cannot go on: its workflow has other nodes or edges than when it "
            f"began ({told}): put them back, or start a new run"
        )
