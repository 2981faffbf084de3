"""The official clients of OpenAI and Together speak with the simulated provider's files and batches."""

from __future__ import annotations

import json

import openai
import pytest
import together

from aideon_agents.testing import SimulatedProvider
from aideon_agents.testing.simulated.batches import BatchPlan

MINUTE = 60.0
BODY = {"messages": [{"role": "user", "content": "Heat pumps move heat."}], "max_tokens": 20}


@pytest.fixture
def provider():
    with SimulatedProvider(batches=BatchPlan(seconds=MINUTE)) as running:
        yield running


def lines(**more) -> bytes:
    """Two lines of a batch."""
    made = [
        {"custom_id": f"item-{n}", **more, "body": {"model": "simulated", **BODY}} for n in (1, 2)
    ]
    return b"".join(json.dumps(one).encode() + b"\n" for one in made)


def test_openais_client_uploads_begins_looks_lists_and_reads(provider):
    client = openai.OpenAI(api_key="key", base_url=provider.base_url, max_retries=0)
    content = lines(method="POST", url="/v1/chat/completions")
    file = client.files.create(file=("lines.jsonl", content), purpose="batch")
    assert (file.bytes, file.purpose, file.status) == (len(content), "batch", "processed")
    assert client.files.retrieve(file.id).id == file.id
    begun = client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"aideon": "1"},
    )
    assert (begun.status, begun.metadata) == ("validating", {"aideon": "1"})
    assert client.batches.retrieve(begun.id).status == "in_progress"
    assert [one.id for one in client.batches.list(limit=10)] == [begun.id]
    provider.clock.advance(MINUTE)
    done = client.batches.retrieve(begun.id)
    assert (done.status, done.request_counts.completed, done.error_file_id) == (
        "completed",
        2,
        None,
    )
    text = client.files.content(done.output_file_id).text
    first, second = map(json.loads, text.splitlines())
    assert (first["custom_id"], second["custom_id"]) == ("item-1", "item-2")
    answer = first["response"]["body"]["choices"][0]["message"]["content"]
    assert answer == "Heat pumps move heat."
    assert client.files.delete(file.id).deleted


def test_openais_client_cancels_a_batch_and_not_one_that_has_ended(provider):
    client = openai.OpenAI(api_key="key", base_url=provider.base_url, max_retries=0)
    content = lines(method="POST", url="/v1/chat/completions")
    file = client.files.create(file=("lines.jsonl", content), purpose="batch")
    asked = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
    begun = client.batches.create(input_file_id=file.id, **asked)
    ended = client.batches.cancel(begun.id)
    assert (ended.status, ended.request_counts.completed) == ("cancelled", 1)
    errors = client.files.content(ended.error_file_id).text
    assert json.loads(errors)["error"]["code"] == "batch_cancelled"
    with pytest.raises(openai.ConflictError):
        client.batches.cancel(begun.id)


def test_togethers_client_uploads_begins_looks_lists_and_reads(provider, tmp_path):
    client = together.Together(
        api_key="key", base_url=provider.base_url.removesuffix("/v1"), max_retries=0
    )
    path = tmp_path / "lines.jsonl"
    path.write_bytes(lines())
    file = client.files.upload(file=path, purpose="batch-api", check=False)
    assert (file.bytes, file.processing_status) == (len(lines()), "COMPLETED")
    seen = [(one.method, one.path) for one in provider.requests]
    assert seen == [
        ("POST", "/v1/files"),
        ("PUT", f"/uploads/{file.id}"),
        ("POST", f"/v1/files/{file.id}/preprocess"),
    ]
    made = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", model_id="simulated"
    )
    assert (made.job.status, made.job.input_file_id) == ("VALIDATING", file.id)
    assert client.batches.retrieve(made.job.id).status == "IN_PROGRESS"
    assert [one.id for one in client.batches.list()] == [made.job.id]
    provider.clock.advance(MINUTE)
    done = client.batches.retrieve(made.job.id)
    assert (done.status, done.progress) == ("COMPLETED", 100.0)
    text = client.files.content(done.output_file_id).read().decode()
    assert [json.loads(line)["custom_id"] for line in text.splitlines()] == ["item-1", "item-2"]


def test_togethers_client_is_told_of_a_file_that_is_there_already(provider, tmp_path):
    client = together.Together(
        api_key="key", base_url=provider.base_url.removesuffix("/v1"), max_retries=0
    )
    path = tmp_path / "lines.jsonl"
    path.write_bytes(lines())
    file = client.files.upload(file=path, purpose="batch-api", check=False)
    again = client.files.upload(file=path, purpose="batch-api", check=False)
    assert (again.id, len(provider.requests)) == (file.id, 5)
    assert client.files.delete(file.id).id == file.id
    assert client.batches.list() == []


def test_togethers_client_cancels_a_batch(provider, tmp_path):
    client = together.Together(
        api_key="key", base_url=provider.base_url.removesuffix("/v1"), max_retries=0
    )
    path = tmp_path / "lines.jsonl"
    path.write_bytes(lines())
    file = client.files.upload(file=path, purpose="batch-api", check=False)
    made = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", model_id="simulated"
    )
    assert client.batches.cancel(made.job.id).status == "CANCELLED"
