"""Which edges a run took, by what LangGraph itself wrote down while it ran.

Nothing here knows our patterns or our drawing: a checkpointer keeps every task's writes, among them
the one that starts the next node, and the debug stream tells which tasks there were.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

if TYPE_CHECKING:
    from collections.abc import Collection

Way = tuple[str, str]

START, END = "__start__", "__end__"
_STARTS = "branch:to:"
_SENDS = "__pregel_tasks"
_OURS = [("aideon_agents.state", name) for name in ("StepResult", "Plan", "PlanStep", "Verdict")]
_OURS.append(("aideon_agents.patterns.iterative", "Rounds"))


@dataclass(frozen=True)
class _Task:
    name: str
    step: int
    inside: tuple[str, ...]
    """The tasks around it, from the outside in, by id."""


@dataclass
class Run:
    """What ran, and what started what."""

    tasks: dict[str, _Task] = field(default_factory=dict[str, _Task])
    ways: set[Way] = field(default_factory=set[Way])
    """Between tasks, and the starts and ends of what is around them."""
    places: dict[str, str] = field(default_factory=dict[str, str])
    """Where a task stands: the names from the outside in."""


def traced(graph: Any, inputs: dict[str, Any]) -> Run:
    """Run a graph and keep what LangGraph wrote down.

    Args:
        graph: One of plain functions.
        inputs: Of the run.

    Returns:
        Its tasks and what started them.
    """
    saver = InMemorySaver(serde=JsonPlusSerializer(allowed_msgpack_modules=_OURS))
    graph.checkpointer = saver
    run = Run()
    config = {"configurable": {"thread_id": "1"}, "recursion_limit": 1000}
    events = graph.stream(
        {"task": "t", "inputs": inputs}, config, stream_mode=["debug"], subgraphs=True
    )
    for space, _, event in events:
        if event["type"] == "task":
            around = tuple(part.rpartition(":")[2] for part in space)
            payload = event["payload"]
            run.tasks[payload["id"]] = _Task(payload["name"], event["step"], around)
    graph.checkpointer = None
    for one, task in run.tasks.items():
        names = [run.tasks[outer].name for outer in task.inside]
        run.places[one] = "|".join([*names, task.name])
    _read_ways(run, saver)
    return run


def taken(run: Run, nodes: Collection[str]) -> set[Way]:
    """The edges between nodes that a run took.

    Args:
        run: The run.
        nodes: The ids of the drawn nodes, names joined by `|`. What ran inside one of them is its
            own affair.

    Returns:
        Edges, from node to node.
    """
    # The steps of a plan are drawn as the worker that does them; here, each plan has one worker.
    workers = {one.rpartition("|")[0]: one for one in nodes if "|work|" in f"|{one}"}
    run.places = {one: workers.get(place, place) for one, place in run.places.items()}
    closed = {one for one, place in run.places.items() if place in nodes}
    seen = {one: task for one, task in run.tasks.items() if not closed & set(task.inside)}
    opened = {one: task.inside for one, task in seen.items() if one not in closed}
    ways = {
        (
            _end((*opened[source], source), END) if source in opened else source,
            _end((*opened[target], target), START) if target in opened else target,
        )
        for source, target in run.ways
        if all(end in seen or not closed & set(end.split("/")) for end in (source, target))
    }
    for one, inside in opened.items():
        for which in (START, END):
            passage = _end((*inside, one), which)
            into = {source for source, target in ways if target == passage}
            out = {target for source, target in ways if source == passage}
            ways = {way for way in ways if passage not in way} | {(s, t) for s in into for t in out}
    return {(run.places.get(s, s), run.places.get(t, t)) for s, t in ways}


def _read_ways(run: Run, saver: InMemorySaver) -> None:
    targets: dict[tuple[tuple[str, ...], str], list[str]] = defaultdict(list)
    for one, task in run.tasks.items():
        targets[task.inside, task.name].append(one)
    onward: set[str] = set()
    for (_, space, _), writes in saver.writes.items():
        around = tuple(part.rpartition(":")[2] for part in space.split("|") if ":" in part)
        for task_id, channel, value, path in (
            (*one[:2], one[2], one[3]) for one in writes.values()
        ):
            name = _started(saver, channel, value)
            is_start = path.endswith(START)
            if name is None or (not is_start and task_id not in run.tasks):
                continue
            step = None if is_start else run.tasks[task_id].step + 1
            source = _end(around, START) if is_start else task_id
            onward.add(source)
            run.ways |= {
                (source, one)
                for one in targets[around, name]
                if step is None or run.tasks[one].step == step
            }
    _read_first(run)
    run.ways |= {
        (one, _end(task.inside, END)) for one, task in run.tasks.items() if one not in onward
    }


def _read_first(run: Run) -> None:
    """Of what a start leads to by name, only what ran first: a loop comes there again."""
    first: dict[str, int] = {}
    for source, target in run.ways:
        if source.endswith(START):
            step = run.tasks[target].step
            first[source] = min(step, first.get(source, step))
    run.ways = {
        (source, target)
        for source, target in run.ways
        if source not in first or run.tasks[target].step == first[source]
    }


def _started(saver: InMemorySaver, channel: str, value: Any) -> str | None:
    """The name of the node that a write starts."""
    if channel.startswith(_STARTS):
        return channel.removeprefix(_STARTS)
    if channel == _SENDS:
        return saver.serde.loads_typed(value).node
    return None


def _end(around: tuple[str, ...], which: str) -> str:
    return "/".join([*around, which])
