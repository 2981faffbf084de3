"""A step and its judge, again until it passes: evaluator-optimizer.

What the loop counts is private to its own graph (`Loop` is no part of what a graph takes in), so a
loop inside a loop starts fresh each time.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from langgraph.graph import END, START
from pydantic import BaseModel, ConfigDict

from aideon_agents.errors import StepFailed, UserError
from aideon_agents.graphs import Graph, Node
from aideon_agents.graphs.enclosing import Door, Enclosing
from aideon_agents.patterns import nodes as making
from aideon_agents.patterns.approval import Judged, Shown
from aideon_agents.patterns.functions import own_path
from aideon_agents.patterns.nodes import compiled
from aideon_agents.state import Entry, StepResult, Verdict, last, latest, merge, next_order

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable, RunnableConfig


StopReason = Literal["passed", "max_rounds"]


class Round(BaseModel):
    """One time round."""

    model_config = ConfigDict(frozen=True)

    content: str
    """The step's answer."""
    verdict: Verdict
    declined: bool = False
    """Whether the verdict is that of a person who said no, and not the check's."""


class Rounds(BaseModel):
    """A loop's own result: how it went."""

    model_config = ConfigDict(frozen=True)

    stop_reason: StopReason
    best: int
    """Which round is the result, from 1."""
    rounds: list[Round]


class LoopEntry(Entry, total=False):
    """What a loop takes in: no round, it starts with its first, but what a loop around it said."""

    feedback: str


class Loop(Shown, total=False):
    """What a loop's nodes read."""

    rounds: Annotated[list[Round], last]
    """The rounds so far; empty or absent in the first."""
    stop_reason: Annotated[StopReason | None, last]
    """None or absent while it goes on."""


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

    Where a person must agree (`approve`) to the step's result or to the check's, a no with feedback
    is the round's verdict, and the check is not asked; in the last round it ends the run. A round
    that was declined is not the result.

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
    work, judge = making.named([step, check], name, rounds=max_rounds)
    judging = _Judge(judge.runnable, max_rounds, pass_score, name)
    graph = making.builder(Loop, entry=LoopEntry)
    making.add(graph, work)
    making.add(graph, judge, Enclosing(judging.judge, [judge.runnable], judge.name))
    graph.add_edge(START, work.name)
    graph.add_edge(work.name, judge.name)
    graph.add_conditional_edges(
        judge.name, route_verdict, {"again": work.name, "passed": END, "max_rounds": END}
    )
    return compiled(graph, name)


def route_verdict(state: Loop) -> Literal["again", "passed", "max_rounds"]:
    """Where a loop goes after its judge."""
    return state.get("stop_reason") or "again"


@dataclasses.dataclass(frozen=True)
class _Judge:
    """The check, and the loop's bookkeeping with it."""

    check: Runnable[Any, Any]
    """What writes the verdict."""
    max_rounds: int
    pass_score: float | None
    """What a passing score is; None: `passed` alone decides."""
    loop: str
    """The loop's name."""

    async def judge(self, state: Loop, config: RunnableConfig, door: Door) -> dict[str, Any]:
        judged = _latest_work(state.get("results") or {})
        update = await self._checked(state, config, door)
        declined = update.get("declined")
        verdict = _declining(declined) if declined else update.get("verdict")
        if judged is None or verdict is None:
            raise StepFailed(f"{self.loop}: the step gave no result or its check no verdict")
        verdict = self._strict(verdict)
        now = Round(content=judged.content, verdict=verdict, declined=bool(declined))
        rounds = [*(state.get("rounds") or ()), now]
        written = {**update, "verdict": verdict, "declined": None}
        if not verdict.passed and len(rounds) < self.max_rounds:
            again = {"round": len(rounds) + 1, "feedback": verdict.feedback, "stop_reason": None}
            return {**written, **again, "rounds": rounds}
        reason: StopReason = "passed" if verdict.passed else "max_rounds"
        added = update.get("results") or {}
        known = merge(state.get("results") or {}, added)
        own = _result(rounds, reason, own_path(config, self.loop), known)
        # The next run on the same thread starts with a first round.
        over = {"round": 1, "feedback": "", "rounds": [], "stop_reason": reason}
        return {**written, **over, "results": {**added, own.node_path: own}}

    async def _checked(self, state: Loop, config: RunnableConfig, door: Door) -> Judged:
        """What the check writes; it is not asked about what a person declined."""
        if declined := state.get("declined"):
            return Judged(declined=declined)
        # A check that is a graph gives back any verdict it was given, and the feedback is not its.
        unjudged = {**state, "verdict": None, "feedback": ""}
        return cast("Judged", await door.call(self.check, unjudged, config)) or Judged()

    def _strict(self, verdict: Verdict) -> Verdict:
        """The verdict as this loop counts it: a score too low does not pass."""
        enough = self.pass_score is None or verdict.score >= self.pass_score
        return verdict.model_copy(update={"passed": verdict.passed and enough})


def _latest_work(results: dict[str, StepResult]) -> StepResult | None:
    """The last result that is no verdict: a step may hold validators of its own."""
    return latest({path: one for path, one in results.items() if one.role != "validator"})


def _result(
    rounds: list[Round], reason: StopReason, path: str, results: dict[str, StepResult]
) -> StepResult:
    best = max(range(len(rounds)), key=lambda index: _rank(rounds[index]))
    return StepResult(
        node_path=path,
        role="iterative",
        content=rounds[best].content,
        data=Rounds(stop_reason=reason, best=best + 1, rounds=rounds),
        round=best + 1,
        order=next_order(results),
    )


def _rank(now: Round) -> tuple[bool, bool, float]:
    return not now.declined, now.verdict.passed, now.verdict.score


def _declining(feedback: str) -> Verdict:
    return Verdict(passed=False, score=0, feedback=feedback)
