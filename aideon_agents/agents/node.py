"""An agent as a LangGraph node.

The node is a runnable with an asynchronous function and a synchronous bridge to it: one that has
only one of them cannot be used by both `graph.ainvoke` and `graph.invoke`.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
from typing import TYPE_CHECKING, Any, cast, get_args

from langgraph.runtime import get_runtime
from pydantic import BaseModel, Field, create_model

from aideon_agents.agents import outputs, prompt_files
from aideon_agents.agents.calling import ask
from aideon_agents.agents.checks import checked
from aideon_agents.agents.given import Options, chosen, request_for
from aideon_agents.agents.judging import improved, quality_of
from aideon_agents.agents.tools import Toolbox, toolbox
from aideon_agents.errors import UserError, refuse_kinds
from aideon_agents.graphs import T_co, Typed, material
from aideon_agents.graphs.enclosing import LimitedNode
from aideon_agents.ledger import tags
from aideon_agents.ledger.handler import context_in
from aideon_agents.models import default_models
from aideon_agents.models.bridge import blocking
from aideon_agents.models.candidates import Answered, answers, models_of
from aideon_agents.models.direct import recorders, signed
from aideon_agents.models.pictures import filled, own_pictures
from aideon_agents.models.protocol.thoughts import answer_in
from aideon_agents.models.routing import rules as routing
from aideon_agents.node_paths import NODE_PATH, node_path
from aideon_agents.state import (
    Ability,
    ContentClass,
    Context,
    Decision,
    ModelRequest,
    OnDecline,
    Picture,
    Plan,
    PlanStep,
    Results,
    Role,
    State,
    StepResult,
    next_order,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from langchain_core.runnables import RunnableConfig

    from aideon_agents.agents.checks import Check

_ONLY_IN_A_PATTERN = (
    "{} has approve=True, but only a pattern asks for the approval: put it into one, such as "
    "sequential(...)"
)

_REHEARSED_DAY = dt.date(2026, 1, 1)
"""A rehearsal is the same on any day."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spec:
    """Everything that an agent was made with."""

    role: Role
    name: str
    description: str | None
    """What to do; None: the task itself."""
    instructions: str
    """The system prompt, without the date."""
    system: Callable[[str], str]
    """From the name of a prompt to the system prompt with it."""
    output: type[BaseModel] | None
    """The shape of the answer; None: text."""
    kept_as: outputs.Kept | None = None
    """What the answer becomes in the state, where `output` was made for the question; None: that."""
    request: ModelRequest
    images: tuple[Picture | str, ...] = ()
    """Its own pictures; a text is a path or a URL that names inputs in braces."""
    folder: Path | None = None
    """Where the relative paths of its pictures begin; None: in the working directory."""
    write: Callable[[Any], tuple[str, Results]]
    """From a typed answer to its text, and what it writes besides its result."""
    toolbox: Toolbox | None = None
    """What the model may call; None: nothing."""
    grounded: bool = False
    """Whether what tools return gets labels, by which the answer cites it."""
    approve: bool = False
    """Whether a person must agree to the result: the pattern around it asks them."""
    on_decline: OnDecline = "again"
    quality: float | None = None
    """The score that its answer must reach, else a larger model is asked as well; 0: none is needed.
    None: as the run says."""
    checks: tuple[Check, ...] = ()
    """The exact criteria of a validator."""
    asks: bool = True
    """Whether a model is asked; False: the checks alone decide."""


