"""Jobs of providers: begun once, looked at until they end, and paid once.

The provider's id of a job is in the row of its call before the job is first looked at. From then on
the row and its money stay open until the end of the job is known: a process that is killed, a time
limit or a lost connection is no end. A run that resumes looks at the same job again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import time
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias

from aideon_agents import errors
from aideon_agents.media.requests import checked
from aideon_agents.media.shapes import Measured, MediaResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aideon_agents.ledger.rows import Call
    from aideon_agents.ledger.store import Ledger
    from aideon_agents.media.requests import Asking
    from aideon_agents.media.shapes import Artifact, VideoRequest

State: TypeAlias = Literal["running", "done", "failed", "cancelled", "expired"]
"""A job in a queue is running too, and so is one whose provider uses a word that is not known here."""

SUBMIT_SECONDS, LOOK_SECONDS, CANCEL_SECONDS = 60.0, 30.0, 10.0
_SIMULATED_PAUSE = 0.05
"""Seconds between two looks at a job of a simulated provider, which limits nothing."""
_DOWNLOADS = 3
_GONE = frozenset({403, 404, 410})
"""What providers answer where a file or a job is not kept any more."""
_SERVER, _UNAVAILABLE = 500, 503
_DIGITS = 16
"""Of a digest: a longer one looks like a key."""


class Look(NamedTuple):
    """What a provider says of a job."""

    state: State
    url: str | None = None
    """Where its file is; None: it has none."""
    measured: Measured = Measured()
    """How much it was, as far as the provider says so."""
    error: errors.ProviderError | None = None
    """Why it failed."""
    keyed: bool = False
    """Whether its file is kept by the provider itself, for users of the key."""


class Dialect(Protocol):
    """How the jobs of one provider are begun, looked at and cancelled."""

    pause: float
    """Seconds between two looks, at least."""

    def lacks(self, request: VideoRequest, model: str) -> str | None:
        """What a model lacks that a request needs, in words; None: nothing."""
        ...

    async def submit(self, request: VideoRequest, asking: Asking) -> str:
        """Begin a job; returns the provider's id of it."""
        ...

    async def look(self, job: str, asking: Asking) -> Look:
        """Look at a job."""
        ...

    async def cancel(self, job: str, asking: Asking) -> bool:
        """Cancel a job; returns False if the provider cannot."""
        ...


