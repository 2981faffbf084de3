"""A plan made at run time, whose steps run in waves: orchestrator and workers.

The graph is fixed: a node that plans, a node `work` that does steps, and a node at the end of each
wave. The plan says which steps there are. Each step is sent to `work` and runs there in a graph of
its own, named after the step: so its calls have the path `work/s2`.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from langchain_core.runnables import RunnableConfig  # noqa: TC002 - LangGraph reads the hints of routes
from langgraph.graph import END, START
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Send

from aideon_agents.errors import StepFailed, UserError, is_kind, refuse_kinds
from aideon_agents.graphs import Node
from aideon_agents.graphs.enclosing import Door, Enclosing
from aideon_agents.graphs.output import output
from aideon_agents.ledger.redaction import one_line
from aideon_agents.node_paths import part
from aideon_agents.patterns import approval, plans
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
    Builder,
    NamedNode,
    PatternGraph,
    Planner,
    Worker,
    Workers,
    add_chain,
    add_node,
    compile_graph,
    named_nodes,
    named_workers,
    new_builder,
    with_approval,
)
from aideon_agents.state import Plan, PlanStep, Results, State, StepResult, last, merge, next_order

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable

_WORK = "work"
_COLLECT = "collect"

_WANTED = "This plan cannot be followed. Write it again without these mistakes:"

_LONGEST_HEADING = 200
"""Characters of a step's description above its result."""

_log = logging.getLogger("aideon_agents.patterns")


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
    planner: Node,
    *nodes: Node,
    workers: Workers = (),
    max_steps: int = 12,
    name: str = "orchestrated",
) -> PatternGraph[Plan]:
    """Plan the task, then do the plan's steps; steps that do not need one another run together.

    The planner receives each worker's name, its purpose, and its tools. The purpose is given in
    the mapping; else it is the agent's `description`, the function's docstring, or what is in the
    graph. A step sees the task, the plan, the results from before the plan, and the results of the
    steps that it names in `depends_on`.

    A plan that cannot be followed is returned to the planner once, with what is wrong as feedback.
    Of a second such plan, what cannot be followed is left out, and a warning says so. Where a person
    must agree to the plan (the planner has `approve`), a rejection with feedback has it planned
    again, at most three times. A step whose result a person rejects with feedback is done again, as
    often.

    Args:
        planner: A planner, or another node that writes a `plan`.
        *nodes: Workers, each with the name of its node.
        workers: Workers as a list, or by name: `{"facts": executor(tools=[...])}`, or with what they
            are for: `{"facts": ("finds sources", executor(tools=[...]))}`. A worker is an agent of
            any role, a graph or a function. An agent is given the step's description besides its
            own; the task of a function or a graph is the step's description.
        max_steps: How many steps a plan may have.
        name: Its name in reports, and as a node of another graph.

    Returns:
        A compiled graph. Its own result, at its path, has the `Plan` as data. Its text is that of
        the steps that no other step depends on; of several, each below its description.

    Raises:
        UserError: There is no worker, two workers have one name, or `max_steps` is out of range. In
            a run, a planner that writes no plan at all is a `StepFailed`.
    """
    if not is_kind(max_steps, int) or max_steps < 1:
        raise UserError(f"{name}: max_steps must be at least 1, not {max_steps!r}")
    allowed = "a list of nodes, or nodes by name"
    refuse_kinds({"workers": workers}, {"workers": ((Mapping, list, tuple), allowed)}, f"{name}: ")
    named, introduced = named_workers(nodes, workers, name)
    asks = isinstance(planner, Approvable) and planner.approve
    alone = cast("Approvable", planner).without_approval() if asks else cast("Node", planner)
    if isinstance(alone, Planner):
        alone = alone.planning(introduced, max_steps)
    reserved = [_WORK, _COLLECT, *([approval.NODE] if asks else [])]
    (plan,) = named_nodes([alone], name, reserved=reserved)
    person = cast("Approvable", planner) if asks else None
    return compile_graph(_builder(plan, person, named, max_steps, name), name)


