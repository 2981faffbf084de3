"""The providers: their names, addresses and keys, and what callers give as `model=`.

Commands read them without asking a model, so this module does not import LangChain. The class of its
chat models is chosen in `chain.py`, its models and their sizes are listed in `catalog.toml`.

A chat model of LangChain that is given may hold keys. So it travels as a `GivenModel`, whose text is its
name alone, and its keys are removed from all texts from then on.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

from pydantic import SecretStr

from aideon_agents.errors import AideonError, ModelNameError, UserError
from aideon_agents.ledger.pricing import OWN_SERVER
from aideon_agents.ledger.redaction import bare_address, keep_out, one_line
from aideon_agents.ledger.tags import CHAIN
from aideon_agents.settings import Settings
from aideon_agents.settings.providers import PROVIDERS as ROWS
from aideon_agents.settings.providers import TABLE, ProviderRow, add_provider
from aideon_agents.state import GivenModel, ModelChoice, ModelRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.language_models import BaseChatModel


__all__ = [
    "ANY_MODEL",
    "PROVIDERS",
    "ModelName",
    "Provider",
    "ProviderRow",
    "add_provider",
    "choices",
    "integrations",
    "private_models",
    "providers",
    "resolve",
    "with_given",
]

PROVIDERS = tuple(row.name for row in ROWS)
"""The names of the providers that need nothing but their variables."""


@dataclasses.dataclass(frozen=True)
class ModelName:
    """`provider:model`, split at the first colon."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}:{self.model}"

    @classmethod
    def parse(cls, text: str) -> ModelName:
        """Read `provider:model`; the catalog need not know the model."""
        provider, colon, model = text.strip().partition(":")
        row = TABLE.get(provider)
        if not row and provider not in integrations():
            near = difflib.get_close_matches(provider, [*TABLE, *integrations()], n=1)
            hint = f"; did you mean {near[0]}:{model or 'MODEL'}?" if near else ""
            raise ModelNameError(
                f"unknown provider {provider!r} in model {text!r}: "
                f"write provider:model with one of {', '.join(PROVIDERS)}, or a provider of "
                f"LangChain's init_chat_model, such as anthropic{hint}"
            )
        model = model or (row.model if row and colon else None) or ""
        if not model:
            raise ModelNameError(f"the model {text!r} names no model: write {provider}:MODEL")
        return cls(provider, model)

    @classmethod
    def ours(cls, text: str) -> ModelName:
        """As `parse`; refuses a provider that only LangChain knows."""
        name = cls.parse(text)
        if name.provider not in TABLE:
            raise ModelNameError(
                f"{name} cannot be in a catalog: give it to an agent as its model, or to --model"
            )
        return name


@functools.cache
def integrations() -> Mapping[str, str]:
    """The providers that LangChain's `init_chat_model` knows, and the pip package of each."""
    # It takes a tenth of a second, which only names of other providers need.
    from langchain.chat_models import base  # noqa: PLC0415 - see above

    known: Mapping[str, tuple[str, str, Any]] = base._BUILTIN_PROVIDERS  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - its only list
    return {
        prefix: module.partition(".")[0].replace("_", "-") for prefix, (module, *_) in known.items()
    }


_ASK_LOCAL_TIMEOUT = 2.0  # seconds
ANY_MODEL = "any"
"""`local:any` is the first model that the local server lists; so for servers like it."""


@dataclasses.dataclass(frozen=True)
class Provider:
    """One provider, as configured."""

    name: str
    base_url: str | None = dataclasses.field(repr=False)
    """It may hold a password or a key. None: it is not configured (a local server without an address)."""
    key: SecretStr | None
    key_variable: str | None
    """The environment variable that holds the key; None: it needs no key."""
    address_variable: str
    """The environment variable that holds its base URL."""
    row: ProviderRow
    """What it is, whatever the configuration."""
    pretend: bool = False
    """True in a rehearsal, which assumes that every provider is available."""
    own_key: bool = False
    """The key is the user's own, which opens every model of the provider whatever the tier."""

    @property
    def available(self) -> bool:
        """Whether it can be asked."""
        return self.pretend or bool(self.base_url and (self.key or self.key_variable is None))

    @property
    def missing(self) -> str:
        """The environment variable that would make it available."""
        has_key = self.key or not self.key_variable
        return self.address_variable if has_key else str(self.key_variable)


