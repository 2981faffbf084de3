"""Whether an attempt can be paid for, decided before it is made.

Its worst case is held: the request's bytes at the input price, and the most tokens it may answer at
the output price. A token is at least one byte, so bytes bound tokens in every language. What does
not fit waits while other calls hold what it needs; then a cheaper candidate of the chain is asked,
or a text is given less room; then it is refused, and LangGraph stops at the node's edge.

An attempt's turn: a place among the calls in flight, and the money for it.

The place first, then the money, so that nothing is held for a call that stands in line; and
whoever has to wait for money gives the place up, so that those who have it can go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import sys
import time
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, cast
from unicodedata import normalize

from langgraph.errors import GraphBubbleUp

from aideon_agents import errors
from aideon_agents.ledger import tags
from aideon_agents.ledger.budgets.accounts import LimitState, Refusal, refusal
from aideon_agents.ledger.budgets.holds import Budgets, RunBudget
from aideon_agents.ledger.budgets.limits import CallDimensions
from aideon_agents.ledger.calls import call_start
from aideon_agents.ledger.handler import CostHandler
from aideon_agents.ledger.identity import now, utc_text
from aideon_agents.ledger.pricing import OWN_SERVER, price, usd
from aideon_agents.ledger.usage import Usage
from aideon_agents.models.candidates import Admission, Attempts, Candidate
from aideon_agents.models.health import Slots
from aideon_agents.state import node_path

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from datetime import datetime

    from langchain_core.language_models import BaseChatModel, LanguageModelInput
    from langchain_core.runnables import RunnableConfig


_PER_CALL = 256
"""Tokens that a provider's chat template may add around the messages and tools of a call."""

_PER_MESSAGE = 16
"""Tokens that it may add around each message, its marks and its role."""

_SHORTEST = 64
"""Output tokens below which an answer is not worth its price."""

_FORMS: tuple[Literal["NFC", "NFKC"], ...] = ("NFC", "NFKC")
"""Unicode forms that tokenizers know; a character can become longer there."""

_ROOM = ("max_tokens", "max_completion_tokens")
"""What bounds an answer's tokens."""

_SHAPED = ("tools", "functions", "response_format", "extra_body")
"""What asks for more than free text; schemas travel in the last."""


