"""One run of a workflow, and what came of it."""

from aideon_agents.runner.events import (
    Event,
    NodeEnded,
    NodeStarted,
    Restart,
    RunEnded,
    Token,
)
from aideon_agents.runner.options import RunOptions
from aideon_agents.runner.preparing import prepare
from aideon_agents.runner.result import RunResult, document, recall
from aideon_agents.runner.starting import arun, astream, run

__all__ = [
    "Event",
    "NodeEnded",
    "NodeStarted",
    "Restart",
    "RunEnded",
    "RunOptions",
    "RunResult",
    "Token",
    "arun",
    "astream",
    "document",
    "prepare",
    "recall",
    "run",
]
