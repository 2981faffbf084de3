"""One run of a workflow, and what came of it."""

from aideon_agents.runner.result import RunResult, document, recall
from aideon_agents.runner.running import arun, run

__all__ = ["RunResult", "arun", "document", "recall", "run"]
