"""What a file is, by its first bytes: providers send JPEG where PNG was asked for, and name it PNG."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from aideon_agents.errors import InputError
from aideon_agents.models.pictures.kinds import kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator

UNKNOWN = "application/octet-stream"

ENDINGS = {
    "image/jpeg": "jpeg",
    "image/png": "png",
    "image/gif": "gif",
    "image/webp": "webp",
    "audio/wav": "wav",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg",
    "audio/flac": "flac",
    "audio/mp4": "m4a",
    "audio/aac": "aac",
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/webm": "webm",
    UNKNOWN: "bin",
}
"""The ending of a file of each kind."""

_PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")
_FRAMES = (b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"\xff\xfa")


class About(NamedTuple):
    """What the beginning of a file says."""

    mime: str
    width: int | None = None
    height: int | None = None
    duration_ms: int | None = None


def sniffed(data: bytes, size: int | None = None) -> About:
    """What a file is, by its beginning; nothing is raised, whatever it holds.

    `size` is how many bytes the whole file has; None: `data` is all of it.
    """
    if data.startswith(_PICTURES) or (data.startswith(b"RIFF") and data[8:12] == b"WEBP"):
        try:
            kind = kind_of(data, "it")
        except InputError:  # cut off, or too large for a model to look at
            return About(_picture(data))
        return About(*kind)
    try:
        return _sound(data, size or len(data)) or _video(data) or About(UNKNOWN)
    except (struct.error, IndexError, ZeroDivisionError):
        return About(UNKNOWN)


def _picture(data: bytes) -> str:
    word = {b"\x89": "png", b"\xff": "jpeg", b"G": "gif", b"R": "webp"}[data[:1]]
    return f"image/{word}"


def _sound(data: bytes, size: int) -> About | None:
    if data.startswith(b"RIFF") and data[8:12] == b"WAVE":
        return About("audio/wav", duration_ms=_of_wav(data, size))
    if data.startswith(b"ID3") or data.startswith(_FRAMES):
        return About("audio/mpeg")
    if data.startswith(b"OggS"):
        return About("audio/ogg")
    if data.startswith(b"fLaC"):
        return About("audio/flac", duration_ms=_of_flac(data))
    if data.startswith((b"\xff\xf1", b"\xff\xf9")):
        return About("audio/aac")
    return None


def _of_wav(data: bytes, whole: int) -> int | None:
    """The length of a WAV file. A header that was written before its sound says too much, or nothing."""
    rate, at = 0, 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], struct.unpack("<I", data[at + 4 : at + 8])[0]
        if name == b"fmt ":
            rate = struct.unpack("<I", data[at + 16 : at + 20])[0]
        if name == b"data":
            there = min(size or whole, whole - at - 8)
            return round(there * 1000 / rate) if rate else None
        at += 8 + size + size % 2
    return None


def _of_flac(data: bytes) -> int | None:
    known = int.from_bytes(data[18:26], "big")
    rate, samples = known >> 44, known & (2**36 - 1)
    return round(samples * 1000 / rate) if rate and samples else None


def _video(data: bytes) -> About | None:
    if data.startswith(b"\x1aE\xdf\xa3"):
        return About("video/webm")
    if data[4:8] != b"ftyp":
        return None
    brand = data[8:12]
    mime = "audio/mp4" if brand[:3] in {b"M4A", b"M4B"} else "video/mp4"
    return About("video/quicktime" if brand == b"qt  " else mime, duration_ms=_of_mp4(data))


def _of_mp4(data: bytes) -> int | None:
    """The length that the header of an MP4 file states; None: it comes after the frames, or is missing."""
    try:
        for start in _heads(data, 0, len(data)):
            form, at = (">IQ", 20) if data[start] else (">II", 12)  # by its version
            scale, length = struct.unpack_from(form, data, start + at)
            return round(length * 1000 / scale) if scale else None
    except (struct.error, IndexError):
        pass
    return None


def _heads(data: bytes, start: int, end: int) -> Iterator[int]:
    """Where the boxes of an MP4 file begin that say how long it is."""
    while start + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1:
            size, head = struct.unpack_from(">Q", data, start + 8)[0], 16
        last = end if size == 0 else start + size
        if size and size < head:
            return
        if name == b"moov":
            yield from _heads(data, start + head, min(last, end))
        elif name == b"mvhd":
            yield start + head
        start = last
