"""Start a run or resume one: wait for it, await it, or watch it.

`prepare` and `prepare_resume` check everything that can be checked before a model is called.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any, Unpack, cast, overload

from langchain_core.runnables import Runnable
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import get_runtime

from aideon_agents import settings as environment
from aideon_agents.errors import InputError, UserError, refuse_kinds, shown
from aideon_agents.graphs import Graph, Node, Typed
from aideon_agents.graphs.topology import changes, model
from aideon_agents.ledger.budgets.limits import Budget
from aideon_agents.ledger.handler import context_in
from aideon_agents.ledger.rows import Run
from aideon_agents.models.bridge import blocking
from aideon_agents.models.pictures import pictures, referred
from aideon_agents.patterns import sequential
from aideon_agents.runner.options import KINDS, ResumeOptions, RunOptions, config_of
from aideon_agents.runner.outcome import AT_PROVIDER, DECLINED, ItemJournal
from aideon_agents.runner.pictures import with_pictures
from aideon_agents.runner.result import Event, RunResult
from aideon_agents.runner.resume_state import models_again
from aideon_agents.runner.running import Running, open_ledger
from aideon_agents.runner.spec import (
    NOTHING,
    RunSpec,
    check_length,
    check_models,
    check_task,
    context_for,
    graph_input,
    keeping,
    needed_keeping,
)
from aideon_agents.state import DataT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping


def prepare(
    graph: Graph | Node, task: str, *, stream: bool = False, **options: Unpack[RunOptions]
) -> Running:
    """Check a run, and return it ready to begin. `stream`: whether model calls stream."""
    spec = run_spec(graph, stream=stream, **options)
    if (given := options.get("images")) is not None:
        spec = with_pictures(spec, pictures(given))
    inputs = options.get("inputs") or {}
    check_task(spec.graph, task, inputs)
    check_length(task, check_models(spec.graph, spec.context))
    images = spec.context.images
    start = dataclasses.replace(spec.start, graph=model(spec.graph))
    entry = graph_input(spec.graph, task, inputs, images)
    return Running(dataclasses.replace(spec, start=start, task=task, entry=entry))


_POLICY = ("on_rate_limit", "cache", "privacy", "quality", "replace_retired")
"""Options that are kept as they are given, for a run that resumes."""


def run_spec(
    graph: Graph | Node,
    *,
    stream: bool = False,
    is_item: bool = False,
    **options: Unpack[RunOptions],
) -> RunSpec:
    """Everything that runs, or a batch's items, with these options have in common: not id and task."""
    _refuse_wrong(options, RunOptions)
    settings, graph = options.get("settings") or environment.load(), compiled(graph)
    policy = {name: options.get(name) for name in _POLICY}
    is_cut_off = settings.offline and settings.rehearses
    context = context_for(
        settings,
        tier=options.get("tier"),
        user=options.get("user") or settings.user,
        model=options.get("model"),
        stream=stream,
        rehearse=options.get("rehearse", False) or is_cut_off or _is_in_a_rehearsal(),
        fallback=options.get("fallback", True),
        **policy,
        is_item=is_item,
    )
    timeout, thread = options.get("timeout"), options.get("thread")
    record_content, chains = options.get("record_content", False), context.model.items()
    callbacks, given = options.get("callbacks"), options.get("config")
    start = Run(
        workflow=options.get("workflow") or graph.get_name(),
        user=context.user,
        tier=context.tier,
        thread=thread,
        rehearsed=context.rehearse,
        options={
            "model": {role: [str(one) for one in chain] for role, chain in chains},
            "objects": [role for role, chain in chains if {*map(type, chain)} != {str}],
            "timeout": timeout,
            "stream": stream,
            "record_content": record_content,
            "fallback": context.fallback,
            "on_rate_limit": context.on_rate_limit,
            **{name: one for name in (*_POLICY, "allow_outside") if (one := options.get(name))},
        },
        **cast("Any", {one: options.get(one) for one in ("target", "target_hash", "origin")}),
    )
    return RunSpec(
        graph=graph,
        context=context,
        start=start,
        timeout=timeout,
        budget=Budget.of(options.get("budget")),
        ledger=options.get("ledger") or settings.ledger,
        record_content=record_content,
        checkpoint=(
            needed_keeping(graph, thread, options.get("budget"))
            if (keeps := options.get("checkpoint")) is None
            else keeping(keeps)
        ),
        config=config_of(callbacks, given) if callbacks or given else None,
        otel=settings.otel,
    )


