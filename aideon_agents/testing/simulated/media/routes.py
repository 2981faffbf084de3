"""Which provider an address belongs to, and how a request for media passes through this server."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING, Any, cast

from aideon_agents.testing.simulated.bill import BilledCall
from aideon_agents.testing.simulated.dialects import hosted
from aideon_agents.testing.simulated.dialects.dialect import Dialect, Refused
from aideon_agents.testing.simulated.faults import SPOILED, Draw, refusal_of
from aideon_agents.testing.simulated.media.exchange import Sent, key_of, read_request
from aideon_agents.testing.simulated.media.huggingface import ROUTER, HuggingFace
from aideon_agents.testing.simulated.media.kept import Kept, MediaPlan
from aideon_agents.testing.simulated.media.openai_style import OpenAIStyle
from aideon_agents.testing.simulated.media.replicate import Replicate
from aideon_agents.testing.simulated.media.runway import Runway
from aideon_agents.testing.simulated.media.stability import Stability
from aideon_agents.testing.simulated.media.together import Account, TogetherVideo

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from aideon_agents.testing.simulated.bill import Bill, RequestLog
    from aideon_agents.testing.simulated.clock import Clock
    from aideon_agents.testing.simulated.media.exchange import MediaRequest, Route, Service
    from aideon_agents.testing.simulated.wire import Wire

_OK = 200
_TAIL = 4
_ROUTED = re.compile(r"/(together|replicate)(/.+)")
"""The addresses of the router of Hugging Face: a provider, and an address of its own."""
_BEHIND = {"together": {"together", "openai"}, "replicate": {"replicate"}}
_ENDLESS = 2**40
_OF_LINKS = frozenset(
    {"link_forbidden", "link_missing", "link_redirects", "link_slow", "link_too_long"}
)


class MediaRoutes:
    """The media of one simulated provider: a table of routes, and what they have in common."""

    def __init__(
        self,
        plan: MediaPlan | None,
        clock: Clock,
        *,
        draw: Draw,
        bill: Bill,
        log: RequestLog,
        dialect: Dialect,
        keys: Collection[str] | None,
    ) -> None:
        kept = Kept(plan or MediaPlan(), clock)
        kinds = Account, TogetherVideo, Runway, Replicate, Stability, HuggingFace
        providers = OpenAIStyle(kept, dialect), kept, *(kind(kept) for kind in kinds)
        routes = [route for one in providers for route in one.routes()]
        self._routes = [(re.compile(route.path), route) for route in routes]
        self._draw = draw
        self._bill = bill
        self._log = log
        self._dialect = dialect
        self._keys = keys
        of_router = {ROUTER.name: hosted.HUGGING_FACE}
        self._worded = {"openai": dialect, "together": dialect, **of_router}

    async def serve(self, wire: Wire, request_id: str) -> bool:
        """Answer a request; returns whether it is one for media."""
        if (found := self._find(wire, wire.path)) is None:
            return False
        await self._serve(wire, *found, request_id)
        return True

    def _find(self, wire: Wire, path: str) -> tuple[Route, tuple[str, ...]] | None:
        """The route of a path, and what its pattern has found; None: there is none."""
        for pattern, route in self._routes:
            found = pattern.fullmatch(path)
            if found and route.method == wire.method and route.having in wire.body:
                return route, found.groups(default="")
        through = _ROUTED.fullmatch(path)
        found = self._find(wire, through[2]) if through else None
        if through is None or found is None or found[0].service.name not in _BEHIND[through[1]]:
            return None
        return dataclasses.replace(found[0], service=ROUTER), found[1]

    async def _serve(
        self, wire: Wire, route: Route, parts: tuple[str, ...], request_id: str
    ) -> None:
        try:
            self._check_key(wire, route.service)
            request = read_request(wire, parts, request_id, self._bill)
            self._log.note(request_id, body=_shown(request), model=request.model or None)
            sent = self._worked(request, route)
        except Refused as refused:
            self._log.note(request_id, outcome=str(refused.status))
            sent = _refusal(refused, route.service)
        else:
            self._log.note(request_id, outcome=str(request.kind or "ok"))
            # A fault of a link happens to who follows it.
            if request.fault is not None and not (route.pays and request.kind in _OF_LINKS):
                await self._deliver(wire, request, sent)
                return
        if route.pays:
            self._settle(request_id, sent.status)
        await self._send(wire, route, request_id, sent)

    @staticmethod
    async def _send(wire: Wire, route: Route, request_id: str, sent: Sent) -> None:
        known = {"x-request-id": request_id, **route.service.headers(sent.status)}
        await wire.send(sent.status, {**sent.headers, **known}, sent.body)

    def _check_key(self, wire: Wire, service: Service) -> None:
        if not service.schemes:
            return
        scheme = wire.headers.get("authorization", "").partition(" ")[0].lower()
        key = key_of(wire)
        if scheme not in service.schemes or not key:
            if self._dialect.needs_key or self._keys is not None:
                raise Refused(401, "invalid_api_key", "You didn't provide an API key.")
        elif self._keys is not None and key not in self._keys:
            raise Refused(401, "invalid_api_key", f"Incorrect API key: *{key[-_TAIL:]}.")

    def _worked(self, request: MediaRequest, route: Route) -> Sent:
        """What the provider answers, charged; Refused: it does not."""
        if not route.pays:
            return route.handler(request)
        request.fault = self._draw(cast("Any", request))
        call = BilledCall(
            request_id=request.request_id,
            key_tail=request.key[-_TAIL:],
            model=request.model,
            fault=request.kind,
        )
        self._bill.charge(call)
        # Only its own provider words a refusal as the server's dialect has it.
        dialect = self._worded.get(route.service.name, Dialect())
        if request.fault and (refused := refusal_of(request.fault, dialect, request.model)):
            raise refused
        if request.kind == "reset_before":
            return Sent(0, {}, b"")
        return route.handler(request)

    def _settle(self, request_id: str, status: int) -> None:
        """Write how a line of the bill was answered; an error status costs nothing."""
        if status == _OK or status // 100 == 2:  # noqa: PLR2004 - any status of success
            self._bill.amend(request_id, status=status, delivered=True)
        elif self._bill.has(request_id):
            self._bill.amend(
                request_id, status=status, unit=None, quantity=None, input_tokens=0, output_tokens=0
            )

    async def _deliver(self, wire: Wire, request: MediaRequest, sent: Sent) -> None:
        """Send an answer as its fault lets it. The work is charged, whatever arrives of it."""
        fault, kind = request.fault, request.kind
        headers: Mapping[str, str] = {**sent.headers, "x-request-id": request.request_id}
        if fault and kind in {"hang", "delay", "link_slow"}:
            await wire.pause(fault.seconds)
        match kind:
            case "reset_before" | "reset_after":
                wire.reset()
                return
            case "truncated_body":
                self._bill.amend(request.request_id, status=sent.status)
                await wire.send_truncated(sent.status, headers, sent.body)
                return
            case "link_too_long":
                wire.start(_OK, {**headers, "content-length": str(_ENDLESS)})
                wire.put(sent.body)
                await wire.pause(None)
                return
            case _ if kind in SPOILED:
                content_type, body = SPOILED[kind]
                sent = Sent(_OK, {**headers, "content-type": content_type}, body)
            case _:
                pass
        if self._bill.has(request.request_id):
            self._settle(request.request_id, sent.status)
        await wire.send(sent.status, {**headers, **sent.headers}, sent.body)


def _refusal(refused: Refused, service: Service) -> Sent:
    document = service.error(refused)
    is_text = isinstance(document, str)
    kind = "application/xml" if is_text else "application/json"
    body = document.encode() if is_text else json.dumps(document).encode()
    return Sent(refused.status, {"content-type": kind, **refused.headers}, body)


def _shown(request: MediaRequest) -> Any:
    """What the log keeps of a request: fields, and the sizes of its files."""
    files = {
        one.field: {"name": one.name, "mime": one.mime, "bytes": len(one.data)}
        for one in request.files
    }
    return {**request.fields, **files} or None
