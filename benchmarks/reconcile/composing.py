"""Random workflows: patterns in patterns, agents at the ends."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from aideon_agents import (
    conditional,
    creative,
    executor,
    iterative,
    orchestrated,
    parallel,
    planner,
    sequential,
    validator,
)

if TYPE_CHECKING:
    import random

_SECONDS = 6.0
"""What a chain of models may take: a candidate that hangs is left after a third of it."""
_TOKENS = 300
_NESTED = 0.4
"""How often a part is a pattern again."""


class Composer:
    """Makes workflows, the same for the same chance.

    Args:
        chance: Where all choices come from.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._numbers = itertools.count(1)

    def workflow(self, depth: int = 2) -> Any:
        """A compiled graph of a random pattern.

        Args:
            depth: How many levels of patterns may lie inside it.

        Returns:
            The graph; no two nodes of a composer's workflows have the same name.
        """
        patterns = (
            self._sequential,
            self._parallel,
            self._iterative,
            self._conditional,
            self._orchestrated,
        )
        return self._chance.choice(patterns)(depth)

    def _part(self, depth: int) -> Any:
        if depth and self._chance.random() < _NESTED:
            return self.workflow(depth - 1)
        return self._agent(self._chance.choice((planner, executor, creative)))

    def _agent(self, make: Any, **options: Any) -> Any:
        return make(self._name("agent"), timeout=_SECONDS, max_tokens=_TOKENS, **options)

    def _name(self, kind: str) -> str:
        return f"{kind}{next(self._numbers)}"

    def _sequential(self, depth: int) -> Any:
        parts = [self._part(depth) for _ in range(self._chance.randint(1, 2))]
        return sequential(*parts, name=self._name("sequence"))

    def _parallel(self, depth: int) -> Any:
        parts = [self._part(depth) for _ in range(self._chance.randint(2, 3))]
        return parallel(*parts, name=self._name("branches"))

    def _iterative(self, depth: int) -> Any:
        judge = self._agent(validator, criteria="short and true")
        return iterative(self._part(depth), judge, max_rounds=2, name=self._name("loop"))

    def _conditional(self, depth: int) -> Any:
        decides = self._agent(validator, question="Is this long?")
        ways = {"yes": self._part(depth), "no": self._part(depth)}
        return conditional(decides, ways, default="no", name=self._name("fork"))

    def _orchestrated(self, _depth: int) -> Any:
        crew = (self._agent(executor), self._agent(creative))
        return orchestrated(self._agent(planner), *crew, max_steps=3, name=self._name("plan"))
