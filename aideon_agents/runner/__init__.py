"""One run of a workflow, and what came of it."""

from aideon_agents.runner.answers import NOTHING
from aideon_agents.runner.estimate import most
from aideon_agents.runner.events import (
    Event,
    NodeEnded,
    NodeStarted,
    Question,
    Restart,
    RunEnded,
    Token,
)
from aideon_agents.runner.options import RunOptions
from aideon_agents.runner.preparing import prepare
from aideon_agents.runner.result import RunResult, document, recall
from aideon_agents.runner.resuming import (
    aresume,
    prepare_resume,
    refuse_unless_resumable,
    resume,
)
from aideon_agents.runner.starting import arun, astream, run

__all__ = [
    "NOTHING",
    "Event",
    "NodeEnded",
    "NodeStarted",
    "Question",
    "Restart",
    "RunEnded",
    "RunOptions",
    "RunResult",
    "Token",
    "aresume",
    "arun",
    "astream",
    "document",
    "most",
    "prepare",
    "prepare_resume",
    "recall",
    "refuse_unless_resumable",
    "resume",
    "run",
]
