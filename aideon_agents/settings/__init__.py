"""What the environment says, read once at a door and handed down.

Nothing here is read at import. The CLI adds `.env` from the working directory; a program that
uses the package as a library decides for itself.
"""

from __future__ import annotations

import functools
import getpass
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import (
    AliasChoices,
    Field,
    PositiveInt,
    PrivateAttr,
    SecretStr,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from aideon_agents.errors import UserError
from aideon_agents.settings.deployments import deployed
from aideon_agents.settings.providers import (
    NO_KEY,
    PROVIDERS,
    TABLE,
    ProviderRow,
    field_of,
    fields,
    sendable,
    web_address,
)
from aideon_agents.state import Tier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Self


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user id without a name
        return "unknown"


_COLLECTORS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def _names_a_collector() -> bool | None:
    is_off = os.environ.get("OTEL_TRACES_EXPORTER", "").strip() == "none"
    return True if any(map(os.environ.get, _COLLECTORS)) and not is_off else None


def _is_odd(value: object) -> bool:
    return isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value)


def _from(*variables: str, default: Any = None, shown: bool = True) -> Any:
    return Field(default=default, validation_alias=AliasChoices(*variables), repr=shown)


_OfProviders = create_model("_OfProviders", __base__=BaseSettings, **fields(_from))


