"""What a provider keeps: the files that its answers name by URL, and what was said in recordings."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import itertools
from typing import TYPE_CHECKING, Any

from aideon_agents.media.sniffing import sniffed
from aideon_agents.testing.simulated.dialects.dialect import Refused
from aideon_agents.testing.simulated.media.exchange import Route, Sent, Service
from aideon_agents.testing.simulated.media.files import sound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aideon_agents.testing.simulated.clock import Clock
    from aideon_agents.testing.simulated.faults import Fault
    from aideon_agents.testing.simulated.media.exchange import MediaRequest

_STORAGE = Service("storage", lambda refused: f"<Error><Code>{refused.code}</Code></Error>", ())
_LEAST_BYTES_A_SECOND = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class MediaPlan:
    """How long jobs and links last, and what is listed. Faults are those of the provider.

    Args:
        job_seconds: How long a job takes, by the provider's clock.
        link_seconds: How long the address of a result is valid, by the clock.
        voices: The voices that are listed for each model.
        supported: What `/v2/supported-models` lists, each with its fields.
        mapping: For each model of Hugging Face, the providers that serve it, each with its
            `status`, `providerId` and `task`.
        stability_video: Whether Stability still makes videos.
    """

    job_seconds: float = 0.0
    link_seconds: float = 3600.0
    voices: Mapping[str, tuple[str, ...]] = dataclasses.field(
        default_factory=lambda: {
            "hexgrad/Kokoro-82M": ("af_alloy", "af_bella", "af_heart", "am_adam"),
            "canopylabs/orpheus-3b-0.1-ft": ("tara", "leah"),
            "cartesia/sonic-2": ("friendly sidekick", "reading lady"),
        }
    )
    supported: tuple[Mapping[str, Any], ...] = ()
    mapping: Mapping[str, Mapping[str, Mapping[str, str]]] = dataclasses.field(
        default_factory=dict[str, Any]
    )
    stability_video: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """A file, until its time is over."""

    mime: str
    data: bytes
    expires: float
    fault: Fault | None
    signed: bool


class Kept:
    """The files of one provider, for all of its routes."""

    def __init__(self, plan: MediaPlan, clock: Clock) -> None:
        self.plan = plan
        self.clock = clock
        self.numbers = itertools.count(1)
        self._files: dict[str, File] = {}
        self._texts: dict[str, str] = {}

    def link(
        self,
        request: MediaRequest,
        mime: str,
        data: bytes,
        *,
        since: float | None = None,
        signed: bool = True,
    ) -> str:
        """Keep a file; returns its address, which is valid for a while after `since`.

        `signed`: the address itself allows to read it, and a key is refused.
        """
        name = f"{next(self.numbers):04d}.{mime.partition('/')[2]}"
        expires = (self.clock.now() if since is None else since) + self.plan.link_seconds
        self._files[name] = File(mime, data, expires, request.fault, signed)
        return f"{request.origin}/files/{name}"

    def keep(self, name: str, mime: str, data: bytes, seconds: float | None = None) -> None:
        """Keep a file that was uploaded."""
        expires = self.clock.now() + (self.plan.link_seconds if seconds is None else seconds)
        self._files[name] = File(mime, data, expires, None, signed=False)

    def find(self, name: str) -> File:
        """A file that was uploaded; Refused: there is none, or its time is over."""
        file = self._files.get(name)
        if file is None or self.clock.now() >= file.expires:
            raise Refused(404, "not_found", "The requested resource could not be found.")
        return file

    def drop(self, name: str) -> None:
        """Forget a file."""
        self._files.pop(name, None)

    def given(self, uri: str) -> bytes | None:
        """The bytes of a file that a request names; None: they are at another server."""
        if uri.startswith("data:"):
            return base64.b64decode(uri.partition(",")[2])
        file = self._files.get(uri.rpartition("/")[2])
        return file.data if file else None

    def length(self, uri: object, usual: float) -> float:
        """The seconds of a recording or a video that a request names; `usual`: they are not known."""
        data = self.given(uri) if isinstance(uri, str) else None
        known = sniffed(data).duration_ms if data else None
        return usual if known is None else known / 1000

    def spoken(self, text: str, form: str) -> tuple[str, bytes]:
        """A text as a recording, which is written down as this text later."""
        mime, data = sound(text, form)
        self._texts[hashlib.sha256(data).hexdigest()] = text
        return mime, data

    def transcript(self, data: bytes) -> tuple[str, float]:
        """What is said in a recording, and how many seconds it has."""
        text = self._texts.get(hashlib.sha256(data).hexdigest(), "A simulated transcript.")
        known = sniffed(data).duration_ms
        return text, len(data) / _LEAST_BYTES_A_SECOND if known is None else known / 1000

    def routes(self) -> list[Route]:
        """Its files by their addresses."""
        return [Route("GET", r"/files/([^/]+)(/moved)?", _STORAGE, self._download)]

    def _download(self, request: MediaRequest) -> Sent:
        name, moved = request.parts
        file = self._files.get(name)
        # A signed address and a key are two ways to be allowed: storage takes one.
        if request.key and file is not None and file.signed:
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
