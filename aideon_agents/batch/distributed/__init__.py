"""A batch on many machines: one process puts its items into a queue and follows, workers run them.

The queue is procrastinate's, in tables beside the ledger's; its library is an extra. The truth is the
ledger, as for the local engine: a job says no more than that an item may be due.
"""

from aideon_agents.errors import UserError

try:
    import procrastinate  # pyright: ignore[reportUnusedImport]  # noqa: F401 - whether it is there
    import psycopg  # pyright: ignore[reportUnusedImport]  # noqa: F401 - as above
except ImportError:
    raise UserError(
        "the distributed engine needs more: pip install 'aideon-agents[distributed]'"
    ) from None
