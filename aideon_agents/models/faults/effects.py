"""What the class of an error leads to in a chain of models."""

from __future__ import annotations

from aideon_agents import errors

HANDLED = (
    errors.Transient,
    errors.RateLimited,
    errors.OutOfCredit,
    errors.KeyRejected,
    errors.ModelGone,
    errors.ContextTooLong,
    errors.Unsupported,
    errors.NotThisModel,
    errors.TooExpensive,
    errors.Malformed,
    errors.Partial,
)
"""Errors after which the next candidate is asked. All others are raised as they are.

After `Partial` too, but with a `restart` event first, for clients that show tokens.
"""

NO_MORE_ROOM = (
    errors.BudgetExceeded,
    errors.QuotaExceeded,
    errors.CallerError,
    errors.ContextTooLong,
    errors.NotThisModel,
    errors.Unsupported,
)
"""How an attempt with more room is refused."""
LOUD = (errors.OutOfCredit, errors.KeyRejected, errors.ModelGone)
"""Errors that a user has to do something about: each one is logged once."""
