"""Patterns: each takes nodes or graphs and returns a compiled graph."""

from aideon_agents.patterns.conditional import conditional
from aideon_agents.patterns.iterative import iterative
from aideon_agents.patterns.orchestrated import orchestrated
from aideon_agents.patterns.parallel import parallel
from aideon_agents.patterns.sequential import sequential

__all__ = ["conditional", "iterative", "orchestrated", "parallel", "sequential"]
