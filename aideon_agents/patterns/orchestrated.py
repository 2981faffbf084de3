"""A plan made at run time, and its steps in waves: orchestrator and workers.

The graph is drawn once and for all: who plans, where steps are done, and where a wave ends.
Which steps there are is the plan's affair, so each is sent to the one node `work` and runs there
in a graph of its own, named after the step: that gives its calls the path `work/s2`.

The planner's part of an orchestration: a plan that can be followed, or why there is none.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_args

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START
from langgraph.types import Send

from aideon_agents.errors import StepFailed, UserError
from aideon_agents.graphs import Graph, Node
from aideon_agents.graphs.enclosing import Door, Enclosing
from aideon_agents.patterns import approval, functions
from aideon_agents.patterns import nodes as making
from aideon_agents.patterns.approval import Shown, agreed
from aideon_agents.patterns.functions import beside, here, is_in, own_path
from aideon_agents.patterns.nodes import Named, compiled
from aideon_agents.patterns.plans import complaint, last_steps, tidied, waves
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
    part,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.runnables import Runnable, RunnableConfig


_WANTED = "This plan cannot be followed. Write it again without these mistakes:"


_MOST_SHOWN = 3
"""How many plans a person is shown; a no to the last one ends the run."""


class Planned(Shown, total=False):
    """What is known of the plans that a person must agree to."""

    plans: Annotated[int, last]
    """How many of them the person has sent back; absent: none."""


@dataclasses.dataclass(frozen=True)
class Planning:
    """The planner, and what it is told of a plan that cannot be followed."""

    planner: Runnable[Any, Any]
    agents: tuple[str, ...]
    """Who can do a step."""
    max_steps: int
    name: str
    """The orchestration's."""
    work: str
    """The node that does the steps."""

    async def plan(self, state: Shown, config: RunnableConfig, door: Door) -> dict[str, Any]:
        known = state.get("results") or {}
        own = here(config), beside(config, self.work)
        before = [path for path in known if not any(is_in(path, place) for place in own)]
        wanted = _joined(state.get("feedback"), state.get("declined"))
        # A graph would give back any plan it was given.
        unplanned = {**state, "plan": None, **({"feedback": wanted} if wanted else {})}
        update: Results = await door.call(self.planner, unplanned, config) or {}
        plan, wrong = self._checked(update)
        if wrong:
            update = await self._again(wrong, update, unplanned, config, door)
            plan, wrong = self._checked(update)
        if wrong:
            raise StepFailed(f"{self.name}: the plan cannot be followed: {wrong}")
        return {**update, "plan": plan, "wave": 0, "before": before}

    async def _again(
        self,
        wrong: str,
        update: Results,
        state: Mapping[str, Any],
        config: RunnableConfig,
        door: Door,
    ) -> Results:
        """Ask again, with the first plan as the planner's earlier version."""
        known = merge(state.get("results") or {}, update.get("results") or {})
        wanted = _joined(state.get("feedback"), f"{_WANTED} {wrong}.")
        told = {**state, "results": known, "feedback": wanted}
        repaired: Results = await door.call(self.planner, told, config) or {}
        return {**repaired, "results": merge(known, repaired.get("results") or {})}

    def _checked(self, update: Results) -> tuple[Plan | None, str | None]:
        plan = update.get("plan")
        if plan is None:
            return None, "there is no plan"
        plan = tidied(plan)
        return plan, complaint(plan, self.agents, self.max_steps)


async def shown(state: Planned, config: RunnableConfig, *, planner: str) -> dict[str, Any]:
    """Ask a person about the plan: beside the planner, who has made sure that it can be followed."""
    number = state.get("plans", 0) + 1
    declined = agreed(state, beside(config, planner), number=number, most=_MOST_SHOWN)
    return {"declined": declined, "plans": number if declined else 0}


def _joined(*wishes: str | None) -> str:
    return "\n\n".join(filter(None, wishes))


