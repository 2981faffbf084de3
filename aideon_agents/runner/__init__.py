"""Run a workflow, watch it, and resume it."""

from aideon_agents.runner.estimate import expected_cost, worst_case, worst_case_cost
from aideon_agents.runner.events import NodeEnded, NodeStarted, Question, Restart, Token
from aideon_agents.runner.options import ResumeOptions, RunOptions
from aideon_agents.runner.result import Event, RunEnded, RunResult, document, recall
from aideon_agents.runner.spec import NOTHING
from aideon_agents.runner.start import (
    aresume,
    arun,
    astream,
    prepare,
    prepare_resume,
    refuse_unless_resumable,
    resume,
    run,
)

__all__ = [
    "NOTHING",
    "Event",
    "NodeEnded",
    "NodeStarted",
    "Question",
    "Restart",
    "ResumeOptions",
    "RunEnded",
    "RunOptions",
    "RunResult",
    "Token",
    "aresume",
    "arun",
    "astream",
    "document",
    "expected_cost",
    "prepare",
    "prepare_resume",
    "recall",
    "refuse_unless_resumable",
    "resume",
    "run",
    "worst_case",
    "worst_case_cost",
]
