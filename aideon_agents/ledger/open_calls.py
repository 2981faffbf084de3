"""A call between its start and its end: what its start said, and what was heard since.

LangChain's end and error events carry no metadata, so whatever a row needs of the start is kept
here until the end comes.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from aideon_agents import state
from aideon_agents.ledger import tags
from aideon_agents.ledger.clock import now, utc_text
from aideon_agents.ledger.rows import CallStart
from aideon_agents.ledger.usage import RunningTotal, usage_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aideon_agents.ledger.usage import Usage

_NOBODY_SAID = "unknown"
"""Stands for the provider or model of a chat model that names none."""


def call_start(
    call_id: str, run_id: str, metadata: Mapping[str, Any], params: Mapping[str, Any] | None = None
) -> CallStart:
    """What a call's row says before the model is asked."""
    provider = metadata.get(tags.PROVIDER) or metadata.get("ls_provider")
    model = metadata.get(tags.MODEL) or metadata.get("ls_model_name") or (params or {}).get("model")
    return CallStart(
        call_id=call_id,
        run_id=run_id,
        node_path=state.node_path(metadata),
        role=metadata.get(tags.ROLE, ""),
        round=metadata.get(tags.ROUND, 1),
        purpose=metadata.get(tags.PURPOSE),
        candidate=metadata.get(tags.CANDIDATE, 0),
        attempt=metadata.get(tags.ATTEMPT, 1),
        provider=str(provider or _NOBODY_SAID),
        requested_model=str(model or _NOBODY_SAID),
        # One time for the hold, the row and the price, so that none of them is of another day.
        started_at=metadata.get(tags.HELD_AT) or utc_text(now()),
        rehearsed=bool(metadata.get(tags.REHEARSED)),
        shortened=bool(metadata.get(tags.SHORTENED)),
        economized=bool(metadata.get(tags.ECONOMIZED)),
    )


class OpenCall:
    """One attempt at a model that is on its way."""

    def __init__(self, start: CallStart) -> None:
        self.start = start
        self.started = datetime.fromisoformat(start.started_at)
        self.first_token_ms: int | None = None
        """None unless the answer is streamed."""
        self.final: Usage | None = None
        """The usage at the end of a stream, in a piece without text; None: it was not heard."""
        self._clock = time.perf_counter()
        self._total = RunningTotal()

    @property
    def elapsed_ms(self) -> int:
        """Whole milliseconds since the start, on a clock that is never set."""
        return round((time.perf_counter() - self._clock) * 1000)

    def hear(self, chunk: object) -> None:
        """Note a streamed chunk: when the first came, and the usage it reports."""
        if self.first_token_ms is None:
            self.first_token_ms = self.elapsed_ms
        message = getattr(chunk, "message", None)
        self._total.hear(message)
        if not getattr(message, "content", None):
            self.final = usage_of(message) or self.final

    def usage_in(self, message: object) -> Usage | None:
        """The call's usage, given its whole answer; None when nobody reported any."""
        return self._total.usage or usage_of(message)
