"""Compose agent workflows, see them as graphs, run them, and know what every node cost."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aideon_agents.agents import chat_model, creative, executor, mcp_server, planner, validator
    from aideon_agents.agents.media import image, speech, transcript, video
    from aideon_agents.batch import abatch
    from aideon_agents.errors import UserError
    from aideon_agents.ledger.budgets.limits import Budget
    from aideon_agents.ledger.handler import CostHandler
    from aideon_agents.ledger.store import Ledger
    from aideon_agents.models.learning import record_performance
    from aideon_agents.patterns import conditional, iterative, orchestrated, parallel, sequential
    from aideon_agents.runner import (
        NodeEnded,
        NodeStarted,
        Question,
        Restart,
        RunEnded,
        RunResult,
        Token,
        aresume,
        arun,
        astream,
        resume,
        run,
    )
    from aideon_agents.settings import Settings
    from aideon_agents.state import Context, Decision, State, StepResult, Verdict
    from aideon_agents.tasks.target import workflow

__all__ = [
    "Budget",
    "Context",
    "CostHandler",
    "Decision",
    "Ledger",
    "NodeEnded",
    "NodeStarted",
    "Question",
    "Restart",
    "RunEnded",
    "RunResult",
    "Settings",
    "State",
    "StepResult",
    "Token",
    "UserError",
    "Verdict",
    "abatch",
    "aresume",
    "arun",
    "astream",
    "chat_model",
    "conditional",
    "creative",
    "executor",
    "image",
    "iterative",
    "mcp_server",
    "orchestrated",
    "parallel",
    "planner",
    "record_performance",
    "resume",
    "run",
    "sequential",
    "speech",
    "transcript",
    "validator",
    "video",
    "workflow",
]

_ROOMS = {
    "agents": ("chat_model", "creative", "executor", "mcp_server", "planner", "validator"),
    "agents.media": ("image", "speech", "transcript", "video"),
    "batch": ("abatch",),
    "errors": ("UserError",),
    "ledger.budgets.limits": ("Budget",),
    "ledger.handler": ("CostHandler",),
    "ledger.store": ("Ledger",),
    "models.learning": ("record_performance",),
    "patterns": ("conditional", "iterative", "orchestrated", "parallel", "sequential"),
    "runner": (
        "NodeEnded",
        "NodeStarted",
        "Question",
        "Restart",
        "RunEnded",
        "RunResult",
        "Token",
        "aresume",
        "arun",
        "astream",
        "resume",
        "run",
    ),
    "settings": ("Settings",),
    "tasks.target": ("workflow",),
    "state": ("Context", "Decision", "State", "StepResult", "Verdict"),
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use: LangChain takes a second, and most doors need less."""
    for room, names in _ROOMS.items():
        if name in names:
            module = importlib.import_module(f"{__name__}.{room}")
            if room in {"patterns", "runner"}:
                _connect_drawing()
            return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _connect_drawing() -> None:
    """Set what draws graphs and results in a notebook: patterns and runner do not import drawing."""
    importlib.import_module(f"{__name__}.patterns.nodes").PatternGraph.drawn_by = _graph_shown
    if result := sys.modules.get(f"{__name__}.runner.result"):
        result.RunResult.drawn_by = _run_shown


def _graph_shown(graph: Any) -> dict[str, str]:
    return importlib.import_module(f"{__name__}.drawing.notebook").graph_shown(graph)


def _run_shown(result: Any) -> dict[str, str]:
    return importlib.import_module(f"{__name__}.drawing.notebook").run_shown(result)


def __dir__() -> list[str]:
    return __all__
