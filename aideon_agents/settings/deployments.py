"""Deployments of one's own: the tables `[tool.aideon.deployments.NAME]` in ./pyproject.toml.

A deployment is a server with OpenAI's protocol that the user runs or rents: vLLM, Ollama, an Inference
Endpoint of Hugging Face, a dedicated endpoint of Together, a service of Anyscale. Models of it are named
`NAME:model`, or `NAME:` for the one in its table.
"""

from __future__ import annotations

import difflib
import functools
import os
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from aideon_agents.errors import UserError
from aideon_agents.settings.providers import PROVIDERS, TABLE, ProviderRow

FILE = "pyproject.toml"
_TABLE = "tool.aideon.deployments"
_COLD_START = 600.0
"""Seconds that a server may take to start unless its table says otherwise."""
_KEYS = (
    *("base_url", "key_env", "model", "vision", "tools", "json_schema", "context", "image_tokens"),
    *("private", "price_in", "price_out", "price_per_hour", "cold_start"),
)


def deployed() -> tuple[ProviderRow, ...]:
    """The deployments of the working directory; an unchanged file is not read again."""
    version = version_of(FILE)
    rows = _read(*version) if version else ()
    TABLE.update({row.name: row for row in rows})
    return rows


def version_of(path: str | os.PathLike[str]) -> tuple[int, ...]:
    """What changes when a file does; empty: it cannot be seen."""
    try:
        at = os.stat(path)  # noqa: PTH116 - each run of a library does it, and a Path takes longer
    except OSError:
        return ()
    return at.st_dev, at.st_ino, at.st_mtime_ns, at.st_size


@functools.lru_cache(maxsize=8)
def _read(*version: int) -> tuple[ProviderRow, ...]:
    del version
    try:
        # By its relative path: where LangGraph's server runs it, nothing may ask for the folder.
        text = Path(FILE).read_text("utf-8")
        if "deployments" not in text:
            return ()
        found: Any = tomllib.loads(text, parse_float=Decimal)
    except (OSError, ValueError) as error:
        raise UserError(f"{FILE} cannot be read: {error}") from None
    for part in _TABLE.split("."):
        found = found.get(part, {}) if isinstance(found, dict) else {}
    if not isinstance(found, dict):
        raise UserError(f"{FILE}: {_TABLE} must hold a table for each deployment")
    return tuple(_row(name, table) for name, table in cast("dict[str, Any]", found).items())


def _row(name: str, table: object) -> ProviderRow:
    where = f"{FILE}: {_TABLE}.{name}"
    if not isinstance(table, dict):
        raise UserError(f"{where} must be a table with base_url and more")
    given = cast("dict[str, Any]", table)
    if name in {row.name for row in PROVIDERS}:
        raise UserError(f"{where}: {name} is a provider: give the deployment another name")
    for key in given:
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the keys are {', '.join(_KEYS)}"
            raise UserError(f"{where}.{key} is no key of a deployment: {hint}")
    if not given.get("base_url"):
        raise UserError(f"{where} needs base_url, such as http://127.0.0.1:8000/v1")
    if ("price_in" in given) != ("price_out" in given):
        other = "price_out" if "price_in" in given else "price_in"
        raise UserError(f"{where} needs {other} too: USD for a million tokens")
    always = ("own", "deployment", "own_prices", "gives_no_reason")
    fixed: dict[str, Any] = {"name": name, **dict.fromkeys(always, True)}
    try:
        return ProviderRow.model_validate({"cold_start": _COLD_START, **given, **fixed})
    except ValidationError as error:
        first = error.errors()[0]
        field = first["loc"][0]
        if field == "name":
            raise UserError(f"{where}: a name has letters, digits, '.', '_' and '-'") from None
        if field == "key_env":
            raise UserError(
                f"{where}.key_env names the variable that holds the key, such as PROD_API_KEY"
            ) from None
        says = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{where}.{field}: {says[:1].lower()}{says[1:]}") from None
