"""What the environment says, read once at a door and handed down.

Nothing here is read at import. The CLI adds `.env` from the working directory; a program that
uses the package as a library decides for itself.
"""

from __future__ import annotations

import functools
import getpass
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    PositiveInt,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from aideon_agents.errors import UserError
from aideon_agents.state import Tier

if TYPE_CHECKING:
    from collections.abc import Mapping


NO_KEY = "none-needed"
"""The key of local servers, which LangChain's clients require and the servers ignore."""


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user id without a name
        return "unknown"


def _trimmed(value: object) -> object:
    """Without white space, a file's line break above all; blank is unset."""
    return (value.strip() or None) if isinstance(value, str) else value


def _sendable(key: SecretStr | None) -> SecretStr | None:
    """A key goes into a header, which takes no other characters."""
    text = key.get_secret_value() if key else ""
    if not (text.isascii() and text.isprintable()) and text:
        raise ValueError("holds characters that no key has")
    return key


def _web_address(address: str | None) -> str | None:
    if address is None:
        return None
    parts = urlsplit(address)
    known = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    if not known or any(mark.isspace() for mark in address):
        raise ValueError("is no address such as http://127.0.0.1:8000/v1")
    return address


Key = Annotated[SecretStr | None, BeforeValidator(_trimmed), AfterValidator(_sendable)]
Address = Annotated[str | None, BeforeValidator(_trimmed), AfterValidator(_web_address)]


def _is_odd(value: object) -> bool:
    return isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value)


def _from(*variables: str, default: Any = None, shown: bool = True) -> Any:
    return Field(default=default, validation_alias=AliasChoices(*variables), repr=shown)


class Settings(BaseSettings):
    """The settings in the environment, typed. The README lists every variable."""

    model_config = SettingsConfigDict(
        extra="ignore", frozen=True, populate_by_name=True, env_ignore_empty=True
    )

    together_api_key: Key = _from("TOGETHER_API_KEY")
    together_ai_api_key: Key = _from("TOGETHER_AI_API_KEY")
    """The same by its other name; the first one counts where both are set."""
    openai_api_key: Key = _from("OPENAI_API_KEY")
    hf_token: Key = _from("HF_TOKEN")
    together_base_url: Address = _from("TOGETHER_BASE_URL", shown=False)
    openai_base_url: Address = _from("OPENAI_BASE_URL", shown=False)
    hf_base_url: Address = _from("HF_BASE_URL", shown=False)
    local_base_url: Address = _from("AIDEON_LOCAL_BASE_URL", shown=False)
    """Any OpenAI-compatible server; None: there is none. An address may hold a password or a key."""
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
    """Never touch the network: rehearse."""
    catalog: Path | None = _from("AIDEON_CATALOG")
    """A catalog of one's own; None: the one in the wheel."""
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

    @property
    def can_call(self) -> bool:
        """Whether any provider has a key, or a local server is set, and the network is allowed."""
        keys = (
            self.together_api_key,
            self.together_ai_api_key,
            self.openai_api_key,
            self.hf_token,
            self.local_base_url,
        )
        return not self.offline and any(keys)


_NAMES = {
    *("logname", "user", "lname", "username"),  # of the login name
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
    return _as_before(frozenset(one for one in os.environ.items() if one[0].lower() in _NAMES))


@functools.lru_cache(maxsize=4)
def _as_before(variables: frozenset[tuple[str, str]]) -> Settings:
    del variables  # they are read once more, and are the same
    return _read(None)


_KEYS_OF = {
    "TOGETHER_BASE_URL": ("TOGETHER_API_KEY", "TOGETHER_AI_API_KEY"),
    "OPENAI_BASE_URL": ("OPENAI_API_KEY",),
    "HF_BASE_URL": ("HF_TOKEN",),
}


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
    for address, keys in _KEYS_OF.items():
        if address.lower() in outside or address.lower() not in inside:
            continue
        for name in (address, *keys):
            if "${" in inside.get(name.lower(), ""):
                raise UserError(f"{env_file}: write the value of {name} itself, not a ${{NAME}}")
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


def _lowered(variables: Mapping[str, str | None]) -> dict[str, str]:
    """What is set, by names in lower case: pydantic-settings ignores case."""
    return {name.lower(): value for name, value in variables.items() if value and value.strip()}


def _read(env_file: Path | None) -> Settings:
    try:
        paired = _paired_keys(env_file) if env_file else {}
        return cast("Any", Settings)(_env_file=env_file, **paired)
    except UnicodeDecodeError:
        raise UserError(f"{env_file} is not text in UTF-8: it must be") from None
    except ValidationError as error:
        first = error.errors()[0]
        variable = "/".join(str(place) for place in first["loc"])
        raise UserError(f"the environment variable {variable}: {first['msg'].lower()}") from None
