"""A batch on many machines: one process queues its items and follows, and workers run them.

The queue is procrastinate's, in tables beside the ledger's; the library is an extra. The state of an
item is in the ledger, as with the local engine: a job only says that an item may be due. Which
features of procrastinate are replaced, and why, is in `docs/decisions/010-how-procrastinate-is-used.md`.
"""

from aideon_agents.errors import UserError

try:
    import procrastinate  # pyright: ignore[reportUnusedImport]  # noqa: F401 - is it installed?
    import psycopg  # pyright: ignore[reportUnusedImport]  # noqa: F401 - as above
except ImportError:
    raise UserError(
        "the distributed engine needs more: pip install 'aideon-agents[distributed]'"
    ) from None
