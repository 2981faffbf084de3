"""Workflows by address, as compiled graphs: task files, Python files, ready-made workflows."""

from aideon_agents.tasks.steps import json_schema
from aideon_agents.tasks.target import Target, load, ready_made

__all__ = ["Target", "json_schema", "load", "ready_made"]
