"""A step and a check, repeated until the check passes: evaluator-optimizer.

What the loop counts is private to its own graph (`LoopState` is not part of what a graph takes in),
so a loop inside a loop starts fresh each time.
"""

from __future__ import annotations

import dataclasses
import functools
import textwrap
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from langchain_core.runnables import Runnable
from langgraph.graph import END, START
from pydantic import BaseModel, ConfigDict

from aideon_agents.errors import StepFailed, UserError, is_kind
from aideon_agents.graphs import Node
from aideon_agents.graphs.enclosing import Door, Enclosing
from aideon_agents.graphs.output import output
from aideon_agents.models.learning.verdicts import record_verdict
from aideon_agents.patterns.approval import DeclinableResults, DeclinableState
from aideon_agents.patterns.functions import check_node, pattern_path, sibling_path
from aideon_agents.patterns.nodes import (
    NamedNode,
    PatternGraph,
    add_node,
    compile_graph,
    named_nodes,
    new_builder,
)
from aideon_agents.state import Entry, StepResult, Verdict, last, latest, merge, next_order

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig


_EARLIER = "Feedback on earlier rounds, which must stay met:"
_SHORT = 200
"""Characters of the feedback of an earlier round."""

StopReason = Literal["passed", "max_rounds"]


class Round(BaseModel):
    """One round of a loop."""

    model_config = ConfigDict(frozen=True)

    content: str
    """The step's answer."""
    verdict: Verdict
    declined: bool = False
    """Whether a person declined the result, and the verdict is theirs and not the check's."""
    models: list[str] = []
    """The models that answered."""
    truncated: bool = False
    """The answer met `max_tokens`."""


class Rounds(BaseModel):
    """The data of a loop's own result."""

    model_config = ConfigDict(frozen=True)

    stop_reason: StopReason
    best: int
    """The number of the round that is the result, from 1."""
    rounds: list[Round]


class LoopEntry(Entry, total=False):
    """What a loop takes in: the feedback of a loop around it, but not that loop's round."""

    feedback: str


class LoopState(DeclinableState, total=False):
    """What a loop's nodes read."""

    rounds: Annotated[list[Round], last]
    """The rounds so far; empty or absent in the first."""
    stop_reason: Annotated[StopReason | None, last]
    """None or absent while the loop continues."""


def iterative(
    step: Node,
    check: Node,
    *,
    max_rounds: int = 3,
    pass_score: float | None = None,
    name: str = "iterative",
) -> PatternGraph[Rounds]:
    """Run a step until a check passes, or until the rounds are used up.

    A round passes when the verdict's `passed` is true and, where `pass_score` is given, its score
    reaches it. The result is that of the best round: of the rounds that passed, or of all if none
    did, the one with the highest score.

    Where a person must agree (`approve`) to the result of the step or of the check, a rejection with
    feedback is the verdict of the round; where it is the step's, the check is not called. In the
    last round such a rejection ends the run. A declined round is not the result.

    Args:
        step: The agent, function or graph to run; from round 2 on it receives the feedback.
        check: A validator, a function, or another node that writes a `verdict`. A function returns
            a `Verdict`, True or False, or `(bool, feedback)`.
        max_rounds: How often the step may run.
        pass_score: The lowest score that passes, 0 to 1; None: `passed` alone decides.
        name: Its name in reports, and as a node of another graph.

    Returns:
        A compiled graph. Its own result, at its path, has `Rounds` as data.

    Raises:
        UserError: `max_rounds` or `pass_score` is out of range.
    """
    if not is_kind(max_rounds, int) or max_rounds < 1:
        raise UserError(f"{name}: max_rounds must be at least 1, not {max_rounds!r}")
    if pass_score is not None and not (is_kind(pass_score, (int, float)) and 0 <= pass_score <= 1):
        raise UserError(f"{name}: pass_score must be from 0 to 1, not {pass_score!r}")
    work, judge = named_nodes([step, check], name, rounds=max_rounds)
    if callable(check) and not isinstance(check, Runnable):
        judge = dataclasses.replace(judge, runnable=check_node(check, name))
    judging = functools.partial(
        _judge,
        step=work,
        check=judge.runnable,
        max_rounds=max_rounds,
        pass_score=pass_score,
        loop=name,
    )
    graph = new_builder(LoopState, entry=LoopEntry)
    add_node(graph, work)
    add_node(graph, judge, Enclosing(judging, [judge.runnable], judge.name))
    graph.add_edge(START, work.name)
    graph.add_edge(work.name, judge.name)
    graph.add_conditional_edges(
        judge.name, route_verdict, {"again": work.name, "passed": END, "max_rounds": END}
    )
    return compile_graph(graph, name)


