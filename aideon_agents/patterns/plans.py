"""Plans: what is wrong with one, what can be done about it, and the order of its steps."""

from __future__ import annotations

import difflib
import graphlib
import re
from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

from aideon_agents.models.answers.reply import PLAN
from aideon_agents.state import Plan, PlanStep

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Workers: TypeAlias = "Mapping[str, str | None]"
"""The role of each worker by its name; None: it is no agent."""

_LONGEST_ID = 40
"""In characters."""

_NO_STEP = ("", "none", "null", "n/a")
"""What a model writes for a step that depends on nothing."""


def checked(plan: Plan | None, workers: Workers, max_steps: int) -> tuple[Plan | None, str]:
    """The tidied plan, and what is wrong with it; empty: it can be followed."""
    if plan is None:
        return None, "there is no plan"
    tidy = tidied(plan, workers)
    return tidy, "; ".join(_mistakes(tidy, workers, max_steps))


def tidied(plan: Plan, workers: Workers) -> Plan:
    """A plan with step ids that fit into a node path, and with names as they are declared."""
    ids = [_fitting(step.id, number) for number, step in enumerate(plan.steps, 1)]
    known = {step.id: own for step, own in zip(reversed(plan.steps), reversed(ids), strict=True)}
    steps = [
        step.model_copy(
            update={
                "id": own,
                "agent": _worker(step.agent, workers),
                "depends_on": _needs([known.get(one, one) for one in step.depends_on], ids),
            }
        )
        for own, step in zip(ids, plan.steps, strict=True)
    ]
    return plan.model_copy(update={"steps": steps})


def _fitting(name: str, number: int = 0) -> str:
    """A step's id for a node path; that of a weak model may be a page of text, or signs alone."""
    fitting = re.sub(r"[/|:]", "-", " ".join(name.split()))
    is_name = len(fitting) <= _LONGEST_ID and re.search(r"\w", fitting)
    return fitting if is_name or not fitting or not number else f"s{number}"


def _needs(names: Sequence[str], ids: Sequence[str]) -> list[str]:
    known = {one.casefold(): one for one in reversed(ids)}
    fitting = (_fitting(name) for name in names)
    found = (one if one in ids else known.get(one.casefold(), one) for one in fitting)
    return [one for one in dict.fromkeys(found) if one in ids or one.casefold() not in _NO_STEP]


def _worker(name: str, workers: Workers) -> str:
    """The worker of a name, also in other letters, or the only one of the role that is named."""
    plain = name.strip().casefold()
    for alike in (
        [one for one in workers if one.casefold() == plain],
        [one for one, role in workers.items() if role == plain],
    ):
        if name not in workers and len(alike) == 1:
            return alike[0]
    return name


def _mistakes(plan: Plan, workers: Workers, max_steps: int) -> list[str]:
    """Everything that is wrong with a tidied plan, for the planner to read."""
    if not plan.steps:
        return ["the plan has no steps"]
    known = Counter(step.id for step in plan.steps)
    wrong = [f"{times} steps have the id {name!r}" for name, times in known.items() if times > 1]
    if len(plan.steps) > max_steps:
        wrong = [f"the plan has {len(plan.steps)} steps, at most {max_steps} are allowed", *wrong]
    if "" in known:
        wrong.append("a step has an empty id")
    for step in plan.steps:
        if step.agent not in workers:
            only = ", ".join(workers)
            wrong.append(f"step {step.id!r} names the agent {step.agent!r}, there is only {only}")
        wrong += [
            f"step {step.id!r} depends on {name!r}, which is no step"
            for name in step.depends_on
            if name not in known
        ]
    return wrong or _circle(plan)


def _circle(plan: Plan) -> list[str]:
    try:
        _sorter(plan).prepare()
    except graphlib.CycleError as error:
        circle: list[str] = error.args[1]
        return [f"the steps {' -> '.join(reversed(circle))} wait for one another"]
    return []


def repaired(plan: Plan, workers: Workers, max_steps: int, task: str) -> tuple[Plan, list[str]]:
    """A plan that can be followed, made of a tidied one that cannot, and what was changed."""
    first = next(iter(workers))
    if not plan.steps:
        whole = PlanStep(id="s1", description=task, agent=first, complexity="medium", depends_on=[])
        return Plan(steps=[whole]), [f"the plan has no steps: {first} does the whole task"]
    notes: list[str] = []
    if len(plan.steps) > max_steps:
        notes.append(f"of {len(plan.steps)} steps only the first {max_steps} are done")
    kept: dict[str, PlanStep] = {}
    for number, step in enumerate(plan.steps[:max_steps], 1):
        own = step.id or f"s{number}"
        while own in kept:
            own = f"{own}_{number}"
        agent = step.agent
        if agent not in workers:
            agent = next(iter(difflib.get_close_matches(agent, [*workers], n=1)), first)
            notes.append(f"step {own!r} names {step.agent!r}, which is no worker: {agent} does it")
        if own != step.id:
            notes.append(f"a second step {step.id!r}, or one without an id, is called {own!r}")
        kept[own] = step.model_copy(update={"id": own, "agent": agent})
    notes += _drop_needs(kept)
    return Plan(steps=[*kept.values()]), notes


def _drop_needs(steps: dict[str, PlanStep]) -> list[str]:
    """Drop from steps what they cannot wait for."""
    notes: list[str] = []
    for own, step in steps.items():
        steps[own] = step.model_copy(update={"depends_on": []})
        for name in step.depends_on:
            if name in steps and not _waits(steps, name, own):
                steps[own].depends_on.append(name)
                continue
            why = "waits for it" if name in steps else "is no step"
            notes.append(f"step {own!r} depends on {name!r}, which {why}: that is left out")
    return notes


def _waits(steps: Mapping[str, PlanStep], one: str, other: str) -> bool:
    """Whether a step needs another, directly or through others."""
    seen, ahead = {one}, [one]
    while ahead:
        new = set(steps[ahead.pop()].depends_on) & steps.keys() - seen
        ahead += new
        seen |= new
    return other in seen


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


def last_steps(plan: Plan) -> list[PlanStep]:
    """The steps that no other step depends on, in the plan's order."""
    needed = {name for step in plan.steps for name in step.depends_on}
    return [step for step in plan.steps if step.id not in needed]


def described(plan: Plan, own: str) -> str:
    """A plan as the worker of one of its steps reads it."""
    lines = [f"{PLAN} {own}:"]
    for step in plan.steps:
        after = f", after {', '.join(step.depends_on)}" if step.depends_on else ""
        lines.append(f"- {step.id} ({step.agent}{after}): {' '.join(step.description.split())}")
    return "\n".join(lines)