class Settings(_OfProviders):
    """The settings in the environment, typed. The README lists every variable.

    The keys and addresses of providers are fields too, named after their variables: `openai_api_key`.
    """

    model_config = SettingsConfigDict(
        extra="ignore", frozen=True, populate_by_name=True, env_ignore_empty=True
    )

    ledger: str = Field(
        default="sqlite:///.aideon/ledger.db",
        validation_alias=AliasChoices("AIDEON_LEDGER"),
        repr=False,
    )
    """A file, or a server; its address may hold a password, so it is not shown."""
    tier: Tier = _from("AIDEON_TIER", default="premium")
    user: str = Field(default_factory=_login_name, validation_alias=AliasChoices("AIDEON_USER"))
    model_concurrency: PositiveInt = _from("AIDEON_MODEL_CONCURRENCY", default=64)
    """Model calls in flight in this process, over all graphs and nested runs."""
    offline: bool = _from("AIDEON_OFFLINE", default=False)
    """Ask only a local server on a loopback address; without one, rehearse."""
    catalog: Path | None = _from("AIDEON_CATALOG")
    """A catalog of one's own; None: the one in the wheel."""
    artifacts: Path | None = _from("AIDEON_ARTIFACTS")
    """Where the files lie that runs make; None: in `artifacts` beside the ledger."""
    key_ring: SecretStr | None = _from("AIDEON_KEY_RING")
    """The keys that seal what the service keeps: `id2:base64,id1:base64`, or a file with that."""
    public_url: str = _from("AIDEON_PUBLIC_URL", default="http://127.0.0.1:8400")
    """Where users reach the service, for links."""
    daily_report: bool = _from("AIDEON_DAILY_REPORT", default=False)
    """Whether the service sends a report of each day through the channels of alerts."""
    oidc_issuer: str | None = _from("AIDEON_OIDC_ISSUER")
    """The OpenID Connect provider that signs people in to the service; None: none does."""
    oidc_client_id: str | None = _from("AIDEON_OIDC_CLIENT_ID")
    oidc_client_secret: SecretStr | None = _from("AIDEON_OIDC_CLIENT_SECRET")
    oidc_role: Literal["viewer", "member"] | None = _from("AIDEON_OIDC_ROLE")
    """The role of people who sign in for the first time; None: only known identities may."""
    oidc_tier: Tier = _from("AIDEON_OIDC_TIER", default="free")
    otel: bool | None = Field(
        default_factory=_names_a_collector, validation_alias=AliasChoices("AIDEON_OTEL")
    )
    """Whether runs are traced with OpenTelemetry; unless set, True where its own variables name a
    collector. None: where the program has configured a tracer provider."""
    profile: Literal["current", "seed"] = _from("AIDEON_PROFILE", default="current")

    @model_validator(mode="before")
    @classmethod
    def _given(cls, values: dict[str, Any]) -> dict[str, Any]:
        """An empty variable is unset; one that Python could not decode is read as UTF-8."""
        return {
            name: os.fsencode(value).decode("utf-8", "replace") if _is_odd(value) else value
            for name, value in values.items()
            if not isinstance(value, str) or value.strip()
        }

    _deployments: tuple[ProviderRow, ...] = PrivateAttr(default_factory=deployed)
    _keys: dict[str, SecretStr] = PrivateAttr(default_factory=dict)
    """The keys of deployments, by their variables."""
    _own: frozenset[str] = PrivateAttr(default=frozenset())

    def model_post_init(self, context: Any, /) -> None:
        """Read the keys of the deployments, once, as the others are."""
        del context
        self.take_keys(os.environ)

    def take_keys(self, variables: Mapping[str, str | None], env_file: Path | None = None) -> None:
        """Take the keys of deployments from further variables; those that are known stay."""
        for name in {one for row in self._deployments for one in row.key_env}:
            value = (variables.get(name) or "").strip()
            if value and name not in self._keys:
                if env_file:
                    _refuse_reference(env_file, name, value)
                self._keys[name] = cast("SecretStr", _checked(name, SecretStr(value), sendable))

    @property
    def rows(self) -> dict[str, ProviderRow]:
        """The providers and deployments by name."""
        known = {name: row for name, row in TABLE.items() if not row.deployment}
        return known | {row.name: row for row in self._deployments}

    def key_of(self, row: ProviderRow) -> tuple[str | None, SecretStr | None]:
        """The variable that holds a provider's key, and the key; None: it needs, or has, none."""
        for variable in row.key_env:
            if found := self._value(variable):
                key = SecretStr(found) if isinstance(found, str) else found
                return variable, _checked(variable, key, sendable)
        return (row.key_env[0], None) if row.key_env else (None, SecretStr(NO_KEY))

    def address_of(self, row: ProviderRow) -> str | None:
        """Where a provider is; None: nothing says it."""
        found = self._value(row.base_url_env) if row.base_url_env else None
        return _checked(row.base_url_env, cast("str | None", found), web_address) or row.base_url

    @property
    def own_keys(self) -> frozenset[str]:
        """The providers whose keys are a user's own, and not the system's."""
        return self._own

    def with_keys(self, keys: Mapping[str, SecretStr | None], own_of: Iterable[str] = ()) -> Self:
        """The same with other keys of some providers, those of `own_of` a user's own; None: it has none."""
        fields: dict[str, SecretStr | None] = {}
        own = dict(self._keys)
        for name, key in keys.items():
            for place, variable in enumerate(self.rows[name].key_env):
                given = None if place else key
                if (field := field_of(variable)) in type(self).model_fields:
                    fields[field] = given
                elif given is None:
                    own.pop(variable, None)
                else:
                    own[variable] = given
        other = self.model_copy(update=fields)
        other._keys = own  # noqa: SLF001 - of the same class
        other._own = frozenset(own_of)  # noqa: SLF001 - as above
        left = (one for one in self._deployments if keys.get(one.name, True) is not None)
        other._deployments = tuple(left)  # noqa: SLF001 - as above
        return other

    def _value(self, variable: str) -> SecretStr | str | None:
        field = field_of(variable)
        if field in type(self).model_fields:
            return cast("SecretStr | str | None", getattr(self, field))
        return self._keys.get(variable) or os.environ.get(variable, "").strip() or None

    @property
    def can_call(self) -> bool:
        """Whether any provider of texts has its key, or needs none, and the network is allowed."""
        return any(self.reaches(row) for row in self.rows.values() if not row.media_only)

    def reaches(self, row: ProviderRow) -> bool:
        """Whether a provider or deployment can be asked: it has its address and its key, or needs none."""
        known = self.may_reach(row) and self.address_of(row) and self.key_of(row)[1] is not None
        return bool(known)

    @property
    def rehearses(self) -> bool:
        """Whether every call is rehearsed: the network is not allowed, and no local server is set."""
        return self.offline and not self.can_call

    def may_reach(self, row: ProviderRow) -> bool:
        """Whether a provider may be asked; offline only the local server, on a loopback address."""
        if not self.offline:
            return True
        host = urlsplit(self.address_of(row) or "").hostname or ""
        return (
            row.name == "local" and re.fullmatch(r"localhost|::1|127(\.\d+){3}", host) is not None
        )


