"""The four agents: one role a file, each a node."""

from aideon_agents.agents.creative import creative
from aideon_agents.agents.executor import executor
from aideon_agents.agents.planner import planner
from aideon_agents.agents.validator import validator

__all__ = ["creative", "executor", "planner", "validator"]
