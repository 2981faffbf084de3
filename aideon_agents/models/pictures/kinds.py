"""Which kind of picture some bytes are, and its size, read from its header.

The bytes count, not the name of a file: cameras and browsers write wrong endings. What models do not
take is refused here, with what to do instead.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from aideon_agents.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST = 20 * 1024 * 1024
"""Bytes of a picture: OpenAI takes 20 MB, and others take less."""

_PNG, _RIFF, _JPEG = b"\x89PNG\r\n\x1a\n", b"RIFF", b"\xff\xd8\xff"
_GIF = (b"GIF87a", b"GIF89a")
_PNG_ENDS, _JPEG_ENDS, _GIF_ENDS = b"IEND\xaeB`\x82", b"\xff\xd9", b";"
_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of JPEG segments that hold the size."""
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
"""Markers of JPEG segments without a length."""
_SCAN = 0xDA
_PICTURES = "a picture must be PNG, JPEG, GIF or WebP"

_CONVERT = f"{_PICTURES}: convert it, for example to PNG"
_VIDEO = "a video, which no model here takes: give single frames of it as PNG or JPEG pictures"
_SOUND = "a sound recording, and no picture: give its text as the task"
_OTHERS: tuple[tuple[tuple[bytes, ...], str], ...] = (
    ((b"%PDF",), "a PDF document: give its pages as PNG or JPEG pictures, or its text as the task"),
    ((b"BM",), f"a BMP picture, and {_CONVERT}"),
    ((b"II*\0", b"MM\0*"), f"a TIFF picture, and {_CONVERT}"),
    ((b"\0\0\1\0",), f"an icon (ICO), and {_CONVERT}"),
    ((b"\x1aE\xdf\xa3",), _VIDEO),
    ((b"ID3", b"OggS", b"fLaC", b"\xff\xfb", b"\xff\xf3"), _SOUND),
    ((b"PK\3\4",), f"a ZIP archive or an Office document, and {_PICTURES}: take the picture out"),
    ((b"<!doctype html", b"<html"), f"a web page, and {_PICTURES}: save the picture itself"),
)
"""How other files begin, in lower case where they are text."""
_BRANDS = {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}
_DRAWING = f"an SVG drawing, and {_PICTURES}: export it as PNG"
_START = 1024
_BY_ENDING = {
    **dict.fromkeys(("mp4", "mov", "webm", "avi", "mkv", "m4v"), _VIDEO),
    **dict.fromkeys(("mp3", "wav", "ogg", "flac", "m4a"), _SOUND),
    "pdf": _OTHERS[0][1],
    "svg": _DRAWING,
    "heic": f"a HEIC picture, and {_CONVERT}",
    "tiff": f"a TIFF picture, and {_CONVERT}",
    "bmp": f"a BMP picture, and {_CONVERT}",
}


class Kind(NamedTuple):
    """What the header of a picture says."""

    mime: str
    width: int
    height: int


def in_words(mime: str, width: int | None, height: int | None) -> str:
    """The kind and size of a picture, for models and people."""
    word = mime.rpartition("/")[2].upper().replace("WEBP", "WebP")
    return f"{word}, {width} x {height} pixels"


def kind_of(data: bytes, name: str) -> Kind:
    """The kind and size of a picture; InputError: it is none that models take, or is not whole."""
    if not data:
        raise InputError(f"{name} is empty: give a picture")
    refuse_size(len(data), name)
    try:
        found = _read(data)
    except (struct.error, IndexError):
        found = Kind("", 0, 0)
    if found is None:
        raise InputError(f"{name} is {_other(data)}")
    if not (found.width and found.height):
        raise InputError(f"{name} is broken or cut off: save or copy it again")
    return found


def refuse_size(size: int, name: str) -> None:
    """Refuse a picture of too many bytes."""
    if size > LARGEST:
        megabytes = size / 1024**2
        raise InputError(
            f"{name} has {megabytes:.1f} MB, and a picture may have 20 MB: make it smaller"
        )


def refuse_ending(url: str, name: str) -> None:
    """Refuse the URL of a file whose ending says that it is no picture."""
    ending = url.partition("?")[0].partition("#")[0].rpartition(".")[2].lower()
    if ending in _BY_ENDING:
        raise InputError(f"{name} is {_BY_ENDING[ending]}")


def _read(data: bytes) -> Kind | None:
    """Kind and size; a size of 0 where it is not whole, None where it is no picture."""
    if data.startswith(_PNG):
        size = struct.unpack(">II", data[16:24])
        return Kind("image/png", *(size if _PNG_ENDS in data else (0, 0)))
    if data.startswith(_GIF):
        size = struct.unpack("<HH", data[6:10])
        is_whole = data.rstrip(b"\0").endswith(_GIF_ENDS)
        return Kind("image/gif", *(size if is_whole else (0, 0)))
    if data.startswith(_JPEG):
        return Kind("image/jpeg", *_jpeg_size(data))
    if data.startswith(_RIFF) and data[8:12] == b"WEBP":
        is_whole = len(data) >= struct.unpack("<I", data[4:8])[0] + 8
        return Kind("image/webp", *(_webp_size(data) if is_whole else (0, 0)))
    return None


def _jpeg_size(data: bytes) -> tuple[int, int]:
    size = 0, 0
    for marker, start, end in _segments(data):
        if marker in _SIZES:
            height, width = struct.unpack(">HH", data[start + 3 : start + 7])
            size = width, height
        elif marker == _SCAN:
            # Inside a scan every 0xFF is escaped, so this is the end of the picture itself.
            return size if data.find(_JPEG_ENDS, end) > 0 else (0, 0)
    return 0, 0


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """The marker of each segment of a JPEG, and where its content begins and ends."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:  # noqa: PLR2004 - how every marker begins
        marker = data[at + 1]
        if marker == 0xFF or marker in _ALONE:  # noqa: PLR2004 - a byte that fills
            at += 1 if marker == 0xFF else 2  # noqa: PLR2004 - as above
            continue
        end = at + 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
        yield marker, at + 2, end
        at = end


def _webp_size(data: bytes) -> tuple[int, int]:
    form = data[12:16]
    if form == b"VP8X":
        return (
            1 + int.from_bytes(data[24:27], "little"),
            1 + int.from_bytes(data[27:30], "little"),
        )
    if form == b"VP8L":
        bits = struct.unpack("<I", data[21:25])[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack("<HH", data[26:30])
    return width & 0x3FFF, height & 0x3FFF


def _other(data: bytes) -> str:
    """What a file is that is no picture, and what to do."""
    start = data[:_START].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        if brand in _BRANDS or brand in (b"avif", b"avis"):
            return f"{'an AVIF' if brand[:3] == b'avi' else 'a HEIC'} picture, and {_CONVERT}"
        return _SOUND if brand[:3] in (b"M4A", b"M4B") else _VIDEO
    if data.startswith(_RIFF):
        return _SOUND if data[8:12] == b"WAVE" else _VIDEO
    if b"<svg" in start:
        return _DRAWING
    for begins, what in _OTHERS:
        if data.startswith(begins) or start.startswith(begins):
            return what
    return f"no picture: {_PICTURES}"
