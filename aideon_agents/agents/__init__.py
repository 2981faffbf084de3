"""The four agents, one file for each role, the tools that they may use, and their models alone."""

from aideon_agents.agents.chat_model import chat_model
from aideon_agents.agents.creative import creative
from aideon_agents.agents.executor import executor
from aideon_agents.agents.mcp import mcp_server
from aideon_agents.agents.planner import planner
from aideon_agents.agents.validator import validator

__all__ = ["chat_model", "creative", "executor", "mcp_server", "planner", "validator"]
