"""A plan made at run time, whose steps run in waves: orchestrator and workers.

The graph is fixed: a node that plans, a node `work` that does steps, and a node at the end of each
wave. The plan says which steps there are. Each step is sent to `work` and runs there in a graph of
its own, named after the step: so its calls have the path `work/s2`.
"""

from __future__ import annotations

import dataclasses
import functools
import graphlib
import re
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_args

from langchain_core.runnables import RunnableConfig  # noqa: TC002 - LangGraph reads the hints of routes
from langgraph.graph import END, START
from langgraph.types import Send

from aideon_agents.errors import StepFailed, UserError
from aideon_agents.graphs import Graph, Node
from aideon_agents.graphs.enclosing import Door, Enclosing
from aideon_agents.node_paths import part
from aideon_agents.patterns import approval
from aideon_agents.patterns.approval import Approvable, DeclinableState, ask_approval
from aideon_agents.patterns.functions import (
    async_node,
    current_path,
    is_within,
    pattern_path,
    sibling_path,
    step_result,
)
from aideon_agents.patterns.nodes import (
    NamedNode,
    Planner,
    Worker,
    add_chain,
    add_node,
    compile_graph,
    named_nodes,
    new_builder,
    with_approval,
)
from aideon_agents.state import (
    Plan,
    PlanStep,
    Results,
    State,
    StepResult,
    last,
    latest,
    merge,
    next_order,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from langchain_core.runnables import Runnable

_WORK = "work"
_COLLECT = "collect"

_AGENTS: tuple[str, ...] = get_args(PlanStep.model_fields["agent"].annotation)
"""The roles that a plan can name."""

_WANTED = "This plan cannot be followed. Write it again without these mistakes:"


class Orchestration(DeclinableState, total=False):
    """What the nodes of an orchestration read."""

    plans: Annotated[int, last]
    """How many plans the person has sent back; absent: none."""
    wave: int
    """How many waves are done; set with each new plan."""
    before: list[str]
    """The paths of the results from before the plan."""


class Assignment(State, total=False):
    """What one step receives."""

    step: PlanStep
    unseen: int
    """How far, by order, the latest result of all is ahead of the latest that the step sees."""


def orchestrated(
    planner: Node, *workers: Node, max_steps: int = 12, name: str = "orchestrated"
) -> Graph:
    """Plan the task, then do the plan's steps; steps that do not need one another run together.

    A step sees the task, the results from before the plan, and the results of the steps that it
    names in `depends_on`, but not of those that these in turn depend on. A plan that cannot be
    followed is returned to the planner once, with what is wrong as feedback. Where a person must
    agree to the plan (the planner has `approve`), a rejection with feedback has it planned again, at most
    three times. A step whose result a person rejects with feedback is done again, as often.

    Args:
        planner: A planner, or another node that writes a `plan`.
        *workers: The nodes that do the steps, one for each role that a plan may name: an agent of
            that role, or a function or graph of that name, whose task is then the step's
            description.
        max_steps: How many steps a plan may have.
        name: Its name in reports, and as a node of another graph.

    Returns:
        A compiled graph. Its own result, at its path, has the `Plan` as data; its text is that of
        the steps that no other step depends on.

    Raises:
        UserError: There is no worker, a role has two workers, a worker has no role, or `max_steps`
            is out of range. In a run, a second plan that cannot be followed is a `StepFailed`.
    """
    if max_steps < 1:
        raise UserError(f"{name}: max_steps must be at least 1, not {max_steps}")
    by_role = _by_role(workers, name)
    asks = isinstance(planner, Approvable) and planner.approve
    alone = cast("Approvable", planner).without_approval() if asks else cast("Node", planner)
    if isinstance(alone, Planner):
        alone = alone.planning(tuple(by_role), max_steps)
    reserved = [_WORK, _COLLECT, *([approval.NODE] if asks else [])]
    (plans,) = named_nodes([alone], name, reserved=reserved)
    planning = functools.partial(
        _make_plan, planner=plans.runnable, agents=tuple(by_role), max_steps=max_steps, name=name
    )
    inside = [worker.runnable for worker in by_role.values()]
    working = Enclosing(functools.partial(_work, by_role), inside, _WORK, opens=False)
    collecting = async_node(functools.partial(_collect, name=name), _COLLECT)

    graph = new_builder(Orchestration, entry=State)
    add_node(graph, plans, Enclosing(planning, [plans.runnable], plans.name))
    if asks:
        asks_person = cast("Approvable", planner), plans.name, tuple(by_role), max_steps
        asking = async_node(functools.partial(_ask_about_plan, asks_person), approval.NODE)
        graph.add_node(approval.NODE, asking, metadata=part(approval.NODE))
        graph.add_edge(plans.name, approval.NODE)
        graph.add_conditional_edges(approval.NODE, route_plan, {"again": plans.name, "wave": _WORK})
    else:
        graph.add_conditional_edges(plans.name, route_wave, {"wave": _WORK})
    graph.add_node(_WORK, working, metadata=part(_WORK), input_schema=Assignment)
    graph.add_node(_COLLECT, collecting, metadata=part(_COLLECT))
    graph.add_edge(START, plans.name)
    graph.add_edge(_WORK, _COLLECT)
    graph.add_conditional_edges(_COLLECT, route_wave, {"wave": _WORK, "done": END})
    return compile_graph(graph, name)


def _by_role(workers: Sequence[Node], pattern: str) -> dict[str, NamedNode]:
    """The workers by the role that a plan can name."""
    if not workers:
        raise UserError(f"{pattern} needs at least one worker")
    by_role: dict[str, NamedNode] = {}
    for worker in named_nodes(workers, pattern, asks=False):
        role = worker.role or worker.name
        if role not in _AGENTS:
            raise UserError(
                f"{pattern}: {role!r} cannot be a worker: give an agent of the role "
                f"{' or '.join(_AGENTS)}, or a function or graph of that name"
            )
        if role in by_role:
            raise UserError(
                f"{pattern} has two workers for {role}, {by_role[role].name!r} and "
                f"{worker.name!r}: leave one of them out"
            )
        by_role[role] = worker
    return by_role


async def _make_plan(
    state: DeclinableState,
    config: RunnableConfig,
    door: Door,
    *,
    planner: Runnable[Any, Any],
    agents: Sequence[str],
    max_steps: int,
    name: str,
) -> dict[str, Any]:
    """Call the planner, a second time where its plan cannot be followed."""
    known = state.get("results") or {}
    own = current_path(config), sibling_path(config, _WORK)
    before = [path for path in known if not any(is_within(path, outer) for outer in own)]
    wanted = _joined(state.get("feedback"), state.get("declined"))
    # A planner that is a graph returns any plan that it receives.
    unplanned: dict[str, Any] = {**state, "plan": None, "declined": None}
    if wanted:
        unplanned["feedback"] = wanted
    update: Results = await door.call(planner, unplanned, config) or {}
    plan, wrong = _checked(update, agents, max_steps)
    if wrong:
        # The first plan is the planner's earlier version.
        known = merge(known, update.get("results") or {})
        wanted = _joined(wanted, f"{_WANTED} {wrong}.")
        again = {**unplanned, "results": known, "feedback": wanted}
        update = await door.call(planner, again, config) or {}
        update = {**update, "results": merge(known, update.get("results") or {})}
        plan, wrong = _checked(update, agents, max_steps)
    if wrong:
        raise StepFailed(f"{name}: the plan cannot be followed: {wrong}")
    return {**update, "plan": plan, "wave": 0, "before": before}


def _checked(
    update: Results, agents: Collection[str], max_steps: int
) -> tuple[Plan | None, str | None]:
    """The tidied plan, and everything that is wrong with it, for the planner to read."""
    given = update.get("plan")
    if given is None:
        return None, "there is no plan"
    plan = _tidied(given)
    wrong = _wrong_names(plan, agents)
    if not plan.steps:
        wrong = ["the plan has no steps"]
    elif len(plan.steps) > max_steps:
        size = f"the plan has {len(plan.steps)} steps, at most {max_steps} are allowed"
        wrong = [size, *wrong]
    return plan, "; ".join(wrong or _wrong_order(plan)) or None


def _tidied(plan: Plan) -> Plan:
    """A plan whose step ids fit into a node path: with a dash for each /, | and :."""

    def tidy(name: str) -> str:
        return re.sub(r"[/|:]", "-", name.strip())

    steps = [
        step.model_copy(
            update={"id": tidy(step.id), "depends_on": [tidy(one) for one in step.depends_on]}
        )
        for step in plan.steps
    ]
    return plan.model_copy(update={"steps": steps})


def _wrong_names(plan: Plan, agents: Collection[str]) -> list[str]:
    known = Counter(step.id for step in plan.steps)
    wrong = [f"{times} steps have the id {name!r}" for name, times in known.items() if times > 1]
    if "" in known:
        wrong.append("a step has an empty id")
    for step in plan.steps:
        if step.agent not in agents:
            only = ", ".join(agents)
            wrong.append(f"step {step.id!r} names the agent {step.agent!r}, there is only {only}")
        wrong += [
            f"step {step.id!r} depends on {name!r}, which is no step"
            for name in step.depends_on
            if name not in known
        ]
    return wrong


def _wrong_order(plan: Plan) -> list[str]:
    try:
        _sorter(plan).prepare()
    except graphlib.CycleError as error:
        circle: list[str] = error.args[1]
        return [f"the steps {' -> '.join(reversed(circle))} wait for one another"]
    return []


def _sorter(plan: Plan) -> graphlib.TopologicalSorter[str]:
    return graphlib.TopologicalSorter({step.id: step.depends_on for step in plan.steps})


def waves(plan: Plan) -> list[list[PlanStep]]:
    """The steps in groups; those of one group need only steps of earlier groups."""
    by_id = {step.id: step for step in plan.steps}
    sorter = _sorter(plan)
    sorter.prepare()
    found: list[list[PlanStep]] = []
    while sorter.is_active():
        ready = sorter.get_ready()
        found.append([step for name, step in by_id.items() if name in ready])
        sorter.done(*ready)
    return found


def _joined(*wishes: str | None) -> str:
    return "\n\n".join(filter(None, wishes))


async def _ask_about_plan(
    asks_person: tuple[Approvable, str, Sequence[str], int],
    state: Orchestration,
    config: RunnableConfig,
) -> dict[str, Any]:
    """Ask a person about a plan, which is known to be one that can be followed."""
    node, planner, agents, max_steps = asks_person
    number = state.get("plans", 0) + 1
    path = sibling_path(config, planner)

    def wrong(update: Results) -> str | None:
        return _checked(update, agents, max_steps)[1]

    most = approval.AGAIN + 1
    update = ask_approval(node, state, path, number=number, most=most, wrong=wrong)
    if edited := update.get("plan"):
        update["plan"] = _tidied(edited)
    return {**update, "plans": number if update["declined"] else 0}


def route_plan(
    state: Orchestration, config: RunnableConfig
) -> list[Send] | Literal["again", "done"]:
    """Where the run continues after a person has seen the plan."""
    return "again" if state.get("declined") else route_wave(state, config)


def route_wave(state: Orchestration, config: RunnableConfig) -> list[Send] | Literal["done"]:
    """Every step of the next wave, or the end."""
    ahead = waves(_plan(state))[state.get("wave", 0) :]
    if not ahead:
        return "done"
    work = sibling_path(config, _WORK)
    return [Send(_WORK, _assignment(step, state, work)) for step in ahead[0]]


def _plan(state: Orchestration) -> Plan:
    return cast("Plan", state.get("plan"))


def _assignment(step: PlanStep, state: Orchestration, work: str) -> dict[str, Any]:
    """What a step receives: the state from before the plan, and the results it depends on."""
    known = state.get("results") or {}
    results = {path: known[path] for path in state.get("before", ())}
    for name in step.depends_on:
        results |= _results_of(name, known, work)
    kept = {key: value for key, value in state.items() if key in State.__annotations__}
    unseen = next_order(known) - next_order(results)
    return {**kept, "plan": None, "results": results, "step": step, "unseen": unseen}


def _results_of(name: str, results: Mapping[str, StepResult], work: str) -> dict[str, StepResult]:
    """The result of a step, and those of the nodes inside it."""
    return {path: one for path, one in results.items() if is_within(path, f"{work}/{name}")}


async def _work(
    workers: Mapping[str, NamedNode], state: Assignment, config: RunnableConfig, door: Door
) -> Results:
    """Do one step of the plan."""
    step = cast("PlanStep", state.get("step"))
    worker = workers[step.agent]
    if isinstance(worker.runnable, Worker):
        runs, given = worker.runnable.for_step(step), state
    else:
        runs, given = worker.runnable, {**state, "task": step.description}
    graph = new_builder(entry=State)
    add_chain(graph, with_approval(dataclasses.replace(worker, name=step.id, runnable=runs)))
    done = await door.call(graph.compile(name=step.id), given, config)
    # A plan or a verdict made inside stays inside. A new result must have a greater order than one
    # of an earlier plan that the step did not see.
    made = _results_of(step.id, done["results"], current_path(config))
    later = state.get("unseen", 0)
    return {
        "results": {
            path: dataclasses.replace(one, order=one.order + later) for path, one in made.items()
        }
    }


def _last_steps(plan: Plan) -> list[PlanStep]:
    """The steps that no other step depends on, in the plan's order."""
    needed = {name for step in plan.steps for name in step.depends_on}
    return [step for step in plan.steps if step.id not in needed]


async def _collect(state: Orchestration, config: RunnableConfig, *, name: str) -> dict[str, Any]:
    """End a wave; after the last one, write the orchestration's own result."""
    plan, results = _plan(state), state.get("results") or {}
    done = state.get("wave", 0) + 1
    if done < len(waves(plan)):
        return {"wave": done}
    work = sibling_path(config, _WORK)
    given = [latest(_results_of(step.id, results, work)) for step in _last_steps(plan)]
    content = "\n\n".join(result.content for result in given if result)
    own = step_result(state, pattern_path(config, name), "orchestrated", content, plan)
    return {"wave": done, "results": {own.node_path: own}}
