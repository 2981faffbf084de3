"""What a forked process makes anew: locks that another thread held, threads, and connections.

A child has one thread: a lock that another thread of the parent held is never released in it. A task queue, a web
server that loads the application before it forks, and multiprocessing all fork after first use.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from typing import Protocol


class Renewed(Protocol):
    """Something that a child process must not share with its parent."""

    def after_fork(self) -> None:
        """Begin again, in a child process."""
        ...


renewed: weakref.WeakSet[Renewed] = weakref.WeakSet()
"""Everything of the kind; each adds itself when it is made."""


def _renew() -> None:
    with contextlib.ExitStack() as all_of_them:  # also after one that fails
        for one in list(renewed):
            all_of_them.callback(one.after_fork)


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_renew)
