"""The items of a batch: each form of a file has its reader, and all give the same items."""

from aideon_agents.batch.items.item import Item
from aideon_agents.batch.items.source import Items, Source, opened

__all__ = ["Item", "Items", "Source", "opened"]
