"""References to files: the pictures of a task, and what nodes make. They are small, and hold no keys."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Artifact:
    """A reference to a file that a node made, such as a picture or a recording.

    The bytes lie in a folder beside the ledger, under their digest, so a checkpoint stays small.
    """

    sha256: str
    """The SHA-256 of its bytes, as hexadecimal digits."""
    mime: str
    """What its first bytes say that it is."""
    bytes: int
    """How many it has."""
    width: int | None = None
    """Pixels, of a picture or a video; None: unknown. So for the height."""
    height: int | None = None
    duration_ms: int | None = None
    """Of a sound or a video; None: unknown."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """A reference to a picture: its bytes are in a file, were given, or are at a URL."""

    name: str
    """What models and people read: the name of its file, or the last part of its URL."""
    path: str | None = None
    url: str | None = None
    data: bytes | None = dataclasses.field(default=None, repr=False, compare=False)
    sha256: str | None = None
    mime: str | None = None
    width: int | None = None
    height: int | None = None
