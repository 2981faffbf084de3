"""What the lines of a provider's batch cost, and the ends of their calls.

A batch costs what the price list says of batches. Where it says nothing, the discount of the catalog
is taken off the list price; without one, the list price is paid. So a saving is never assumed.
"""

from __future__ import annotations

import dataclasses
import decimal
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from langchain_core.outputs import LLMResult

from aideon_agents.batch.provider.asking import read
from aideon_agents.errors import ProviderError, Transient
from aideon_agents.ledger.calls import OpenCall, answer_text, answered, failed
from aideon_agents.ledger.identity import now
from aideon_agents.ledger.pricing import billed_model, price
from aideon_agents.ledger.rows import Call, CallEnd

if TYPE_CHECKING:
    from aideon_agents.batch.provider.lines import Lines
    from aideon_agents.ledger.store import Ledger

_UNDONE = frozenset({"batch_expired", "batch_cancelled", "expired", "cancelled", "canceled"})
"""Codes of lines that the provider did not come to: they are not charged."""


class Settling:
    """Settles the lines of one batch of a provider."""

    def __init__(
        self, ledger: Ledger, lines: Lines, model: Any, discount: Decimal | None, *, records: bool
    ) -> None:
        self._ledger = ledger
        self._lines = lines
        self._model = model
        self._discount = discount
        self._records = records

    def line(self, call: Call, sent: dict[str, Any], *, simulated: bool) -> None:
        """Settle a line that the provider has sent."""
        if _code(sent) in _UNDONE:
            self.undone(call, str(_code(sent)), simulated=simulated)
            return
        opened = OpenCall(dataclasses.replace(call, simulated=simulated))
        try:
            result = read(self._model, sent, {})
        except ProviderError as error:
            end, text = failed(opened, error), None
        else:
            whole = LLMResult(generations=[[*result.generations]], llm_output=result.llm_output)
            end, text = answered(opened, whole), answer_text(whole) if self._records else None
        self._end(call, self._priced(call, end))
        if text is not None:
            self._ledger.record_answer(call.call_id, text)
        self._lines.answered(call.call_id, sent, "answered")

    def undone(self, call: Call, why: str, *, simulated: bool) -> None:
        """Settle a line that the provider did not come to: it costs nothing, and is asked again."""
        error = Transient(f"{self._model.candidate} did not come to it: {why}", billed=False)
        self._lost(call, error, simulated=simulated)

    def missing(self, call: Call, *, simulated: bool) -> None:
        """Settle a line that the provider says nothing about: it may have charged."""
        error = Transient(f"{self._model.candidate} sent no line for it in its batch")
        self._lost(call, error, simulated=simulated)

    def _lost(self, call: Call, error: Transient, *, simulated: bool) -> None:
        opened = OpenCall(dataclasses.replace(call, simulated=simulated))
        self._end(call, failed(opened, error))
        self._lines.answered(call.call_id, None, "lost" if error.billed is None else "undone")

    def _end(self, call: Call, end: CallEnd) -> None:
        took = now() - datetime.fromisoformat(call.started_at)
        end = dataclasses.replace(end, duration_ms=max(0, round(took.total_seconds() * 1000)))
        self._ledger.finish_call(call.call_id, end)

    def _priced(self, call: Call, end: CallEnd) -> CallEnd:
        """The end at the price of a batch, with what that saves."""
        if end.usage is None or not end.cost_nanousd:
            return end
        began = datetime.fromisoformat(call.started_at)
        model = billed_model(call.provider, call.requested_model, end.response_model)
        usage = dataclasses.replace(end.usage, tier="batch")
        paid = price(call.provider, model, usage, began)
        cost, source = paid.nanousd, paid.source
        if cost is None and self._discount is not None:
            exact = end.cost_nanousd * (1 - self._discount)
            cost = int(exact.to_integral_value(decimal.ROUND_HALF_EVEN))
            source = f"{end.price_source}, less {self._discount.normalize():%} in a batch"
        if cost is None:
            return end
        saved = end.cost_nanousd - cost
        return dataclasses.replace(
            end, cost_nanousd=cost, price_source=source, saved_nanousd=saved if saved > 0 else None
        )


def _code(sent: dict[str, Any]) -> str | None:
    error = sent.get("error")
    return error.get("code") if isinstance(error, dict) else None
