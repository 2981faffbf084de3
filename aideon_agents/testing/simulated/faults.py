"""What can be made to go wrong, and when.

A plan is a sequence (one entry per request, None is healthy, and so is everything after its end),
one fault (always), a mapping from model to either, a function, or `RandomFaults`.
"""

from __future__ import annotations

import dataclasses
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from aideon_agents.errors import UserError

if TYPE_CHECKING:
    from aideon_agents.testing.simulated.chat import ChatRequest

Status = Literal[
    400, 401, 402, 403, 404, 408, 409, 410, 413, 415, 422, 429, 500, 502, 503, 504, 529
]
Named = Literal[
    "context_length_exceeded",  # 400 with this code
    "insufficient_quota",  # 429 with this code
    "content_filter",  # 400 with this code
    "content_filtered",  # 200, the answer broken off with this finish_reason
    "hang",  # the work is done, and nothing is sent for `seconds`, or ever
    "reset_before",  # RST before any work is done
    "reset_after",  # RST when the work is done, before a byte is sent
    "garbage",  # 200 with a body that is not JSON
    "no_choices",  # 200 with JSON that is not an answer
    "empty",  # 200 with no body
    "truncated_body",  # fewer bytes than Content-Length says
    "cut_before_first_token",  # the stream ends after its headers
    "cut_after_first_token",  # the stream ends after `after_tokens` words
    "no_finish_reason",  # the stream ends cleanly, but says neither why nor [DONE]
    "cumulative_usage",  # every chunk carries the usage so far
    "no_usage",  # usage is not reported
    "slow",  # `seconds` before each word
    "delay",  # `seconds` before the answer
]
Kind: TypeAlias = Status | Named

STREAM_CUTS = frozenset({"cut_before_first_token", "cut_after_first_token", "truncated_body"})
"""Faults that break a stream; an answer in one piece becomes a truncated body instead."""
_TIMED = frozenset({"slow", "delay"})


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong with one request."""

    kind: Kind
    """An HTTP status, or what happens."""
    _: dataclasses.KW_ONLY
    seconds: float | None = None
    """For hang, slow and delay; a hang without it lasts until somebody closes."""
    retry_after: float | None = None
    """Seconds for the Retry-After header of an error status; None sends none."""
    after_tokens: int | None = None
    """Words after which a stream is cut or ends; None: one for a cut, all for no_finish_reason."""
    message: str | None = None
    """The error's message; None: an ordinary one."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Status) + get_args(Named):
            raise UserError(f"there is no fault {self.kind!r}; see Fault's kinds")
        if self.kind in _TIMED and self.seconds is None:
            raise UserError(f"the fault {self.kind} needs seconds=")


Draw: TypeAlias = "Callable[[ChatRequest], Fault | None]"
Plan: TypeAlias = (
    "Fault | Sequence[Fault | None] | Mapping[str, Fault | Sequence[Fault | None]] | Draw"
)


def draw(plan: Plan) -> Draw:
    """Make any plan a function from a request to what goes wrong with it."""
    if isinstance(plan, Fault):
        return lambda _request: plan
    if isinstance(plan, Mapping):
        by_model = {model: draw(part) for model, part in plan.items()}
        return lambda request: by_model.get(request.model, _healthy)(request)
    if callable(plan):
        return plan
    return _InTurn(iter(plan))


def _healthy(_request: ChatRequest) -> Fault | None:
    return None


class _InTurn:
    """One entry per request."""

    def __init__(self, faults: Iterator[Fault | None]) -> None:
        self._faults = faults
        self._lock = threading.Lock()

    def __call__(self, _request: ChatRequest) -> Fault | None:
        with self._lock:
            return next(self._faults, None)


class RandomFaults:
    """Faults by chance, the same for the same seed and the same order of requests.

    Args:
        seed: Of the chance.
        rate: The share of requests that go wrong, 0 to 1.
        kinds: What may go wrong, each as likely.
        models: Only requests to these count and go wrong; None: all.
    """

    def __init__(
        self,
        seed: int,
        rate: float,
        *,
        kinds: Sequence[Kind | Fault] = (429, 500, 503, "reset_after", "cut_after_first_token"),
        models: Sequence[str] | None = None,
    ) -> None:
        self._faults = [kind if isinstance(kind, Fault) else Fault(kind) for kind in kinds]
        self._rate = rate
        self._models = None if models is None else frozenset(models)
        self._chance = random.Random(seed)
        self._lock = threading.Lock()

    def __call__(self, request: ChatRequest) -> Fault | None:
        if self._models is not None and request.model not in self._models:
            return None
        with self._lock:
            # Both are drawn each time, so that another rate leaves the kinds in their places.
            unlucky, fault = self._chance.random() < self._rate, self._chance.choice(self._faults)
        return fault if unlucky else None