class OutOfBudget(errors.BudgetExceeded, GraphBubbleUp):
    """Refused for lack of budget, in LangGraph's own way: what goes on beside it may finish."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """What an attempt is going to send, as far as it costs."""

    bound: int | None
    """Input tokens at most; None: nothing bounds them, as with a picture."""
    max_tokens: int | None
    """Output tokens at most, of one answer; None: nothing bounds them."""
    answers: int
    """How many answers are wanted."""
    is_text: bool
    """Free text is wanted, without tools or a schema: it can do with less room."""

    @classmethod
    def of(cls, payload: Mapping[str, Any]) -> Asked:
        """Read a request as it goes to the provider."""
        sent = {
            name: value for name, value in payload.items() if name not in {"model", "extra_body"}
        }
        sent |= payload.get("extra_body") or {}
        messages: Sequence[Any] = sent.get("messages") or ()
        added = _PER_CALL + _PER_MESSAGE * len(messages)
        rooms = [sent[name] for name in _ROOM if sent.get(name) is not None]
        return cls(
            bound=_bytes(sent) + added if all(map(_is_text, messages)) else None,
            # Where a server takes it, -1 means as many as the model has.
            max_tokens=max(rooms) if rooms and min(rooms) > 0 else None,
            answers=sent.get("n") or 1,
            is_text=not any(payload.get(name) for name in _SHAPED),
        )

    def worst(
        self, candidate: Candidate, at: datetime, max_tokens: int | None = None
    ) -> int | None:
        """What it can cost at most.

        Args:
            candidate: Who is asked.
            at: When.
            max_tokens: The room for its answer; None: what it asks for.

        Returns:
            Nano-dollars; None: the candidate has no known price, or nothing bounds the tokens.
        """
        most = max_tokens or self.max_tokens
        if candidate.provider == OWN_SERVER:
            return 0
        if self.bound is None or most is None:
            return None
        plain = Usage(input_tokens=self.bound, output_tokens=most * self.answers)
        # Some providers take more for what they write to their cache, and that is their choice.
        written = dataclasses.replace(plain, cache_creation_tokens=self.bound)
        costs = [
            price(candidate.provider, candidate.model, usage, at).nanousd
            for usage in (plain, written)
        ]
        known = [cost for cost in costs if cost is not None]
        return max(known) if len(known) == len(costs) else None

    def most_tokens(self, candidate: Candidate, at: datetime, left: int) -> int:
        """The most output tokens that so many nano-dollars pay for; 0 when too few to be of use."""
        low, high = _SHORTEST - 1, self.max_tokens or 0
        while low < high:
            middle = (low + high + 1) // 2
            worst = self.worst(candidate, at, middle)
            low, high = (middle, high) if worst is not None and worst <= left else (low, middle - 1)
        return low if low >= _SHORTEST else 0


@dataclasses.dataclass(frozen=True)
class Held:
    """The attempt may be made."""

    at: str | None = None
    """When its money was held; None: nobody counts it."""
    max_tokens: int | None = None
    """The room that it is left; None: what it asked for."""


@dataclasses.dataclass(frozen=True)
class Affording:
    """One attempt that wants to be paid for."""

    purse: RunBudget
    call_id: str
    metadata: Mapping[str, Any]
    """The attempt's, which says where it stands."""
    asked: Asked
    line: Sequence[Candidate]
    """Who can be asked, in order."""

    def hold(self, candidate: Candidate) -> Held | Refusal:
        """Hold what an attempt at a candidate can cost."""
        at = now()
        refused = self._take(candidate, at)
        if refused is None:
            return Held(utc_text(at))
        if refused.waits:
            return refused
        others = self.line[candidate.position + 1 :]
        fits = any(self._fits(other, at) for other in others)
        if not fits and self.asked.is_text:
            if tokens := self._room(candidate, at):
                return self._shortened(candidate, at, tokens, refused)
            fits = any(self._room(other, at) for other in others)
        if fits:
            raise errors.TooDear(f"{candidate} costs too much for its budget", billed=False)
        raise exceeded(refused, candidate)

    def behind(self, candidate: Candidate, is_waited_for: Callable[[str], bool]) -> Refusal | None:
        """Whether an attempt has to stand behind those who wait already."""
        at = now()
        needed = self.asked.worst(candidate, at)
        limits = self.purse.budgets.limit_states(self._place(candidate, at), opens=False)
        refused = refusal(limits, needed)
        if not needed or (refused and not refused.waits):
            return None
        waited = (one for one in limits if not one.warns and is_waited_for(one.account.key))
        return next((Refusal(one, needed, waits=True) for one in waited), None)

    def _shortened(
        self, candidate: Candidate, at: datetime, most: int, refused: Refusal
    ) -> Held | Refusal:
        """Hold what a shorter answer can cost; wait where only settlements leave room for one."""
        tokens = min(most, self._room(candidate, at, besides_held=True))
        if not tokens or self._take(candidate, at, tokens):
            return dataclasses.replace(refused, waits=True)
        return Held(utc_text(at), tokens)

    def _room(self, candidate: Candidate, at: datetime, *, besides_held: bool = False) -> int:
        """Output tokens that the limits leave a candidate, once nothing is held or besides that."""
        left = [
            one.left + (0 if besides_held else one.held)
            for one in self._limits(candidate, at)
            if not one.warns
        ]
        return self.asked.most_tokens(candidate, at, min(left)) if left else 0

    def _fits(self, candidate: Candidate, at: datetime) -> bool:
        refused = refusal(self._limits(candidate, at), self.asked.worst(candidate, at))
        return refused is None or refused.waits

    def _limits(self, candidate: Candidate, at: datetime) -> Sequence[LimitState]:
        return self.purse.budgets.limit_states(self._place(candidate, at))

    def _take(
        self, candidate: Candidate, at: datetime, max_tokens: int | None = None
    ) -> Refusal | None:
        worst = self.asked.worst(candidate, at, max_tokens)
        told = {tags.HELD_AT: utc_text(at), tags.SHORTENED: max_tokens is not None}
        run_id = self.purse.run.run
        row = call_start(self.call_id, run_id, {**self.metadata, **told}) if run_id else None
        return self.purse.budgets.take(self.call_id, self._place(candidate, at), worst, row=row)

    def _place(self, candidate: Candidate, at: datetime) -> CallDimensions:
        return self.purse.dimensions(node_path(self.metadata), candidate.provider, at)


def affording_for(
    model: BaseChatModel,
    line: Sequence[Candidate],
    attempt: RunnableConfig,
    question: LanguageModelInput,
    told: Mapping[str, Any],
) -> Affording | None:
    """What decides whether an attempt can be paid for."""
    purse = purse_of(attempt)
    if purse is None:
        return None
    payload = cast("Any", model)._get_request_payload(question, **told)  # noqa: SLF001 - LangChain's only way to see what is sent
    return Affording(
        purse=purse,
        call_id=str(attempt.get("run_id")),
        metadata=_metadata(attempt),
        asked=Asked.of(payload),
        line=line,
    )


def _metadata(attempt: RunnableConfig) -> dict[str, Any]:
    """What an attempt's start event is going to carry: its own metadata, and what is handed down.

    A call that brings metadata of its own has no other in its config.
    """
    handed_down = getattr(attempt.get("callbacks"), "metadata", None) or {}
    return {**handed_down, **(attempt.get("metadata") or {})}


def purse_of(config: RunnableConfig) -> RunBudget | None:
    """The purse of whoever records a call; None: nobody does, and nothing limits it."""
    callbacks: Any = config.get("callbacks")
    handlers = callbacks if isinstance(callbacks, list) else getattr(callbacks, "handlers", ())
    parent = getattr(callbacks, "parent_run_id", None)
    # The outermost run's comes first, also where a node begins a run inside it.
    purses = [one.run_budget(parent) for one in handlers if isinstance(one, CostHandler)]
    return purses[0].around(purses[1:]) if purses else None


