"""What a caller asks of a workflow, checked, as a run that is ready to begin."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Unpack, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, StrictBool
from pydantic_core import PydanticCustomError

from aideon_agents.access import flags, quotas, ring
from aideon_agents.access.provider_keys import ProviderKeys, has_own_key
from aideon_agents.errors import InputError, NoModel
from aideon_agents.ledger.identity import new_run_id
from aideon_agents.ledger.money import usd_text
from aideon_agents.models import catalog
from aideon_agents.models.providers import ModelName, providers
from aideon_agents.runner import ResumeOptions, expected_cost, prepare, prepare_resume, worst_case
from aideon_agents.runner.estimate import rehearsed
from aideon_agents.runner.running import Running
from aideon_agents.state import Tier

if TYPE_CHECKING:
    from collections.abc import Callable

    from aideon_agents.access.callers import Caller
    from aideon_agents.ledger.budgets.units import Feature, Origin
    from aideon_agents.ledger.store import Ledger
    from aideon_agents.serving.workflows import Workflow
    from aideon_agents.settings import Settings

T = TypeVar("T")

Dollars = Annotated[
    str, Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?$", examples=["0.05"], max_length=20)
]
"""US dollars as a decimal string."""
Word = Annotated[str, Field(max_length=64)]
Models = Annotated[dict[Word, str | list[str]], Field(max_length=20)]
"""Models by role, in place of the choice."""


def _not_empty(task: str) -> str:
    if not task.strip():
        raise PydanticCustomError("empty", "the task is empty: say what to do")
    return task


class Asked(BaseModel):
    """What a run of a workflow is given."""

    model_config = ConfigDict(extra="forbid")

    task: Annotated[
        str,
        AfterValidator(_not_empty),
        Field(json_schema_extra={"pattern": r"\S"}, examples=["Write a brief on heat pumps"]),
    ]
    """What is to be done, in words."""
    inputs: dict[str, JsonValue] = Field(default_factory=dict)
    """What the workflow takes besides."""
    model: Models | None = None
    """Models of one's tier by role, in place of the choice."""
    budget: Dollars | None = None
    """US dollars that it may cost."""
    timeout: Annotated[float, Field(gt=0, le=86_400)] | None = None
    """Seconds until it is stopped."""
    thread: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """The id of the thread that it continues."""
    tier: Tier | None = None
    """At most the caller's own, which it is unless given."""
    record_content: StrictBool = False
    """Keep its prompts, answers and results in the ledger."""
    metadata: Annotated[dict[Word, Annotated[str, Field(max_length=512)]], Field(max_length=16)] = (
        Field(default_factory=dict)
    )
    """Texts of the caller's own, given back with the run."""


class StartRun(Asked):
    """A workflow, and what its run is given."""

    workflow: Annotated[str, Field(max_length=100, examples=["brief"])]
    """The name of a registered workflow."""

    @property
    def digest(self) -> str:
        """A digest of all of it, from which it cannot be read."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Launcher:
    """Prepares runs for the service."""

    ledger: Ledger
    settings: Settings
    rehearse: bool = False
    """Answer every call by rule. Without any key that is so as well."""

    @functools.cached_property
    def keys(self) -> ProviderKeys:
        """The stored keys of providers, with the ring that opens them."""
        return ProviderKeys(self.ledger, self.settings, ring.read(self.settings.key_ring))

    def settings_for(self, caller: Caller, run_id: str = "") -> Settings:
        """The settings of a caller's run, with the keys that it may use."""
        return self.keys.settings_for(caller, run_id)[0]

    def models_of(self, caller: Caller) -> list[str]:
        """The names of the models for text, code and vision that a caller may ask now."""
        settings = self.settings_for(caller)
        known = catalog.load(settings.catalog, settings.profile)
        reachable = providers(settings, pretend=self.rehearse or not settings.can_call)
        return [
            name
            for name, entry in known.entries.items()
            if entry.modality in ("text", "code", "vision")
            and not known.is_gone(entry)
            and reachable[entry.provider].available
            and (reachable[entry.provider].own_key or may_ask(settings, caller, name))
        ]

    def may_name(self, caller: Caller, model: str) -> bool:
        """Whether a caller may name a model: see `may_ask`, or the caller has a key of its provider."""
        return may_ask(self.settings, caller, model) or has_own_key(
            self.ledger, caller.user, model.partition(":")[0]
        )

    def check_models(self, caller: Caller, given: Models | None) -> None:
        """Refuse models by role that a caller may not name."""
        for named in (given or {}).values():
            for one in [named] if isinstance(named, str) else named:
                if not self.may_name(caller, str(ModelName.parse(one))):
                    raise InputError(
                        f"{one} is not among the models of the tier {caller.tier}: see GET /v1/models"
                    )

    def granted(
        self,
        caller: Caller,
        run_id: str,
        feature: Feature = "text_generation",
        request_id: str | None = None,
    ) -> tuple[Settings, Origin]:
        """The settings of a caller's run, and what its calls may use."""
        settings, keys = self.keys.settings_for(caller, run_id)
        given: Any = {"request_id": request_id, "keys": keys}
        return settings, quotas.origin_of(self.ledger, caller, feature, **given)

    def prepared(
        self,
        workflow: Workflow,
        caller: Caller,
        ask: Asked,
        *,
        stream: bool = False,
        rehearse: bool = False,
        run_id: str | None = None,
    ) -> Running:
        """The run, ready to begin; `run_id` is that of a run that has to begin again."""
        workflow.check_inputs(ask.inputs)
        self.check_models(caller, ask.model)
        own_id = run_id or new_run_id()
        settings, origin = self.granted(caller, own_id)
        options: dict[str, Any] = {
            **{name: getattr(ask, name) for name in _SAME},
            "tier": tier_of(caller, ask.tier),
            "user": caller.user,
            "fallback": self.may_fall_back(caller),
            "checkpoint": True,
            "ledger": self.ledger,
            "settings": settings,
            "origin": origin,
            **workflow.target.labels,
            "workflow": workflow.name,
        }

        def made(*, rehearse: bool) -> Running:
            graph = workflow.target.graph
            return prepare(graph, ask.task, stream=stream, rehearse=rehearse, **options)

        running = self.made_or_rehearsed(made, rehearse=rehearse)
        start = dataclasses.replace(running.spec.start, run_id=own_id)
        return Running(dataclasses.replace(running.spec, start=start))

    def may_fall_back(self, caller: Caller) -> bool:
        """Whether another candidate may answer a caller where a model has failed."""
        return flags.is_on(self.ledger, "together_ai_fallback", caller.user)

    def resumed(
        self, workflow: Workflow, caller: Caller, run_id: str, **options: Unpack[ResumeOptions]
    ) -> Running:
        """A run that continues, with the keys that its caller may use now."""
        options["ledger"] = self.ledger
        options["settings"], options["origin"] = self.granted(caller, run_id)
        return prepare_resume(workflow.target.graph, run_id, **options)

    def made_or_rehearsed(self, made: Callable[..., T], *, rehearse: bool = False) -> T:
        """What `made` makes; a rehearsal where no model has a key. It takes `rehearse`."""
        try:
            return made(rehearse=rehearse or self.rehearse)
        except NoModel:
            if self.settings.can_call:
                raise
        return made(rehearse=True)

    async def estimate(self, workflow: Workflow, caller: Caller, ask: Asked) -> dict[str, Any]:
        """What a run would cost, from rehearsals that no ledger keeps; see `runner.estimate`.

        The workflow's plain functions run. Amounts are None where a price is not known.
        """
        least, calls = await rehearsed(self.prepared(workflow, caller, ask, rehearse=True))
        most, longest = await worst_case(self.prepared(workflow, caller, ask, rehearse=True))
        about, nodes, known = expected_cost(self.ledger, calls, workflow.name, longest)
        return {
            "as_rehearsed": usd_text(least.usd) if least.complete else None,
            "about": None if about is None else usd_text(about),
            "at_most": usd_text(most.usd) if most.complete else None,
            "nodes": nodes,
            "nodes_with_earlier_answers": known,
            "quota_after": quotas.after_run(
                self.ledger, caller, least.input_tokens, least.output_tokens
            ),
        }


_SAME = ("inputs", "model", "budget", "timeout", "thread", "record_content")
"""The options of a run that a caller gives under the same name."""


def tier_of(caller: Caller, asked: Tier | None) -> Tier:
    """The tier of a run: the caller's, or a lower one that was asked for."""
    if asked is None:
        return caller.tier
    if get_args(Tier).index(asked) > get_args(Tier).index(caller.tier):
        raise InputError(
            f"tier is {asked}, and yours is {caller.tier}: ask for that, or a lower one"
        )
    return asked


def may_ask(settings: Settings, caller: Caller, name: str) -> bool:
    """Whether a caller may name a model: the tier has it, or it runs on a server of one's own.

    The user of this machine, who needs no key, may name any.
    """
    if caller.key_id is None and caller.session is None:
        return True
    entry = catalog.load(settings.catalog, settings.profile).entries.get(name)
    row = settings.rows.get(name.partition(":")[0])
    needed: Tier = "enterprise"
    if entry or (row and (row.own or row.deployment)):
        needed = entry.tier if entry else "free"
    tiers = get_args(Tier)
    return row is not None and tiers.index(needed) <= tiers.index(caller.tier)
