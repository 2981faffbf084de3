"""The guard around every attempt at media: the same one as for texts.

Each attempt waits for its model's breaker and its slots, holds the most that it may cost, writes its
row, and is settled when it ends. The class of an error decides what follows, as in a chain of chat
models. LangChain's callbacks get the start and the end of an attempt as those of a model of texts.
"""

from __future__ import annotations

import contextlib
import json
import logging
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackManager, BaseCallbackManager
from langchain_core.messages import HumanMessage
from langchain_core.outputs import Generation, LLMResult
from langchain_core.utils.uuid import uuid7

from aideon_agents import errors
from aideon_agents.ledger import tags
from aideon_agents.ledger.handler import recorders_in
from aideon_agents.ledger.identity import now
from aideon_agents.ledger.pricing.shapes import Measured
from aideon_agents.media import artifacts as files
from aideon_agents.media import jobs, pricing
from aideon_agents.media.artifacts import Artifacts
from aideon_agents.media.requests import Asking
from aideon_agents.media.shapes import ImageRequest, SpeechRequest, VideoRequest
from aideon_agents.models import direct
from aideon_agents.models.admission import Admission, claim, run_budget_of
from aideon_agents.models.fallbacks import Attempts, patience_of
from aideon_agents.models.faults import translate
from aideon_agents.models.faults.effects import HANDLED
from aideon_agents.models.guard import with_parent
from aideon_agents.models.limits.pace import process_slots
from aideon_agents.models.providers import private_models, providers
from aideon_agents.models.routing import rules as routing
from aideon_agents.models.routing.policy import Policy, decide, looks_for, refuse
from aideon_agents.node_paths import node_path
from aideon_agents.state import ModelRequest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from langchain_core.runnables import RunnableConfig

    from aideon_agents.ledger.rows import Call
    from aideon_agents.media.choosing import Chosen, Link
    from aideon_agents.media.shapes import Kind, MediaRequest, MediaResult
    from aideon_agents.models.health import Permit
    from aideon_agents.settings import Settings
    from aideon_agents.state import Context, Privacy

_log = logging.getLogger("aideon_agents.media")

SECONDS: Mapping[Kind, float] = {"image": 120.0, "tts": 60.0, "stt": 300.0, "video": 900.0}
"""How long one attempt may take."""
_PASS = 2.5
"""Attempts that a whole chain has time for, unless its time is given."""
_OF_FILES = "a picture, a recording or a video"


class Done(NamedTuple):
    """What a chain has given."""

    result: MediaResult
    link: Link
    call_id: str
    cost: pricing.Price
    """What the answering attempt costs."""

    @property
    def model(self) -> str:
        """`provider:model` of the model that answered, named as in its row."""
        return f"{self.link.candidate.provider}:{self.result.model or self.link.candidate.model}"


async def ask(
    chosen: Chosen,
    request: MediaRequest,
    config: RunnableConfig | None,
    *,
    settings: Settings,
    context: Context,
    seconds: float | None = None,
    privacy: Privacy | None = None,
) -> Done:
    """Ask the models of a chain until one gives something."""
    seconds = seconds or SECONDS[chosen.kind] * _PASS
    attempts = Attempts(
        [link.candidate for link in chosen.links],
        choices=[_reason(chosen, link, request) for link in chosen.links],
        seconds=seconds,
        patience=patience_of(ModelRequest(role="creative"), context, seconds),
        slots=process_slots(settings.model_concurrency),
        logged=_LOGGED,
    )
    configured = with_parent(config)
    _check(attempts, chosen, request, settings, looks=(privacy, context.privacy))
    one = _Pass(chosen, request, attempts, configured, settings)
    if isinstance(request, VideoRequest) and (call := one.open_job(request)):
        with contextlib.suppress(*HANDLED):
            return await one.continued(call)
    links = {id(link.candidate): link for link in chosen.links}
    for link in chosen.links:
        with contextlib.suppress(*HANDLED):
            return await one.asked(link)
    for candidate in attempts.last_resorts():
        with contextlib.suppress(*HANDLED):
            return await one.asked(links[id(candidate)])
    raise errors.AllModelsFailed(attempts.failures)


_LOGGED = set[str]()


def _reason(chosen: Chosen, link: Link, request: MediaRequest) -> str:
    """Why a model is asked; of a job also for what, so that it is recognized."""
    why = chosen.choice.row(cast("Any", link.candidate.name))
    if not isinstance(request, VideoRequest):
        return why
    return json.dumps({**json.loads(why), "request": jobs.digest(request)})


