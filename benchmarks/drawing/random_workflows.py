"""Random nested workflows of our patterns, made of plain functions, and the runs that force them.

Every choice in them follows the inputs: which route a conditional takes, in which round a loop
passes, how many waves a plan has. So a few runs lead over every edge that there is.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aideon_agents import conditional, iterative, orchestrated, parallel, sequential
from aideon_agents.state import Plan, PlanStep, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAMES = (
    "draft", "check", "facts", "end", "graph", "subgraph", "class", "style", "a.b", 'say "hi"',
    "list [1]", "(maybe)", "🦊 fox", "שלום עולם", "日本語", "x" * 200, "a & b", "<b>", "1. one",
    "two words", "snake_case", "kebab-case", "exit", "entry", "#35;", "%% note", "0.8", "semi;colon",
)  # fmt: skip
"""Few enough that many nodes in different places have the same."""

ROUNDS = (1, 2, 3)
"""Loops pass in the first round, in the second, and not at all."""


@dataclass
class Workflow:
    """A random workflow."""

    chance: random.Random
    routes: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Of each conditional, by the input that it follows."""
    around: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    """For each conditional, the routes that lead to it, by the inputs that they follow."""
    here: dict[str, str] = field(default_factory=dict[str, str])
    """The routes that lead to what is being made."""
    graph: Any = None

    def runs(self) -> Iterator[dict[str, Any]]:
        """The inputs of runs that lead over every edge."""
        first = {key: routes[0] for key, routes in self.routes.items()}
        choices = [
            first | self.around[key] | {key: route}
            for key, routes in self.routes.items()
            for route in routes
        ]
        for rounds in ROUNDS:
            yield from ({"rounds": rounds, **chosen} for chosen in choices or [first])


def workflows(count: int, seed: int) -> Iterator[Workflow]:
    """Make workflows.

    Args:
        count: How many.
        seed: Of chance.

    Yields:
        Workflows of up to four levels.
    """
    for number in range(count):
        made = Workflow(random.Random(f"{seed} {number}"))
        made.graph = _pattern(made, depth=3)
        yield made


def _pattern(made: Workflow, depth: int) -> Any:
    makers = (_sequential, _parallel, _conditional, _iterative, _orchestrated)
    return made.chance.choice(makers)(made, depth - 1)


def _node(made: Workflow, depth: int, name: str) -> Any:
    """A function, or a pattern of that name."""
    if depth < 0 or made.chance.random() < 0.55:
        return _function(name)
    graph = _pattern(made, depth)
    graph.name = name
    return graph


def _names(made: Workflow, count: int) -> list[str]:
    return made.chance.sample(NAMES, count)


def _sequential(made: Workflow, depth: int) -> Any:
    names = _names(made, made.chance.randint(1, 3))
    return sequential(*(_node(made, depth, name) for name in names), name="steps")


def _parallel(made: Workflow, depth: int) -> Any:
    names = _names(made, made.chance.randint(1, 4))
    return parallel(
        *(_node(made, depth, name) for name in names),
        max_concurrency=made.chance.choice([None, 2]),
        on_failure=made.chance.choice(["raise", "keep"]),
        name="branches",
    )


def _conditional(made: Workflow, depth: int) -> Any:
    names = _names(made, made.chance.randint(1, 4))
    key = f"key{len(made.routes)}"
    made.routes[key] = tuple(names)
    before = made.here
    made.around[key] = before
    branches: dict[str, Any] = {}
    for name in names:
        made.here = before | {key: name}
        branches[name] = _node(made, depth, name)
    made.here = before
    return conditional(key, branches, name="fork")


def _iterative(made: Workflow, depth: int) -> Any:
    step, check = _names(made, 2)
    judge = _check(check)
    if made.chance.random() < 0.2:
        judge = sequential(_function("look"), judge, name=check)
    return iterative(_node(made, depth, step), judge, max_rounds=2, name="loop")


def _orchestrated(made: Workflow, depth: int) -> Any:
    del depth  # what does a step is no part of the drawing
    (name,) = _names(made, 1)
    return orchestrated(_named(_plan, name), _function("executor"), name="plan and do")


def _function(name: str) -> Callable[[Any], str]:
    return _named(lambda state: str(len(state)), name)


def _check(name: str) -> Callable[[Any], Any]:
    def check(state: Any) -> Any:
        passed = state.get("round", 1) >= state["inputs"]["rounds"]
        return {"verdict": Verdict(passed=passed, score=0.5, feedback="more")}

    return _named(check, name)


def _plan(state: Any) -> Any:
    waves = min(2, state["inputs"]["rounds"])
    steps = [
        PlanStep(
            id=f"s{number}",
            description="work",
            agent="executor",
            complexity="low",
            depends_on=[f"s{number - 1}"] if number else [],
        )
        for number in range(waves)
    ]
    return {"plan": Plan(steps=steps)}


def _named(function: Callable[[Any], Any], name: str) -> Callable[[Any], Any]:
    def named(state: Any) -> Any:
        return function(state)

    named.__name__ = name
    return named
