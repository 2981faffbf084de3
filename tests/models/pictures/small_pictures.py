"""Small pictures of every kind, made byte by byte."""

from __future__ import annotations

import struct
import zlib


def png(width: int = 640, height: int = 480, shade: int = 120) -> bytes:
    """A grey PNG."""
    lines = b"".join(b"\0" + bytes([shade]) * width for _ in range(height))
    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", size), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def jpeg(width: int = 30, height: int = 40, after: bytes = b"") -> bytes:
    """The segments of a JPEG; its thumbnail has an end mark of its own."""
    thumbnail = b"Exif\0\0\xff\xd8\xff\xd9"
    size = struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0"
    segments = ((0xE1, thumbnail), (0xC2, size), (0xDA, b"\1\1\0\0\x3f\0"))
    head = b"".join(
        bytes([0xFF, mark]) + struct.pack(">H", len(data) + 2) + data for mark, data in segments
    )
    return b"\xff\xd8" + head + b"\x12\xff\x00\x34" + b"\xff\xd9" + after


def gif(width: int = 5, height: int = 6) -> bytes:
    """A GIF of one colour."""
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0\0\0\0\xff\xff\xff;"


def webp(form: bytes = b"VP8X", width: int = 70, height: int = 80) -> bytes:
    """The header of a WebP in one of its three forms."""
    if form == b"VP8X":
        data = b"\0\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    elif form == b"VP8L":
        data = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14)
    else:
        data = b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height)
    chunk = form + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk
