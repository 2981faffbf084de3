"""The items of a batch: each form of a file has its reader, and all give the same items."""

from aideon_agents.batch.items.item import ITEM_KINDS, Item, ItemOptions
from aideon_agents.batch.items.source import Items, Source, opened

__all__ = ["ITEM_KINDS", "Item", "ItemOptions", "Items", "Source", "opened"]
