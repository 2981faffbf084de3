"""`aideon graph`: a workflow, drawn on stdout or into a file."""

from __future__ import annotations

import struct
import sys

import pytest


def test_text_is_drawn_unless_asked_otherwise(aideon):
    done = aideon("graph", "brief")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("brief\n")
    assert done.out.endswith("end\n")
    assert "planner" in done.out
    assert aideon("graph", "brief", "-f", "text").out == done.out


def test_mermaid_can_be_asked_for(aideon):
    done = aideon("graph", "brief", "--format", "mermaid")
    assert (done.code, done.err) == (0, "")
    assert "\nflowchart " in done.out
    assert "draft" in done.out


def test_depth_closes_levels(aideon):
    closed = aideon("graph", "brief", "--depth", "0").out
    assert "gather" in closed
    assert "risks" not in closed
    assert "risks" in aideon("graph", "brief").out


@pytest.mark.parametrize("form", ["text", "mermaid"])
def test_a_drawing_goes_into_a_file(aideon, folder, form):
    printed = aideon("graph", "one.py", "-f", form).out
    done = aideon("graph", "one.py", "-f", form, "-o", "drawn.txt")
    assert (done.code, done.out, done.err) == (0, "", "written to drawn.txt\n")
    assert (folder / "drawn.txt").read_text(encoding="utf-8") == printed


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-f", "gif"], "-f gif: use one of svg, png, html, mermaid, text, json"),
        (["--theme", "pink"], "--theme pink: use one of light, dark, auto"),
        (["--scale", "3"], "--scale 3: use 1 or 2"),
        (["-o", "."], ". cannot be written: Is a directory"),
        (["-o", "drawn.pdf"], "-o drawn.pdf: unknown ending; use one of .svg, .png, .html, "),
        (["-o", "no/such/folder.txt"], "no/such/folder.txt cannot be written: No such file or"),
    ],
)
def test_what_cannot_be_drawn_is_one_line_and_code_2(aideon, words, says):
    done = aideon("graph", "one.py", *words)
    assert done.code == 2
    assert done.complaint.startswith(says)


def test_drawing_calls_nothing_and_writes_no_ledger(aideon, folder):
    aideon("graph", "brief")
    assert not (folder / ".aideon").exists()


@pytest.mark.parametrize("form", ["svg", "png", "mermaid", "text", "json"])
def test_without_a_form_the_files_ending_says_which(aideon, folder, form):
    ending = {"mermaid": "mmd", "text": "txt"}.get(form, form)
    aideon("graph", "one.py", "-o", f"drawn.{ending}")
    aideon("graph", "one.py", "-f", form, "-o", "drawn")
    assert (folder / f"drawn.{ending}").read_bytes() == (folder / "drawn").read_bytes()


def test_an_svg_is_drawn_in_the_theme_that_was_asked_for(aideon):
    auto = aideon("graph", "one.py", "-f", "svg").out
    assert auto.startswith("<svg ")
    assert "prefers-color-scheme:dark" in auto
    dark = aideon("graph", "one.py", "-f", "svg", "--theme", "dark").out
    assert "prefers-color-scheme" not in dark
    assert "#0d1117" in dark


def test_a_png_goes_into_a_file_or_a_pipe(aideon, folder, process):
    done = aideon("graph", "one.py", "-f", "png", "-o", "two.png")
    assert (done.code, done.out, done.err) == (0, "", "written to two.png\n")
    aideon("graph", "one.py", "--scale", "1", "-o", "one.png")
    with (folder / "piped.png").open("wb") as pipe:
        process("graph", "one.py", "-f", "png", stdout=pipe.fileno())
    two, one, piped = ((folder / name).read_bytes() for name in ("two.png", "one.png", "piped.png"))
    assert piped == two
    sides = [struct.unpack(">II", image[16:24]) for image in (one, two)]
    assert sides[1] == tuple(2 * side for side in sides[0])


def test_a_terminal_is_told_to_take_a_png_in_a_file(aideon, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    done = aideon("graph", "one.py", "-f", "png")
    assert done.code == 2
    assert done.complaint == "-f png: a terminal cannot show a PNG: add -o FILE.png"


def test_text_is_as_wide_as_the_terminal(aideon, folder, monkeypatch):
    name = "long " * 30
    (folder / "wide.py").write_text(
        f"from aideon_agents import executor, sequential\ngraph = sequential(executor('{name}'))\n"
    )
    monkeypatch.setenv("COLUMNS", "60")
    assert "…" in aideon("graph", "wide.py").out
    assert max(map(len, aideon("graph", "wide.py").out.splitlines())) > 40
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert max(map(len, aideon("graph", "wide.py").out.splitlines())) < 45
    monkeypatch.setenv("COLUMNS", "400")
    assert "…" not in aideon("graph", "wide.py").out


@pytest.mark.parametrize("form", ["svg", "png"])
def test_a_missing_extra_is_named_and_the_rest_still_works(aideon, monkeypatch, form):
    monkeypatch.setitem(sys.modules, {"svg": "pygraphviz", "png": "resvg_py"}[form], None)
    done = aideon("graph", "one.py", "-f", form, "-o", "drawn")
    assert done.code == 2
    assert done.complaint == "a picture needs an extra: pip install 'aideon-agents[draw]'"
    for other in ("mermaid", "text", "json"):
        assert aideon("graph", "one.py", "-f", other).code == 0


def test_mermaid_that_nobody_will_show_is_drawn_and_said_to_be_so(aideon, folder):
    (folder / "many.py").write_text(
        "from aideon_agents import executor, sequential\n"
        "graph = sequential(*(executor(f'n{i}') for i in range(510)))\n"
    )
    done = aideon("graph", "many.py", "-f", "mermaid")
    assert done.code == 0
    assert "n_n509" in done.out
    assert done.err.startswith("aideon: Mermaid shows 500 edges")