class Agent(LimitedNode, Typed[T_co]):
    """A node that asks a model."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.role = spec.role
        self.approve = spec.approve
        self.on_decline = spec.on_decline
        # Whether nothing runs inside it, as a tool that calls a graph would.
        self.is_alone = spec.toolbox is None
        super().__init__(self._work_blocking, self._work, name=spec.name)

    def without_approval(self) -> Agent:
        """The same agent, for a pattern that asks the person."""
        return self._with(approve=False)

    def edited(self, result: StepResult, content: str) -> Results:
        """What the agent would have written with a content that a person has edited.

        Raises a ValueError if the agent has a schema and the content is no JSON that fits it.
        """
        spec, data, also = self.spec, None, Results()
        if spec.output:
            data = outputs.read(spec.output, spec.kept_as, content)
            content, also = spec.write(data)
        changed = dataclasses.replace(result, content=content, data=data, truncated=False)
        return {"results": {result.node_path: changed}, **also}

    @property
    def introduction(self) -> str:
        """What it is for and its tools, as a planner reads it."""
        spec = self.spec
        what = spec.description or prompt_files.PURPOSES[spec.role]
        return " ".join(f"{what} {spec.toolbox.described if spec.toolbox else ''}".split())

    def for_step(self, step: PlanStep) -> Agent:
        """The same agent with a step of a plan to do, besides what it always does."""
        request = dataclasses.replace(self.spec.request, complexity=step.complexity)
        both = "\n\n".join(filter(None, (self.spec.description, step.description)))
        return self._with(description=both, request=request)

    def checking(self, checks: tuple[Check, ...], *, asks: bool) -> Agent:
        """The same validator with exact criteria; `asks`: whether a model is asked as well."""
        return self._with(checks=checks, asks=asks)

    def deciding(self, routes: Mapping[str, str]) -> Agent:
        """The same agent, answering its question with one of the routes; it writes `route`.

        `routes` has for each route when to choose it; empty: its name says so.
        """
        schema = create_model(
            "Decision",
            __doc__=Decision.__doc__,
            reason=(str, Field(description="Why this route fits best, in one sentence")),
            route=(str, outputs.one_of(tuple(routes))),
        )
        lines = [f"- {name}: {when}" if when else f"- {name}" for name, when in routes.items()]
        question = self.spec.description or "Which route fits?"
        return self._with(
            output=schema,
            kept_as=Decision,
            description="\n".join([question, "Routes:", *lines]),
            instructions=self.spec.system("router"),
            write=_route,
            checks=(),
            asks=True,
        )

    def planning(self, workers: Mapping[str, str], max_steps: int) -> Agent:
        """The same agent, planning for workers, each with its purpose; it writes `plan`."""
        agent: Any = (str, outputs.one_of(tuple(workers)))
        step: Any = create_model("PlanStep", __base__=PlanStep, agent=agent)
        most = f"At most {max_steps} steps, in an order that can be followed"
        # The schema alone says how many: servers that write by it end a list that a model does not.
        bound: Any = {"maxItems": max_steps}
        several: Any = (list[step], Field(description=most, json_schema_extra=bound))
        lines = [
            self.spec.description or "Plan the task.",
            "",
            "Each step names as `agent` one of these workers:",
        ]
        return self._with(
            output=create_model("Plan", __base__=Plan, steps=several),
            kept_as=Plan,
            description="\n".join(lines + [f"- {name}: {what}" for name, what in workers.items()]),
            instructions=self.spec.system("orchestrator"),
        )

    def _with(self, **changes: Any) -> Agent:
        return Agent(dataclasses.replace(self.spec, **changes))

    async def ainvoke(
        self,
        input: State,  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Results:
        """Ask the model; without LangChain's callbacks where nothing needs them."""
        if config is None or recorders(config) is None:
            return await super().ainvoke(input, config, **kwargs)
        return await self._work(input, config)

    def _images(self, state: State, context: Context) -> tuple[Picture, ...]:
        """The pictures that it is sent: those of the task, and then its own."""
        spec = self.spec
        if spec.request.vision is False:
            return ()
        given = {**(state.get("inputs") or {}), "task": state.get("task", "")}
        return (*context.images, *filled(spec.images, spec.folder, given))

    def _work_blocking(self, state: State, config: RunnableConfig) -> Results:
        return blocking(self._work(state, config))

    @signed
    async def _work(self, state: State, config: RunnableConfig) -> Results:
        spec = self.spec
        if spec.approve:
            raise UserError(_ONLY_IN_A_PATTERN.format(spec.name))
        given: Any = get_runtime(Context).context  # a larger graph has its own
        context = given if isinstance(given, Context) else context_in(config) or Context()
        models = context.models or default_models()
        metadata = config.get("metadata") or {}
        path = node_path(metadata, of_agent=True) or spec.name
        request = spec.request
        if context.purpose or context.model:
            request = dataclasses.replace(
                request,
                model=context.model.get(spec.role) or request.model,
                purpose=request.purpose or context.purpose,
            )
        if not (request.model or request.complexity or request.use or spec.role == "validator"):
            rules = routing.load(getattr(getattr(models, "settings", None), "catalog", None))
            about = f"{state.get('task', '')}\n{spec.description or ''}".lower()
            found = (one for one in get_args(ContentClass) if rules.classes[one].search(about))
            if content := next(found, None):
                request = dataclasses.replace(request, content=content)
        if images := self._images(state, context) if context.images or spec.images else ():
            request = dataclasses.replace(request, vision=True)
        window = models.window(request, context) if spec.asks else None
        now = _REHEARSED_DAY if context.rehearse else dt.datetime.now().astimezone().date()
        prompt = material.messages(
            state,
            instructions=f"{spec.instructions}\n\nToday is {context.today or now}.",
            step=spec.description,
            node_path=path,
            conversation=context.earlier,
            images=images,
            room=None if window is None else window - request.max_tokens,
        )
        round_ = state.get("round", 1)
        place = {NODE_PATH: path, tags.ROLE: request.role, tags.ROUND: round_}
        place |= {tags.PURPOSE: request.purpose} if request.purpose else {}
        tagged = cast("RunnableConfig", {**config, "metadata": {**metadata, **place}})
        sources: dict[str, str] | None = {} if spec.grounded else None
        before = answers.set(noted := [])
        try:
            how: Any = {"output": spec.output, "toolbox": spec.toolbox, "sources": sources}
            answer: Any = spec.asks and await ask(
                models, request, context, prompt, config=tagged, **how
            )
        finally:
            answers.reset(before)
        done = await self._done(answer, state, context, (path, noted, sources))
        quality = context.quality if spec.quality is None else spec.quality
        if not quality or spec.role == "validator" or spec.kept_as is Decision:
            return done
        larger = self._with(request=dataclasses.replace(spec.request, steps_up=1), quality=0.0)
        again = functools.partial(larger._work, state, config)  # noqa: SLF001 - the same class
        what: Any = {"request": request, "threshold": quality, "wanted": spec.description}
        return await improved(done, again, state, models, context, config=tagged, **what)

    async def _done(
        self,
        answer: Any,
        state: State,
        context: Context,
        found: tuple[str, Sequence[Answered], dict[str, str] | None],
    ) -> Results:
        """What the agent writes, given its answer; `found` is its path, who answered, and sources."""
        spec, (path, noted, sources) = self.spec, found
        if spec.kept_as and spec.asks:
            answer = outputs.kept(answer, spec.kept_as)
        if spec.checks:
            answer = await checked(spec.checks, answer or None, state, spec.name, context)
        content, also = spec.write(answer) if spec.output else (answer_in(answer.text), Results())
        result = StepResult(
            node_path=path,
            role=spec.role,
            content=content,
            data=answer if spec.output else None,
            round=state.get("round", 1),
            order=next_order(state.get("results") or {}),
            models=models_of(noted),
            truncated=bool(noted) and noted[-1][1],
            stale_s=max([age for *_, age in noted if age is not None], default=None),
            sources=sources or {},
        )
        return {"results": {path: result}, **also}