def _builder(
    plan: NamedNode,
    person: Approvable | None,
    named: Mapping[str, NamedNode],
    max_steps: int,
    name: str,
) -> Builder:
    """The builder of an orchestration; `person` is the planner whose plan a person must agree to."""
    planning = functools.partial(
        _make_plan, planner=plan.runnable, workers=named, max_steps=max_steps, name=name
    )
    graph = new_builder(Orchestration, entry=State)
    add_node(graph, plan, Enclosing(planning, [plan.runnable], plan.name))
    if person:
        asks_person = person, plan.name, _roles(named), max_steps
        asking = async_node(functools.partial(_ask_about_plan, asks_person), approval.NODE)
        graph.add_node(approval.NODE, asking, metadata=part(approval.NODE))
        graph.add_edge(plan.name, approval.NODE)
        graph.add_conditional_edges(approval.NODE, route_plan, {"again": plan.name, "wave": _WORK})
    else:
        graph.add_conditional_edges(plan.name, route_wave, {"wave": _WORK})
    collecting = async_node(functools.partial(_collect, workers=named, name=name), _COLLECT)
    working = _working_node(named, plan.name)
    graph.add_node(_WORK, working, metadata=part(_WORK), input_schema=Assignment)
    graph.add_node(_COLLECT, collecting, metadata=part(_COLLECT))
    graph.add_edge(START, plan.name)
    graph.add_edge(_WORK, _COLLECT)
    graph.add_conditional_edges(_COLLECT, route_wave, {"wave": _WORK, "done": END})
    return graph


def _working_node(workers: Mapping[str, NamedNode], planner: str) -> Enclosing:
    """The node that does steps, which is drawn as the workers."""
    shown = {
        name: one.role or ("graph" if isinstance(one.runnable, CompiledStateGraph) else "function")
        for name, one in workers.items()
    }
    inside = [worker.runnable for worker in workers.values()]
    work = functools.partial(_work, workers, planner)
    return Enclosing(work, inside, _WORK, opens=False, shown=shown)


def _roles(workers: Mapping[str, NamedNode]) -> plans.Workers:
    return {name: worker.role for name, worker in workers.items()}


async def _make_plan(
    state: DeclinableState,
    config: RunnableConfig,
    door: Door,
    *,
    planner: Runnable[Any, Any],
    workers: Mapping[str, NamedNode],
    max_steps: int,
    name: str,
) -> dict[str, Any]:
    """Call the planner, a second time where its plan cannot be followed."""
    known = state.get("results") or {}
    path = current_path(config)
    own = path, sibling_path(config, _WORK)
    before = [one for one in known if not any(is_within(one, outer) for outer in own)]
    wanted = _joined(state.get("feedback"), state.get("declined"))
    # A planner that is a graph returns any plan that it receives.
    unplanned: dict[str, Any] = {**state, "plan": None, "declined": None}
    if wanted:
        unplanned["feedback"] = wanted
    roles = _roles(workers)
    update: Results = await door.call(planner, unplanned, config) or {}
    plan, wrong = plans.checked(update.get("plan"), roles, max_steps)
    if wrong:
        # The first plan is the planner's earlier version.
        known = merge(known, update.get("results") or {})
        wanted = _joined(wanted, f"{_WANTED} {wrong}.")
        again = {**unplanned, "results": known, "feedback": wanted}
        update = await door.call(planner, again, config) or {}
        update = {**update, "results": merge(known, update.get("results") or {})}
        plan, wrong = plans.checked(update.get("plan"), roles, max_steps)
    if plan is None:
        raise StepFailed(f"{name}: the plan cannot be followed: {wrong}")
    if wrong:
        plan, notes = plans.repaired(plan, roles, max_steps, state.get("task", ""))
        for note in notes:
            _log.warning("%s: %s", path or name, one_line(note))
        made = update.get("results") or {}
        if path in made:  # what is shown, and a person agrees to, is the plan that is carried out
            lines = (f"{number}. {step.description}" for number, step in enumerate(plan.steps, 1))
            shown = dataclasses.replace(made[path], data=plan, content="\n".join(lines))
            update = {**update, "results": {**made, path: shown}}
    return {**update, "plan": plan, "wave": 0, "before": before}


def _joined(*wishes: str | None) -> str:
    return "\n\n".join(filter(None, wishes))


