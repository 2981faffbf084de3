"""The workflow that is measured: one agent."""

from aideon_agents import executor, sequential

graph = sequential(executor("answer"))