def _as_json(answer: Any) -> tuple[str, Results]:
    return outputs.as_json(answer), Results()


def _route(decision: Decision) -> tuple[str, Results]:
    return f"{decision.route}: {decision.reason}", Results(route=decision.route)


def make(
    role: Role,
    name: str | None,
    options: Options,
    *,
    output: Any = None,
    kept_as: type[BaseModel] | None = None,
    write: Callable[[Any], tuple[str, Results]] = _as_json,
) -> Agent:
    """Make an agent. `write` turns a typed answer into its text and what else the agent writes."""
    named = name or role
    refuse_kinds({"name": named}, {"name": (str, "text")}, f"{role}: ")
    if not named.strip() or any(mark in named for mark in "/|:"):
        raise UserError(
            f"{named!r} is not a valid agent name: it must not be empty or contain /, | or :"
        )
    asked = request_for(role, options, named)
    try:
        tools = toolbox(
            options.get("tools", ()),
            max_rounds=options.get("max_tool_rounds", 8),
            seconds=options.get("tool_timeout", 300.0),
        )
        shape, becomes = (None, None) if output is None else outputs.asked_for(output)
        system = prompt_files.system_for(options, has_tools=tools is not None)
        folder = prompt_files.folder_of_workflow()
        images = own_pictures(options.get("images") or (), folder)
    except UserError as error:
        raise UserError(f"{named}: {error}") from None
    needs: tuple[Ability, ...] = (
        *(("tools",) if tools else ()),
        *(("json_schema",) if shape else ()),
    )
    spec = Spec(
        role=role,
        name=named,
        description=options.get("description"),
        instructions=system(role),
        system=system,
        output=shape,
        kept_as=kept_as or becomes,
        request=dataclasses.replace(asked, needs=needs),
        images=images,
        folder=folder if images else None,
        write=write,
        toolbox=tools,
        grounded=options.get("grounded", False),
        approve=options.get("approve", False),
        on_decline=chosen(options, "on_decline", OnDecline, named) or "again",
        quality=quality_of(options.get("quality"), f"{named}: "),
    )
    return Agent(spec)
