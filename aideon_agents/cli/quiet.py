"""An error of the ledger is told once, by us.

It is raised inside a callback, which LangChain logs before it raises it on; and whatever else was
to hear of the same event is left as a coroutine that nobody awaits. What is wrong with a ledger
keeps every row from being written, and need not be told of each.
"""

from __future__ import annotations

import logging
import warnings

from aideon_agents.errors import LedgerError


def tell_ledger_errors_once() -> None:
    """Leave out what LangChain says of an error that ends the run anyway, in this process."""
    logging.getLogger("langchain_core.callbacks.manager").addFilter(_is_news)
    warnings.filterwarnings("ignore", "coroutine 'ahandle_event' was never awaited", RuntimeWarning)
    _told.clear()
    (logging.lastResort or logging.NullHandler()).addFilter(_is_first)


_told: set[str] = set()
"""What was said to be wrong with a ledger, in this run."""


def _is_news(record: logging.LogRecord) -> bool:
    return "CostHandler" not in record.getMessage()


def _is_first(record: logging.LogRecord) -> bool:
    said = record.args if isinstance(record.args, tuple) else ()
    faults = {str(one) for one in said if isinstance(one, LedgerError)}
    is_first = not faults or not faults <= _told
    _told.update(faults)
    return is_first