class Jobs:
    """Makes videos by the jobs of a provider."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    def lacks(self, request: VideoRequest, model: str) -> str | None:
        """What a model lacks that a request needs, in words; None: nothing."""
        return self._dialect.lacks(request, model)

    async def video(self, request: VideoRequest, asking: Asking) -> MediaResult:
        """Begin a job, or continue the one that the row of the call has, and keep its file."""
        until = time.monotonic() + asking.seconds
        job = asking.job
        if job is None:
            job = await self._submitted(request, asking)
            asking.note_job(job)
        try:
            look = await self._ended(job, asking, until)
            made, look = await self._file(job, look, asking)
        except asyncio.CancelledError as cancelled:
            if asking.gives_up():
                await self._cancelled(job, asking, cancelled)
            raise
        return MediaResult((made,), measured=look.measured)

    async def _submitted(self, request: VideoRequest, asking: Asking) -> str:
        try:
            return await self._dialect.submit(request, asking)
        except errors.ProviderError as error:
            if (error.status or 0) >= _SERVER and error.status != _UNAVAILABLE:
                # It may have begun one all the same: the next model is asked, and not this one again.
                raise errors.NotThisModel(
                    str(error), billed=error.billed, status=error.status
                ) from error
            raise

    async def _ended(self, job: str, asking: Asking, until: float) -> Look:
        """A job that is done; raises the error of one that ended in another way."""
        named = f"job {job} of {asking.candidate}"
        while True:
            wait = _SIMULATED_PAUSE if asking.is_simulated else self._dialect.pause
            look = None
            try:
                look = await self._dialect.look(job, asking)
            except (errors.Transient, errors.RateLimited) as error:  # it continues, and is paid
                wait = max(wait, error.retry_after or 0)
            except errors.ProviderError as error:
                if error.status in _GONE - {403}:
                    look = Look("expired")
                else:
                    why = f"{error}; {named} continues there: mend that, and resume the run"
                    raise errors.RunError(why) from error
            if look is not None and look.state == "done" and look.url:
                return look
            if look is not None and look.state != "running":
                raise _end(look, named, asking)
            left = until - time.monotonic()
            if left <= 0:
                raise errors.LimitError(
                    f"{named} is not done after {asking.seconds:.0f} s: it continues there, and its "
                    "money stays held; resume the run, or repeat the command, to wait for it again",
                    kind="timeout",
                    value=asking.seconds,
                    limit=asking.seconds,
                )
            await asyncio.sleep(min(left, wait * random.uniform(1, 1.25)))  # noqa: S311 - not a secret

    async def _file(self, job: str, look: Look, asking: Asking) -> tuple[Artifact, Look]:
        """The file of a job, fetched at once: providers keep it for an hour, or for days.

        The job is looked at again where its URL does not work: another look gives another URL.
        """
        left = _DOWNLOADS
        while True:
            try:
                kept = await asking.fetch(str(look.url), "video", with_key=look.keyed)
                return checked(kept, "video", asking), look
            except errors.ProviderError as error:
                refused = error
            if not (left := left - 1):
                break
            await asyncio.sleep(_SIMULATED_PAUSE if asking.is_simulated else _DOWNLOADS - left)
            look = await self._ended(job, asking, time.monotonic() + LOOK_SECONDS)
        named = f"job {job} of {asking.candidate}"
        if refused.status in _GONE:
            asking.job_ended()
            gone = errors.RunError(f"{named} is done and paid, but its file is gone: {refused}")
            raise _with(gone, look.measured) from refused
        raise errors.RunError(
            f"{named} is done, but its file cannot be fetched: {refused}: resume the run to try again"
        ) from refused

    async def _cancelled(self, job: str, asking: Asking, cancelled: asyncio.CancelledError) -> None:
        """Cancel a job, and note its end; it stays open if it cannot be cancelled, or is done."""
        with contextlib.suppress(errors.AideonError, TimeoutError):
            async with asyncio.timeout(CANCEL_SECONDS):
                if not await self._dialect.cancel(job, asking):
                    return
                try:
                    look = await self._dialect.look(job, asking)
                except errors.ModelGone:  # it was deleted
                    look = Look("cancelled")
                if look.state != "done":
                    asking.job_ended()
                    _with(cancelled, look.measured)


def _end(look: Look, named: str, asking: Asking) -> BaseException:
    """The error of a job that gave nothing. What it costs is known, or unknown for good."""
    asking.job_ended()
    if look.state != "failed" or look.error is None:
        what = {"cancelled": "was cancelled there", "expired": "is not known there any more"}
        why = what.get(look.state, "ended without a file")
        return _with(errors.RunError(f"{named} {why}: start anew"), look.measured)
    error = look.error
    error.billed = False if look.measured.reported_nanousd == 0 else None
    if isinstance(error, errors.Transient) and error.billed is None:
        # It may be paid: the next model is asked, and not this one again.
        error = errors.NotThisModel(str(error))
    return _with(error, look.measured)


def _with(error: BaseException, measured: Measured) -> BaseException:
    """An error that says how the call is billed all the same."""
    error.billed_as = measured  # type: ignore[attr-defined] # the row of the call says so
    return error


def digest(request: VideoRequest) -> str:
    """Names a request: a job of another one is not what was asked for."""
    return hashlib.sha256(repr(request).encode()).hexdigest()[:_DIGITS]


def amount(value: object) -> Decimal | None:
    """A number that a provider states, exactly; None: it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() and number >= 0 else None


_taken = set[str]()
"""The calls whose jobs are looked at in this process."""


@contextlib.contextmanager
def taken(call: Call) -> Any:
    """Keep other nodes from the job of a call."""
    _taken.add(call.call_id)
    try:
        yield
    finally:
        _taken.discard(call.call_id)


def open_job(ledger: Ledger, run_id: str, path: str, round_: Any, request: VideoRequest) -> Any:
    """The call of a node that began a job for a request, whose end is not known; None: there is none."""
    rows = _of(ledger.calls(run_id), request)
    here = (one for one in rows if (one.node_path, one.round) == (path, round_))
    return next((one for one in here if one.call_id not in _taken), None)


def run_of_open_job(ledger: Ledger, user: str | None, request: VideoRequest) -> str | None:
    """The newest run of a user that began a job for a request, and ended before it; None: there is none."""
    rows = ledger.select(_RUNS_OF_JOBS)
    for run_id in dict.fromkeys(row["run_id"] for row in rows):
        run = ledger.find_run(run_id)
        is_over = run.status in {"running", "completed", "waiting"}
        if run.user == user and not is_over and any(_of(ledger.calls(run_id), request)):
            return run_id
    return None


def _of(calls: Sequence[Call], request: VideoRequest) -> Sequence[Call]:
    named = digest(request)
    return [
        one
        for one in calls
        if one.status == "started" and one.provider_job and _named(one.choice) == named
    ]


def _named(choice: str | None) -> Any:
    known: Mapping[str, Any] = json.loads(choice) if choice else {}
    return known.get("request")


_RUNS_OF_JOBS = (
    "SELECT run_id FROM calls WHERE provider_job IS NOT NULL AND status = 'started'"
    " AND modality = 'video' ORDER BY call_id DESC"
)
