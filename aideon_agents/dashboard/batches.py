"""Batches: upload items, see how far they are and what failed, and fetch the results."""

from __future__ import annotations

import tempfile
from pathlib import PurePath
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import FileResponse
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from aideon_agents.batch.items.source import opened
from aideon_agents.dashboard import pages
from aideon_agents.dashboard.pages import Visit, visiting
from aideon_agents.errors import InputError
from aideon_agents.serving.batches import StartBatch

router = APIRouter()

Reader = Annotated[Visit, visiting("runs:own")]
Writer = Annotated[Visit, visiting("runs:write")]
_MOST = 25
_OPTIONS = ("budget", "item_budget", "max_concurrency")


@router.get("/batches")
def batches(visit: Reader, before: Annotated[str, Query(max_length=40)] = "") -> Response:
    """List one's own batches, the newest first."""
    found = visit.service.batches.listed(visit.caller, before or None, _MOST + 1)
    names = [one.name for one in visit.service.workflows.of(visit.caller)]
    shown = found[:_MOST]
    after = shown[-1]["batch_id"] if len(found) > _MOST else None
    return visit.page("batches.html", "Batches", batches=shown, after=after, names=names)


@router.post("/batches")
async def start(visit: Writer) -> Response:
    """Start a batch with the items of a file: CSV, JSON lines, a JSON array, or XLSX."""
    upload = visit.form.get("items")
    if not isinstance(upload, UploadFile) or not upload.filename:
        raise InputError("no file is chosen: choose one with the items")
    items = await run_in_threadpool(_items, upload)
    given = {name: visit.text(name) for name in _OPTIONS if visit.text(name)}
    try:
        ask = StartBatch.model_validate(
            {"workflow": visit.text("workflow"), "items": items} | given
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    batch_id = await visit.service.batches.start(visit.caller, ask)
    return pages.to(f"batches/{batch_id}")


def _items(upload: UploadFile) -> list[dict[str, Any]]:
    ending = PurePath(upload.filename or "").suffix
    with tempfile.NamedTemporaryFile(suffix=ending) as copy:
        while part := upload.file.read(2**20):
            copy.write(part)
        copy.flush()
        with opened(copy.name) as source:
            found = list(source.items())
    for one in found:
        if one.problem is not None:
            raise InputError(f"line {one.line} of {upload.filename}: {one.problem}")
        if one.images:
            raise InputError(f"line {one.line} of {upload.filename} names files of pictures")
    return [{"id": one.item_id, "task": one.task, "inputs": dict(one.inputs)} for one in found]


@router.get("/batches/{batch_id}")
def batch(batch_id: str, visit: Reader) -> Response:
    """Show a batch: how far it is, what it costs, and what failed."""
    return visit.page(
        "batch.html", "Batch", batch=visit.service.batches.show(visit.caller, batch_id)
    )


@router.get("/batches/{batch_id}/results")
def results(batch_id: str, visit: Reader) -> Response:
    """Fetch the results so far, one JSON object per line."""
    path = visit.service.batches.output(visit.caller, batch_id)
    return FileResponse(path, media_type="application/x-ndjson", filename=f"{batch_id}.jsonl")


@router.post("/batches/{batch_id}/cancel")
def cancel(batch_id: str, visit: Writer) -> Response:
    """Start no more items."""
    visit.service.batches.cancel(visit.caller, batch_id)
    return pages.to(f"batches/{batch_id}", "batch-cancelled")


@router.post("/batches/{batch_id}/approve")
async def approve(batch_id: str, visit: Writer) -> Response:
    """Approve or decline the items that wait, and continue the batch."""
    items = [str(one) for one in visit.form.getlist("item")] or None
    given = {"approved": visit.text("decision") != "decline"}
    await visit.service.batches.approve(visit.caller, batch_id, given, items)
    return pages.to(f"batches/{batch_id}", "answered-all")
