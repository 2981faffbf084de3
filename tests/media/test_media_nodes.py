"""Pictures, speech and transcripts as nodes: what is sent, kept, recorded and paid."""

from __future__ import annotations

import base64
import hashlib
import json
from decimal import Decimal

import pytest

from aideon_agents import executor, image, run, sequential, speech, transcript
from aideon_agents.drawing.page.document import page
from aideon_agents.drawing.page.record import recorded
from aideon_agents.errors import UserError
from aideon_agents.graphs.topology import topology_in
from aideon_agents.ledger.documents import call_document
from aideon_agents.ledger.rows import CallEnd
from aideon_agents.media.rehearsal import png, wav
from aideon_agents.media.sniffing import sniffed
from aideon_agents.runner.result import recall

SCHNELL = "together:black-forest-labs/FLUX.1-schnell"
ONE_PICTURE = Decimal("0.0027") * 1024 * 1024 / 1_000_000


def pictures(body):
    asked = json.loads(body)
    made = [png(asked["width"], asked["height"], shade) for shade in range(asked["n"])]
    return 200, {}, {"data": [{"b64_json": base64.b64encode(one).decode()} for one in made]}


@pytest.fixture
def studio(together):
    together.answers["generations"] = pictures
    together.says("speech", wav(2), content_type="audio/wav")
    together.says("transcriptions", {"text": " Heat moves. ", "duration": 2.0, "language": "en"})
    return together


def test_a_picture_is_a_file_with_a_row_that_says_what_it_cost(studio, ledger, folder):
    result = run(sequential(image()), "A red house", tier="free", ledger=ledger)
    (made,) = result.results["image"].artifacts
    assert (made.mime, made.width, made.height) == ("image/png", 1024, 1024)
    path = folder / "artifacts" / made.sha256[:2] / f"{made.sha256[2:]}.png"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == made.sha256
    assert len(path.read_bytes()) == made.bytes
    (call,) = ledger.calls(result.run_id)
    assert (call.status, call.modality, call.unit) == ("ok", "image", "megapixel_step")
    assert call.quantity == 1024 * 1024
    assert call.usd == round(ONE_PICTURE, 9) == result.cost.usd
    assert result.cost.complete
    (row,) = ledger.select("SELECT * FROM artifacts")
    assert (row["sha256"], row["call_id"], row["run_id"]) == (
        made.sha256,
        call.call_id,
        result.run_id,
    )
    path, headers, body = studio.asked[0]
    assert (path, headers["Authorization"]) == (
        "/v1/images/generations",
        "Bearer together-key-1234",
    )
    assert json.loads(body)["prompt"] == "A red house"
    assert headers["X-Aideon-Call"] == call.call_id


def test_more_steps_than_usual_cost_more_and_fewer_do_not_cost_less(studio, ledger):
    graph = sequential(image("many", steps=8), image("few", steps=1), image("usual"))
    result = run(graph, "A red house", tier="free", ledger=ledger)
    many, few, usual = (call.quantity for call in ledger.calls(result.run_id))
    assert many == 2 * usual
    assert few == usual
    assert [json.loads(body).get("steps") for *_, body in studio.asked] == [8, 1, None]


def test_a_text_is_spoken_and_written_down_again(studio, ledger):
    graph = sequential(speech(description="Say: {task}", voice="af_bella"), transcript())
    result = run(graph, "Heat moves.", tier="free", ledger=ledger)
    assert result.output == "Heat moves."
    spoken, written = ledger.calls(result.run_id)
    assert (spoken.unit, spoken.quantity) == ("character", len("Say: Heat moves."))
    assert spoken.cost_nanousd == spoken.quantity * 4_000
    assert (written.unit, written.quantity) == ("second", 2000)
    first, second = studio.asked
    assert json.loads(first[2])["voice"] == "af_bella"
    fields = second[2]
    assert fields.index(b'name="model"') < fields.index(b'name="file"')
    assert b"verbose_json" in fields
    assert wav(2) in fields


