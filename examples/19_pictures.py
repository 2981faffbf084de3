"""Ask about pictures: the agents of a run are sent them, and models without vision are left out."""

import struct
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

from aideon_agents import executor, run, sequential, validator


def square(size: int, grey: int) -> bytes:
    """A grey square as a PNG."""
    lines = b"".join(b"\0" + bytes([grey]) * size for _ in range(size))
    header = struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


with TemporaryDirectory() as folder:
    before = Path(folder) / "before.png"
    before.write_bytes(square(200, 90))
    graph = sequential(
        executor("compare", description="Say how the second picture differs from the first"),
        validator(criteria="it names both pictures"),
    )
    result = run(graph, "Compare the pictures.", images=[before, square(300, 200)], budget="0.05")
    print(result.results["compare"].content)
    print(f"{result.nodes[0].input_tokens} tokens in, those of the pictures included")
