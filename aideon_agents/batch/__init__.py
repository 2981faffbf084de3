"""Many items through one workflow: bounded, kept to a budget, and going on where it stopped."""

from aideon_agents.batch.options import BatchResult, document
from aideon_agents.batch.running import abatch

__all__ = ["BatchResult", "abatch", "document"]