_WORK = "work"
_COLLECT = "collect"


_AGENTS: tuple[str, ...] = get_args(PlanStep.model_fields["agent"].annotation)
"""Whom a plan can name."""


class Orchestration(Planned, total=False):
    """What the nodes of an orchestration read."""

    wave: int
    """How many waves are done; set with each new plan."""
    before: list[str]
    """The paths of the results from before the plan."""


class Assignment(State, total=False):
    """What one step is given."""

    step: PlanStep
    unseen: int
    """How much later than the latest result it sees the latest of all is, by order."""


def orchestrated(
    planner: Node, *workers: Node, max_steps: int = 12, name: str = "orchestrated"
) -> Graph:
    """Plan the task, then do the plan's steps, those that do not need one another at a time.

    A step sees the task, what was known before the plan, and the results of the steps that it
    names in `depends_on`; it does not see those that these in turn depend on. A plan that cannot
    be followed is given back to the planner once, with what is wrong as feedback. Where a person
    must agree to the plan (the planner has `approve`), a no with feedback has it planned again, at
    most twice. A no to what a worker did ends the run.

    Args:
        planner: A planner, or whatever else writes a `plan`.
        *workers: Who does the steps, one for each role that a plan may name: an agent of that
            role, or a function or graph of that name, whose task is then the step's description.
        max_steps: The most steps a plan may have.
        name: What it is called where it is a node itself, and in reports.

    Returns:
        A compiled graph. Its own result, at its path, has the `Plan` as data; its text is that of
        the steps that no other step depends on.

    Raises:
        UserError: There is no worker, two for one role or one for none, or a bound cannot be. When
            it runs, a second plan that cannot be followed is `StepFailed`.
    """
    if max_steps < 1:
        raise UserError(f"{name}: max_steps is {max_steps}, it must be at least 1")
    crew = _crew(workers, name)
    quiet = approval.alone(planner)
    asks = quiet is not planner
    if isinstance(quiet, making.Planner):
        quiet = quiet.planning(tuple(crew), max_steps)
    own = [_WORK, _COLLECT, *([approval.NODE] if asks else [])]
    (plans,) = making.named([quiet], name, reserved=own)
    planning = Planning(plans.runnable, tuple(crew), max_steps, name, _WORK)
    inside = [worker.runnable for worker in crew.values()]
    working = Enclosing(_Working(crew).work, inside, _WORK, opens=False)
    collecting = functions.node(functools.partial(_collect, name=name), _COLLECT)

    graph = making.builder(Orchestration, entry=State)
    making.add(graph, plans, Enclosing(planning.plan, [plans.runnable], plans.name))
    if asks:
        showing = functions.node(functools.partial(shown, planner=plans.name), approval.NODE)
        graph.add_node(approval.NODE, showing, metadata=part(approval.NODE))
        graph.add_edge(plans.name, approval.NODE)
        graph.add_conditional_edges(approval.NODE, route_plan, {"again": plans.name, "wave": _WORK})
    else:
        graph.add_conditional_edges(plans.name, route_wave, {"wave": _WORK})
    graph.add_node(_WORK, working, metadata=part(_WORK), input_schema=Assignment)
    graph.add_node(_COLLECT, collecting, metadata=part(_COLLECT))
    graph.add_edge(START, plans.name)
    graph.add_edge(_WORK, _COLLECT)
    graph.add_conditional_edges(_COLLECT, route_wave, {"wave": _WORK, "done": END})
    return compiled(graph, name)


def route_wave(state: Orchestration, config: RunnableConfig) -> list[Send] | Literal["done"]:
    """Where an orchestration goes: to every step of the next wave, or to its end."""
    ahead = waves(_plan(state))[state.get("wave", 0) :]
    if not ahead:
        return "done"
    place = beside(config, _WORK)
    return [Send(_WORK, _assignment(step, state, place)) for step in ahead[0]]