_Given = TypeVar("_Given")


def _checked(variable: str, value: _Given, check: Callable[[_Given], _Given]) -> _Given:
    """A value from a variable that is no field of Settings."""
    try:
        return check(value)
    except ValueError as wrong:
        raise UserError(f"the environment variable {variable}: {wrong}") from None


_NAMES = {
    *("logname", "user", "lname", "username"),  # of the login name
    *(name.lower() for name in (*_COLLECTORS, "OTEL_TRACES_EXPORTER")),
    *(
        choice.lower()
        for field in Settings.model_fields.values()
        for choice in cast("AliasChoices", field.validation_alias).choices
        if isinstance(choice, str)
    ),
}
"""The variables that settings depend on, in lower case: pydantic-settings ignores case."""


def load(env_file: Path | None = None) -> Settings:
    """Read the environment. Without a file, what was read before is used while it is unchanged."""
    if env_file is not None:
        return _read(env_file)
    own = deployed()
    keys = {name.lower() for row in own for name in row.key_env} if own else ()
    known = (one for one in os.environ.items() if (low := one[0].lower()) in _NAMES or low in keys)
    return _as_before(frozenset(known), own)


@functools.lru_cache(maxsize=4)
def _as_before(
    variables: frozenset[tuple[str, str]], deployments: tuple[ProviderRow, ...]
) -> Settings:
    del variables, deployments  # they are read once more, and are the same
    return _read(None)


def _paired_keys(env_file: Path) -> dict[str, str | None]:
    """The keys that go with the addresses in a file, where the environment has others.

    The file may come with a folder that another user made: an address in it gets no key from
    elsewhere.
    """
    if not env_file.is_file():
        return {}
    inside = _lowered(dotenv_values(env_file, interpolate=False, encoding="utf-8"))
    outside = _lowered(os.environ)
    paired: dict[str, str | None] = {}
    with_keys = {row.base_url_env: row.key_env for row in PROVIDERS if row.key_env}
    with_keys["AIDEON_OIDC_ISSUER"] = ("AIDEON_OIDC_CLIENT_SECRET",)
    for address, keys in with_keys.items():
        if address.lower() in outside or address.lower() not in inside:
            continue
        for name in (address, *keys):
            _refuse_reference(env_file, name, inside.get(name.lower()))
        own = {key: inside.get(key.lower()) for key in keys}
        elsewhere = [key for key in keys if key.lower() in outside]
        if elsewhere and not any(own.values()):
            raise UserError(
                f"{address} is set in {env_file} and {elsewhere[0]} in the environment: a key goes "
                f"only to an address from the same place; set {address} in the environment, or the "
                f"key in {env_file}"
            )
        if elsewhere:
            paired |= own
    return paired


def _refuse_reference(env_file: Path, name: str, value: str | None) -> None:
    """Refuse a value in a file that would take in another variable, and so any key of the environment."""
    if value and "${" in value:
        raise UserError(f"{env_file}: write the value of {name} itself, not a ${{NAME}}")


def _lowered(variables: Mapping[str, str | None]) -> dict[str, str]:
    """What is set, by names in lower case: pydantic-settings ignores case."""
    return {name.lower(): value for name, value in variables.items() if value and value.strip()}


def _read(env_file: Path | None) -> Settings:
    try:
        paired = _paired_keys(env_file) if env_file else {}
        settings: Settings = cast("Any", Settings)(_env_file=env_file, **paired)
        if env_file and env_file.is_file():
            inside = dotenv_values(env_file, interpolate=False, encoding="utf-8")
            settings.take_keys(inside, env_file)
        return settings  # noqa: TRY300 - both can fail
    except UnicodeDecodeError:
        raise UserError(f"{env_file} is not text in UTF-8: it must be") from None
    except ValidationError as error:
        first = error.errors()[0]
        variable = "/".join(str(place) for place in first["loc"])
        says = first["msg"].removeprefix("Value error, ").lower()
        raise UserError(f"the environment variable {variable}: {says}") from None
