"""True files, made by rule: small, and as long or as large as they say."""

from __future__ import annotations

import hashlib
import struct

from aideon_agents.media.rehearsal import CHARACTERS_A_SECOND, mp4, png
from aideon_agents.testing.simulated.dialects.dialect import Refused

_RATE = 8000
_FRAME_SECONDS = 0.024
_FRAME = b"\xff\xf3\x14\xc0" + b"\0" * 9
"""Layer III, 24 kHz, mono, 8 kbit/s: a frame of silence has 24 bytes, the last 11 of them free."""
_BLOCK = 8


def seconds_of(text: str) -> float:
    """How long a text is when it is spoken."""
    return max(1.0, len(text) / CHARACTERS_A_SECOND)


def sound(text: str, form: str) -> tuple[str, bytes]:
    """A text as a recording: the kind of its file, and the file. Another text is another file."""
    seconds, mark = seconds_of(text), hashlib.sha256(text.encode()).digest()
    samples = round(seconds * _RATE)
    noise = (mark * (samples // len(mark) + 1))[:samples]
    match form:
        case "wav":
            head = struct.pack(
                "<4sIHHIIHH4sI", b"fmt ", 16, 1, 1, _RATE, _RATE, 1, 8, b"data", samples
            )
            padded = noise + b"\0" * (samples % 2)
            body = b"WAVE" + head + padded
            return "audio/wav", b"RIFF" + struct.pack("<I", len(body)) + body
        case "mp3":
            return "audio/mpeg", (_FRAME + mark[:11]) * round(seconds / _FRAME_SECONDS)
        case "pcm" | "raw":
            return "audio/pcm", noise
        case _:
            raise Refused(400, "invalid_value", f"response_format {form!r} is not simulated.")


def picture(prompt: str, nth: int, width: int, height: int, form: str) -> tuple[str, bytes]:
    """One shade of gray that follows from the prompt: the kind of the file, and the file."""
    mark = hashlib.sha256(f"{nth} {prompt}".encode()).digest()
    match form:
        case "jpeg" | "jpg":
            return "image/jpeg", _jpeg(width, height, mark)
        case "webp":
            return "image/webp", _webp(width, height, mark[0])
        case _:
            return "image/png", png(width, height, mark[0])


def _jpeg(width: int, height: int, mark: bytes) -> bytes:
    """A JPEG picture in which each block is as gray as the one before."""

    def segment(name: int, content: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, name, len(content) + 2) + content

    blocks = -(-width // _BLOCK) * -(-height // _BLOCK)
    bits = blocks * 2  # "no difference", "no more": one bit each
    table = bytes([1, *[0] * 15, 0])
    frame = struct.pack(">BHHBBBB", 8, height, width, 1, 1, 0x11, 0)
    scan = bytes([1, 1, 0, 0, 63, 0])
    return b"".join((
        b"\xff\xd8",
        segment(0xFE, mark.hex().encode()),
        segment(0xDB, b"\0" + b"\1" * 64),
        segment(0xC0, frame),
        segment(0xC4, b"\x00" + table + b"\x10" + table),
        segment(0xDA, scan),
        b"\0" * (bits // 8),
        bytes([(1 << (8 - bits % 8)) - 1]) if bits % 8 else b"",
        b"\xff\xd9",
    ))  # fmt: skip


def _webp(width: int, height: int, shade: int) -> bytes:
    """A WebP picture without loss, whose codes have one symbol each, so that a pixel has no bits."""
    values = [(0x2F, 8), (width - 1, 14), (height - 1, 14), (0, 4), (0, 3)]
    for symbol in (shade, shade, shade, 255, 0):
        values += [(1, 1), (0, 1), (1, 1), (symbol, 8)]
    number = at = 0
    for value, bits in values:
        number |= value << at
        at += bits
    data = number.to_bytes(-(-at // 8), "little")
    chunk = b"VP8L" + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def video(prompt: str, seconds: float) -> tuple[str, bytes]:
    """A video without frames, of this length: the kind of the file, and the file."""
    mark = hashlib.sha256(prompt.encode()).digest()
    empty = struct.pack(">I4s", 8, b"mdat")
    filled = struct.pack(">I4s", 8 + len(mark), b"mdat") + mark
    return "video/mp4", mp4(seconds).removesuffix(empty) + filled
