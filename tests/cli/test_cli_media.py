"""Pictures, speech and transcripts at the command line, and the files that runs have made."""

from __future__ import annotations

from pathlib import Path

import pytest

from aideon_agents.media.rehearsal import png, wav
from aideon_agents.media.sniffing import sniffed

KEYS = ["run_id", "artifacts", "text", "model", "provider", "usd", "complete"]


def test_a_picture_is_a_file_whose_path_goes_to_stdout(aideon):
    done = aideon("image", "A red house", "--width", "64", "--height", "32")
    assert done.code == 0
    made = sniffed(Path(done.out.strip()).read_bytes())
    assert (made.mime, made.width, made.height) == ("image/png", 64, 32)
    assert "rehearsing" in done.err


def test_the_document_of_a_picture_has_the_keys_that_scripts_rely_on(aideon, folder):
    document = aideon("image", "x", "-n", "2", "--out", "made", "--json").document
    assert list(document)[: len(KEYS)] == KEYS
    assert document["text"] is None
    assert document["provider"] == document["model"].partition(":")[0] == "together"
    first, second = document["artifacts"]
    assert list(first) == ["sha256", "mime", "path", "bytes", "width", "height", "duration_ms"]
    assert [first["path"], second["path"]] == ["made/1.png", "made/2.png"]
    assert (folder / "made" / "2.png").stat().st_size == second["bytes"]


def test_a_recording_is_spoken_and_written_down(aideon, folder):
    said = aideon("speak", "Hello there, how are you?", "--out", "x.wav")
    assert (said.code, said.out) == (0, "x.wav\n")
    assert sniffed((folder / "x.wav").read_bytes()).duration_ms == 2000
    written = aideon("transcribe", "x.wav", "--json").document
    assert written["artifacts"] == []
    assert "rehearsed" in written["text"]
    assert aideon("transcribe", "x.wav", "-o", "x.txt").code == 0
    assert "rehearsed" in (folder / "x.txt").read_text()


@pytest.mark.parametrize(
    "words",
    [
        ("image", ""),
        ("image", "x", "--width", "0"),
        ("image", "x", "-o", "nowhere/x.png"),
        ("image", "x", "-n", "2", "-o", "one.py"),
        ("image", "x", "--model", "together"),
        ("image", "x", "--image", "gone.png"),
        ("speak", " "),
        ("transcribe", "gone.wav"),
        ("transcribe", "one.py"),
        ("transcribe", "picture.png"),
        ("video", ""),
        ("video", "x", "--duration", "0"),
        ("video", "x", "--edit", "gone.mp4"),
        ("video", "x", "--edit", "picture.png"),
        ("video", "x", "--edit", "a.mp4", "--extend", "b.mp4"),
        ("video", "x", "--ratio", "banana"),
        ("artifacts", "export", "ab", "-o", "x"),
        ("artifacts", "export", "../x", "-o", "x"),
        ("artifacts", "prune", "--before", "some day"),
        ("artifacts", "list", "--run", "nope"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_made(aideon, folder, words):
    (folder / "picture.png").write_bytes(png(2, 2))
    done = aideon(*words)
    assert done.code == 2
    assert done.complaint
    assert not (folder / ".aideon" / "artifacts").exists()


def test_a_video_is_rehearsed_as_a_small_true_file(aideon, folder):
    document = aideon("video", "A red house", "--seconds", "8", "-o", "x.mp4", "--json").document
    (made,) = document["artifacts"]
    assert (document["model"], document["rehearsed"]) == ("runway:gen4.5", True)
    assert (made["mime"], made["duration_ms"]) == ("video/mp4", 8000)
    assert sniffed((folder / "x.mp4").read_bytes()).duration_ms == 8000
    assert (document["usd"], document["complete"]) == ("0.960000", True)
    assert "would cost $0.960000" in aideon("video", "A red house", "--seconds", "8").err


def test_files_are_listed_exported_and_pruned(aideon, folder):
    made = aideon("image", "x", "--json").document
    (row,) = aideon("artifacts", "list", "--json").document
    assert (row["sha256"], row["run_id"]) == (made["artifacts"][0]["sha256"], made["run_id"])
    assert row["is_there"]
    assert row["sha256"] in aideon("artifacts", "list", "--run", "last").out
    done = aideon("artifacts", "export", row["sha256"][:8], "-o", "copy.png")
    assert (done.code, done.out) == (0, "copy.png\n")
    assert (folder / "copy.png").read_bytes() == Path(row["path"]).read_bytes()
    assert aideon("artifacts", "prune", "--before", "yesterday", "--json").document["files"] == 0
    assert Path(row["path"]).exists()
    done = aideon("artifacts", "prune", "--before", "2999-01-01", "--json").document
    assert done["files"] == 1
    assert not Path(row["path"]).exists()
    assert not aideon("artifacts", "list", "--json").document[0]["is_there"]
    assert "was deleted" in aideon("artifacts", "export", row["sha256"], "-o", "y").complaint


def test_recordings_that_were_given_are_pruned_as_well(aideon, folder):
    (folder / "x.wav").write_bytes(wav(3))
    assert aideon("transcribe", "x.wav").code == 0
    (kept,) = (folder / ".aideon" / "artifacts").rglob("*.wav")
    assert aideon("artifacts", "prune", "--before", "yesterday", "--json").document["files"] == 0
    done = aideon("artifacts", "prune", "--before", "2999-01-01", "--json").document
    assert (done["files"], kept.exists()) == (1, False)


def test_a_run_shows_the_files_that_it_has_made(aideon):
    made = aideon("image", "x", "--json").document
    shown = aideon("runs", "show", "last", "--json").document
    assert shown["artifacts"] == made["artifacts"]
    assert shown["calls"][0]["modality"] == "image"
    assert made["artifacts"][0]["path"] in aideon("runs", "show", "last").out


def test_a_text_comes_from_stdin_and_a_picture_can_be_changed(aideon, folder, monkeypatch, capsys):
    import io
    import sys

    (folder / "before.png").write_bytes(png(2, 2))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"A red house"), "utf-8"))
    done = aideon("image", "-", "--image", "before.png", "--json")
    assert done.document["status"] == "completed"
    (folder / "long.wav").write_bytes(wav(3))
    assert aideon("transcribe", "long.wav").code == 0
