"""Whether a plan can be followed, and in which order its steps run."""

from __future__ import annotations

import graphlib
import re
from collections import Counter
from typing import TYPE_CHECKING

from aideon_agents.state import Plan, PlanStep

if TYPE_CHECKING:
    from collections.abc import Collection


def tidied(plan: Plan) -> Plan:
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


def complaint(plan: Plan, agents: Collection[str], max_steps: int) -> str | None:
    """Everything that is wrong with a tidied plan, for the planner to read; None: nothing."""
    wrong = _wrong_names(plan, agents)
    if not plan.steps:
        wrong = ["the plan has no steps"]
    elif len(plan.steps) > max_steps:
        size = f"the plan has {len(plan.steps)} steps, at most {max_steps} are allowed"
        wrong = [size, *wrong]
    if not wrong:
        wrong = _wrong_order(plan)
    return "; ".join(wrong) or None


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


def last_steps(plan: Plan) -> list[PlanStep]:
    """The steps that no other step depends on, in the plan's order."""
    needed = {name for step in plan.steps for name in step.depends_on}
    return [step for step in plan.steps if step.id not in needed]


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
