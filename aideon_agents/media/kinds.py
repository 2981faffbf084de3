"""The four protocols of a provider of media.

A class that fits one has no state: all that belongs to an attempt is in its `Asking`. Nothing is tried
again in it, because only the guard does that. `lacks` is asked before anything is paid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from aideon_agents.media.requests import Asking
    from aideon_agents.media.shapes import (
        ImageRequest,
        MediaResult,
        SpeechRequest,
        TranscriptRequest,
        VideoRequest,
    )


class ImageMaker(Protocol):
    """Makes pictures."""

    def lacks(self, request: ImageRequest, model: str) -> str | None:
        """What a model lacks that a request needs, in words; None: nothing."""
        ...

    async def image(self, request: ImageRequest, asking: Asking) -> MediaResult:
        """Make pictures."""
        ...


class Speaker(Protocol):
    """Speaks texts."""

    def lacks(self, request: SpeechRequest, model: str) -> str | None:
        """As above."""
        ...

    async def tts(self, request: SpeechRequest, asking: Asking) -> MediaResult:
        """Speak a text."""
        ...


class Transcriber(Protocol):
    """Writes recordings down."""

    def lacks(self, request: TranscriptRequest, model: str) -> str | None:
        """As above."""
        ...

    async def stt(self, request: TranscriptRequest, asking: Asking) -> MediaResult:
        """Write a recording down."""
        ...


class VideoMaker(Protocol):
    """Makes, changes and continues videos."""

    def lacks(self, request: VideoRequest, model: str) -> str | None:
        """As above."""
        ...

    async def video(self, request: VideoRequest, asking: Asking) -> MediaResult:
        """Make a video: submit a job, note its id, and wait for its end."""
        ...
