"""Pictures, speech and transcripts without a workflow: each is a run with one call, under all limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from aideon_agents.access import quotas
from aideon_agents.ledger.budgets.runs import RunBudget
from aideon_agents.ledger.costs import cost_of
from aideon_agents.ledger.handler import CostHandler
from aideon_agents.ledger.identity import new_run_id
from aideon_agents.ledger.rows import Run
from aideon_agents.media.attempts import ask as asked_for
from aideon_agents.media.choosing import chosen
from aideon_agents.media.rehearsal import CHARACTERS_A_SECOND
from aideon_agents.media.shapes import ImageRequest, SpeechRequest, TranscriptRequest
from aideon_agents.state import Context

if TYPE_CHECKING:
    from aideon_agents.access.callers import Caller
    from aideon_agents.ledger.budgets.units import Feature
    from aideon_agents.ledger.costs import Cost
    from aideon_agents.ledger.rows import Call
    from aideon_agents.media.shapes import Kind, MediaRequest, MediaResult
    from aideon_agents.serving.service import Service
    from aideon_agents.state import Use

FEATURES: dict[Kind, Feature] = {
    "image": "image_generation",
    "tts": "audio_tts",
    "stt": "audio_stt",
}
"""What each kind counts as. A run has this name as its workflow."""

_BYTES_A_MINUTE = 60 * 16_000
"""Of a recording whose length its header does not say, as of an MP3 of 128 kilobits."""


class Make(NamedTuple):
    """What is to be made for a caller."""

    kind: Kind
    request: MediaRequest
    purpose: str | None = None
    use: Use | None = None
    request_id: str | None = None


class Made(NamedTuple):
    """What was made, and what it took."""

    run_id: str
    result: MediaResult
    call: Call
    """The attempt that was answered."""
    cost: Cost
    """Of all attempts."""


async def make(service: Service, caller: Caller, wanted: Make) -> Made:
    """Ask a model for a file or a transcript."""
    launcher, kind = service.launcher, wanted.kind
    context = Context(
        tier=caller.tier,
        user=caller.user,
        rehearse=launcher.rehearse or not launcher.settings.can_call,
        fallback=launcher.may_fall_back(caller),
    )
    start = Run(
        run_id=new_run_id(),
        workflow=FEATURES[kind],
        user=caller.user,
        tier=context.tier,
        rehearsed=context.rehearse,
        key_id=caller.key_id,
        request_id=wanted.request_id,
    )
    given = caller, start.run_id, FEATURES[kind], wanted.request_id
    settings, start.origin = launcher.granted(*given)
    models = chosen(kind, wanted.request, settings, context, purpose=wanted.purpose, use=wanted.use)
    requests = wanted.request.n if isinstance(wanted.request, ImageRequest) else 1
    counts: Any = {"requests": requests, "minutes": _minutes(wanted.request)}
    with (
        quotas.admitted(service.ledger, caller, start, **counts),
        CostHandler.for_run(service.ledger, start) as recorder,
    ):
        recorder.context = context
        recorder.run_budgets[start.run_id] = RunBudget.of(service.ledger.budgets, start)
        config: Any = {"callbacks": [recorder]}
        done = await asked_for(models, wanted.request, config, settings=settings, context=context)
        _settle_minutes(service, caller, wanted, done.result, start.run_id)
    calls = service.ledger.calls(start.run_id)
    answered = next(one for one in reversed(calls) if one.status == "ok")
    return Made(start.run_id, done.result, answered, cost_of(calls))


def _minutes(request: MediaRequest) -> float | None:
    """The minutes of sound that a request is admitted with; None: it has no sound."""
    if isinstance(request, SpeechRequest):
        return len(request.text) / CHARACTERS_A_SECOND / 60
    if isinstance(request, TranscriptRequest):
        known = request.audio.duration_ms
        return request.audio.bytes / _BYTES_A_MINUTE if known is None else known / 60_000
    return None


def _settle_minutes(
    service: Service, caller: Caller, wanted: Make, result: MediaResult, run_id: str
) -> None:
    """Count the minutes that the sound has, where that is known only now."""
    lengths = [one.duration_ms for one in result.artifacts if one.duration_ms is not None]
    if wanted.kind == "stt" and result.measured.unit == "second":
        lengths = [one for one in (result.measured.quantity,) if one is not None]
    if wanted.kind == "image" or not lengths:
        return
    with service.ledger.database.transaction() as tx:
        feature = FEATURES[wanted.kind]
        quotas.minutes_used(tx, caller, feature, run_id, sum(lengths) / 60_000)
