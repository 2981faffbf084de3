"""Graphs as PNG: painted here, the same everywhere, text included."""

from __future__ import annotations

import struct
import sys
import zlib
from importlib import resources

import pytest
import resvg_py

from aideon_agents.drawing import png as painting
from aideon_agents.drawing.picture import width
from aideon_agents.drawing.png import COVERED, png
from aideon_agents.graphs.topology import Edge, Node, Topology, read

FONTS = resources.files("aideon_agents.drawing") / "fonts"
INTER = [str(FONTS / name) for name in ("Inter-Regular.ttf", "Inter-SemiBold.ttf")]


def size(image):
    return struct.unpack(">II", image[16:24])


def pixels(image):
    """The rows of an RGBA image, as bytes."""
    wide, high = size(image)
    data, at = b"", 8
    while at < len(image):
        (length,) = struct.unpack(">I", image[at : at + 4])
        if image[at + 4 : at + 8] == b"IDAT":
            data += image[at + 8 : at + 8 + length]
        at += 12 + length
    raw, step = zlib.decompress(data), 4 * wide
    rows, before = [], bytes(step)
    for number in range(high):
        start = number * (step + 1)
        row = unfiltered(raw[start], bytearray(raw[start + 1 : start + 1 + step]), before)
        rows.append(row)
        before = row
    return rows


def unfiltered(kind, row, before):
    for at in range(len(row)):
        left = row[at - 4] if at >= 4 else 0
        above, corner = before[at], before[at - 4] if at >= 4 else 0
        guess = left + above - corner
        near = min((left, above, corner), key=lambda one: abs(guess - one))
        row[at] = (row[at] + (0, left, above, (left + above) // 2, near)[kind]) % 256
    return bytes(row)


def characters(font):
    """The characters that a font has, by its `cmap` table of format 4."""
    data = (FONTS / font).read_bytes()
    count = struct.unpack(">H", data[4:6])[0]
    tables = {
        data[at : at + 4]: struct.unpack(">II", data[at + 8 : at + 16])
        for at in range(12, 12 + 16 * count, 16)
    }
    start, length = tables[b"cmap"]
    cmap = data[start : start + length]
    offset = struct.unpack(">HHI", cmap[4:12])[2]
    doubled = struct.unpack(">H", cmap[offset + 6 : offset + 8])[0]
    ends = offset + 14
    starts = ends + doubled + 2
    found = set()
    for at in range(0, doubled, 2):
        (last,) = struct.unpack(">H", cmap[ends + at : ends + at + 2])
        (first,) = struct.unpack(">H", cmap[starts + at : starts + at + 2])
        found |= set(range(first, last + 1))
    return found - {0xFFFF}


def node(label):
    return Topology("", (Node("x", label, "function"),), (), (), ())


def test_a_picture_is_painted_once_and_twice_as_large(graphs):
    topology = read(graphs.loop("p"))
    one, two = png(topology, scale=1), png(topology)
    assert one.startswith(b"\x89PNG\r\n\x1a\n")
    assert size(two) == tuple(2 * side for side in size(one))


def test_the_same_graph_gives_the_same_bytes(graphs):
    assert png(read(graphs.loop("p"))) == png(read(graphs.loop("p")))


def test_themes_are_light_unless_dark_is_asked_for(graphs):
    topology = read(graphs.loop("p"))
    assert png(topology, theme="auto") == png(topology, theme="light") == png(topology)
    middle = pixels(png(topology, theme="dark", scale=1))[10][400:403]
    assert middle == bytes.fromhex("0d1117")


def test_text_is_painted_with_the_fonts_of_the_package():
    document = '<svg xmlns="http://www.w3.org/2000/svg" width="90" height="20"><text x="2" y="15" '
    document += 'font-family="Inter" font-weight="{}">planner</text></svg>'
    painted = [
        resvg_py.svg_to_bytes(
            svg_string=document.format(weight), skip_system_fonts=True, font_files=INTER
        )
        for weight in (400, 600)
    ]
    assert painted[0] != painted[1]
    for image in painted:
        assert sum(row.count(255) for row in pixels(bytes(image))) > 20


def test_names_of_other_scripts_are_painted_with_what_the_machine_has(monkeypatch):
    asked = []

    def spy(**options):
        asked.append(options["skip_system_fonts"])
        return b""

    monkeypatch.setattr(resvg_py, "svg_to_bytes", spy)
    for name in ("café → Ελλάδα Москва", "日本", "🦊"):
        png(node(name))
    assert asked == [True, False, False]


def test_the_fonts_have_every_character_that_is_said_to_be_covered():
    have = characters("Inter-Regular.ttf") & characters("Inter-SemiBold.ttf")
    said = {code for code in range(0x20, 0x3000) if COVERED.fullmatch(chr(code))}
    assert said <= have
    assert len(said) > 500


def test_the_fonts_come_with_their_licence():
    assert "SIL OPEN FONT LICENSE" in (FONTS / "OFL.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", ["planner", "WWWWW", "a_b-c/d", "0123456789", "Ελλάδα", "Жизнь"])
def test_painted_text_stays_within_its_measure(text):
    document = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="200" height="24"><text x="0" y="18" '
        f'font-family="Inter" font-size="14" font-weight="600">{text}</text></svg>'
    )
    image = resvg_py.svg_to_bytes(svg_string=document, skip_system_fonts=True, font_files=INTER)
    rows = pixels(bytes(image))
    inked = [at for at in range(200) if any(row[4 * at + 3] for row in rows)]
    assert inked
    assert max(inked) <= width(text, 14)


def test_a_picture_that_would_be_too_large_is_made_smaller(graphs, monkeypatch):
    topology = read(graphs.loop("p"))
    monkeypatch.setattr(painting, "MOST", 40_000)
    wide, high = size(png(topology))
    assert 30_000 < wide * high <= 41_000


def test_a_missing_painter_is_named(graphs, monkeypatch):
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(Exception, match=r"pip install 'aideon-agents\[draw\]'"):
        png(read(graphs.loop("p")))


def test_every_kind_of_node_is_painted():
    kinds = ("planner", "executor", "validator", "creative", "function", "graph", "approval")
    pictures = {
        png(Topology("", (Node("x", "x", kind),), (), (Edge("x", "x"),), ()), scale=1)
        for kind in kinds
    }
    assert len(pictures) == len(kinds)