def _bytes(sent: Mapping[str, Any]) -> int:
    """The size of a request's text in the longest of the forms that tokenizers bring it into."""
    text = json.dumps(sent, ensure_ascii=False, default=str)
    forms = (text,) if text.isascii() else (text, *(normalize(form, text) for form in _FORMS))
    return max(len(form.encode("utf-8", "surrogatepass")) for form in forms)


def _is_text(message: Any) -> bool:
    """Whether a message holds nothing but text; what a picture costs is not in its bytes."""
    content = message.get("content") if isinstance(message, Mapping) else None
    parts = content if isinstance(content, list) else ()
    return all(isinstance(part, str) or part.get("type") == "text" for part in parts)


def exceeded(refused: Refusal, candidate: Candidate) -> OutOfBudget:
    """The error for a call that nothing makes room for."""
    by = refused.by
    return OutOfBudget(
        scope=by.name,
        limit=usd(by.limit),
        spent=usd(by.spent),
        held=usd(by.held),
        needed=None if refused.needed is None else usd(refused.needed),
        asked=str(candidate),
    )


_log = logging.getLogger("aideon_agents.models")

_LOOK = 0.01
"""Seconds between two looks whether something was settled in this process."""

_ELSEWHERE = 0.25
"""Seconds after which another process may have settled something."""


@contextlib.asynccontextmanager
async def turn(
    attempts: Attempts, candidate: Candidate, leave: Admission, affording: Affording | None
) -> AsyncGenerator[Held]:
    """Hold a place and the money for the length of an attempt."""
    line = _Line(attempts, candidate)
    async with contextlib.aclosing(line):
        if affording and (ahead := line.ahead(affording)):
            await line.wait(affording.purse.budgets, ahead)
        while True:
            # The provider's first: who waits for one provider must not hold up the others'.
            async with candidate.pace.one(), attempts.slots.one():
                line.check_time(leave)
                held = affording.hold(candidate) if affording else Held()
                if isinstance(held, Held):
                    try:
                        await line.aclose()
                        with candidate.pace.heard():
                            yield held
                    finally:
                        _let_go(affording)
                    return
            assert affording is not None  # noqa: S101 - nothing else refuses
            await line.wait(affording.purse.budgets, held)


class _Line:
    """Where a call waits for money: behind those of this process that wait for the same budget.

    The first of a line alone looks again when something is settled, so that a thousand who wait
    cost no more than one. Whoever comes later stands behind it even where there is room: else small
    calls would take what a large one waits for, for ever.
    """

    def __init__(self, attempts: Attempts, candidate: Candidate) -> None:
        self._attempts = attempts
        self._candidate = candidate
        self._refused: Refusal | None = None
        self._at: str | None = None
        self._place = contextlib.AsyncExitStack()

    def check_time(self, leave: Admission) -> None:
        """Ask nobody when the wait has used the chain's time up."""
        if self._attempts.time_left():
            return
        leave.returned()
        if self._refused:
            raise exceeded(self._refused, self._candidate)
        late = f"{self._candidate} was not asked: the chain's time was up"
        raise errors.Transient(late, billed=False, timed_out=True)

    def ahead(self, affording: Affording) -> Refusal | None:
        """Why a call that comes now has to stand behind others; None: nobody is there."""
        if not _firsts:  # as nearly always, and then it costs nothing to know
            return None
        budgets = affording.purse.budgets
        return affording.behind(self._candidate, lambda account: _first(budgets, account).held > 0)

    async def wait(self, budgets: Budgets, refused: Refusal) -> None:
        """Wait until another call's end may have made room."""
        self._refused = refused
        try:
            async with asyncio.timeout(self._attempts.time_left()):
                if self._at != refused.by.account.key:
                    await self.aclose()
                    self._at = refused.by.account.key
                    first = _first(budgets, self._at)
                    await self._place.enter_async_context(first.one())
                    return
                seen, until = budgets.settlements, time.monotonic() + _ELSEWHERE
                while budgets.settlements == seen and time.monotonic() < until:  # noqa: ASYNC110 - what is settled is said by any thread, and in other processes not at all
                    await asyncio.sleep(_LOOK)
        except TimeoutError:
            raise exceeded(refused, self._candidate) from None

    async def aclose(self) -> None:
        """Leave the line: whoever is next may look."""
        self._at = None
        await self._place.aclose()


_firsts: weakref.WeakValueDictionary[tuple[int, str], Slots] = weakref.WeakValueDictionary()
"""The first place in each line, by ledger and account, for as long as anybody stands there."""


def _first(budgets: Budgets, account: str) -> Slots:
    return _firsts.setdefault((id(budgets), account), Slots(1))


def _let_go(affording: Affording | None) -> None:
    """The attempt is over; what it was answered must not be lost to a ledger that fails now."""
    if affording is None:
        return
    told = isinstance(sys.exception(), errors.LedgerError)
    try:
        affording.purse.budgets.release(affording.call_id)
    except errors.LedgerError as refused:
        if not told:
            _log.warning("the hold of call %s stays: %s", affording.call_id, refused)
