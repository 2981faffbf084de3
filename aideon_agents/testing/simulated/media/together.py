"""What Together has at addresses of its own: videos, the list of its models, and what was used."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from aideon_agents.ledger.pricing.shapes import SCALES
from aideon_agents.testing.simulated.dialects.dialect import Refused
from aideon_agents.testing.simulated.media.exchange import Route, Sent, as_json
from aideon_agents.testing.simulated.media.files import video
from aideon_agents.testing.simulated.media.jobs import Jobs
from aideon_agents.testing.simulated.media.openai_style import TOGETHER

if TYPE_CHECKING:
    from aideon_agents.testing.simulated.bill import BilledCall
    from aideon_agents.testing.simulated.media.exchange import MediaRequest
    from aideon_agents.testing.simulated.media.jobs import Job
    from aideon_agents.testing.simulated.media.kept import Kept

_SECOND = 50_000_000
"""Nano-dollars, where a model has no rate."""
_LONGEST_URI = 60_000
_PAGE = 100
_NANO = 10**9
_STATES = {
    "queued": "queued",
    "throttled": "queued",
    "running": "in_progress",
    "unknown": "post_processing",
    "done": "completed",
    "failed": "failed",
    "aborted": "failed",
    "cancelled": "cancelled",
}


class TogetherVideo:
    """The videos of one provider."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._jobs = Jobs(kept)

    def routes(self) -> list[Route]:
        """Its routes."""
        return [
            Route("POST", "/v2/videos", TOGETHER, self._begin, pays=True),
            Route("GET", "/v2/videos/([^/]+)", TOGETHER, self._look),
        ]

    def _begin(self, request: MediaRequest) -> Sent:
        request.text("model")
        request.text("prompt", 32_000)
        fields, media = request.fields, request.fields.get("media") or {}
        seconds = fields.get("seconds", "5")
        if not isinstance(seconds, str) or not seconds.isdigit():
            raise Refused(400, "invalid_value", "'seconds' must be a string of digits.")
        for uri in _uris([media, fields.get("frame_images")]):
            if uri.startswith("data:") and len(uri) > _LONGEST_URI:
                raise Refused(400, "invalid_value", "The data URI is too long: give a URL.")
        source = media.get("source_video")
        source = source.get("video") if isinstance(source, dict) else source
        length = self._kept.length(source, int(seconds))
        job = self._jobs.begin(request, length=length)
        if request.kind not in {"job_failed", "moderated", "job_aborted"}:
            quantity = round(length * 1000)
            cost = request.bill.price(request.model, "second", quantity)
            cost = round(length * _SECOND) if cost is None else cost
            reported = None if request.kind == "no_cost" else cost
            job.charge(unit="second", quantity=quantity, reported_nanousd=reported)
        return as_json(self._document(job))

    def _look(self, request: MediaRequest) -> Sent:
        return as_json(self._document(self._jobs.find(request.parts[0])))

    def _document(self, job: Job) -> dict[str, Any]:
        fields = job.request.fields
        shown: dict[str, Any] = {
            "id": job.id,
            "object": "video",
            "model": job.request.model,
            "status": _STATES[job.phase],
            "created_at": job.created,
            "completed_at": job.ended,
            "seconds": f"{job.length:g}",
            "size": f"{fields.get('width', 1280)}x{fields.get('height', 720)}",
        }
        if job.phase in {"failed", "aborted"}:
            moderated = job.request.kind == "moderated"
            code = "content_moderation" if moderated else "generation_failed"
            shown["error"] = {"message": "The video could not be made.", "code": code}
        if job.phase == "done":
            if not job.links:
                made = video(job.request.text("prompt"), job.length)
                job.links = [self._kept.link(job.request, *made, since=job.ended)]
            shown["outputs"] = {"video_url": job.links[0]}
            cost = job.request.billed.reported_nanousd
            if cost is not None:
                shown["outputs"]["cost"] = json.loads(str(Decimal(cost) / _NANO))
        return shown


def _uris(value: Any) -> list[str]:
    """The texts in a value, at any depth."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [uri for one in inner for uri in _uris(one)]


class Account:
    """The lists of one provider."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    def routes(self) -> list[Route]:
        """Its routes."""
        return [
            Route("GET", "/v2/supported-models", TOGETHER, self._models),
            Route("GET", "/v1/billing/usage", TOGETHER, self._usage),
        ]

    def _models(self, request: MediaRequest) -> Sent:
        asked = request.query
        every = [_described(dict(one)) for one in self._kept.plan.supported]
        found = [
            one
            for one in every
            if asked.get("product", one["products"][0]) in one["products"]
            and asked.get("modality", one["inputModalities"][0]) in one["inputModalities"]
            and asked.get("search", "").lower() in f"{one['id']} {one['name']}".lower()
        ]
        start, limit = int(asked.get("after", 0)), int(asked.get("limit", _PAGE))
        more = str(start + limit) if start + limit < len(found) else None
        return as_json({"data": found[start : start + limit], "next_cursor": more})

    def _usage(self, request: MediaRequest) -> Sent:
        by_product: dict[tuple[str, str], list[BilledCall]] = defaultdict(list)
        for call in request.bill.calls:
            if call.nanousd:
                by_product[call.model, call.unit or "token"].append(call)
        today = datetime.fromtimestamp(self._kept.clock.now(), UTC)
        start = today.replace(hour=0, minute=0, second=0, microsecond=0)
        window = {
            "date": start.date().isoformat(),
            "start_time": start.isoformat(),
            "end_time": (start + timedelta(days=1)).isoformat(),
            "line_items": [_item(*product, calls) for product, calls in by_product.items()],
        }
        known = {"object": "list", "currency": "USD", "organization_id": "org-simulated"}
        month = request.query.get("month", f"{start:%Y-%m}")
        data = [window] if by_product and month == f"{start:%Y-%m}" else []
        return as_json({**known, "billing_period": month, "data": data, "next_cursor": None})


def _item(model: str, unit: Any, calls: list[BilledCall]) -> dict[str, Any]:
    """What was used of one model."""
    counted = sum(
        call.input_tokens + call.output_tokens if call.quantity is None else call.quantity
        for call in calls
    )
    quantity = Decimal(counted) / SCALES[unit]
    cost = Decimal(sum(call.nanousd or 0 for call in calls)).scaleb(-9)
    return {
        "product_name": f"Serverless Inference - {unit}",
        "quantity": str(quantity),
        "unit_price": str(cost / quantity if quantity else 0),
        "cost": str(cost),
        "attributes": {"model": model},
        "pricing_dimensions": {"model": model},
    }


def _described(given: dict[str, Any]) -> dict[str, Any]:
    """A model of the list; what is not given is as most models have it."""
    name = given.get("name", "model")
    usual = {"capabilities": ["CAPABILITY_CHAT"], "products": ["PRODUCT_SERVERLESS"]}
    usual |= {f"{way}Modalities": ["MODALITY_TEXT"] for way in ("input", "output")}
    status = "SUPPORTED_MODEL_STATUS_SUPPORTED"
    return {"id": name, "displayName": name, **usual, "status": status, **given}
