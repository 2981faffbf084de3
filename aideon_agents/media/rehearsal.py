"""Media in a rehearsal: tiny true files, made without a provider. They cost nothing and say nothing."""

from __future__ import annotations

import math
import struct
import zlib
from typing import TYPE_CHECKING

from aideon_agents.media.shapes import MediaResult

if TYPE_CHECKING:
    from aideon_agents.media.requests import Asking
    from aideon_agents.media.shapes import (
        ImageRequest,
        MediaRequest,
        SpeechRequest,
        TranscriptRequest,
        VideoRequest,
    )

CHARACTERS_A_SECOND = 15
"""Characters that are spoken in a second, about."""
_RATE = 100
"""Samples of silence in a second."""
_TRANSCRIPT = "(rehearsed) What was said in the recording."


class Rehearsed:
    """Makes media by rule."""

    def lacks(self, request: MediaRequest, model: str) -> str | None:
        """Nothing: the model that would have been asked was checked before."""
        del request, model

    async def image(self, request: ImageRequest, asking: Asking) -> MediaResult:
        """Striped pictures of the size that was asked for."""
        shades = [200 - 10 * nth for nth in range(request.n)]
        data = [png(request.width, request.height, shade) for shade in shades]
        return MediaResult(tuple(asking.artifacts.keep(one) for one in data))

    async def tts(self, request: SpeechRequest, asking: Asking) -> MediaResult:
        """Silence, as long as the text would take."""
        seconds = max(1, math.ceil(len(request.text) / CHARACTERS_A_SECOND))
        return MediaResult((asking.artifacts.keep(wav(seconds)),))

    async def stt(self, request: TranscriptRequest, asking: Asking) -> MediaResult:
        """A sentence that says that it is rehearsed."""
        del request, asking
        return MediaResult(text=_TRANSCRIPT)

    async def video(self, request: VideoRequest, asking: Asking) -> MediaResult:
        """A video without frames, of the length that was asked for."""
        return MediaResult((asking.artifacts.keep(mp4(request.duration)),))


def png(width: int, height: int, shade: int = 200) -> bytes:
    """A PNG picture of black and white stripes; each shade has others."""
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes([shade]) * -(-width // 8)) * height, 1)
    parts = [(b"IHDR", head), (b"tEXt", b"Comment\0rehearsed"), (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )


def wav(seconds: float) -> bytes:
    """A WAV file of silence: 8 bits, mono."""
    sound = b"\x80" * round(_RATE * seconds)
    form = struct.pack("<HHIIHH", 1, 1, _RATE, _RATE, 1, 8)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form
    body += b"data" + struct.pack("<I", len(sound)) + sound
    return b"RIFF" + struct.pack("<I", len(body)) + body


def mp4(seconds: float) -> bytes:
    """An MP4 file without tracks, whose header states a length."""
    known = struct.pack(">IIIII", 0, 0, 0, 1000, round(seconds * 1000))
    rest = struct.pack(">IHHII", 0x10000, 0x100, 0, 0, 0)
    matrix = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    head = _box(b"mvhd", known + rest + matrix + b"\0" * 24 + struct.pack(">I", 1))
    return _box(b"ftyp", b"isom\0\0\2\0isommp41") + _box(b"moov", head) + _box(b"mdat", b"")


def _box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content
