"""What Hugging Face adds to its providers: which of them serve a model, and two ways of its own.

The router takes the address of a provider behind the provider's name, with a key of Hugging Face.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from aideon_agents.testing.simulated.dialects import hosted
from aideon_agents.testing.simulated.dialects.dialect import Refused
from aideon_agents.testing.simulated.media.exchange import Route, Sent, Service, as_json
from aideon_agents.testing.simulated.media.files import picture, video
from aideon_agents.testing.simulated.media.jobs import Jobs

if TYPE_CHECKING:
    from aideon_agents.testing.simulated.media.exchange import MediaRequest
    from aideon_agents.testing.simulated.media.jobs import Job
    from aideon_agents.testing.simulated.media.kept import Kept

ROUTER = Service("huggingface", hosted.HUGGING_FACE.error)
_HUB = Service("hub", lambda refused: {"error": refused.message}, ())
_STATES = {"queued": "IN_QUEUE", "throttled": "IN_QUEUE", "running": "IN_PROGRESS"}
_SPEECH = "automatic-speech-recognition"


class HuggingFace:
    """The hub, hf-inference, and the queue of fal."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._jobs = Jobs(kept)

    def routes(self) -> list[Route]:
        """Its routes."""
        model = "/fal-ai/(.+)"
        return [
            Route("GET", "/api/models/(.+)", _HUB, self._model),
            Route("GET", "/api/agent-harnesses", _HUB, lambda _: as_json({})),
            Route("POST", "/hf-inference/models/(.+)", ROUTER, self._infer, pays=True),
            Route("GET", f"{model}/requests/([^/]+)/status", ROUTER, self._status),
            Route("GET", f"{model}/requests/([^/]+)", ROUTER, self._result),
            Route("POST", model, ROUTER, self._fal, pays=True),
        ]

    def _tasks(self, model: str) -> dict[str, Any]:
        """The providers of a model; Refused: there is no such model."""
        if model not in self._kept.plan.mapping:
            raise Refused(404, "not_found", "Repository not found")
        return dict(self._kept.plan.mapping[model])

    def _model(self, request: MediaRequest) -> Sent:
        (model,) = request.parts
        providers = self._tasks(model)
        task = next((one.get("task") for one in providers.values()), None)
        known = {"id": model, "modelId": model, "tags": [], "pipeline_tag": task}
        return as_json({**known, "inferenceProviderMapping": providers})

    def _infer(self, request: MediaRequest) -> Sent:
        (request.model,) = request.parts
        known = self._kept.plan.mapping.get(request.model, {}).get("hf-inference", {})
        given, is_json = request.fields.get("inputs"), bool(request.fields)
        if not is_json or known.get("task") == _SPEECH:
            text, seconds = self._kept.transcript(
                base64.b64decode(given) if given else request.body
            )
            request.charge(request.model, unit="second", quantity=round(seconds * 1000))
            return as_json({"text": text})
        if not isinstance(given, str) or not given:
            raise Refused(400, None, "inputs: field required")
        options: dict[str, Any] = request.fields.get("parameters") or {}
        size = (options.get("width", 1024), options.get("height", 1024))
        mime, data = picture(given, 0, *size, "jpeg")
        request.charge(request.model, unit="image", quantity=10**6)
        return Sent(200, {"content-type": mime}, data)

    def _fal(self, request: MediaRequest) -> Sent:
        (request.model,) = request.parts
        fields = request.fields
        if request.query.get("_subdomain") == "queue":
            length = float(fields.get("duration") or 5)
            job = self._jobs.begin(request, length=length)
            job.charge(unit="second", quantity=round(length * 1000))
            place = f"{request.origin}/fal-ai/{request.model}/requests/{job.id}"
            shown = {"request_id": job.id, "status": "IN_QUEUE", "queue_position": 0}
            return as_json({**shown, "response_url": place, "status_url": f"{place}/status"})
        if url := fields.get("audio_url"):
            text, seconds = self._kept.transcript(self._kept.given(url) or b"")
            request.charge(request.model, unit="second", quantity=round(seconds * 1000))
            return as_json({"text": text, "chunks": []})
        if text := fields.get("text"):
            mime, data = self._kept.spoken(text, "wav")
            request.charge(request.model, unit="character", quantity=len(text))
            return as_json({"audio": {"url": self._kept.link(request, mime, data)}})
        size: dict[str, int] = fields.get("image_size") or {}
        width, height = size.get("width", 1024), size.get("height", 768)
        mime, data = picture(request.text("prompt"), 0, width, height, "jpeg")
        request.charge(request.model, unit="image", quantity=10**6)
        link = self._kept.link(request, mime, data)
        made = {"url": link, "width": width, "height": height, "content_type": mime}
        return as_json({"images": [made], "seed": 42, "has_nsfw_concepts": [False]})

    def _status(self, request: MediaRequest) -> Sent:
        job = self._jobs.find(request.parts[1])
        return as_json({"status": _STATES.get(job.phase, "COMPLETED"), "request_id": job.id})

    def _result(self, request: MediaRequest) -> Sent:
        job: Job = self._jobs.find(request.parts[1])
        if not job.has_ended:
            raise Refused(400, None, "Request is still in progress")
        if job.phase != "done":
            raise Refused(500, None, "The generation failed.")
        if not job.links:
            made = video(str(job.request.fields.get("prompt", "")), job.length)
            job.links = [self._kept.link(job.request, *made, since=job.ended)]
        return as_json({"video": {"url": job.links[0], "content_type": "video/mp4"}})
