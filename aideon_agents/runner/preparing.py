"""What a run is given: an id and a Context, once everything that can be checked has been."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Unpack, cast

from langgraph.graph.state import CompiledStateGraph

from aideon_agents import settings as environment
from aideon_agents.ledger.budgets.budget import Budget
from aideon_agents.ledger.rows import RunStart
from aideon_agents.models import Models
from aideon_agents.patterns import sequential
from aideon_agents.runner import conversation
from aideon_agents.runner.changes import model
from aideon_agents.runner.checks import chains, check, known_tier
from aideon_agents.runner.options import refuse_unknown
from aideon_agents.runner.roots import Root
from aideon_agents.runner.series import Common
from aideon_agents.state import Context

if TYPE_CHECKING:
    from aideon_agents.patterns.nodes import Graph, Node
    from aideon_agents.runner.options import RunOptions
    from aideon_agents.runner.running import Running


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
        thread=conversation.checked(options.get("thread")),
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
