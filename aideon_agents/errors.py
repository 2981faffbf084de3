"""What can go wrong, by what the caller can do about it.

```
AideonError
├── UserError            you can fix it: the message says what to write instead      (exit 2)
│   ├── TargetError      no such workflow, or its file cannot be loaded
│   ├── ModelNameError   unknown provider, retired model, a name that is none
│   ├── InputError       an empty task, an unreadable file, a missing key
│   ├── NoModel          no candidate can be asked: no key, no server
│   ├── NotFound         there is no such thing, or it is another user's
│   │   ├── RunNotFound    no run, or more than one, by that reference
│   │   └── BatchNotFound  the same for a batch
│   ├── NotAllowed       the caller's role or key does not permit it
│   ├── Conflict         what is asked does not fit the state that something is in
│   ├── Changed          another request changed it since it was read
│   ├── LedgerError      the ledger cannot be opened, read or written
│   └── UnreadableState  what is kept of a run or a thread is damaged
├── RunError             the run failed; carries its run id once there is one        (exit 1)
│   ├── StepFailed       a step could not do its work for a reason of the workflow's
│   │   └── ServerDown   a tool server does not start, or is gone (agents/mcp.py)
│   ├── PrivacyRule      a prompt or a tool call is private, and may not leave
│   ├── AllModelsFailed  every candidate was tried; carries each attempt
│   └── ProviderError    one attempt at a model failed
│       ├── Transient        worth another try: connection, timeout, 5xx, garbage
│       ├── RateLimited      429: worth another try after a while
│       ├── OutOfCredit      402, 429 for lack of quota, or a refusal that names credit
│       ├── KeyRejected      401, 403: the key is wrong, or may not do this from here
│       ├── ModelGone        404, 410, decommissioned, or no server at this address
│       ├── ContextTooLong   the input does not fit the model
│       ├── Refused          the provider's content filter blocked it
│       ├── Unsupported      it lacks a feature or a parameter that the request needs
│       ├── NotThisModel     other 4xx that concerns this model, its deployment or its account,
│       │                    or whose reason is not known
│       ├── CallerError      400, 415, 422 that would be wrong anywhere
│       ├── Unsent           the request could not be made or written, and was not sent
│       ├── TooExpensive     it does not fit a budget, and a cheaper candidate does
│       ├── Malformed        the answer does not have the shape that was asked for
│       └── Partial          the connection was lost during the answer
└── LimitError           stopped at a limit; carries kind, value and limit           (exit 3)
    ├── TimeLimit        the run's or the node's time is up
    ├── BudgetExceeded   a call's worst case does not fit what is left of a budget
    ├── QuotaExceeded    a user of the service may have no more of a feature today
    ├── RateLimitReached a provider's rate limit resets too late to wait for
    └── Declined         a person declined a result
```

Provider errors carry `billed`: False when the provider cannot have charged (it answered with
an error status, or was never reached), None when it is unknown.
"""

from __future__ import annotations

import reprlib
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal


class AideonError(Exception):
    """Everything this package raises on purpose."""


class UserError(AideonError):
    """The caller's mistake. Nothing was called and nothing was paid."""


class TargetError(UserError):
    """No such workflow, or its file cannot be loaded."""


class ModelNameError(UserError):
    """A model name with an unknown provider, a retired id, or no provider at all."""


class InputError(UserError):
    """An empty task, an unreadable file, a key that the task text needs and that was not given."""


class NoModel(UserError):
    """No candidate can be asked: its provider has no key, or no local server is set."""

    missing: str = ""
    """The variable that the first candidate needs; empty: it is not known."""


class NotFound(UserError):
    """There is no such thing, or it is another user's: the two read the same."""


class RunNotFound(NotFound):
    """No run, or more than one, answers to a reference."""


class BatchNotFound(NotFound):
    """No batch, or more than one, answers to a reference."""


class NotAllowed(UserError):
    """The caller's role or key does not permit what was asked for."""


class Conflict(UserError):
    """What is asked does not fit the state that something is in."""


class Changed(UserError):
    """Another request changed something since the caller read it."""


