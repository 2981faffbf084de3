"""The workflow that is measured: three agents, one after another."""

from aideon_agents import creative, executor, sequential

graph = sequential(executor("facts"), executor("risks"), creative("text"))
