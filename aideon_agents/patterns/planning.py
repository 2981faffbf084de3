"""The planner's part of an orchestration: a plan that can be followed, or why there is none."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from aideon_agents.errors import StepFailed
from aideon_agents.patterns.places import beside, here, is_in
from aideon_agents.patterns.plans import complaint, tidied
from aideon_agents.state import State, merge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.runnables import Runnable, RunnableConfig

    from aideon_agents.patterns.enclosing import Door
    from aideon_agents.state import Plan, Results

_WANTED = "This plan cannot be followed. Write it again without these mistakes:"


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

    async def plan(self, state: State, config: RunnableConfig, door: Door) -> dict[str, Any]:
        known = state.get("results") or {}
        own = here(config), beside(config, self.work)
        before = [path for path in known if not any(is_in(path, place) for place in own)]
        unplanned = {**state, "plan": None}  # a graph would give back any plan it was given
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
        wanted = "\n\n".join(filter(None, [state.get("feedback"), f"{_WANTED} {wrong}."]))
        told = {**state, "results": known, "feedback": wanted}
        repaired: Results = await door.call(self.planner, told, config) or {}
        return {**repaired, "results": merge(known, repaired.get("results") or {})}

    def _checked(self, update: Results) -> tuple[Plan | None, str | None]:
        plan = update.get("plan")
        if plan is None:
            return None, "there is no plan"
        plan = tidied(plan)
        return plan, complaint(plan, self.agents, self.max_steps)
