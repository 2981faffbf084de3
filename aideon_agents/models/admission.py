"""Decides before each attempt whether it may be made: a slot, and money for its worst case.

The worst case is held: the request's bytes at the input price, and the most tokens that it may
answer at the output price. A token is at least one byte, so bytes bound tokens in every language. A
call that does not fit waits while other calls hold what it needs; then a cheaper candidate of the
chain is asked, or a free text gets less room; then it is refused, and LangGraph stops at the edge of
the node.

The slot comes first, so that no money is held for a call that waits for a slot. A call that has to
wait for money gives its slot up, so that calls with money can continue.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, cast
from unicodedata import normalize

from aideon_agents import errors
from aideon_agents.ledger import tags
from aideon_agents.ledger.budgets.limits import CallDimensions, Refusal, refusal
from aideon_agents.ledger.budgets.runs import RunBudget
from aideon_agents.ledger.calls import call_start
from aideon_agents.ledger.handler import CostHandler
from aideon_agents.ledger.identity import now, utc_text
from aideon_agents.ledger.pricing import Usage, highest_price
from aideon_agents.models.candidates import Candidate, simulators
from aideon_agents.models.fallbacks import Attempts
from aideon_agents.models.features import SHAPE
from aideon_agents.models.health import Permit
from aideon_agents.models.limits.queues import Queue, exceeded, first_place, first_places
from aideon_agents.models.pictures.blocks import without_pictures
from aideon_agents.models.pictures.sight import Size, bound
from aideon_agents.node_paths import node_path
from aideon_agents.settings.providers import TABLE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from datetime import datetime

    from langchain_core.language_models import BaseChatModel, LanguageModelInput
    from langchain_core.runnables import RunnableConfig


_PER_CALL = 256
"""Tokens that a provider's chat template may add around the messages and tools of a call."""

_PER_MESSAGE = 16
"""Tokens that it may add around each message, such as its marks and its role."""

_SHORTEST = 64
"""Output tokens below which an answer is not worth its price."""

_FORMS: tuple[Literal["NFC", "NFKC"], ...] = ("NFC", "NFKC")
"""Unicode forms that tokenizers use; a character can become longer in them."""

_MAX_TOKENS = ("max_tokens", "max_completion_tokens")
"""Options that bound the tokens of an answer."""

_SHAPED = ("tools", "functions", "response_format", "extra_body", SHAPE)
"""Options that ask for more than free text; `extra_body` may carry schemas."""

_log = logging.getLogger("aideon_agents.models")


