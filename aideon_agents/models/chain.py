"""The chain of chat models for a request: the primary, and its fallbacks."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import time
from typing import TYPE_CHECKING, Any, cast

from langchain_core.runnables.config import var_child_runnable_config

from aideon_agents import settings as environment
from aideon_agents.errors import ModelNameError, NoModel, PrivacyRule
from aideon_agents.ledger.budgets.accounts import Remaining
from aideon_agents.ledger.pricing import context_window
from aideon_agents.models import caching, catalog
from aideon_agents.models.admission import run_budget_of
from aideon_agents.models.answers.rehearsal import RehearsalChatModel
from aideon_agents.models.candidates import Candidate, breaker_for, breaker_names, distinct
from aideon_agents.models.choosing import AnyModel, Asked, Choice, cheapest_first, choose
from aideon_agents.models.fallbacks import patience_of
from aideon_agents.models.features import features_of
from aideon_agents.models.foreign import room_to_think
from aideon_agents.models.foreign.delegate import Delegate, delegated, given_candidate
from aideon_agents.models.guard import Guard
from aideon_agents.models.learning import posterior
from aideon_agents.models.learning.router import Router
from aideon_agents.models.limits.pace import pace_for, process_slots
from aideon_agents.models.pictures.sight import Sight, sight, that_see
from aideon_agents.models.protocol.ways import check_way
from aideon_agents.models.providers import (
    ModelName,
    Provider,
    private_models,
    providers,
    resolve,
    with_given,
)
from aideon_agents.models.providers.clients import client_of
from aideon_agents.models.routing import rules as routing
from aideon_agents.models.routing.chain import ModelChain
from aideon_agents.models.routing.policy import Policy, looks_for
from aideon_agents.models.strategies import in_order
from aideon_agents.settings import Settings
from aideon_agents.state import Context, GivenModel, ModelRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from decimal import Decimal

    from langchain_core.language_models import LanguageModelInput
    from langchain_core.messages import AIMessage
    from langchain_core.runnables import Runnable


_log = logging.getLogger("aideon_agents.models")

_CHAIN_SECONDS = 300.0
"""How long a chain may take if its request has no timeout."""

_MOST_CHAINS = 500
"""Chains that are kept between calls."""

_UNLIMITED = Remaining()


class _Given(Guard, Delegate):
    """A model of LangChain that is not ours."""


class _Rehearsed(Guard, RehearsalChatModel):
    """The model that would have been asked, answering by rule."""


class Models:
    """Where nodes get their models from: a `ModelSource` built from Settings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._catalog = catalog.load(settings.catalog, settings.profile)
        self._slots = process_slots(settings.model_concurrency)
        self._logged: set[str] = set()
        self._chains: dict[object, ModelChain] = {}
        self._learned = posterior.NOTHING_LEARNED
        self.router = Router.configured()
        """Prefers a model by the prompt; None: none is configured."""

    def chat(
        self, request: ModelRequest, context: Context
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The chain of chat models for `request`, which takes tools and schemas like one model."""
        budget = run_budget_of(var_child_runnable_config.get() or {})
        spare = budget.budgets.remaining(budget.run) if budget else _UNLIMITED
        if budget and (budget.budgets.ledger, True) != (
            self._learned.ledger,
            time.monotonic() < self._learned.until,
        ):
            self._learned = posterior.known_in(budget.budgets.database)
        left = spare.left if self._learned.records else None
        return self._kept(request, context, saves=spare.is_nearly_spent, left=left)

    def _kept(
        self,
        request: ModelRequest,
        context: Context,
        *,
        saves: bool = False,
        left: int | None = None,
    ) -> ModelChain:
        """A chain, made at the first call that needs it; `left` is what its budget leaves."""
        if request.model:
            request = with_given(request, pretend=context.rehearse or self.settings.offline)
        of_context = (context.tier, context.rehearse, context.stream, context.longest)
        policy = (context.fallback, context.on_rate_limit, context.is_item, context.cache)
        policy += (context.replace_retired, context.privacy)
        key = request, *of_context, *policy, saves, left, self._learned.version
        chain = self._chains.get(key)
        if chain is None:
            choice, known = self._choice(request, context, left)
            chain = self._chain(choice, known, request, context, saves=saves)
            if len(chain.candidates) < len(choice.chain):
                return chain  # a local server that is off now may be there for the next call
            if len(self._chains) >= _MOST_CHAINS:
                self._chains.clear()
            self._chains[key] = chain
        return chain

    def _chain(
        self,
        choice: Choice,
        known: Mapping[str, Provider],
        request: ModelRequest,
        context: Context,
        *,
        saves: bool,
    ) -> ModelChain:
        chain = list(enumerate(self._resolved(choice.chain, known)))
        if saves and chain != (cheapest := cheapest_first(chain, request)):
            chain, choice = cheapest, dataclasses.replace(choice, rule="budget")
        return self._made(chain, choice, known, request, context)

    def _made(
        self,
        chain: Sequence[tuple[int, AnyModel]],
        choice: Choice,
        known: Mapping[str, Provider],
        request: ModelRequest,
        context: Context,
    ) -> ModelChain:
        """A chain of models, each with its rank."""
        models = distinct([self._model(name, known, request, context) for _, name in chain])
        candidates = tuple(model.candidate for model in models)
        stays = all(one.row.private or one.rehearsed for one in candidates)
        first = models[0].candidate
        # Where there is no other model to ask, a server has the time that it needs to start.
        start = first.row.cold_start if len(models) == 1 and not first.rehearsed else 0.0
        seconds = request.timeout or _CHAIN_SECONDS + start
        return ModelChain(
            runnable=models[0],
            fallbacks=models[1:],
            candidates=candidates,
            ranks=tuple(rank for rank, _ in chain),
            choices=tuple(choice.row(name) for _, name in chain),
            seconds=seconds,
            patience=patience_of(request, context, seconds),
            slots=self._slots,
            logged=self._logged,
            policy=models[0].policy,
            private=None if stays else functools.partial(self._private, request, context),
        )

    def _private(self, request: ModelRequest, context: Context, rule: PrivacyRule) -> ModelChain:
        """The chain for private prompts: models that may receive them; raises the rule without one."""
        choice, known = self._choice(request, context)
        names: Sequence[AnyModel] = [
            one
            for one in (choice.chain if request.model else ())
            if self._model(one, known, request, context).candidate.row.private
        ]
        if not names:
            unnamed = dataclasses.replace(request, model=(), steps_up=0)
            asked = Asked(streams=context.stream, private=rule.kind)
            with contextlib.suppress(NoModel):  # what lacks an ability says so when it is asked
                names = choose(unnamed, context.tier, self._catalog, known, asked=asked).chain
        if not (names := names or private_models(known)):
            raise rule
        try:
            chain = list(enumerate(self._resolved(in_order(names, request, context), known)))
        except ModelNameError as off:
            raise PrivacyRule(rule.kind, "the prompt", str(off)) from None
        return self._made(chain, choice, known, request, context)

    def _policy(self, request: ModelRequest, context: Context) -> Policy:
        """What is done about private prompts."""
        own = private_models(providers(self.settings))
        looks = looks_for(request.privacy, context.privacy, has_own_server=bool(own))
        return Policy(looks, routing.load(self.settings.catalog), str(own[0]) if own else None)

    def window(self, request: ModelRequest, context: Context) -> int | None:
        """Tokens of prompt and answer that every model of the chain for `request` can take.

        The answer has the room of the request: what thoughts need besides is left out. Models of
        unknown size are left out too; None: no size is known.
        """
        chain = self._kept(request, context)
        models = cast("Any", zip(chain.candidates, (chain.runnable, *chain.fallbacks), strict=True))
        return min(
            [
                one.window - (model.max_tokens or 0) + request.max_tokens
                for one, model in models
                if one.window
            ],
            default=None,
        )

    def discount(self, name: str) -> Decimal | None:
        """What the catalog says that a batch of its provider saves, as a share; None: nothing."""
        entry = self._catalog.entries.get(name)
        return entry.batch_discount if entry else None

    def roomiest(self, request: ModelRequest, context: Context) -> int | None:
        """Tokens of prompt and answer that the largest model can take; None: a size is unknown."""
        candidates = self._kept(request, context).candidates
        sizes = [one.window for one in candidates]
        return None if None in sizes else max(size or 0 for size in sizes)

    def _choice(
        self, request: ModelRequest, context: Context, left: int | None = None
    ) -> tuple[Choice, Mapping[str, Provider]]:
        """The models to ask and the providers; in a rehearsal only the primary."""
        rehearse = context.rehearse or self.settings.rehearses
        known = providers(self.settings, pretend=rehearse)
        request, replaced = self._catalog.up_to_date(request, replaces=context.replace_retired)
        asked = Asked(streams=context.stream)
        kind = request.modality
        choice = choose(request, context.tier, self._catalog, known, modality=kind, asked=asked)
        for line in choice.ending:
            if line not in self._logged:
                self._logged.add(line)
                _log.warning("%s", line)
        if request.first:
            choice = posterior.with_first(choice, request.first)
        elif self._learned.records and not (request.model or rehearse):
            choice = posterior.by_outcomes(choice, request, self._learned, left)
        see = that_see(choice.chain, self._catalog, known) if request.vision else choice.chain
        chain = see[:1] if rehearse else in_order(see, request, context)
        return dataclasses.replace(choice, chain=tuple(chain), replaced=replaced), known

    def _resolved(
        self, names: Sequence[AnyModel], known: Mapping[str, Provider]
    ) -> Iterator[AnyModel]:
        """The names, with `local:any` replaced; without its server, if there are other models."""
        for name in names:
            if isinstance(name, GivenModel):
                yield name
                continue
            provider = known[name.provider]
            try:
                yield name if provider.pretend else resolve(name, provider)
            except ModelNameError as off:
                if len(names) == 1:
                    raise
                if str(off) not in self._logged:
                    self._logged.add(str(off))
                    _log.warning("%s", off)

    def _model(
        self, name: AnyModel, known: Mapping[str, Provider], request: ModelRequest, context: Context
    ) -> Any:
        """The guarded chat model of a candidate."""
        is_rehearsed = context.rehearse or self.settings.rehearses
        if isinstance(name, GivenModel):
            if self.settings.offline and not is_rehearsed:
                raise ModelNameError(
                    f"{name} is not a local server, and AIDEON_OFFLINE is set: unset it"
                )
            provider, candidate = None, given_candidate(name, self._slots.limit, is_rehearsed)
            if name.inner is not None and not is_rehearsed:
                fields = delegated(name.inner, candidate, request, context)
                fields |= caching.keeping(request, context)
                fields["policy"] = self._policy(request, context)
                return caching.kept(_Given, fields)(**fields)
        else:
            provider = known[name.provider]
            if provider.row.media_only:
                raise ModelNameError(f"{name} makes no texts: name another model")
            entry, seeing = (
                self._catalog.entries.get(str(name)),
                sight(self._catalog, name, provider),
            )
            size = entry.context if entry else None
            candidate = candidate_of(name, provider, self._slots.limit, seeing, size)
        is_reasoning = str(name) in self._catalog.reasoning
        thinks = is_reasoning or candidate.features.thinks
        roomy = (
            room_to_think(candidate.window, request) if request.may_think else request.max_tokens
        )
        options: dict[str, Any] = {
            "candidate": candidate,
            "model": name.model,
            "max_tokens": roomy if thinks else request.max_tokens,
            "temperature": None if is_reasoning else request.temperature,
            # Explicit either way: a viewer that listens must not turn streaming on.
            "streaming": context.stream,
            "policy": self._policy(request, context),
        }
        if provider is None or provider.pretend:
            return _Rehearsed(provider=name.provider, longest=context.longest, **options)
        check_way(str(provider.base_url))
        return client_of(
            provider.row.dialect,
            **options,
            **caching.keeping(request, context),
            api_key=provider.key,
            base_url=provider.base_url,
            room_to_think=None if thinks else roomy,
            effort=request.reasoning_effort,
        )


@functools.lru_cache(maxsize=256)
def candidate_of(
    name: ModelName, provider: Provider, limit: int, seeing: Sight, size: int | None
) -> Candidate:
    """The candidate of a model, which is the process's: what one run learns holds for the next."""
    key = provider.key.get_secret_value() if provider.key else ""
    identity = (str(provider.base_url), provider.pretend, hash(key))
    row = provider.row
    address = f"pretend:{name.provider}" if provider.pretend else identity[0]
    named = functools.partial(
        breaker_names, name.provider, key_name=provider.key_variable, address=identity[0], key=key
    )
    return Candidate(
        name=str(name),
        provider=name.provider,
        model=name.model,
        key_variable=provider.key_variable,
        address_variable=provider.address_variable,
        address=identity[0],
        rehearsed=provider.pretend,
        window=size
        or row.context
        or (None if row.own_prices else context_window(name.provider, name.model)),
        model_breaker=breaker_for(*identity, name.model, named=named(name.model)),
        key_breaker=breaker_for(*identity, named=named("")),
        # A server of one's own has one limit for all its models.
        pace=pace_for(limit, name.provider, *identity, *(() if row.own else (name.model,))),
        features=features_of(address, name.model, json_schema=row.json_schema, tools=row.tools),
        row=row,
        **seeing._asdict(),
    )


@functools.lru_cache(maxsize=16)
def models_for(settings: Settings) -> Models:
    """The process's models for some settings. Its runs share them, and so their chains."""
    return Models(settings)


@functools.lru_cache(maxsize=1)
def default_models() -> Models:
    """The models of a graph that is invoked directly: the environment's, read at the first call."""
    return models_for(cast("Any", environment.load()))
