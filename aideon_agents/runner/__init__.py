"""One run of a workflow, and what came of it."""

from aideon_agents.runner.events import NodeEnded, NodeStarted, Question, Restart, Token
from aideon_agents.runner.result import Event, RunEnded, RunResult, document, recall
from aideon_agents.runner.resume import aresume, prepare_resume, refuse_unless_resumable, resume
from aideon_agents.runner.resume_state import NOTHING
from aideon_agents.runner.start import RunOptions, arun, astream, most, prepare, run

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
