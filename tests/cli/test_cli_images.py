"""`--image`, `images:` on a step, and the key `images` of an item."""

from __future__ import annotations

import json

import pytest
from small_pictures import jpeg, png

FLOW = """
type: sequential
steps:
  - {{agent: executor, name: see, description: "Look", images: {images}}}
"""


@pytest.fixture(autouse=True)
def files(folder):
    (folder / "flows").mkdir()
    (folder / "cat.png").write_bytes(png(640, 480))
    (folder / "flows" / "dog.jpg").write_bytes(jpeg(30, 40))
    (folder / "plain.yaml").write_text("{agent: executor}\n", encoding="utf-8")
    return folder


def test_each_image_is_sent_and_shown(aideon, files):
    done = aideon(
        "run", "plain.yaml", "--task", "Look", "--image", "cat.png", "--image", "flows/dog.jpg"
    )
    assert done.code == 0
    assert "It was sent 2 pictures: PNG, 640 x 480 pixels; JPEG, 30 x 40 pixels." in done.out
    shown = aideon("runs", "show", "last").out
    assert f"picture: cat.png: PNG, 640 x 480 pixels, {files / 'cat.png'}\n" in shown


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ("bird.png", "there is no picture bird.png: give the path of a file"),
        ("plain.yaml", "plain.yaml is no picture: a picture must be PNG, JPEG, GIF or WebP"),
        ("http://localhost/cat.png", "images: no provider can reach localhost"),
    ],
)
def test_what_is_no_picture_is_one_line_and_code_2(aideon, image, says):
    done = aideon("run", "plain.yaml", "--task", "Look", "--image", image)
    assert done.code == 2
    assert done.complaint.startswith(says)
    assert aideon("runs", "list").out == ""


def test_a_step_of_a_task_file_has_pictures_beside_the_file(aideon, files):
    flow = files / "flows" / "flow.yaml"
    flow.write_text(FLOW.format(images='["dog.jpg", "{kind}.jpg"]'), encoding="utf-8")
    done = aideon("run", "flows/flow.yaml", "--task", "x", "-p", "kind=dog", "--image", "cat.png")
    sizes = "PNG, 640 x 480 pixels; JPEG, 30 x 40 pixels; JPEG, 30 x 40 pixels."
    assert f"It was sent 3 pictures: {sizes}" in done.out
    lacking = aideon("run", "flows/flow.yaml", "--task", "x")
    assert (lacking.code, "the inputs lack kind" in lacking.complaint) == (2, True)
    wrong = aideon("run", "flows/flow.yaml", "--task", "x", "-p", "kind=bird")
    assert (wrong.code, "there is no picture bird.jpg" in wrong.complaint) == (2, True)


@pytest.mark.parametrize(
    ("images", "says"),
    [
        ('["dog.jpg", "bird.jpg"]', "flow.yaml:4: steps.0.images.1: there is no picture bird.jpg"),
        ("../cat.png", "is outside the folder of the task file"),
        ("7", "flow.yaml:4: steps.0.images"),
    ],
)
def test_a_wrong_picture_of_a_step_is_named_with_its_line(aideon, files, images, says):
    (files / "flows" / "flow.yaml").write_text(FLOW.format(images=images), encoding="utf-8")
    done = aideon("run", "flows/flow.yaml", "--task", "x")
    assert done.code == 2
    assert says in done.complaint


def test_a_step_can_be_sent_none(aideon, files):
    (files / "flows" / "flow.yaml").write_text(FLOW.format(images="false"), encoding="utf-8")
    done = aideon("run", "flows/flow.yaml", "--task", "Look", "--image", "cat.png")
    assert (done.code, "picture" in done.out) == (0, False)


def batch(aideon, folder, name, text):
    """The lines of OUT for items with this text."""
    (folder / "flows" / name).write_text(text, encoding="utf-8")
    done = aideon("batch", "plain.yaml", f"flows/{name}", "-o", "out.jsonl", "--json")
    lines = (folder / "out.jsonl").read_text(encoding="utf-8").splitlines()
    return done, [json.loads(line) for line in lines]


def test_items_have_pictures_beside_their_file_and_a_wrong_one_is_invalid(aideon, files):
    items = [
        {"id": "a", "task": "Look", "images": "dog.jpg"},
        {"id": "b", "task": "Look", "images": ["bird.jpg"]},
        {"id": "c", "task": "Look"},
    ]
    done, lines = batch(aideon, files, "items.jsonl", "\n".join(map(json.dumps, items)))
    assert done.code == 1
    assert [line["status"] for line in lines] == ["completed", "invalid", "completed"]
    assert "It was sent 1 picture: JPEG, 30 x 40 pixels." in lines[0]["output"]
    assert lines[1]["error"].startswith("line 2: there is no picture bird.jpg")
    assert "picture" not in lines[2]["output"]


def test_a_cell_of_a_table_has_several_paths(aideon, files):
    _, lines = batch(aideon, files, "items.csv", "task,images\nLook,dog.jpg; ../cat.png\nLook,\n")
    assert "JPEG, 30 x 40 pixels; PNG, 640 x 480 pixels." in lines[0]["output"]
    assert "picture" not in lines[1]["output"]


def test_an_item_whose_picture_has_changed_is_other_work(aideon, files):
    items = [{"id": "a", "task": "Look", "images": "dog.jpg"}, {"id": "b", "task": "Look"}]
    text = "\n".join(map(json.dumps, items))
    first, _ = batch(aideon, files, "items.jsonl", text)
    again, _ = batch(aideon, files, "items.jsonl", text)
    assert again.document["batch_id"] == first.document["batch_id"]
    (files / "flows" / "dog.jpg").write_bytes(jpeg(31, 41))
    other, lines = batch(aideon, files, "items.jsonl", text)
    assert other.document["batch_id"] != first.document["batch_id"]
    assert other.document["carried"] == 1
    assert "JPEG, 31 x 41 pixels" in lines[0]["output"]


def test_lines_of_openai_have_their_pictures_in_the_last_message(aideon, files):
    url = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
    content = [{"type": "text", "text": "Look"}, url]
    body = {"model": "any", "messages": [{"role": "user", "content": content}]}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    _, lines = batch(aideon, files, "items.jsonl", json.dumps(line))
    assert "It was sent 1 picture: a picture at a URL." in lines[0]["output"]