def _check(
    attempts: Attempts,
    chosen: Chosen,
    request: MediaRequest,
    settings: Settings,
    *,
    looks: tuple[Privacy | None, ...],
) -> None:
    """Refuse a private request: a text with private data, and with `strict` every file."""
    own = private_models(providers(settings))
    looks_at = looks_for(*looks, has_own_server=bool(own))
    if looks_at == "nothing":
        return
    policy = Policy(looks_at, routing.load(settings.catalog))
    kind = policy.kind([HumanMessage(words_of(request))], {})
    if kind is None and looks_at == "all" and files_of(request):
        kind = _OF_FILES
    if kind and not all(one.row.private for one in attempts.candidates):
        if not chosen.links[0].candidate.rehearsed:
            refuse(kind)
        decide(policy, attempts, chosen.links[0].candidate, kind)


def words_of(request: MediaRequest) -> str:
    """The text of a request."""
    if isinstance(request, ImageRequest):
        return "\n".join(filter(None, (request.prompt, request.negative_prompt)))
    if isinstance(request, SpeechRequest):
        return request.text
    return request.prompt or ""


def files_of(request: MediaRequest) -> tuple[Any, ...]:
    """The files that a request sends."""
    if isinstance(request, ImageRequest):
        return request.images
    if isinstance(request, VideoRequest):
        return tuple(one for one in (request.source, request.image) if one)
    return () if isinstance(request, SpeechRequest) else (request.audio,)


class _Pass:
    """One pass over a chain."""

    def __init__(
        self,
        chosen: Chosen,
        request: MediaRequest,
        attempts: Attempts,
        config: RunnableConfig,
        settings: Settings,
    ) -> None:
        self._kind: Kind = chosen.kind
        self._request, self._attempts, self._config = request, attempts, config
        recorders = recorders_in(config)
        self._ledger = recorders[0].ledger if recorders else None
        self._files = Artifacts.of(settings, self._ledger)
        entries = {link.candidate.name: link.entry for link in chosen.links}
        self._bound = pricing.MediaBound.of_request(request, entries)
        self._links = chosen.links

    def open_job(self, request: VideoRequest) -> Call | None:
        """The call of an earlier process that began a job for this request; None: there is none."""
        budget = run_budget_of(self._config)
        run_id = budget.run.run if budget else None
        if self._ledger is None or run_id is None:
            return None
        known = self._config.get("metadata") or {}
        place = node_path(known), known.get(tags.ROUND, 1)
        return jobs.open_job(self._ledger, run_id, *place, request)

    async def continued(self, call: Call) -> Done:
        """Wait for the end of a job that another process began: its row and its hold are there."""
        named, job = f"{call.provider}:{call.requested_model}", call.provider_job
        link = next((one for one in self._links if one.candidate.name == named), None)
        if link is None or link.candidate.rehearsed:
            raise errors.RunError(
                f"job {job} of {named} continues there, and {named} is not among the models that "
                "can be asked now: set its key, or name it with --model, and resume the run"
            )
        for recorder in recorders_in(self._config):
            recorder.ledger.budgets.unsent[call.call_id] = call  # it is begun, and admitted
        sending: dict[str, Any] = {"sent": True, "job": job}
        metadata = self._metadata(link)
        try:
            with jobs.taken(call):
                return await self._recorded(link, UUID(call.call_id), metadata, sending)
        except errors.ProviderError as error:
            self._attempts.failures.append(str(error))
            raise

    async def asked(self, link: Link) -> Done:
        """Ask one model until it gives something, or its tries or the time are used up."""
        candidate = link.candidate
        while True:
            permit = await self._attempts.permitted(candidate)
            try:
                return await self._attempt(link, permit)
            except (errors.ProviderError, errors.BudgetExceeded, errors.QuotaExceeded) as error:
                is_lost = getattr(error, "billed", False) is None
                if self._kind == "video" and is_lost and not hasattr(error, "billed_as"):
                    # It may have been made. Another one would be a second purchase.
                    self._attempts.failures.append(str(error))
                    raise errors.AllModelsFailed(self._attempts.failures) from error
                await self._attempts.go_on(candidate, error, self._config, (0, 0))

    async def _attempt(self, link: Link, permit: Permit) -> Done:
        """One attempt: its hold, its row, the request, and how it ended."""
        candidate, call_id = link.candidate, uuid7()
        metadata = self._metadata(link)
        admission = None
        if not candidate.rehearsed and (budget := run_budget_of(self._config)):
            admission = Admission(
                budget=budget,
                call_id=str(call_id),
                node=node_path(metadata),
                metadata=metadata,
                bound=self._bound,
                candidates=self._attempts.candidates,
            )
        try:
            async with claim(self._attempts, candidate, permit, admission) as grant:
                sending: dict[str, Any] = {}
                metadata |= {tags.HELD_AT: grant.at, tags.SENDING: sending}
                done = await self._recorded(link, call_id, metadata, sending)
        except BaseException as error:
            if isinstance(error, errors.Unsent) or self._attempts.starts_in(candidate, error):
                permit.give_back()
            permit.record(error)
            raise
        permit.record(None)
        return done

    def _metadata(self, link: Link) -> dict[str, Any]:
        """What the row of an attempt says at its start."""
        candidate = link.candidate
        self._attempts.tries[candidate.name] += 1
        inherited = getattr(self._config.get("callbacks"), "metadata", None) or {}
        return {
            **inherited,
            **(self._config.get("metadata") or {}),
            tags.PROVIDER: candidate.provider,
            tags.MODEL: candidate.model,
            tags.MODALITY: self._kind,
            tags.ATTEMPT: self._attempts.tries[candidate.name],
            tags.REHEARSED: candidate.rehearsed,
            **self._attempts.place_of(candidate),
        }

    async def _recorded(
        self, link: Link, call_id: UUID, metadata: dict[str, Any], sending: dict[str, Any]
    ) -> Done:
        """Make one request, between its start and its end in the ledger."""
        asking = Asking(
            link.candidate,
            key=link.key,
            call_id=str(call_id),
            seconds=min(SECONDS[self._kind], self._attempts.time_left()),
            artifacts=self._files,
            sending=sending,
            note_job=lambda job: self._note_job(str(call_id), job),
            job=sending.get("job"),
            gives_up=lambda: any(one.gives_up for one in recorders_in(self._config)),
        )
        at = now()
        async with _events(self._config, words_of(self._request), call_id, metadata) as ended:
            try:
                result: MediaResult = await getattr(link.maker, self._kind)(self._request, asking)
            except BaseException as error:
                if (ours := self._ours(link, error, at)) is error:
                    raise
                raise ours from error
            self._keep(result, str(call_id))
            measured = pricing.by_request(self._request, link.entry, result.measured)
            paid = pricing.cost(link.candidate, link.entry, measured, result.model, at)
            text = result.text or described(result)
            known = {"model_name": result.model, tags.MEASURED: pricing.columns(measured, paid)}
            ended.append(LLMResult(generations=[[Generation(text=text)]], llm_output=known))
        return Done(result._replace(measured=measured), link, str(call_id), paid)

    def _ours(self, link: Link, error: BaseException, at: Any) -> BaseException:
        """An error as one of ours, with what the attempt costs all the same, if that is known."""
        ours: Any = translate(error, asked=str(link.candidate))
        billed = getattr(ours, "billed_as", None)
        if isinstance(billed, Measured):
            paid = pricing.cost(link.candidate, link.entry, billed, None, at)
            ours.measured = pricing.columns(billed, paid)
        return ours

    def _keep(self, result: MediaResult, call_id: str) -> None:
        """Write down which call made the files, before the call is settled."""
        for recorder in recorders_in(self._config):
            for one in result.artifacts:
                files.note(recorder.ledger, one, call_id)

    def _note_job(self, call_id: str, job: str) -> None:
        for recorder in recorders_in(self._config):
            recorder.ledger.database.write(_NOTE_JOB, {"call_id": call_id, "job": job})