class LedgerError(UserError):
    """The ledger cannot be opened, read or written."""


class UnreadableState(UserError):
    """What is kept of a run or a thread is damaged, or was written by something else."""


class RunError(AideonError):
    """The run failed through no mistake of the caller's.

    `run_id` is set by the runner once the run has one.
    """

    run_id: str | None = None


class StepFailed(RunError):
    """A step could not do its work, for a reason that lies in the workflow."""


class PrivacyRule(RunError):
    """A prompt or a tool call holds what may not leave, and was not sent.

    `kind` is what was found, such as "an email address"; what it was is in no text of ours.
    """

    def __init__(self, kind: str, what: str, instead: str) -> None:
        super().__init__(f"{what} holds {kind}, and may not leave: {instead}")
        self.kind = kind


class ProviderError(RunError):
    """One attempt at a model failed."""

    def __init__(
        self,
        message: str,
        *,
        billed: bool | None = None,
        retry_after: float | None = None,
        status: int | None = None,
        timed_out: bool = False,
    ) -> None:
        super().__init__(message)
        self.billed = billed
        self.retry_after = retry_after
        self.status = status
        self.timed_out = timed_out
        self.usage: object | None = None
        """The tokens that were reported all the same (`ledger.usage.Usage`); None: none were."""
        self.response_model: str | None = None
        """The model that reported them; None: the one that was asked."""
        self.is_estimated = False
        """Whether the tokens are an estimate."""
        self.finish_reason: str | None = None
        """Why the answer ended; None: it did not say, or there was none."""
        self.words = ""
        """All that a provider said, without keys; the message shows its beginning."""
        self.param: str | None = None
        """The parameter that a provider named; None: it named none."""
        self.adapted = False
        """Whether the same model can be asked again at once, in another way."""
        self.loading = False
        """Whether a provider said that it is loading the model, and will answer when it has."""
        self.met_max_tokens = False
        """Whether nothing of use was said because `max_tokens` was met."""
        self.shown = False
        """Whether tokens of an answer that is none were streamed."""

    def withhold_words(self, asked: str) -> None:
        """Leave out what a server said, which may repeat a private prompt."""
        is_silent = self.timed_out or (self.status is None and self.billed is False)
        if not is_silent:
            status = "" if self.status is None else f", status {self.status}"
            self.args = (
                (
                    f"{asked}: {type(self).__name__}{status}; what it said is left out, "
                    "because the prompt is private"
                ),
            )
        self.words, self.param = "", None


class Transient(ProviderError):
    """Worth another try: no connection, a timeout, 408, 409, 5xx, an empty or garbage body."""


class RateLimited(ProviderError):
    """429: worth another try after a while."""

    limit: Any = None
    """What the provider says about it (`models.limits.Limit`); None: it says nothing."""


class OutOfCredit(ProviderError):
    """402, or a 429 that means an empty account."""


class KeyRejected(ProviderError):
    """401 or 403: the key is wrong or may not do this."""


class ModelGone(ProviderError):
    """404, 410 or a decommissioned model."""


class ContextTooLong(ProviderError):
    """The input does not fit the model's context."""


class Refused(ProviderError):
    """The provider's content filter refused."""


class Unsupported(ProviderError):
    """The model or its server lacks a feature that the request needs."""


class NotThisModel(ProviderError):
    """A 4xx that concerns this model, its deployment or its account: another one may answer."""


class Unsent(ProviderError):
    """The request could not be made or written, so it was not sent. It says nothing about the model."""


class CallerError(ProviderError):
    """Any other 4xx: the request itself is wrong, and would be wrong anywhere."""


class TooExpensive(ProviderError):
    """The call was not made: it does not fit a budget, and a cheaper candidate's does."""


class Malformed(ProviderError):
    """The answer does not have the shape that was asked for."""


class Partial(ProviderError):
    """The answer broke off after its first token."""


class AllModelsFailed(RunError):
    """Every candidate of a chain failed."""

    def __init__(self, attempts: Sequence[str]) -> None:
        self.attempts = tuple(attempts)
        times = Counter(self.attempts)
        causes = (one if count == 1 else f"{one} ({count} times)" for one, count in times.items())
        super().__init__("every model failed: " + "; ".join(causes))