def _is_in_a_rehearsal() -> bool:
    """Whether this is called inside a node of a rehearsed run, where nothing may be paid."""
    if var_child_runnable_config.get() is None:
        return False
    around: Any = None
    with contextlib.suppress(RuntimeError, KeyError):  # outside a graph
        around = getattr(get_runtime(), "context", None)
    contexts = around, context_in(var_child_runnable_config.get())
    return any(getattr(one, "rehearse", False) for one in contexts)


_ANY = (object, bool), ""


def _refuse_wrong(options: Mapping[str, Any], known: type) -> None:
    """Refuse an option that `known`, a TypedDict, does not have, and a value of another kind."""
    for name, value in options.items():
        if name not in known.__annotations__:
            raise TypeError(f"a run has no option {name!r}: {', '.join(known.__annotations__)}")
        kinds, allowed = KINDS.get(name, _ANY)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise InputError(f"{name} must be {allowed}, not {shown(value)}")
    timeout, thread = options.get("timeout"), options.get("thread")
    if timeout is not None and not timeout > 0:  # nan leaves none either
        raise InputError(f"a timeout of {timeout:g} s leaves no time: give more than 0")
    if thread is not None and not thread.strip():
        raise InputError("a thread needs a name, and it is empty")


def compiled(graph: Graph | Node) -> Graph:
    """A graph to run: a node alone becomes one."""
    if isinstance(graph, CompiledStateGraph):
        return cast("Graph", graph)
    if not callable(graph) and not isinstance(cast("object", graph), Runnable):
        raise UserError(
            f"the graph is {shown(graph)}: it must be a compiled graph, an agent or a function"
        )
    return sequential(graph)


@overload
def run(graph: Typed[DataT], task: str, **options: Unpack[RunOptions]) -> RunResult[DataT]: ...
@overload
def run(graph: Graph | Node, task: str, **options: Unpack[RunOptions]) -> RunResult: ...
def run(graph: Graph | Node, task: str = "", **options: Unpack[RunOptions]) -> RunResult[Any]:
    """Run a workflow and wait for it.

    Args:
        graph: A compiled graph, or a node.
        task: What the user wants, in words.
        **options: See `RunOptions`.

    Returns:
        The result, also of a run that failed or was stopped: look at `status`, or call
        `raise_for_status()`. A type checker knows the class of its `data` where the last node has an
        `output`.

    Raises:
        UserError: The caller's mistake; no model was called.
    """
    return blocking(arun(graph, task, **options))


@overload
async def arun(
    graph: Typed[DataT], task: str, **options: Unpack[RunOptions]
) -> RunResult[DataT]: ...
@overload
async def arun(graph: Graph | Node, task: str, **options: Unpack[RunOptions]) -> RunResult: ...
async def arun(graph: Graph | Node, task: str, **options: Unpack[RunOptions]) -> RunResult[Any]:
    """Run a workflow, as `run` does.

    Args:
        graph: A compiled graph, or a node.
        task: What the user wants, in words.
        **options: See `RunOptions`.

    Returns:
        The result, as from `run`.

    Raises:
        UserError: The caller's mistake; no model was called.
    """
    return await prepare(graph, task, **options).to_end()


