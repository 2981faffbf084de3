"""MCP: each workflow that a caller may run is a tool, over streamable HTTP at /mcp.

What a workflow asks a person comes as an elicitation. A client that has none, or a service of several
processes, which share no sessions, gets the question as the tool's result: the run waits.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from mcp import types
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from aideon_agents.access.callers import Caller
from aideon_agents.api import doors, problems
from aideon_agents.api.asking import asking, caller_of
from aideon_agents.errors import InputError
from aideon_agents.runner.resume_state import is_approval
from aideon_agents.serving.launching import Dollars, StartRun
from aideon_agents.serving.service import Service
from aideon_agents.serving.workflows import Workflow

_ELICITATION = types.ClientCapabilities(elicitation=types.ElicitationCapability())
_LOOK_EVERY = 0.25
_PLAIN = ("string", "number", "integer", "boolean")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}")
"""A name that a tool can have: models that call tools take no other."""


class Arguments(BaseModel):
    """What a tool takes."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    task: str
    """What is to be done, in words."""
    inputs: dict[str, JsonValue] = {}
    budget: Dollars | None = None
    """US dollars that the run may cost."""


class Result(BaseModel):
    """What a tool gives: the run as `GET /api/v1/runs/{run_id}` shows it, without its parts."""

    run_id: str
    status: str
    stop_reason: str | None
    output: str | None
    cost: dict[str, JsonValue]
    questions: list[JsonValue]
    """What a run with the status `waiting` asks."""
    error: str | None


class Door:
    """The MCP server of a service."""

    def __init__(self, service: Service, *, keeps_sessions: bool) -> None:
        self._service = service
        self._server: Server[Any, Request] = Server("aideon-agents")
        self._server.list_tools()(self._tools)  # type: ignore[no-untyped-call]
        self._server.call_tool(validate_input=False)(self._call)
        self.sessions = StreamableHTTPSessionManager(self._server, stateless=not keeps_sessions)
        self.router = APIRouter()
        self.router.add_api_route("/mcp", self._handle, methods=["GET", "POST", "DELETE"])

    async def serve(self) -> None:
        """Keep sessions until this process drains, which ends their streams."""
        live = self._service.live
        happened = live.watch("")  # of no run: until the process drains, nothing happens
        async with self.sessions.run():
            while not live.is_draining:
                await live.change(happened, _LOOK_EVERY)

    async def _handle(
        self, request: Request, caller: Annotated[Caller, asking("runs:write")]
    ) -> Response:
        # A session belongs to the key that opened it: with another one it is not found.
        owner = AccessToken(token="-", client_id=caller.key_id or caller.user, scopes=[])  # noqa: S106
        request.scope["user"] = AuthenticatedUser(owner)
        return _Passed(self.sessions)

    def _known(self) -> tuple[Caller, dict[str, Workflow]]:
        """The caller, and the workflows that it may run by the names of their tools."""
        request = self._server.request_context.request
        if request is None:
            raise InputError("the request has no key")
        caller, made = caller_of(request), dict[str, Workflow]()
        workflows = self._service.workflows.of(caller)
        for one in sorted(workflows, key=lambda one: not _NAME.fullmatch(one.name)):
            name = re.sub(r"[^A-Za-z0-9_-]", "_", one.name)[:60]
            while name in made:
                name += "_"
            made[name] = one
        return caller, made

    async def _tools(self) -> list[types.Tool]:
        return [
            types.Tool(
                name=name,
                description=one.description or f"Runs the workflow {one.name}.",
                inputSchema=_schema(one.schema),
                outputSchema=Result.model_json_schema(),
            )
            for name, one in sorted(self._known()[1].items())
        ]

    async def _call(self, name: str, arguments: dict[str, Any]) -> types.CallToolResult:
        try:
            caller, known = self._known()
            workflow = known[name].name if name in known else name
            given = Arguments.model_validate(arguments)
            ask = StartRun(workflow=workflow, **given.model_dump())
            run_id = await self._service.start(caller, ask)
            with doors.watched(self._service, caller, run_id):
                return _result(await self._ended(caller, run_id))
        except ValidationError as error:
            wrong = error.errors(include_input=False, include_url=False)[0]
            return _error(f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}")
        except Exception as error:  # noqa: BLE001 - the SDK would answer with its words
            return _error(problems.of(error).detail)

    async def _ended(self, caller: Caller, run_id: str) -> dict[str, Any]:
        """The document of a run when it has ended, or waits for what this client cannot answer."""
        after, spent = 0, dict[str, Decimal]()
        while True:
            async for number, kind, document in self._service.events(run_id, after):
                after = number
                if kind == "node_ended":
                    cost = document["cost"] or {"usd": "0"}
                    spent[document["node_path"]] = Decimal(cost["usd"])
                    text = f"{document['node_path']} has ended, ${sum(spent.values())} so far"
                    await self._progress(number, text)
            shown = self._service.show(caller, run_id)
            answers = {one["id"]: await self._answer(one) for one in shown["questions"]}
            if not answers or None in answers.values():
                return shown
            await self._service.answer(caller, run_id, answers)

    async def _progress(self, number: int, text: str) -> None:
        context = self._server.request_context
        token = context.meta.progressToken if context.meta else None
        if token is not None:
            await context.session.send_progress_notification(
                token, number, message=text, related_request_id=str(context.request_id)
            )

    async def _answer(self, asked: dict[str, Any]) -> object:
        """The answer of the person at the client; None: there is none."""
        context = self._server.request_context
        if not context.session.check_client_capability(_ELICITATION):
            return None
        schema, message = _form(asked["schema"]), _message(asked["question"])
        given = await context.session.elicit_form(message, schema, context.request_id)
        content = given.content or {}
        if given.action == "decline" and is_approval(asked["schema"]):
            return {"approved": False}
        if given.action != "accept":
            return None
        return content.get("answer") if "answer" in schema["properties"] else content


