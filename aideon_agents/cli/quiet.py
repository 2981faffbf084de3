"""An error of the ledger is told once, by us.

It is raised inside a callback, which LangChain logs before it raises it on; and whatever else was
to hear of the same event is left as a coroutine that nobody awaits.
"""

from __future__ import annotations

import logging
import warnings


def tell_ledger_errors_once() -> None:
    """Leave out what LangChain says of an error that ends the run anyway, in this process."""
    logging.getLogger("langchain_core.callbacks.manager").addFilter(_is_news)
    warnings.filterwarnings("ignore", "coroutine 'ahandle_event' was never awaited", RuntimeWarning)


def _is_news(record: logging.LogRecord) -> bool:
    return "CostHandler" not in record.getMessage()