def test_a_picture_that_is_named_by_a_url_of_the_provider_is_fetched_without_the_key(
    studio, ledger
):
    studio.says("generations", {"data": [{"url": f"{studio.address}/files/one"}]})
    studio.says("one", png(8, 8), content_type="image/jpeg")  # which it is not
    result = run(sequential(image()), "A red house", tier="free", ledger=ledger)
    assert result.results["image"].artifacts[0].mime == "image/png"
    _, (path, headers, _) = studio.asked
    assert path == "/files/one"
    assert "Authorization" not in headers


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/x", "https://127.0.0.1/x", "https://[::1]/x", "file:///etc/passwd"]
)
def test_a_picture_at_a_private_address_is_not_fetched(studio, ledger, url):
    studio.says("generations", {"data": [{"url": url}]})
    graph = sequential(image(model=SCHNELL))
    result = run(graph, "A red house", tier="free", ledger=ledger)
    assert result.status == "failed"
    assert ledger.calls(result.run_id)[0].cost_nanousd is None  # it may be charged


def test_a_budget_of_one_cent_admits_pictures_and_refuses_the_rest_before_they_are_asked(
    studio, ledger
):
    graph = sequential(*(image(f"p{number}") for number in range(1000)))
    result = run(graph, "A red house", tier="free", ledger=ledger, budget="0.01")
    assert result.status == "stopped"
    assert result.stop_reason == "budget"
    assert len(studio.asked) == int(Decimal("0.01") / ONE_PICTURE) == 3
    assert result.cost.usd == 3 * round(ONE_PICTURE, 9)
    assert [call.status for call in ledger.calls(result.run_id)] == ["ok"] * 3


def test_a_model_of_unknown_price_is_not_asked_where_there_is_a_budget(studio, ledger):
    graph = sequential(image(model="together:somebody/new-model"))
    refused = run(graph, "A red house", ledger=ledger, budget="5")
    assert (refused.status, studio.asked) == ("stopped", [])
    made = run(graph, "A red house", ledger=ledger)
    assert (made.status, made.cost.complete) == ("completed", False)


def test_the_next_model_answers_where_the_first_fails_and_each_attempt_has_a_row(studio, ledger):
    def broken(body):
        is_first = "FLUX.2-dev" in json.loads(body)["model"]
        return (404, {}, {"error": {"message": "no such model"}}) if is_first else pictures(body)

    studio.answers["generations"] = broken
    result = run(sequential(image()), "A red house", ledger=ledger)
    first, second = ledger.calls(result.run_id)
    assert (first.status, first.cost_nanousd, first.candidate) == ("error", 0, 0)
    assert (second.status, second.candidate) == ("ok", 1)
    assert result.results["image"].models == [f"together:{second.requested_model}"]


def test_a_refusal_of_the_content_is_not_taken_to_another_provider(studio, ledger):
    error = {"error": {"message": "moderation", "code": "moderation_blocked"}}
    studio.says("generations", error, status=400)
    result = run(sequential(image()), "A red house", ledger=ledger)
    assert result.status == "failed"
    assert len(studio.asked) == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b'{"data": []}', b'{"data": [{}]}', b'{"data": [{"b64_json": "!"}]}'],
)
def test_an_answer_without_a_picture_fails_and_may_have_cost_something(studio, ledger, body):
    studio.says("generations", body, content_type="application/json")
    result = run(sequential(image(model=SCHNELL)), "A red house", ledger=ledger)
    assert result.status == "failed"
    assert {call.cost_nanousd for call in ledger.calls(result.run_id)} == {None}


def test_a_rehearsal_makes_true_files_and_asks_no_provider(studio, ledger, folder):
    graph = sequential(image(width=64, height=32, n=2), speech(), transcript())
    result = run(graph, "A red house", ledger=ledger, rehearse=True)
    assert (result.status, studio.asked) == ("completed", [])
    one, two = result.results["image"].artifacts
    assert (one.width, one.height, one.sha256 != two.sha256) == (64, 32, True)
    spoken = result.results["speech"].artifacts[0]
    assert spoken.mime == "audio/wav"
    assert spoken.duration_ms >= 1000
    assert all(call.rehearsed for call in ledger.calls(result.run_id))


def test_a_private_text_is_not_sent(studio, ledger):
    result = run(sequential(image()), "A card for ann@example.org", tier="free", ledger=ledger)
    assert (result.status, studio.asked) == ("failed", [])
    assert "email" in result.error
    free = run(
        sequential(image(privacy="off")), "A card for ann@example.org", tier="free", ledger=ledger
    )
    assert free.status == "completed"