class _Passed(Response):
    """Lets the MCP server answer."""

    def __init__(self, sessions: StreamableHTTPSessionManager) -> None:
        super().__init__()
        self._sessions = sessions

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._sessions.handle_request(scope, receive, send)


def _schema(inputs: dict[str, Any]) -> dict[str, Any]:
    """The JSON Schema of a tool's arguments."""
    schema = Arguments.model_json_schema()
    schema["properties"]["inputs"] = inputs
    if inputs["required"]:
        schema["required"] = ["task", "inputs"]
    return schema


def _form(schema: Any) -> dict[str, Any]:
    """The form for an answer; forms have plain fields alone."""
    known = schema if isinstance(schema, dict) else {}
    fields, required = known.get("properties") or {}, known.get("required", [])
    if is_approval(schema):
        fields, required = (
            {"approved": {"type": "boolean"}, "feedback": {"type": "string"}},
            ["approved"],
        )
    elif not fields or any(one.get("type") not in _PLAIN for one in fields.values()):
        fields, required = {"answer": {"type": "string"}}, ["answer"]
    return {"type": "object", "properties": fields, "required": required}


def _message(question: Any) -> str:
    if isinstance(question, dict) and "question" in question:
        return "\n\n".join(str(question[key]) for key in ("question", "result") if key in question)
    return question if isinstance(question, str) else json.dumps(question, ensure_ascii=False)


def _result(shown: dict[str, Any]) -> types.CallToolResult:
    text = shown["output"] or ""
    if shown["status"] == "waiting":
        asked = "; ".join(_message(one["question"]) for one in shown["questions"])
        text = f"The run waits for an answer: {asked} POST /api/v1/runs/{shown['run_id']}/answer takes it."
    elif shown["status"] != "completed":
        text = shown["error"] or f"the run has {shown['status']}: {shown['stop_reason']}"
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)],
        structuredContent={name: shown[name] for name in Result.model_fields},
        isError=shown["status"] not in ("completed", "waiting"),
    )


def _error(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], isError=True)
