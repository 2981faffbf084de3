"""From a request to a chain of chat models."""

from aideon_agents.models.chain import Models, default_models

__all__ = ["Models", "default_models"]
