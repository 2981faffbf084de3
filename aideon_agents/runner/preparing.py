"""What a run is given: an id and a Context, once everything that can be checked has been."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack, cast

from langgraph.graph.state import CompiledStateGraph

from aideon_agents import settings as environment
from aideon_agents.ledger.rows import RunStart
from aideon_agents.models import Models
from aideon_agents.patterns import sequential
from aideon_agents.runner import conversation
from aideon_agents.runner.checks import chains, check, known_tier
from aideon_agents.runner.options import refuse_unknown
from aideon_agents.runner.roots import Root
from aideon_agents.runner.running import Running
from aideon_agents.state import Context

if TYPE_CHECKING:
    from aideon_agents.patterns.nodes import Graph, Node
    from aideon_agents.runner.options import RunOptions


def prepare(
    graph: Graph | Node, task: str, *, stream: bool = False, **options: Unpack[RunOptions]
) -> Running:
    """Check everything that can be checked before a run begins.

    Args:
        graph: A compiled graph, or a node.
        task: What the user wants, in words.
        stream: Whether model calls stream.
        **options: See `RunOptions`.

    Returns:
        A run that is about to begin.

    Raises:
        UserError: The caller's mistake.
    """
    refuse_unknown(options)
    settings = options.get("settings") or environment.load()
    root = Root(_compiled(graph))
    inputs = options.get("inputs") or {}
    context = Context(
        models=Models(settings),
        tier=known_tier(options.get("tier") or settings.tier),
        user=options.get("user") or settings.user,
        model=chains(options.get("model")),
        stream=stream,
        rehearse=options.get("rehearse", False) or settings.offline,
    )
    seconds = options.get("timeout")
    check(root.graph, task, inputs, context, seconds)
    start = RunStart(
        workflow=options.get("workflow") or root.graph.get_name(),
        target=options.get("target"),
        user=context.user,
        tier=context.tier,
        thread=conversation.checked(options.get("thread")),
        rehearsed=context.rehearse,
    )
    return Running(
        root=root,
        task=task,
        entry=root.entry(task, inputs),
        context=context,
        start=start,
        seconds=seconds,
        ledger=options.get("ledger") or settings.ledger,
        records=options.get("record_content", False),
    )


def _compiled(graph: Graph | Node) -> Graph:
    if isinstance(graph, CompiledStateGraph):
        return cast("Graph", graph)
    return sequential(graph)