_NOTE_JOB = "UPDATE calls SET provider_job = :job WHERE call_id = :call_id AND status = 'started'"


def described(result: MediaResult) -> str:
    """The files of a result in words, one in a line."""
    return "\n".join(_described(one) for one in result.artifacts)


_DIGITS = 16
"""Of a digest in a text: a longer one looks like a key, and would be removed."""


def _described(one: files.Artifact) -> str:
    size = f", {one.width} x {one.height} pixels" if one.width else ""
    length = f", {one.duration_ms / 1000:g} s" if one.duration_ms else ""
    return f"{one.mime}{size}{length}, sha256 {one.sha256[:_DIGITS]}"


@contextlib.asynccontextmanager
async def _events(
    config: RunnableConfig, words: str, call_id: UUID, metadata: dict[str, Any]
) -> AsyncGenerator[list[LLMResult]]:
    """Send LangChain's events of one attempt: its start, and its end or its error."""
    ended: list[LLMResult] = []
    listeners = direct.recorders(config)
    if listeners is not None:
        parent = cast("Any", config.get("callbacks")).parent_run_id
        run: dict[str, Any] = {"run_id": call_id, "parent_run_id": parent}
        for one in listeners:
            one.on_llm_start({}, [words], metadata=metadata, **run)
        try:
            yield ended
        except BaseException as error:
            for one in listeners:
                one.on_llm_error(error, **run)
            raise
        for one in listeners:
            one.on_llm_end(ended[0], **run)
        return
    given: Any = config.get("callbacks")
    manager = AsyncCallbackManager.configure(
        given if isinstance(given, BaseCallbackManager) else list(given or ()),
        inheritable_tags=config.get("tags"),
        inheritable_metadata=metadata,
    )
    (run_of,) = await manager.on_llm_start({"name": "media"}, [words], run_id=call_id)
    try:
        yield ended
    except BaseException as error:
        await run_of.on_llm_error(error)
        raise
    await run_of.on_llm_end(ended[0])
