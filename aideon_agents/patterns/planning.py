"""The planner's part of an orchestration: a plan that can be followed, or why there is none."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

from aideon_agents.errors import StepFailed
from aideon_agents.patterns.approval import Shown, agreed
from aideon_agents.patterns.places import beside, here, is_in
from aideon_agents.patterns.plans import complaint, tidied
from aideon_agents.state import last, merge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.runnables import Runnable, RunnableConfig

    from aideon_agents.patterns.enclosing import Door
    from aideon_agents.state import Plan, Results

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
