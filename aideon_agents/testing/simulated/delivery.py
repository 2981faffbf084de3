"""How an answer reaches the caller, or does not.

The bill is settled before the last byte leaves, so that whoever holds an answer finds it charged.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING

from aideon_agents.testing.simulated.faults import STREAM_CUTS
from aideon_agents.testing.simulated.reply import DONE

if TYPE_CHECKING:
    from collections.abc import Callable

    from aideon_agents.testing.simulated.faults import Fault, Kind
    from aideon_agents.testing.simulated.reply import Reply
    from aideon_agents.testing.simulated.wire import Wire

_OK = 200
_SPOILED: dict[Kind, tuple[str, bytes]] = {
    "garbage": ("text/html", b"<html><body><h1>Something is not right here</h1></body></html>"),
    "no_choices": ("application/json", b'{"object": "chat.completion"}'),
    "empty": ("application/json", b""),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Delivery:
    """One answer, one connection, and what goes wrong between them."""

    wire: Wire
    reply: Reply
    fault: Fault | None
    amend: Callable[..., None]
    """Changes the call's line on the bill."""
    headers: dict[str, str]
    """What goes beside the body."""

    @property
    def _kind(self) -> Kind | None:
        return self.fault.kind if self.fault else None

    @property
    def _seconds(self) -> float:
        """How long each word takes."""
        slow = self.fault if self._kind == "slow" else None
        return slow.seconds or 0 if slow else 0

    async def run(self) -> None:
        """Deliver the answer as the fault lets it."""
        # Until more is known: the work is done and nothing has arrived.
        self.amend(output_tokens=self.reply.output_tokens)
        if self.fault and self._kind in {"hang", "delay"}:
            await self.wire.pause(self.fault.seconds)
        if self._kind == "reset_after":
            self.wire.reset()
        elif self._kind in _SPOILED:
            await self._spoiled(*_SPOILED[self._kind])
        elif self.reply.request.stream:
            await self._stream()
        else:
            await self._whole()

    async def _spoiled(self, content_type: str, body: bytes) -> None:
        self.amend(status=_OK)
        await self.wire.send(_OK, {**self.headers, "content-type": content_type}, body)

    async def _whole(self) -> None:
        headers = {**self.headers, "content-type": "application/json"}
        body = self.reply.whole(
            with_usage=self._kind != "no_usage", with_finish=self._kind != "no_finish_reason"
        )
        if self._seconds:
            await self.wire.pause(self._seconds * len(self.reply.words))
        if self._kind in STREAM_CUTS:
            self.amend(status=_OK)
            await self.wire.send_truncated(_OK, headers, body)
        else:
            self.amend(status=_OK, delivered=True)
            await self.wire.send(_OK, headers, body)

    async def _stream(self) -> None:
        words = self._words_to_send()
        self.amend(status=_OK, output_tokens=self.reply.output_tokens_after(words))
        self.wire.start(_OK, {**self.headers, "content-type": "text/event-stream"})
        if self._kind != "cut_before_first_token":
            self.wire.put(self.reply.opening())
            await self._send_words(words)
        if self._kind in STREAM_CUTS:
            await self.wire.break_off()
            return
        if self._kind != "no_finish_reason":
            self.amend(output_tokens=self.reply.output_tokens, delivered=True)
            self.wire.put(self._ending())
        await self.wire.finish()

    async def _send_words(self, words: int) -> None:
        chunks = self.reply.word_chunks(with_usage=self._kind == "cumulative_usage")
        sent = itertools.islice(chunks, words)
        if not self._seconds:
            self.wire.put(b"".join(sent))
            return
        for nth, chunk in enumerate(sent):
            self.amend(output_tokens=self.reply.output_tokens_after(nth))
            await self.wire.pause(self._seconds)
            self.wire.put(chunk)

    def _words_to_send(self) -> int:
        every = len(self.reply.words)
        asked = self.fault.after_tokens if self.fault else None
        if self._kind == "cut_before_first_token":
            return 0
        if self._kind == "cut_after_first_token":
            return 1 if asked is None else asked
        if self._kind == "truncated_body":
            return every // 2
        return asked if self._kind == "no_finish_reason" and asked is not None else every

    def _ending(self) -> bytes:
        wanted = self.reply.request.include_usage and self._kind != "no_usage"
        closing = self.reply.closing(with_usage=self._kind == "cumulative_usage")
        return closing + (self.reply.usage_chunk() if wanted else b"") + DONE