def route_verdict(state: LoopState) -> Literal["again", "passed", "max_rounds"]:
    """Whether the loop runs again, or why it ends."""
    return state.get("stop_reason") or "again"


async def _judge(
    state: LoopState,
    config: RunnableConfig,
    door: Door,
    *,
    step: NamedNode,
    check: Runnable[Any, Any],
    max_rounds: int,
    pass_score: float | None,
    loop: str,
) -> dict[str, Any]:
    """Run the check, and keep count of the rounds."""
    known = state.get("results") or {}
    # A step may hold validators of its own, whose verdicts are not what it made.
    written = {path: one for path, one in known.items() if one.role != "validator"}
    made = output(step.runnable, written, sibling_path(config, step.name)) or latest(written)
    if declined := state.get("declined"):  # of the step's result: the check is not called
        update = DeclinableResults(declined=declined)
    else:
        # A check that is a graph returns any verdict that it receives, and the feedback is for
        # the step.
        unjudged = {**state, "verdict": None, "feedback": ""}
        update = cast("DeclinableResults", await door.call(check, unjudged, config) or {})
    declined = update.get("declined")
    verdict = update.get("verdict")
    if declined:
        verdict = Verdict(passed=False, score=0, feedback=declined)
    if made is None or verdict is None:
        raise StepFailed(f"{loop}: the step wrote no result, or the check no verdict")
    if not declined:
        judge = latest(dict(update.get("results") or {}))
        record_verdict(config, made, judge.models if judge else (), verdict.score)
    high_enough = pass_score is None or verdict.score >= pass_score
    verdict = verdict.model_copy(update={"passed": verdict.passed and high_enough})
    now = Round(
        content=made.content,
        verdict=verdict,
        declined=bool(declined),
        models=made.models,
        truncated=made.truncated,
    )
    rounds = [*(state.get("rounds") or ()), now]
    written = {**update, "verdict": verdict, "declined": None}
    if not verdict.passed and len(rounds) < max_rounds:
        again = {"round": len(rounds) + 1, "feedback": _feedback(rounds), "stop_reason": None}
        return {**written, **again, "rounds": rounds}
    reason: StopReason = "passed" if verdict.passed else "max_rounds"
    added = update.get("results") or {}
    own = _result(rounds, reason, pattern_path(config, loop), merge(known, added))
    # The next run on the same thread starts with round 1.
    reset = {"round": 1, "feedback": "", "rounds": [], "stop_reason": reason}
    return {**written, **reset, "results": {**added, own.node_path: own}}


def _feedback(rounds: list[Round]) -> str:
    """What the last round lacks, and in short what the rounds before it lacked."""
    *before, last_round = rounds
    earlier = [
        f"- round {number}: {textwrap.shorten(one.verdict.feedback, _SHORT, placeholder=' …')}"
        for number, one in enumerate(before, 1)
        if one.verdict.feedback.strip()
    ]
    if not earlier:
        return last_round.verdict.feedback
    return "\n".join([last_round.verdict.feedback, "", _EARLIER, *earlier])


def _result(
    rounds: list[Round], reason: StopReason, path: str, results: dict[str, StepResult]
) -> StepResult:
    def rank(index: int) -> tuple[bool, bool, float]:
        verdict = rounds[index].verdict
        return not rounds[index].declined, verdict.passed, verdict.score

    best = max(range(len(rounds)), key=rank)
    return StepResult(
        node_path=path,
        role="iterative",
        content=rounds[best].content,
        data=Rounds(stop_reason=reason, best=best + 1, rounds=rounds),
        round=best + 1,
        order=next_order(results),
        models=rounds[best].models,
        truncated=rounds[best].truncated,
    )
