"""What was spent: one's own, and for those who may see it every user's."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from aideon_agents.access.callers import Caller
from aideon_agents.access.charges import charge_of
from aideon_agents.api.asking import Serving, asking
from aideon_agents.api.problems import Problem, answers
from aideon_agents.api.shapes import UsageDocument
from aideon_agents.ledger.documents import report_document
from aideon_agents.ledger.report_files import csv_text, workbook
from aideon_agents.ledger.reports import reports
from aideon_agents.ledger.selection import (
    DIMENSIONS,
    ReportBy,
    Selection,
    first_moment,
    moment_after,
)
from aideon_agents.serving.service import Service

router = APIRouter(tags=["usage"])

Reader = Annotated[Caller, asking("usage:own")]
AnyReader = Annotated[Caller, asking("usage:any")]
By = Annotated[ReportBy, Query(description="What each row is about.")]
_MOMENT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})?)?$"
Since = Annotated[
    str | None, Query(pattern=_MOMENT, description="A UTC day, such as 2026-11-30, or a time.")
]
Until = Annotated[
    str | None, Query(pattern=_MOMENT, description="A UTC day, which is included, or a time.")
]
Form = Annotated[Literal["json", "csv", "xlsx"], Query(alias="format")]
Included = Annotated[bool, Query(description="Whether such runs count as well.")]

_XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_REPORT: dict[int | str, dict[str, Any]] = {
    200: {
        "model": UsageDocument,
        "content": {"text/csv": {}, _XLSX: {}},
        "description": "The report.",
    },
    **answers(422),
}


@router.get("/me/usage", responses=_REPORT, tags=["me"])
def own_usage(
    *,
    caller: Reader,
    service: Serving,
    by: By = "workflow",
    since: Since = None,
    until: Until = None,
    rehearsed: Included = False,
    simulated: Included = False,
    form: Form = "json",
) -> Response:
    """Show what one has spent, and as JSON what the month of `since`, or this one, is charged."""
    chosen = Selection(
        user=caller.user,
        since=_moment(since),
        until=_moment(until),
        rehearsed=rehearsed,
        simulated=simulated,
    )
    charge = charge_of(service.ledger, caller.user, since[:7] if since else None)
    return _answered(service, chosen, by, form, charge=charge)


@router.get("/usage", responses=_REPORT)
def usage(
    *,
    caller: AnyReader,
    service: Serving,
    by: By = "user",
    since: Since = None,
    until: Until = None,
    user: Annotated[str | None, Query(max_length=200)] = None,
    rehearsed: Included = False,
    simulated: Included = False,
    form: Form = "json",
) -> Response:
    """Show what every user, or one of them, has spent."""
    del caller
    chosen = Selection(
        user=user,
        since=_moment(since),
        until=_moment(until),
        rehearsed=rehearsed,
        simulated=simulated,
    )
    return _answered(service, chosen, by, form)


def _moment(text: str | None) -> dt.date | dt.datetime | None:
    if text is None:
        return None
    try:
        return dt.datetime.fromisoformat(text) if "T" in text else dt.date.fromisoformat(text)
    except ValueError as wrong:
        raise Problem(422, "invalid", f"{text} is no day or time: {wrong}") from None


def _answered(
    service: Service, chosen: Selection, by: ReportBy, form: str, **more: object
) -> Response:
    since, until = chosen.since, chosen.until
    if since is not None and until is not None and first_moment(since) >= moment_after(until):
        raise Problem(422, "invalid", "the period ends before it begins: swap since and until")
    made = reports(service.ledger, DIMENSIONS if form == "xlsx" else (by,), chosen)
    if form == "csv":
        text = csv_text(made[0]).encode("utf-8", "replace")
        return Response(text, media_type="text/csv")
    if form == "xlsx":
        return Response(workbook(made), media_type=_XLSX)
    return JSONResponse({**report_document(made[0]), **more})
