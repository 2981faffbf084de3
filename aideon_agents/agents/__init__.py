"""The four agents, one file for each role, and the tools that they may use."""

from aideon_agents.agents.creative import creative
from aideon_agents.agents.executor import executor
from aideon_agents.agents.mcp import mcp_server
from aideon_agents.agents.planner import planner
from aideon_agents.agents.validator import validator

__all__ = ["creative", "executor", "mcp_server", "planner", "validator"]
