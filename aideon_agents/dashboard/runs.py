"""Runs: ask for one, find it, watch it, and answer what it waits with."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import defaultdict
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field, ValidationError

from aideon_agents.api import drawings
from aideon_agents.dashboard import pages
from aideon_agents.dashboard.pages import Visit, visiting
from aideon_agents.errors import AideonError, InputError
from aideon_agents.ledger.costs import run_cost
from aideon_agents.ledger.rows import RunStatus
from aideon_agents.runner import recall
from aideon_agents.runner.resume_state import answer_to, is_approval, is_yes_or_no
from aideon_agents.serving import served
from aideon_agents.serving.launching import Asked, StartRun
from aideon_agents.serving.workflows import Workflow
from aideon_agents.state import Role, Tier

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

router = APIRouter()

Reader = Annotated[Visit, visiting("runs:own")]
Writer = Annotated[Visit, visiting("runs:write")]
_MOST = 25
_OPTIONS = ("budget", "timeout", "tier", "thread")


class Asking(BaseModel):
    """Which runs are listed; what is empty is not asked for."""

    status: Annotated[str, Field(max_length=20)] = ""
    workflow: Annotated[str, Field(max_length=100)] = ""
    user: Annotated[str, Field(max_length=200)] = ""
    since: Annotated[str, Field(max_length=10)] = ""
    until: Annotated[str, Field(max_length=10)] = ""
    before: Annotated[str, Field(max_length=30)] = ""


@router.get("/runs")
def runs(visit: Reader, asked: Annotated[Asking, Query()]) -> Response:
    """List runs, the newest first: one's own, or for those who may see all usage everybody's."""
    ledger, caller = visit.service.ledger, visit.caller
    sees_all = caller.may("usage:any")
    found = served.runs(
        ledger,
        asked.before or None,
        _MOST + 1,
        user=asked.user or None if sees_all else caller.user,
        status=asked.status or None,
        workflow=asked.workflow or None,
        since=pages.day(asked.since),
        until=pages.day(asked.until),
    )
    given = asked.model_dump(exclude={"before"}, exclude_defaults=True)
    return visit.page(
        "runs.html",
        "Runs",
        runs=[(ledger.find_run(one), run_cost(ledger, one)) for one in found[:_MOST]],
        after=found[_MOST - 1] if len(found) > _MOST else None,
        statuses=get_args(RunStatus),
        workflows=[one.name for one in visit.service.workflows.of(caller)],
        asked=asked,
        older=f"{pages.ROOT}/runs?{urlencode(given)}",
        sees_all=sees_all,
    )


@router.get("/runs/{run_id}")
def run(run_id: str, visit: Reader) -> Response:
    """Show a run: its output, its money by node, its graph, and what it waits with."""
    service, caller = visit.service, visit.caller
    found = service.find(caller, run_id, anybody=True)
    shown = service.show(caller, run_id, anybody=True)
    return visit.page(
        "run.html",
        shown["workflow"],
        run=shown,
        questions=[question_in(one) for one in shown["questions"]],
        is_open=service.is_open(run_id),
        user=found.user,
        has_graph=found.graph is not None,
    )


@router.get("/runs/{run_id}/graph")
def graph(run_id: str, visit: Reader) -> Response:
    """Draw a run with its money: no text of it is in the picture."""
    found = visit.service.find(visit.caller, run_id, anybody=True)
    return drawings.of_run(visit.service.ledger, found, "svg")


def question_in(one: Mapping[str, Any]) -> dict[str, Any]:
    """A question as a page shows it: who asks, what about, and how it can be answered."""
    asked, schema = one["question"], one["schema"]
    about = cast("dict[str, Any]", asked) if isinstance(asked, dict) else {}
    result = about.get("result")
    known = isinstance(result, str)
    how = "approval" if is_approval(schema) else "words"
    if how == "words" and is_yes_or_no(asked, schema):
        how = "yes"
    return {
        "id": one["id"],
        "node": str(about.get("node_path") or one["node_path"]),
        "words": str(about.get("question") or "") if about else str(asked),
        "content": result if known else None,
        "other": None if known or not about else json.dumps(about, indent=2, ensure_ascii=False),
        "how": how,
    }


def _answered(visit: Visit, one: Mapping[str, Any], *, decision: str) -> object:
    """The answer to a question that a form gives."""
    text = visit.text(f"text-{one['id']}")
    if is_approval(one["schema"]):
        if decision == "decline":
            return {"approved": False, **({"feedback": text} if text else {})}
        edited = visit.text(f"content-{one['id']}").replace("\r\n", "\n")
        shown = question_in(one)["content"]
        is_new = edited and shown is not None and edited != str(shown).strip()
        return {"approved": True, **({"content": edited} if is_new else {})}
    if is_yes_or_no(one["question"], one["schema"]):
        word = "no" if decision == "decline" else "yes"
        return answer_to(word, one["question"], one["schema"])
    if not text:
        raise InputError(f"{one['node_path']} asks for an answer: write it into the field")
    try:
        given = json.loads(text)
    except ValueError:
        given = text
    return answer_to(given, one["question"], one["schema"])


async def _answer(visit: Visit, run_id: str, decision: str) -> None:
    found = visit.service.find(visit.caller, run_id)
    questions = (await asyncio.to_thread(recall, visit.service.ledger, found)).questions
    given = {one["id"]: _answered(visit, one, decision=decision) for one in questions}
    only: object = next(iter(given.values())) if len(given) == 1 else given
    await visit.service.answer(visit.caller, run_id, only)


@router.post("/runs/{run_id}/answer")
async def answer(run_id: str, visit: Writer) -> Response:
    """Answer what a run waits with."""
    await _answer(visit, run_id, visit.text("decision"))
    return pages.to(f"runs/{run_id}", "answered")


@router.get("/approvals")
def approvals(visit: Writer, before: Annotated[str, Query(max_length=30)] = "") -> Response:
    """List the runs that wait for an answer."""
    ledger, caller = visit.service.ledger, visit.caller
    only: dict[str, Any] = {"user": caller.user, "status": "waiting"}
    ids = served.runs(ledger, before or None, _MOST + 1, **only)
    found = [(one, visit.service.show(caller, one)) for one in ids[:_MOST]]
    waiting = [
        (run_id, shown, [question_in(one) for one in shown["questions"]]) for run_id, shown in found
    ]
    after = ids[_MOST - 1] if len(ids) > _MOST else None
    return visit.page("approvals.html", "Approvals", waiting=waiting, after=after)


@router.post("/approvals")
async def approve(visit: Writer) -> Response:
    """Approve or decline several runs at once."""
    chosen = [str(one) for one in visit.form.getlist("shown" if visit.text("all") else "run")]
    if not chosen:
        raise InputError("no run is chosen: tick the runs to answer")
    failed: list[str] = []
    for run_id in chosen:
        try:
            await _answer(visit, run_id, visit.text("decision"))
        except AideonError as error:
            failed.append(f"{run_id}: {error}")
    if failed:
        raise InputError(f"{len(failed)} of {len(chosen)} were not answered: {'; '.join(failed)}")
    return pages.to("approvals", "answered-all")


@router.post("/runs/{run_id}/{action}")
async def act(run_id: str, action: str, visit: Writer) -> Response:
    """Cancel, resume, rate or delete a run."""
    service, caller = visit.service, visit.caller
    if action == "cancel":
        await service.cancel(caller, run_id)
    elif action == "resume":
        await service.resume(caller, run_id, visit.text("budget") or None)
    elif action == "delete":
        await service.delete(caller, run_id)
    elif action == "rate":
        score = {"good": 1.0, "bad": 0.0}.get(visit.text("score"))
        if score is None:
            raise InputError("a rating is good or bad")
        service.rate(caller, run_id, score)
    else:
        raise InputError(f"a run cannot be asked to {action}")
    return pages.to(f"runs/{run_id}", _DONE[action])


_DONE = {"cancel": "cancelled", "resume": "resumed", "delete": "deleted", "rate": "rated"}


@router.get("/ask")
def ask(visit: Writer, workflow: Annotated[str, Query(max_length=100)] = "") -> Response:
    """The form of a workflow."""
    known = visit.service.workflows.of(visit.caller)
    names = [one.name for one in known]
    chosen = visit.service.workflows.find(visit.caller, workflow) if workflow else known[0]
    return _form(visit, chosen, names)


def _form(visit: Visit, workflow: Workflow, names: Sequence[str], **more: Any) -> Response:
    tiers = get_args(Tier)
    return visit.page(
        "ask.html",
        "Ask",
        workflow=workflow,
        names=names,
        tiers=tiers[: tiers.index(visit.caller.tier) + 1],
        models=visit.service.launcher.models_of(visit.caller),
        roles=get_args(Role),
        by_role=any(visit.text(f"model-{role}") for role in get_args(Role)),
        word=secrets.token_urlsafe(16),  # a form that is sent twice starts one run
        given=defaultdict(str, {name: visit.text(name) for name in visit.form}),
        **{"estimate": None, "wrong": None, **more},
    )


@router.post("/ask")
async def start(visit: Writer) -> Response:
    """Start a run, or estimate what it would cost."""
    service, caller = visit.service, visit.caller
    workflow = service.workflows.find(caller, visit.text("workflow"))
    names = [one.name for one in service.workflows.of(caller)]
    try:
        asked = Asked.model_validate(_asked(visit, workflow))
        if visit.text("do") == "estimate":
            estimate = await service.launcher.estimate(workflow, caller, asked)
            return _form(visit, workflow, names, estimate=estimate)
        whole = StartRun(workflow=workflow.name, **dict(asked))
        run_id = await service.start(caller, whole, word=visit.text("word") or None)
    except ValidationError as error:
        first = error.errors()[0]
        wrong = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        return _form(visit, workflow, names, wrong=wrong)
    except AideonError as error:
        return _form(visit, workflow, names, wrong=str(error))
    return pages.to(f"runs/{run_id}")


def _asked(visit: Visit, workflow: Workflow) -> dict[str, Any]:
    """What a form asks of a workflow; fields that were left empty are not given."""
    given: dict[str, Any] = {name: visit.text(name) for name in _OPTIONS if visit.text(name)}
    model = {role: visit.text(f"model-{role}") or visit.text("model") for role in get_args(Role)}
    if known := {role: one for role, one in model.items() if one}:
        given["model"] = known
    inputs = {one["key"]: visit.text(f"input-{one['key']}") for one in workflow.inputs}
    given["inputs"] = {name: one for name, one in inputs.items() if one}
    given["record_content"] = visit.text("record_content") == "on"
    return {"task": visit.text("task"), **given}