class _Known(dict[str, Provider]):
    def __missing__(self, name: str) -> Provider:
        raise ModelNameError(f"{name} is no provider here: these settings know {', '.join(self)}")


def providers(settings: Settings, *, pretend: bool = False) -> dict[str, Provider]:
    """All providers by name, configured or not; `pretend` takes every one for available."""
    known = _Known()
    for name, row in settings.rows.items():
        address, (variable, key) = settings.address_of(row), settings.key_of(row)
        if not (pretend or settings.may_reach(row)):
            address = None
        if address and ("@" in address or "?" in address):
            bare_address(address)  # which keeps its secrets out of texts
        if key and variable:
            keep_out(key.get_secret_value())
        own_key, variables = name in settings.own_keys, (variable, row.base_url_env)
        known[name] = Provider(name, address, key, *variables, row, pretend, own_key)
    return known


def private_models(known: Mapping[str, Provider]) -> list[ModelName]:
    """The models that private prompts may be sent to, where nothing says which: those of one's own."""
    own = [one for one in known.values() if one.row.private and one.available]
    named = [(one.name, one.row.model or (ANY_MODEL if _lists(one) else None)) for one in own]
    return [ModelName(provider, model) for provider, model in named if model]


def _lists(provider: Provider) -> bool:
    """Whether a server is asked which models it has."""
    return provider.row.own or provider.row.sample == ANY_MODEL


def resolve(name: ModelName, provider: Provider) -> ModelName:
    """Replace `local:any` by the first model that the server lists."""
    if name.model != ANY_MODEL or not _lists(provider):
        return name
    key = provider.key.get_secret_value() if provider.key else ""
    return dataclasses.replace(name, model=_first_model(name.provider, str(provider.base_url), key))


@functools.lru_cache(maxsize=8)
def _first_model(provider: str, base_url: str, key: str) -> str:
    # Imported here: commands that list providers need no HTTP.
    from aideon_agents.models.bridge import blocking  # noqa: PLC0415 - see above
    from aideon_agents.models.protocol.ways import authorization, below  # noqa: PLC0415 - see above
    from aideon_agents.models.transport import get  # noqa: PLC0415 - see above

    headers = {"Authorization": authorization(base_url, key)}
    asking = get(str(below(base_url, "models")), headers, _ASK_LOCAL_TIMEOUT)
    try:
        listed: Any = json.loads(blocking(asking))
        return str(listed["data"][0]["id"])
    except (AideonError, OSError, ValueError, LookupError, TypeError) as error:
        variable = TABLE[provider].base_url_env or "its base_url"
        start = "start it" if "/v1" in base_url else f"end {variable} with /v1"
        server = "local server" if provider == OWN_SERVER else f"server of {provider}"
        raise ModelNameError(
            f"the {server} at {bare_address(base_url)} does not list its models "
            f"({one_line(str(error))}): "
            f"{start}, or name one with --model ROLE={provider}:MODEL"
        ) from None


_SECRET_NAMES = ("key", "token", "secret", "password", "credential")
_OF_ENVIRONMENT = ("_KEY", "_TOKEN", "_URL", "_BASE", "_ENDPOINT", "_HOST", "_REGION", "_PROJECT")
"""Ends of the names of variables that integrations read."""


