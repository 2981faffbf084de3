"""A step and its judge, again until it passes: evaluator-optimizer.

What the loop counts is private to its own graph (`Loop` is no part of what a graph takes in), so a
loop inside a loop starts fresh each time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langgraph.graph import END, START
from pydantic import BaseModel, ConfigDict

from aideon_agents.errors import StepFailed, UserError
from aideon_agents.models.bridge import blocking
from aideon_agents.patterns import nodes as making
from aideon_agents.state import (
    Results,
    State,
    StepResult,
    Verdict,
    last,
    latest,
    merge,
    next_order,
    node_path,
)

if TYPE_CHECKING:
    from aideon_agents.patterns.nodes import Graph, Node

StopReason = Literal["passed", "max_rounds"]


class Round(BaseModel):
    """One time round."""

    model_config = ConfigDict(frozen=True)

    content: str
    """The step's answer."""
    verdict: Verdict


class Rounds(BaseModel):
    """A loop's own result: how it went."""

    model_config = ConfigDict(frozen=True)

    stop_reason: StopReason
    best: int
    """Which round is the result, from 1."""
    rounds: list[Round]


class Loop(State, total=False):
    """What a loop's nodes read."""

    rounds: Annotated[list[Round], last]
    """The rounds so far; absent in the first."""
    stop_reason: Annotated[StopReason, last]
    """Absent while it goes on."""


def iterative(
    step: Node,
    check: Node,
    *,
    max_rounds: int = 3,
    pass_score: float | None = None,
    name: str = "iterative",
) -> Graph:
    """Run a step until a check passes it, or the rounds are used up.

    A round passes when the verdict's `passed` is true and, where `pass_score` is given, its score
    reaches it. The result is the best round's: the highest score, of those that passed if any did.

    Args:
        step: The agent, function or graph to run; from round 2 on it is given the feedback.
        check: A validator, or whatever else writes a `verdict`.
        max_rounds: The most times to run the step.
        pass_score: What a passing score is, 0 to 1; None: `passed` alone decides.
        name: What it is called where it is a node itself, and in reports.

    Returns:
        A compiled graph. Its own result, at its path, has `Rounds` as data.

    Raises:
        UserError: A bound cannot be.
    """
    if max_rounds < 1:
        raise UserError(f"{name}: max_rounds is {max_rounds}, it must be at least 1")
    if pass_score is not None and not 0 <= pass_score <= 1:
        raise UserError(f"{name}: pass_score is {pass_score}, it must be from 0 to 1")
    work, judge = making.named([step, check], name)
    judging = Judge(judge.runnable, max_rounds, pass_score, name)
    graph = making.builder(Loop)
    making.add(graph, work)
    graph.add_node(judge.name, judging, metadata=judge.metadata)
    graph.add_edge(START, work.name)
    graph.add_edge(work.name, judge.name)
    graph.add_conditional_edges(
        judge.name, route_verdict, {"again": work.name, "passed": END, "max_rounds": END}
    )
    return graph.compile(name=name)


def route_verdict(state: Loop) -> Literal["again", "passed", "max_rounds"]:
    """Where a loop goes after its judge."""
    return state.get("stop_reason", "again")


class Judge(RunnableLambda[Loop, dict[str, Any]]):
    """The check, and the loop's bookkeeping with it.

    Args:
        check: What writes the verdict.
        max_rounds: The most times to run the step.
        pass_score: What a passing score is; None: `passed` alone decides.
        loop: The loop's name.
    """

    def __init__(
        self, check: Runnable[Any, Any], max_rounds: int, pass_score: float | None, loop: str
    ) -> None:
        self.check = check
        self.max_rounds = max_rounds
        self.pass_score = pass_score
        self.loop = loop
        super().__init__(self._judge_blocking, self._judge, name="judge")

    def _judge_blocking(self, state: Loop, config: RunnableConfig) -> dict[str, Any]:
        return blocking(self._judge(state, config))

    async def _judge(self, state: Loop, config: RunnableConfig) -> dict[str, Any]:
        judged = latest(state.get("results") or {})
        update = cast("Results", await self.check.ainvoke(state, config))
        verdict = (update or {}).get("verdict")
        if judged is None or verdict is None:
            raise StepFailed(f"{self.loop}: the step gave no result or its check no verdict")
        verdict = self._strict(verdict)
        rounds = [*state.get("rounds", []), Round(content=judged.content, verdict=verdict)]
        written = {**update, "verdict": verdict, "rounds": rounds}
        if not verdict.passed and len(rounds) < self.max_rounds:
            return {**written, "round": len(rounds) + 1}
        reason: StopReason = "passed" if verdict.passed else "max_rounds"
        added = update.get("results") or {}
        known = merge(state.get("results") or {}, added)
        own = _result(rounds, reason, _own_path(config, self.loop), known)
        return {**written, "results": {**added, own.node_path: own}, "stop_reason": reason}

    def _strict(self, verdict: Verdict) -> Verdict:
        """The verdict as this loop counts it: a score too low does not pass."""
        enough = self.pass_score is None or verdict.score >= self.pass_score
        return verdict.model_copy(update={"passed": verdict.passed and enough})


def _result(
    rounds: list[Round], reason: StopReason, path: str, results: dict[str, StepResult]
) -> StepResult:
    best = max(range(len(rounds)), key=lambda index: _rank(rounds[index].verdict))
    return StepResult(
        node_path=path,
        role="iterative",
        content=rounds[best].content,
        data=Rounds(stop_reason=reason, best=best + 1, rounds=rounds),
        round=best + 1,
        order=next_order(results),
    )


def _rank(verdict: Verdict) -> tuple[bool, float]:
    return verdict.passed, verdict.score


def _own_path(config: RunnableConfig, name: str) -> str:
    """The loop's place: that of its judge without the last part; its name where it is the root."""
    return node_path(config.get("metadata") or {}).rpartition("/")[0] or name
