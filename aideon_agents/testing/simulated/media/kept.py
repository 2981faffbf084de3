"""What a provider keeps: the files that its answers name by URL, and what was said in recordings."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from typing import TYPE_CHECKING

from aideon_agents.media.sniffing import sniffed
from aideon_agents.testing.simulated.dialects.dialect import Refused
from aideon_agents.testing.simulated.media.exchange import Route, Sent, Service
from aideon_agents.testing.simulated.media.files import sound

if TYPE_CHECKING:
    from aideon_agents.testing.simulated.clock import Clock
    from aideon_agents.testing.simulated.faults import Fault
    from aideon_agents.testing.simulated.media.exchange import MediaRequest
    from aideon_agents.testing.simulated.media.plan import MediaPlan

_STORAGE = Service("storage", lambda refused: f"<Error><Code>{refused.code}</Code></Error>", ())
_LEAST_BYTES_A_SECOND = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class _File:
    mime: str
    data: bytes
    expires: float
    fault: Fault | None


class Kept:
    """The files of one provider, for all of its routes."""

    def __init__(self, plan: MediaPlan, clock: Clock) -> None:
        self.plan = plan
        self.clock = clock
        self.numbers = itertools.count(1)
        self._files: dict[str, _File] = {}
        self._said: dict[str, str] = {}

    def link(self, request: MediaRequest, mime: str, data: bytes) -> str:
        """Keep a file; returns its address, which is valid for a while."""
        name = f"{next(self.numbers):04d}.{mime.partition('/')[2]}"
        expires = self.clock.now() + self.plan.link_seconds
        self._files[name] = _File(mime, data, expires, request.fault)
        return f"{request.origin}/files/{name}"

    def drop(self, link: str) -> None:
        """Forget the file at an address."""
        self._files.pop(link.rpartition("/")[2], None)

    def spoken(self, text: str, form: str) -> tuple[str, bytes]:
        """A text as a recording, which is written down as this text later."""
        mime, data = sound(text, form)
        self._said[hashlib.sha256(data).hexdigest()] = text
        return mime, data

    def transcript(self, data: bytes) -> tuple[str, float]:
        """What is said in a recording, and how many seconds it has."""
        text = self._said.get(hashlib.sha256(data).hexdigest(), "A simulated transcript.")
        known = sniffed(data).duration_ms
        return text, len(data) / _LEAST_BYTES_A_SECOND if known is None else known / 1000

    def routes(self) -> list[Route]:
        """Its files by their addresses."""
        return [Route("GET", r"/files/([^/]+)(/moved)?", _STORAGE, self._download)]

    def _download(self, request: MediaRequest) -> Sent:
        name, moved = request.parts
        file = self._files.get(name)
        # A signed address and a key are two ways to be allowed: storage takes one.
        if request.key:
            raise Refused(400, "InvalidArgument", "Only one auth mechanism allowed")
        kind = file.fault.kind if file and file.fault else None
        if file is None or kind == "link_missing":
            raise Refused(404, "NoSuchKey", "The specified key does not exist.")
        if kind == "link_forbidden" or self.clock.now() >= file.expires:
            raise Refused(403, "AccessDenied", "Request has expired")
        if kind == "link_redirects" and not moved:
            return Sent(302, {"location": f"{request.origin}{request.path}/moved"}, b"")
        if kind in {"link_slow", "link_too_long"}:
            request.fault = file.fault
        return Sent(200, {"content-type": file.mime}, file.data)