def choices(model: object, where: str) -> tuple[ModelChoice, ...]:
    """The models that a caller gives; None: it gives none. `where` begins the error."""
    if model is None or model == ():
        return ()
    listed = list(cast("Any", model)) if isinstance(model, list | tuple) else [model]
    return tuple(choice for one in listed for choice in _choices(one, where))


def _choices(model: object, where: str) -> tuple[ModelChoice, ...]:
    if isinstance(model, str | GivenModel):
        return (model,)
    from langchain_core.language_models import BaseChatModel  # noqa: PLC0415 - names need no LangChain

    if isinstance(model, BaseChatModel) and model._llm_type == CHAIN:  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - LangChain's name of a kind
        if asked := cast("Any", model).request.model:
            return asked
        raise UserError(
            f"{where}: chat_model() without a name chooses its models itself: give it to other code, "
            "and complexity= to an agent"
        )
    if isinstance(model, BaseChatModel):
        return (_given(model),)
    kind = getattr(type(model), "__name__", "object")
    raise UserError(
        f"{where}: model is a {kind}: give provider:model, a LangChain chat model, or a list of these"
        " (set tools, retries and fallbacks on the agent, not on the model)"
    )


def _given(model: BaseChatModel) -> GivenModel:
    """A chat model under the name that it gives itself for tracing."""
    params: Mapping[str, Any] = model._get_ls_params()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - LangChain's only common name of a provider
    provider = str(params.get("ls_provider") or type(model).__name__).lower().replace(":", "_")
    row = TABLE.get(provider)
    if row and (row.free or row.own_prices):  # its calls would have the price of those
        provider = type(model).__name__.lower()
    name = params.get("ls_model_name") or getattr(model, "model_id", None)
    _keep_keys_out(model)
    return GivenModel(provider, str(name or type(model).__name__), model)


def _keep_keys_out(model: BaseChatModel) -> None:
    """Register every key that a model holds."""
    for name, value in list(vars(model).items()):
        if isinstance(value, SecretStr):
            keep_out(value.get_secret_value())
        elif isinstance(value, str) and any(part in name.lower() for part in _SECRET_NAMES):
            keep_out(value)


def with_given(request: ModelRequest, *, pretend: bool) -> ModelRequest:
    """A request in which every name of an integration of LangChain has become a model.

    `pretend`: no model is asked, so it needs no key.
    """
    if not any(_is_foreign(one) for one in request.model):
        return request
    made = tuple(
        _named(cast("str", one), pretend=pretend) if _is_foreign(one) else one
        for one in request.model
    )
    return dataclasses.replace(request, model=made)


def _is_foreign(choice: ModelChoice) -> bool:
    if isinstance(choice, GivenModel):
        return False
    provider, colon, model = choice.strip().partition(":")
    return bool(colon and model) and provider not in TABLE and provider in integrations()


def _named(name: str, *, pretend: bool) -> GivenModel:
    provider, _, model = name.strip().partition(":")
    package = integrations()[provider]
    if not find_spec(package.replace("-", "_")):  # a rehearsal says so before anything is paid
        raise ModelNameError(f"{name.strip()} needs the package {package}: pip install {package}")
    if pretend:
        return GivenModel(provider, model, None)
    found = {key: value for key, value in os.environ.items() if key.endswith(_OF_ENVIRONMENT)}
    return _made(provider, model, hash(frozenset(found.items())))


@functools.lru_cache(maxsize=64)
def _made(provider: str, model: str, environment: int) -> GivenModel:  # noqa: ARG001 - a key that is set later is used
    """The model of a name, with the keys and addresses that its integration finds."""
    from langchain.chat_models import init_chat_model  # noqa: PLC0415 - as above

    try:
        made = init_chat_model(model, model_provider=provider)
    except Exception as error:  # noqa: BLE001 - integrations raise anything where a key is missing
        raise ModelNameError(f"{provider}:{model} cannot be made: {one_line(str(error))}") from None
    _keep_keys_out(made)
    return GivenModel(provider, model, made)