def test_a_text_for_a_picture_comes_from_the_result_before_it(studio, ledger):
    graph = sequential(
        image("a", description="A {colour} house"), image("b", description="{result}!")
    )
    result = run(graph, "x", inputs={"colour": "blue"}, tier="free", ledger=ledger)
    first, second = (json.loads(body)["prompt"] for *_, body in studio.asked)
    assert first == "A blue house"
    assert second == f"{result.results['a'].content}!"
    with pytest.raises(UserError, match="colour"):
        run(graph, "x", ledger=ledger)


def test_results_with_files_are_read_back_from_a_checkpoint(studio, ledger):
    graph = sequential(image(n=2), image("again"))
    result = run(graph, "A red house", tier="free", ledger=ledger, checkpoint=True)
    assert len(result.results["image"].artifacts) == 2
    (one, two) = result.results["image"].artifacts
    assert one.sha256 != two.sha256


def test_what_is_recorded_of_a_run_names_its_files(studio, ledger):
    graph = sequential(image())
    result = run(graph, "A red house", tier="free", ledger=ledger, record_content=True)
    recalled = recall(ledger, ledger.find_run(result.run_id))
    assert recalled.results["image"].artifacts == result.results["image"].artifacts
    (document,) = map(call_document, ledger.calls(result.run_id))
    assert (document["modality"], document["unit"]) == ("image", "megapixel_step")
    assert document["quantity"] == 1024 * 1024 / 10**6
    assert (document["processing"], document["cost_told"]) == ("live", None)


@pytest.mark.parametrize(
    "make",
    [
        lambda: image(width=0),
        lambda: image(n=True),
        lambda: image("a/b"),
        lambda: image(colour="red"),
        lambda: speech(format="midi"),
        lambda: transcript(timeout=0),
    ],
)
def test_a_wrong_option_is_refused_when_the_node_is_made(make):
    with pytest.raises((UserError, TypeError)):
        make()


def test_a_transcript_without_a_recording_says_what_to_give(studio, ledger):
    with pytest.raises(UserError, match="audio="):
        run(sequential(transcript()), "x", ledger=ledger)


def test_media_beside_agents_are_part_of_one_run(studio, ledger):
    graph = sequential(executor("write"), image())
    result = run(graph, "A red house", ledger=ledger, rehearse=True)
    assert list(result.results) == ["write", "image"]
    assert [call.modality for call in ledger.calls(result.run_id)] == [None, "image"]


def test_the_length_of_a_sound_is_that_of_its_bytes_whatever_its_header_says():
    cut = wav(4)[:-200]
    assert sniffed(cut).duration_ms == 2000
    assert sniffed(wav(3)[:100], size=len(wav(3))).duration_ms == 3000


def test_a_job_that_was_noted_keeps_its_row_open_and_its_money_held(studio, ledger):
    result = run(sequential(image()), "A red house", tier="free", ledger=ledger)
    (call,) = ledger.calls(result.run_id)
    assert call.provider_job is None
    assert not ledger.finish_call(call.call_id, CallEnd(status="ok", duration_ms=1))


def test_what_a_run_has_made_is_a_picture_for_another_run(studio, ledger, folder, monkeypatch):
    made = run(sequential(image()), "A red house", tier="free", ledger=ledger)
    monkeypatch.setenv("AIDEON_LEDGER", str(folder / "ledger.db"))
    again = run(
        sequential(executor()),
        "What is it?",
        images=made.results["image"].artifacts,
        ledger=ledger,
        rehearse=True,
    )
    assert again.status == "completed"
    monkeypatch.setenv("AIDEON_ARTIFACTS", str(folder / "elsewhere"))
    with pytest.raises(UserError, match="AIDEON_ARTIFACTS"):
        run(sequential(executor()), "x", images=made.results["image"].artifacts, rehearse=True)


def test_the_page_of_a_run_shows_its_pictures_only_where_content_is_recorded(studio, ledger):
    graph = sequential(image("a", width=64, height=64), image("b", width=64, height=64, n=2))
    bare = run(graph, "A red house", tier="free", ledger=ledger)
    assert not recorded(ledger, ledger.find_run(bare.run_id)).pictures
    kept = run(graph, "A red house", tier="free", ledger=ledger, record_content=True)
    found = recorded(ledger, ledger.find_run(kept.run_id))
    assert [len(found.pictures[call.call_id]) for call in found.calls] == [1, 2]
    shown = page(topology_in(found.run.graph), found, lambda _: None)
    assert shown.count("data:image/png;base64,") >= 3