@dataclasses.dataclass(frozen=True)
class RequestBound:
    """The most that a request can cost, in tokens."""

    input_tokens: int | None
    """None: nothing bounds them, as with a sound."""
    max_tokens: int | None
    """Output tokens of one answer; None: nothing bounds them."""
    answers: int
    """How many answers are requested."""
    shortest: int | None
    """Output tokens below which an answer is of no use; None: it needs all its room."""
    tier: str | None = None
    """The service tier that is requested; None: the provider chooses it."""
    pictures: tuple[Size, ...] = ()
    """Their sizes. Their tokens are not among `input_tokens`: each provider counts them in its way."""

    @classmethod
    def of(cls, payload: Mapping[str, Any], least: int = 0) -> RequestBound:
        """Read a request as it is sent to the provider; `least` output tokens are too few."""
        sent = {
            name: value for name, value in payload.items() if name not in {"model", "extra_body"}
        }
        sent |= payload.get("extra_body") or {}
        messages: Sequence[Any] = sent.get("messages") or ()
        contents = [one.get("content") for one in messages if isinstance(one, Mapping)]
        parts = [part for one in contents if isinstance(one, list) for part in one]
        pictures: tuple[Size, ...] = ()
        if parts:  # the price of a picture does not depend on its bytes
            sent, parts, pictures = without_pictures(sent)
        text = json.dumps(sent, ensure_ascii=False, default=str)
        forms = (text,) if text.isascii() else (text, *(normalize(form, text) for form in _FORMS))
        # The longest of the forms, whichever the provider's tokenizer uses.
        size = max(len(form.encode("utf-8", "surrogatepass")) for form in forms)
        is_text = all(isinstance(part, str) or part.get("type") == "text" for part in parts)
        is_shaped = any(payload.get(name) for name in _SHAPED)
        limits = [sent[name] for name in _MAX_TOKENS if sent.get(name) is not None]
        return cls(
            input_tokens=size + _PER_CALL + _PER_MESSAGE * len(messages) if is_text else None,
            # Where a server takes it, -1 means as many as the model has.
            max_tokens=max(limits) if limits and min(limits) > 0 else None,
            answers=sent.get("n") or 1,
            shortest=least + 1 if least else None if is_shaped else _SHORTEST,
            tier=sent.get("service_tier"),
            pictures=pictures,
        )

    def worst(
        self, candidate: Candidate, at: datetime, max_tokens: int | None = None
    ) -> int | None:
        """The highest cost in nano-dollars, with other `max_tokens` than requested if given.

        None: the candidate has no known price, or nothing bounds the tokens.
        """
        most = max_tokens or self.max_tokens
        row = TABLE.get(candidate.provider)
        if row and row.free:
            return 0
        tokens = self.input_tokens if not self.pictures else self.with_pictures(candidate)
        if tokens is None or most is None:
            return None
        plain = Usage(input_tokens=tokens, output_tokens=most * self.answers)
        # Some providers charge more for what they write to their cache, and decide that themselves.
        cached = dataclasses.replace(plain, cache_creation_tokens=tokens)
        asked = candidate.provider, candidate.model
        costs = [highest_price(*asked, usage, at, self.tier) for usage in (plain, cached)]
        return None if None in costs else max(cost or 0 for cost in costs)

    def with_pictures(self, candidate: Candidate) -> int | None:
        """The most input tokens, as a candidate counts its pictures; None: nothing bounds them."""
        sizes = [bound(candidate, size) for size in self.pictures]
        known = [one for one in (self.input_tokens, *sizes) if one is not None]
        return sum(known) if len(known) == len(sizes) + 1 else None

    def most_tokens(self, candidate: Candidate, at: datetime, left: int) -> int:
        """The most output tokens that some nano-dollars pay for; 0: too few to be of use."""
        shortest = self.shortest or _SHORTEST
        low, high = shortest - 1, self.max_tokens or 0
        while low < high:
            middle = (low + high + 1) // 2
            worst = self.worst(candidate, at, middle)
            low, high = (middle, high) if worst is not None and worst <= left else (low, middle - 1)
        return low if low >= shortest else 0


@dataclasses.dataclass(frozen=True)
class Grant:
    """The attempt may be made."""

    at: str | None = None
    """When its money was held; None: its cost is not recorded."""
    max_tokens: int | None = None
    """Its room for the answer; None: what it requests."""