def route_plan(
    state: Orchestration, config: RunnableConfig
) -> list[Send] | Literal["again", "done"]:
    """Where an orchestration goes once a person has seen its plan."""
    return "again" if state.get("declined") else route_wave(state, config)


def _plan(state: Orchestration) -> Plan:
    return cast("Plan", state.get("plan"))


def _assignment(step: PlanStep, state: Orchestration, place: str) -> dict[str, Any]:
    """What a step is given: the state before the plan, and the results of what it depends on."""
    known = state.get("results") or {}
    results = {path: known[path] for path in state.get("before", ())}
    for name in step.depends_on:
        results |= _results_of(name, known, place)
    kept = {key: value for key, value in state.items() if key in State.__annotations__}
    unseen = next_order(known) - next_order(results)
    return {**kept, "plan": None, "results": results, "step": step, "unseen": unseen}


def _results_of(name: str, results: Mapping[str, StepResult], place: str) -> dict[str, StepResult]:
    """What a step gave: its own result, and those of whatever ran inside."""
    return {path: one for path, one in results.items() if is_in(path, f"{place}/{name}")}


@dataclasses.dataclass(frozen=True)
class _Working:
    """Whoever does a step."""

    crew: Mapping[str, Named]
    """By the role that a plan names."""

    async def work(self, state: Assignment, config: RunnableConfig, door: Door) -> Results:
        step = _step(state)
        worker = self.crew[step.agent]
        if isinstance(worker.runnable, making.Worker):
            doing, told = worker.runnable.for_step(step), state
        else:
            doing, told = worker.runnable, {**state, "task": step.description}
        graph = making.builder(entry=State)
        named = making.approved(dataclasses.replace(worker, name=step.id, runnable=doing))
        making.add(graph, named)
        graph.add_edge(START, named.name)
        graph.add_edge(named.name, END)
        done = await door.call(graph.compile(name=step.id), told, config)
        # A plan or a verdict made inside stays inside, and a new result must win over one of an
        # earlier plan that the step was not shown.
        made = _results_of(step.id, done["results"], here(config))
        later = state.get("unseen", 0)
        return {"results": {path: _delayed(one, later) for path, one in made.items()}}


def _delayed(result: StepResult, later: int) -> StepResult:
    return dataclasses.replace(result, order=result.order + later)


def _step(state: Assignment) -> PlanStep:
    return cast("PlanStep", state.get("step"))


async def _collect(state: Orchestration, config: RunnableConfig, *, name: str) -> dict[str, Any]:
    """The end of a wave; of the last one, the orchestration's own result."""
    plan, results = _plan(state), state.get("results") or {}
    done = state.get("wave", 0) + 1
    if done < len(waves(plan)):
        return {"wave": done}
    place = beside(config, _WORK)
    given = [latest(_results_of(step.id, results, place)) for step in last_steps(plan)]
    own = StepResult(
        node_path=own_path(config, name),
        role="orchestrated",
        content="\n\n".join(result.content for result in given if result),
        data=plan,
        round=state.get("round", 1),
        order=next_order(results),
    )
    return {"wave": done, "results": {own.node_path: own}}


def _crew(workers: Sequence[Node], pattern: str) -> dict[str, Named]:
    """The workers, by the role that a plan can name."""
    if not workers:
        raise UserError(f"{pattern} needs at least one worker")
    crew: dict[str, Named] = {}
    for worker in making.named(workers, pattern, rounds=0):
        role = worker.role or worker.name
        if role not in _AGENTS:
            raise UserError(
                f"{pattern}: no plan can name {role!r}: a worker is an agent, or a function or "
                f"graph called like one, and one of {', '.join(_AGENTS)}"
            )
        if role in crew:
            raise UserError(
                f"{pattern} has two workers for {role}, {crew[role].name!r} and {worker.name!r}"
            )
        crew[role] = worker
    return crew
