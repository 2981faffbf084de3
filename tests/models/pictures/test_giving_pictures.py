"""What a caller can give as a picture, and what becomes of it."""

from __future__ import annotations

import base64
import hashlib

import pytest
from small_pictures import jpeg, png

from aideon_agents.errors import InputError
from aideon_agents.models.pictures import (
    block,
    content,
    described,
    pictures,
    reference,
    referred,
    stored,
)

CAT = png(640, 480)
IN_BASE64 = base64.b64encode(CAT).decode()
URI = f"data:image/png;base64,{IN_BASE64}"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cat.png").write_bytes(CAT)
    return tmp_path


def test_every_way_to_give_the_same_picture_gives_the_same_bytes(folder):
    ways = [
        "cat.png",
        "./cat.png",
        folder / "cat.png",
        (folder / "cat.png").as_uri(),
        CAT,
        bytearray(CAT),
        URI,
        {"type": "image", "base64": IN_BASE64, "mime_type": "image/png"},
        {"type": "image", "source_type": "base64", "data": IN_BASE64, "mime_type": "image/png"},
        {"type": "image_url", "image_url": {"url": URI, "detail": "high"}},
        {"type": "image_url", "image_url": URI},
    ]
    given = pictures(ways)
    assert {one.sha256 for one in given} == {hashlib.sha256(CAT).hexdigest()}
    assert {content(one) for one in given} == {CAT}
    assert {block(one)["base64"] for one in given} == {IN_BASE64}
    assert {(one.mime, one.width, one.height) for one in given} == {("image/png", 640, 480)}


def test_one_picture_needs_no_list_and_a_relative_path_can_have_its_own_folder(folder):
    inner = folder / "inner"
    inner.mkdir()
    (inner / "dog.jpeg").write_bytes(jpeg())
    (dog,) = pictures("dog.jpeg", inner)
    assert dog.path == str(inner / "dog.jpeg")
    assert described(dog) == "dog.jpeg: JPEG, 30 x 40 pixels"


def test_a_url_is_passed_as_it_is():
    (cat,) = pictures("https://example.com/pictures/cat%20one.png?size=2")
    assert block(cat) == {
        "type": "image",
        "url": "https://example.com/pictures/cat%20one.png?size=2",
    }
    assert described(cat) == "cat one.png"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("dog.png", "there is no picture dog.png: give the path of a file"),
        (".", "is no file"),
        ("", "is no file"),
        ("a\0b", "cannot be read"),
        (7, "7 is no picture: give a path"),
        (None, "None is no picture"),
        ({"type": "text", "text": "hello"}, "a block of the type 'text' is no picture"),
        ({"type": "image", "file_id": "file-1"}, "a file_id cannot be sent to every provider"),
        ("data:image/png;base64,@@@", "the base64 after 'data:image/png;base64' is broken"),
        ("data:image/png,hello", "is no data URI in base64"),
        (f"data:image/png;base64,{base64.b64encode(b'hello').decode()}", "is no picture"),
        ("ftp://example.com/cat.png", "no address that a provider can reach"),
        ("https://localhost/cat.png", "localhost, which is a private address: download"),
        ("http://127.0.0.1:8000/cat.png", "127.0.0.1, which is a private address"),
        ("https://192.168.1.5/cat.png", "192.168.1.5, which is a private address"),
        ("https://[fd00::1]/cat.png", "a private address"),
        ("https://nas.local/cat.png", "nas.local, which is a private address"),
        ("https://me:secret@example.com/cat.png", "has a password in it"),
        ("https://example.com/film.mp4", "film.mp4 is a video, .* single frames"),
        ("https://example.com/talk.mp3?x=1", "a sound recording"),
        ("https://example.com/paper.PDF", "a PDF document"),
        ("https:///cat.png", "a provider reads no picture"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(given, says):
    with pytest.raises(InputError, match=says) as refused:
        pictures([given])
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_reference_is_small_and_finds_the_picture_again():
    known = pictures(["cat.png", CAT])
    references = [reference(one) for one in known]
    assert all(len(str(one)) < 400 for one in references)
    assert referred(references[:1], checks=True) == known[:1]
    with pytest.raises(InputError, match=r"the bytes of picture\.png were not kept"):
        referred(references, checks=True)
    whole = [reference(one, whole=True) for one in known]
    assert [content(one) for one in referred(whole, checks=True)] == [CAT, CAT]


def test_a_picture_that_has_changed_or_is_gone_is_named(folder):
    (cat,) = pictures("cat.png")
    (folder / "cat.png").write_bytes(png(10, 10))
    with pytest.raises(InputError, match=r"cat\.png was changed since it was given"):
        content(cat)
    (folder / "cat.png").unlink()
    with pytest.raises(InputError, match=r"cat\.png cannot be read any more: .*: put it back, or"):
        content(cat)


def test_a_file_that_has_changed_is_read_again(folder):
    pictures("cat.png")
    (folder / "cat.png").write_bytes(png(11, 12))
    (cat,) = pictures("cat.png")
    assert (cat.width, cat.height) == (11, 12)


def test_bytes_become_a_file_that_is_named_by_its_content(folder):
    once = stored(pictures([CAT, "cat.png", "https://example.com/cat.png"]), folder / "kept")
    again = stored(pictures(CAT), folder / "kept")
    digest = hashlib.sha256(CAT).hexdigest()
    assert once[0] == again[0]
    assert once[0].path == str(folder / "kept" / digest[:2] / f"{digest[2:]}.png")
    assert content(once[0]) == CAT
    assert once[1].path == str(folder / "cat.png")
    assert [one.name for one in (folder / "kept").rglob("*.png")] == [f"{digest[2:]}.png"]
