"""Nodes or graphs in, a compiled graph out."""

from aideon_agents.patterns.iterative import iterative
from aideon_agents.patterns.parallel import parallel
from aideon_agents.patterns.sequential import sequential

__all__ = ["iterative", "parallel", "sequential"]