async def _ask_about_plan(
    asks_person: tuple[Approvable, str, plans.Workers, int],
    state: Orchestration,
    config: RunnableConfig,
) -> dict[str, Any]:
    """Ask a person about a plan, which is known to be one that can be followed."""
    node, planner, roles, max_steps = asks_person
    number = state.get("plans", 0) + 1
    path = sibling_path(config, planner)

    def wrong(update: Results) -> str | None:
        return plans.checked(update.get("plan"), roles, max_steps)[1] or None

    most = approval.AGAIN + 1
    update = ask_approval(node, state, path, number=number, most=most, wrong=wrong)
    if edited := update.get("plan"):
        update["plan"] = plans.tidied(edited, roles)
    return {**update, "plans": number if update["declined"] else 0}


def route_plan(
    state: Orchestration, config: RunnableConfig
) -> list[Send] | Literal["again", "done"]:
    """Where the run continues after a person has seen the plan."""
    return "again" if state.get("declined") else route_wave(state, config)


def route_wave(state: Orchestration, config: RunnableConfig) -> list[Send] | Literal["done"]:
    """Every step of the next wave, or the end."""
    ahead = plans.waves(_plan(state))[state.get("wave", 0) :]
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
    return {**kept, "results": results, "step": step, "unseen": unseen}


def _results_of(name: str, results: Mapping[str, StepResult], work: str) -> dict[str, StepResult]:
    """The result of a step, and those of the nodes inside it."""
    return {path: one for path, one in results.items() if is_within(path, f"{work}/{name}")}


async def _work(
    workers: Mapping[str, NamedNode],
    planner: str,
    state: Assignment,
    config: RunnableConfig,
    door: Door,
) -> Results:
    """Do one step of the plan."""
    step, plan = cast("PlanStep", state.get("step")), cast("Plan", state.get("plan"))
    worker = workers[step.agent]
    text = plans.described(plan, step.id)
    if isinstance(worker.runnable, Worker):
        runs, given = worker.runnable.for_step(step), {**state, "plan": None}
    else:
        runs, given = worker.runnable, {**state, "task": step.description}
        text = f"The whole task: {state.get('task', '')}\n\n{text}"
    path = current_path(config)
    known = state.get("results") or {}
    before = {at: one for at, one in known.items() if not is_within(at, path)}
    shared = StepResult(
        node_path=sibling_path(config, planner),
        role="planner",
        content=text,
        data=plan,
        order=next_order(before),
    )
    given["results"] = {shared.node_path: shared, **known}
    graph = new_builder(entry=State)
    add_chain(graph, with_approval(dataclasses.replace(worker, name=step.id, runnable=runs)))
    done = await door.call(graph.compile(name=step.id), given, config)
    # A plan or a verdict made inside stays inside. A new result must have a greater order than one
    # of an earlier plan that the step did not see.
    later = state.get("unseen", 0)
    made = {
        at: dataclasses.replace(one, order=one.order + later)
        for at, one in _results_of(step.id, done["results"], path).items()
    }
    if (own := made.get(f"{path}/{step.id}")) and own.role == "validator":
        # Others do not read what a validator says: here it is what the step had to find out.
        made[own.node_path] = dataclasses.replace(own, role="step")
    return {"results": made}


async def _collect(
    state: Orchestration, config: RunnableConfig, *, workers: Mapping[str, NamedNode], name: str
) -> dict[str, Any]:
    """End a wave; after the last one, write the orchestration's own result."""
    plan, results = _plan(state), state.get("results") or {}
    done = state.get("wave", 0) + 1
    if done < len(plans.waves(plan)):
        return {"wave": done}
    work = sibling_path(config, _WORK)
    given = [
        (step.description, output(workers[step.agent].runnable, results, f"{work}/{step.id}"))
        for step in plans.last_steps(plan)
    ]
    texts = [
        (textwrap.shorten(does, _LONGEST_HEADING, placeholder=" …"), result.content)
        for does, result in given
        if result
    ]
    if len(texts) > 1:
        content = "\n\n".join(f"# {does}\n\n{text}" for does, text in texts)
    else:
        content = "".join(text for _, text in texts)
    own = step_result(state, pattern_path(config, name), "orchestrated", content, plan)
    return {"wave": done, "results": {own.node_path: own}}