@dataclasses.dataclass(frozen=True)
class Admission:
    """One attempt that needs money."""

    budget: RunBudget
    call_id: str
    node: str
    """Its node path."""
    metadata: Mapping[str, Any]
    bound: RequestBound
    candidates: Sequence[Candidate]
    """The chain's, in order."""
    most: int | None = None
    """The room for the answer, where a quota lowered it; None: what it requests."""

    def hold(
        self, candidate: Candidate, *, queues: bool = False, rested: Sequence[Candidate] = ()
    ) -> Grant | Refusal:
        """Hold the worst case of an attempt at a candidate; `queues` as in `Budgets.take`.

        Those of the `rested` that can be asked by now may be cheap enough too.
        """
        at = now()
        refused = self._take(candidate, at, queues=queues)
        if refused is None:
            return Grant(utc_text(at), self.most)
        if refused.waits:
            return refused
        later = self.candidates[self.candidates.index(candidate) + 1 :]
        others = [*later, *(one for one in rested if not one.rest_left())]
        if refused.use:
            sent, by = self.bound.with_pictures(candidate), refused.by
            left = 0 if sent is None else (by.limit - by.spent - sent) // self.bound.answers
            if self.bound.shortest and left >= self.bound.shortest:
                return self._shortened(candidate, at, left, refused, queues=queues)
            if any(refused.use.is_free(one.provider) for one in others):
                raise errors.TooExpensive(f"{candidate} is beyond a quota", billed=False)
            raise exceeded(refused, candidate, left=left)
        fits = any(self._fits(other, at) for other in others)
        if not fits and self.bound.shortest:
            if tokens := self._room(candidate, at):
                return self._shortened(candidate, at, tokens, refused, queues=queues)
            fits = any(self._room(other, at) for other in others)
        if fits:
            raise errors.TooExpensive(f"{candidate} costs too much for its budget", billed=False)
        raise exceeded(refused, candidate, *self._unknown(candidate))

    def _unknown(self, candidate: Candidate) -> tuple[str, str]:
        """What may be unknown about the cost of a candidate, and what to do then."""
        row = candidate.row
        where = "in its table" if row.deployment else "in AIDEON_CATALOG"
        if None in [bound(candidate, size) for size in self.bound.pictures]:
            return "how many tokens a picture is", f": set image_tokens {where}"
        has_none = row.deployment and row.price_in is None
        return "its price", f": set price_in and price_out {where}" if has_none else ""

    def behind(self, candidate: Candidate) -> Refusal | None:
        """Why an attempt has to wait behind calls that wait for the same budget; None: it need not."""
        at = now()
        needed = self.bound.worst(candidate, at)
        budgets = self.budget.budgets
        limits = budgets.limit_states(self._dimensions(candidate, at), opens=False)
        refused = refusal(limits, needed)
        if not needed or (refused and not refused.waits):
            return None
        enforced = (one for one in limits if not one.warns)
        waited_for = (one for one in enforced if first_place(budgets, one.account.key).held)
        return next((Refusal(one, needed, waits=True) for one in waited_for), None)

    def release(self) -> None:
        """End the attempt. A ledger that fails now must not cost the answer."""
        is_failing = isinstance(sys.exception(), errors.LedgerError)
        try:
            self.budget.budgets.release(self.call_id)
        except errors.LedgerError as refused:
            if not is_failing:
                _log.warning("the hold of call %s stays: %s", self.call_id, refused)

    def _shortened(
        self, candidate: Candidate, at: datetime, most: int, refused: Refusal, *, queues: bool
    ) -> Grant | Refusal:
        """Hold the worst case of a shorter answer; wait if only settlements make room for one."""
        tokens = min(most, self._room(candidate, at, besides_held=True)) or most
        if self._take(candidate, at, tokens, queues=queues):
            return dataclasses.replace(refused, waits=True)
        return Grant(utc_text(at), tokens)

    def _room(self, candidate: Candidate, at: datetime, *, besides_held: bool = False) -> int:
        """Output tokens that the limits leave a candidate, as if nothing were held or besides that."""
        left = [
            one.left + (0 if besides_held else one.held)
            for one in self.budget.budgets.limit_states(self._dimensions(candidate, at))
            if not one.warns
        ]
        return self.bound.most_tokens(candidate, at, min(left)) if left else 0

    def _fits(self, candidate: Candidate, at: datetime) -> bool:
        limits = self.budget.budgets.limit_states(self._dimensions(candidate, at))
        refused = refusal(limits, self.bound.worst(candidate, at))
        return refused is None or refused.waits

    def _dimensions(self, candidate: Candidate, at: datetime) -> CallDimensions:
        """The dimensions of an attempt at a candidate that starts at some time."""
        return dataclasses.replace(
            self.budget.run,
            at=utc_text(at),
            node=self.node,
            provider=candidate.provider,
            simulated=simulators.get(candidate.address, 0.0) > time.monotonic(),
        )

    def _take(
        self, candidate: Candidate, at: datetime, most: int | None = None, *, queues: bool = False
    ) -> Refusal | None:
        dimensions = self._dimensions(candidate, at)
        of_hold = {
            tags.HELD_AT: dimensions.at,
            tags.SHORTENED: (most or self.most) is not None,
            tags.SIMULATED: dimensions.simulated,
        }
        run_id = self.budget.run.run
        row = call_start(self.call_id, run_id, {**self.metadata, **of_hold}) if run_id else None
        worst = self.bound.worst(candidate, at, most)
        if origin := self.budget.origin:
            if candidate.key_variable is None:  # a model that was given has a key of its own
                origin = dataclasses.replace(origin, keys={})
            sent, room = self.bound.with_pictures(candidate), most or self.bound.max_tokens
            tokens = None if sent is None or room is None else sent + room * self.bound.answers
            dimensions = origin.counted(dimensions, tokens)
            if row:
                row.provider_key_id, row.key_source = origin.source(candidate.provider)
        take = self.budget.budgets.take
        return take(self.call_id, dimensions, worst, row=row, queues=queues)