class LimitError(AideonError):
    """Stopped at a limit."""

    run_id: str | None = None

    def __init__(self, message: str, *, kind: str, value: object, limit: object) -> None:
        super().__init__(message)
        self.kind = kind
        self.value = value
        self.limit = limit


class TimeLimit(LimitError):
    """A run's or a node's time is up."""

    def __init__(self, seconds: float, *, what: str = "the run") -> None:
        super().__init__(
            f"{what} reached its time limit of {seconds:g} s",
            kind="timeout",
            value=seconds,
            limit=seconds,
        )


class BudgetExceeded(LimitError):
    """A call was not made, because its worst case does not fit what is left of a budget."""

    def __init__(
        self,
        *,
        scope: str,
        limit: Decimal,
        spent: Decimal,
        held: Decimal,
        needed: Decimal | None,
        asked: str,
        unknown: str = "its price",
        advice: str = "",
    ) -> None:
        budget = f"the {scope} budget of {_dollars(limit)}"
        if needed is None:
            why = f"{asked} was not called: {unknown} is unknown, and {budget} needs that{advice}"
        else:
            gone = f"{_dollars(spent)} spent" + (f" and {_dollars(held)} held" if held else "")
            may = f"it may cost {_dollars(needed)}, and " if needed else ""
            why = f"{asked} was not asked: {may}{budget} has {gone}"
        super().__init__(why, kind="budget", value=spent, limit=limit)
        self.scope = scope
        self.spent = spent
        self.held = held
        self.needed = needed


class QuotaExceeded(LimitError):
    """A user of the service may have no more of a feature on this UTC day, or needs more than is left.

    Figures are in the unit. `upgrade` names a tier with a higher limit, `cheaper` what would fit.
    """

    def __init__(self, message: str, *, used: float, limit: float, **known: Any) -> None:
        super().__init__(message, kind="quota", value=used, limit=limit)
        self.used = used
        self.feature: str = known["feature"]
        self.unit: str = known["unit"]
        self.reset_at: str = known["reset_at"]
        self.upgrade: Mapping[str, object] | None = known.get("upgrade")
        self.own_key: bool = known.get("own_key", False)
        self.cheaper: Mapping[str, object] | None = known.get("cheaper")


class RateLimitReached(LimitError):
    """A provider's rate limit resets too late to wait for it."""

    def __init__(self, asked: str, seconds: float, why: str) -> None:
        until = datetime.now(UTC) + timedelta(seconds=seconds)
        super().__init__(
            f"{asked} limits its rate until {until:%Y-%m-%d %H:%M} UTC ({why})",
            kind="rate_limit",
            value=seconds,
            limit=until,
        )


class Declined(LimitError):
    """A person did not agree to a result, and nothing can be done about it there."""

    def __init__(self, node_path: str, feedback: str | None) -> None:
        reason = f": {feedback}" if feedback else ""
        super().__init__(
            f"the result of {node_path} was declined{reason}",
            kind="declined",
            value=feedback,
            limit=None,
        )


def _dollars(amount: Decimal) -> str:
    return f"${amount.normalize():f}"


def is_kind(value: object, kind: Any) -> bool:
    """Whether a value is of a type or of one of several. True and nan are no numbers here."""
    if isinstance(value, bool):
        return kind is bool or (isinstance(kind, tuple) and bool in kind)
    return isinstance(value, kind) and not (isinstance(value, float) and value != value)  # noqa: PLR0124 - nan is not itself


def refuse_kinds(
    given: Mapping[str, object],
    kinds: Mapping[str, tuple[Any, str]],
    where: str = "",
    error: type[UserError] = UserError,
) -> None:
    """Refuse the first value of another kind; `kinds` has each name's type, and that in words."""
    for name, (kind, allowed) in kinds.items():
        if name in given and not is_kind(value := given[name], kind):
            raise error(f"{where}{name} must be {allowed}, not {shown(value)}")


def shown(value: object) -> str:
    """A value that was given, short and in one line, for an error."""
    return " ".join(reprlib.repr(value).split())
