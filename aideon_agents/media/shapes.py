"""What is asked of a provider of media, and what it gives. The files themselves are artifacts."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from aideon_agents.ledger.pricing.shapes import Measured
from aideon_agents.ledger.rows import Usage
from aideon_agents.state import Artifact

__all__ = [
    "Artifact",
    "ImageRequest",
    "Kind",
    "Measured",
    "MediaRequest",
    "MediaResult",
    "Operation",
    "SpeechRequest",
    "TranscriptRequest",
    "Usage",
    "VideoRequest",
]

Kind: TypeAlias = Literal["image", "tts", "stt", "video"]
"""What a provider makes, as the catalog names it."""

Operation: TypeAlias = Literal["generate", "edit", "extend"]


class ImageRequest(NamedTuple):
    """Pictures to be made from a text."""

    prompt: str
    negative_prompt: str | None = None
    """What is not to be seen; None: nothing in particular."""
    width: int = 1024
    """Pixels."""
    height: int = 1024
    n: int = 1
    """How many pictures."""
    steps: int | None = None
    """How often the picture is refined; None: as often as the model does by itself."""
    seed: int | None = None
    """None: the provider draws one."""
    quality: str | None = None
    """The provider's word for it; None: its default."""
    images: tuple[Artifact, ...] = ()
    """The pictures to be changed; empty: a new one is made."""


class SpeechRequest(NamedTuple):
    """A text to be spoken."""

    text: str
    voice: str | None = None
    """The provider's name of a voice; None: the default of the model."""
    language: str | None = None
    """A code such as `en`; None: the model finds out."""
    format: Literal["mp3", "wav"] = "mp3"


class TranscriptRequest(NamedTuple):
    """A recording to be written down."""

    audio: Artifact
    language: str | None = None
    """A code such as `en`; None: the model finds out."""
    prompt: str | None = None
    """Words that occur in it; None: nothing is known."""


class VideoRequest(NamedTuple):
    """A video to be made, changed or continued."""

    prompt: str
    operation: Operation = "generate"
    duration: int = 5
    """Seconds, of the new part where a video is extended."""
    fps: int | None = None
    """Frames per second; None: the model's own."""
    resolution: str = "720p"
    ratio: str = "16:9"
    source: Artifact | None = None
    """The video to be edited or extended; None: a new one is made."""
    image: Artifact | None = None
    """The picture that it begins with; None: the model begins as it likes."""
    seed: int | None = None


MediaRequest: TypeAlias = ImageRequest | SpeechRequest | TranscriptRequest | VideoRequest


class MediaResult(NamedTuple):
    """What one attempt has given."""

    artifacts: tuple[Artifact, ...] = ()
    text: str = ""
    """What was written down of a recording; else empty."""
    measured: Measured = Measured()
    """How much it was, as it is billed."""
    model: str | None = None
    """The model that the answer names; None: it names none."""