async def astream(
    graph: Graph | Node, task: str, **options: Unpack[RunOptions]
) -> AsyncGenerator[Event]:
    """Run a workflow and watch it. Its model calls stream.

    The run does not wait for its watcher. Closing the iterator early cancels the run;
    `contextlib.aclosing` closes it at the end of a block.

    Args:
        graph: A compiled graph, or a node.
        task: What the user wants, in words.
        **options: See `RunOptions`.

    Yields:
        Events as they happen; the last one is `RunEnded`, with the result.

    Raises:
        UserError: The caller's mistake; no model was called.
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


@overload
def resume(
    graph: Typed[DataT], run: str = "last", **options: Unpack[ResumeOptions]
) -> RunResult[DataT]: ...
@overload
def resume(
    graph: Graph | Node, run: str = "last", **options: Unpack[ResumeOptions]
) -> RunResult: ...
def resume(
    graph: Graph | Node, run: str = "last", **options: Unpack[ResumeOptions]
) -> RunResult[Any]:
    """Resume a run that ended early, and wait for it.

    It was stopped, failed, was cancelled or killed, or waits for an answer. Nodes that completed do
    not run again: only what was refused, failed or was still running does. It is the same run with
    the same id, and what it costs is added to its row.

    Args:
        graph: What was run. Its code may have changed; its nodes and edges must be the same.
        run: A run id, the unique beginning of one, or `last`.
        **options: See `ResumeOptions`.

    Returns:
        The result, also of a run that failed or was stopped again.

    Raises:
        UserError: It cannot resume, or the answer does not fit; no model was called.
    """
    return blocking(aresume(graph, run, **options))


@overload
async def aresume(
    graph: Typed[DataT], run: str = "last", **options: Unpack[ResumeOptions]
) -> RunResult[DataT]: ...
@overload
async def aresume(
    graph: Graph | Node, run: str = "last", **options: Unpack[ResumeOptions]
) -> RunResult: ...
async def aresume(
    graph: Graph | Node, run: str = "last", **options: Unpack[ResumeOptions]
) -> RunResult[Any]:
    """Resume a run that ended early, as `resume` does.

    Args:
        graph: What was run; its nodes and edges must be the same.
        run: A run id, the unique beginning of one, or `last`.
        **options: See `ResumeOptions`.

    Returns:
        The result, as from `resume`.

    Raises:
        UserError: It cannot resume, or the answer does not fit; no model was called.
    """
    return await prepare_resume(graph, run, **options).to_end()


def prepare_resume(
    graph: Graph | Node,
    run: str = "last",
    *,
    stream: bool = False,
    **options: Unpack[ResumeOptions],
) -> Running:
    """Check a run that resumes, and return it ready to begin.

    `stream`: whether model calls stream, also if they did not before.
    """
    _refuse_wrong(options, ResumeOptions)
    refuse_kinds({"run": run}, {"run": (str, "a run id or last")})
    settings = options.get("settings") or environment.load()
    with open_ledger(where := options.get("ledger") or settings.ledger) as opened:
        seen = opened.find_run(run)
    refuse_unless_resumable(seen)
    seen.origin = options.get("origin")
    graph = compiled(graph)
    if seen.graph is not None and (changed := changes(seen.graph, model(graph))):
        raise UserError(
            f"run {seen.run_id} cannot resume: its workflow has other nodes or edges than when it "
            f"began ({changed}): put them back, or start a new run"
        )
    if settings.rehearses and not seen.rehearsed:
        raise UserError(f"AIDEON_OFFLINE is set, and run {seen.run_id} asks models: unset it")
    if not seen.rehearsed and _is_in_a_rehearsal():
        raise UserError(
            f"run {seen.run_id} asks models, and cannot resume in a node of a run that is rehearsed"
        )
    before = seen.options or {}
    context = context_for(
        settings,
        tier=seen.tier,
        user=seen.user,
        model=models_again(seen, options.get("model")),
        stream=stream or before.get("stream", False),
        rehearse=seen.rehearsed,
        fallback=before.get("fallback", True),
        **{name: before.get(name) for name in _POLICY},
        is_item=seen.batch_id is not None,
    )
    context = dataclasses.replace(context, images=referred(before.get("images"), checks=True))
    check_models(graph, context)
    spec = RunSpec(
        graph=graph,
        context=context,
        start=seen,
        timeout=before.get("timeout"),
        budget=Budget.of(options.get("budget")),
        ledger=where,
        record_content=before.get("record_content", False),
        resumes=seen,
        answer=options.get("answer", NOTHING),
        config=config_of(options.get("callbacks"), options.get("config")),
        otel=settings.otel,
        journal=None if seen.batch_id is None else ItemJournal(seen),
    )
    return Running(spec)


def refuse_unless_resumable(seen: Run) -> None:
    """Refuse to resume a run that is completed, was declined, still runs, or waits for a provider."""
    if seen.status == "running":
        raise UserError(f"run {seen.run_id} is still running: interrupt it, or wait for its end")
    if seen.status == "completed":
        raise UserError(f"run {seen.run_id} is completed: there is nothing left to do")
    if seen.stop_reason == DECLINED:
        raise UserError(f"run {seen.run_id} was declined: start it again")
    if seen.stop_reason == AT_PROVIDER:
        raise UserError(
            f"run {seen.run_id} waits for a batch at a provider: repeat the command of batch "
            f"{seen.batch_id}"
        )
