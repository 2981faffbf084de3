"""What a forked process makes anew: locks that another thread held, threads, and connections.

A child has one thread: a lock that another thread of the parent held is never released in it. A task queue, a web
server that loads the application before it forks, and multiprocessing all fork after first use.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable


_T_co = TypeVar("_T_co", covariant=True)


class lazily(functools.cached_property[_T_co]):  # noqa: N801 - named as what it extends
    """A `functools.cached_property` without the lock of Python 3.11, which all instances of a class share.

    Two threads may both work the value out, as on newer versions.
    """

    lock = contextlib.nullcontext()
    """What Python 3.11 enters to set a value."""

    def __init__(self, func: Callable[[Any], _T_co]) -> None:
        super().__init__(func)
        vars(self).pop("lock", None)


class Renewed(Protocol):
    """Something that a child process must not share with its parent."""

    def after_fork(self) -> None:
        """Begin again, in a child process."""
        ...


renewed: weakref.WeakSet[Renewed] = weakref.WeakSet()
"""Everything of the kind; each adds itself when it is made."""


_WAIT = 5.0  # seconds
waited_for: weakref.WeakSet[Any] = weakref.WeakSet()
"""Locks that a fork waits for, because their holders are inside SQLite.

SQLite has locks of its own, for its memory and for its files. What another thread holds at a fork is
held for ever in the child.
"""
_held: list[Any] = []
_forking = threading.RLock()


def _wait() -> None:
    _forking.acquire()
    _held.extend(lock for lock in list(waited_for) if lock.acquire(timeout=_WAIT))


def _go_on() -> None:
    while _held:
        _held.pop().release()
    _forking.release()


def _renew() -> None:
    _go_on()
    with contextlib.ExitStack() as all_of_them:  # also after one that fails
        for one in list(renewed):
            all_of_them.callback(one.after_fork)


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_wait, after_in_parent=_go_on, after_in_child=_renew)
