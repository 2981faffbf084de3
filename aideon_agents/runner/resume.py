"""Resume a run that ended early: it was stopped, failed, was cancelled or killed, or it waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aideon_agents import settings as environment
from aideon_agents.errors import UserError
from aideon_agents.graphs import Graph, Node
from aideon_agents.graphs.topology import changes, model
from aideon_agents.ledger.budgets.limits import Amount, Budget
from aideon_agents.ledger.rows import Run
from aideon_agents.ledger.store import Ledger
from aideon_agents.models import Models
from aideon_agents.models.bridge import blocking
from aideon_agents.runner.checks import chains, check_models, known_tier
from aideon_agents.runner.outcome import DECLINED, ItemJournal
from aideon_agents.runner.result import RunResult
from aideon_agents.runner.running import Running, open_ledger
from aideon_agents.runner.spec import NOTHING, RunSpec
from aideon_agents.runner.start import compiled
from aideon_agents.settings import Settings
from aideon_agents.state import Context

if TYPE_CHECKING:
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
    """Resume a run that ended early, and wait for it.

    Nodes that completed do not run again: only what was refused, failed or was still running does.
    It is the same run with the same id, and what it costs is added to its row.

    Args:
        graph: What was run. Its code may have changed; its nodes and edges must be the same.
        run: A run id, the unique beginning of one, or `last`.
        answer: The answer to a waiting run: to one question the answer itself, to several
            `{id: answer}`. None is an answer.
        budget: What it may cost in all, in US dollars: what it has spent counts. None: as before.
        ledger: Where it is written: a ledger, or a path; None: the Settings'.
        settings: The environment; None: read now.

    Returns:
        The result, also of a run that failed or was stopped again.

    Raises:
        UserError: It cannot resume, or the answer does not fit; no model was called.
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
    """Resume a run that ended early, as `resume` does.

    Args:
        graph: What was run; its nodes and edges must be the same.
        run: A run id, the unique beginning of one, or `last`.
        answer: The answer to a waiting run; None is an answer.
        budget: What it may cost in all, in US dollars; None: as before.
        ledger: Where it is written: a ledger, or a path; None: the Settings'.
        settings: The environment; None: read now.

    Returns:
        The result, as from `resume`.

    Raises:
        UserError: It cannot resume, or the answer does not fit; no model was called.
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
    """Check a run that resumes, and return it ready to begin.

    `stream`: whether model calls stream, also if they did not before.
    """
    settings = settings or environment.load()
    with open_ledger(where := ledger or settings.ledger) as opened:
        seen = opened.find_run(run)
    refuse_unless_resumable(seen)
    graph = compiled(graph)
    if seen.graph is not None and (changed := changes(seen.graph, model(graph))):
        raise UserError(
            f"run {seen.run_id} cannot resume: its workflow has other nodes or edges than when it "
            f"began ({changed}): put them back, or start a new run"
        )
    if settings.offline and not seen.rehearsed:
        raise UserError(f"AIDEON_OFFLINE is set, and run {seen.run_id} asks models: unset it")
    options = seen.options or {}
    context = Context(
        models=Models(settings),
        tier=known_tier(seen.tier or settings.tier),
        user=seen.user,
        model=chains(options.get("model")),
        stream=stream or options.get("stream", False),
        rehearse=seen.rehearsed,
    )
    check_models(graph, context)
    start = Run(
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
    spec = RunSpec(
        graph=graph,
        context=context,
        start=start,
        timeout=options.get("timeout"),
        budget=None if budget is None else Budget.of(budget),
        ledger=where,
        record_content=options.get("record_content", False),
        resumes=seen,
        answer=answer,
        journal=None if seen.batch_id is None else ItemJournal(start),
    )
    return Running(spec)


def refuse_unless_resumable(seen: Run) -> None:
    """Refuse to resume a run that is completed, was declined, or still runs."""
    if seen.status == "running":
        raise UserError(f"run {seen.run_id} is still running: interrupt it, or wait for its end")
    if seen.status == "completed":
        raise UserError(f"run {seen.run_id} is completed: there is nothing left to do")
    if seen.stop_reason == DECLINED:
        raise UserError(f"run {seen.run_id} was declined: start it again")