def admission_for(
    model: BaseChatModel,
    candidates: Sequence[Candidate],
    attempt: RunnableConfig,
    question: LanguageModelInput,
    options: Mapping[str, Any],
    *,
    least: int = 0,
) -> tuple[Admission | None, dict[str, Any] | None]:
    """An attempt's admission, and its request, sent as it is; None: nothing records or limits it."""
    budget = run_budget_of(attempt)
    if budget is None:
        return None, None
    payload = cast("Any", model)._get_request_payload(question, **options)  # noqa: SLF001 - LangChain's only way to see what is sent
    # What the start event is going to carry: a call with its own metadata has no other in its config.
    inherited = getattr(attempt.get("callbacks"), "metadata", None) or {}
    metadata = {**inherited, **(attempt.get("metadata") or {})}
    bound, most = RequestBound.of(payload, least), None
    cap = budget.origin.tokens_per_request if budget.origin else None
    if cap is not None and (bound.max_tokens is None or cap < bound.max_tokens):
        bound, most = dataclasses.replace(bound, max_tokens=cap), cap
    admission = Admission(
        budget=budget,
        call_id=str(attempt.get("run_id")),
        node=node_path(metadata),
        metadata=metadata,
        bound=bound,
        candidates=candidates,
        most=most,
    )
    return admission, payload


def run_budget_of(config: RunnableConfig) -> RunBudget | None:
    """The budget of the run that records a call; None: it is not recorded, and nothing limits it."""
    callbacks: Any = config.get("callbacks")
    handlers = callbacks if isinstance(callbacks, list) else getattr(callbacks, "handlers", ())
    parent = getattr(callbacks, "parent_run_id", None)
    # The outermost run's is the first, also where a node starts a run inside it.
    found = [one.run_budget(parent) for one in handlers if isinstance(one, CostHandler)]
    if len(found) > 1:
        return found[0].around(found[1:])
    return found[0] if found else None


@contextlib.asynccontextmanager
async def claim(
    attempts: Attempts, candidate: Candidate, permit: Permit, admission: Admission | None
) -> AsyncGenerator[Grant]:
    """Hold a slot, and the money if the call is recorded, for the length of an attempt.

    Raises OutOfBudget, TooExpensive if a later candidate fits, and Transient if the chain's time is up
    before the attempt starts.
    """
    call_id = admission.call_id if admission else ""
    if admission:
        for breaker in (candidate.model_breaker, candidate.key_breaker):
            breaker.ledgers.add(admission.budget.budgets.database)
    async with contextlib.aclosing(Queue(attempts, candidate, call_id)) as queue:
        # Without a queue, as nearly always, there is nothing to look up.
        if admission and first_places and (refused := admission.behind(candidate)):
            await queue.wait(admission.budget.budgets, refused)
        while True:
            # The provider's first: a call that waits for one provider must not block the others.
            pace = candidate.pace
            own = attempts.slot(candidate) if pace.is_limiting else pace.one()
            async with own, attempts.slots.one():
                if not attempts.time_left():
                    permit.give_back()
                    raise queue.out_of_time()
                first = queue.is_first
                granted = (
                    admission.hold(candidate, queues=first, rested=attempts.rested)
                    if admission
                    else Grant()
                )
                if isinstance(granted, Grant):
                    began = pace.clock()
                    candidate.model_breaker.doubt.begin(permit)
                    try:
                        await queue.aclose()
                        yield granted
                    except errors.ProviderError as error:
                        candidate.refused(error, began)
                        raise
                    else:
                        pace.record(None, began)
                    finally:
                        if admission:
                            admission.release()
                    return
            assert admission is not None  # noqa: S101 - nothing else refuses
            await queue.wait(admission.budget.budgets, granted)
