"""Deployments of one's own: the tables `[tool.aideon.deployments.NAME]` in ./pyproject.toml.

A deployment is a server with OpenAI's protocol that the user runs or rents: vLLM, Ollama, an Inference
Endpoint of Hugging Face, a dedicated endpoint of Together, a service of Anyscale. Models of it are named
`NAME:model`, or `NAME:` for the one in its table.
"""

from __future__ import annotations

import difflib
import functools
import os
import re
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

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
_OF_OTHERS = frozenset(
    """
    AIDEON AI21 ANTHROPIC ARCEE AZURE BASETEN BEDROCK BRAVE CEREBRAS CLAUDE CO COHERE DASHSCOPE DEEPGRAM
    DEEPINFRA DEEPSEEK ELEVENLABS EXA FAL FIREWORKS GEMINI GIGACHAT GROQ HUGGING HUGGINGFACE
    HUGGINGFACEHUB IBM JINA MINIMAX MISTRAL MOONSHOT NVIDIA OCI OPENAI OPENROUTER PERPLEXITY PPLX RUNWAY
    RUNWAYML SAMBANOVA SERPAPI SERPER STABILITY TAVILY UPSTAGE VERTEX VOYAGE WATSONX XAI ZHIPUAI
    BRAINTRUST COMET HELICONE LANGCHAIN LANGFUSE LANGGRAPH LANGSMITH LOGFIRE MLFLOW OTEL WANDB
    CHROMA MILVUS PINECONE QDRANT WEAVIATE
    ALIBABA ALICLOUD AMAZON AWS CF CLOUDFLARE DIGITALOCEAN FIREBASE FLY GCLOUD GCP GOOGLE HEROKU HETZNER
    LINODE NETLIFY RAILWAY RENDER SCALEWAY SUPABASE VERCEL
    DATABASE DATABRICKS DB ELASTIC MARIADB MONGO MONGODB MSSQL MYSQL NEO4J ORACLE PG PGPASSWORD POSTGRES
    POSTGRESQL RABBITMQ REDIS SNOWFLAKE
    ACTIONS ATLASSIAN BITBUCKET BUILDKITE CARGO CI CIRCLE CODECOV CONFLUENCE DOCKER GH GIT GITEA GITHUB
    GITLAB GPG JENKINS JIRA KUBE KUBERNETES NODE NPM PIP POETRY PULUMI PYPI RUNNER SNYK SONAR SSH TERRAFORM
    TF TWINE UV VAULT
    AIRTABLE ALGOLIA AUTH0 CONSUL DATADOG DD DISCORD DROPBOX FACEBOOK FIGMA HUBSPOT INTERCOM LINEAR
    MAILCHIMP MAILGUN MAPBOX MATTERMOST MICROSOFT NEWRELIC NOTION OKTA PAGERDUTY PAYPAL PLAID POSTMARK
    RESEND SALESFORCE SEGMENT SENDGRID SENTRY SHOPIFY SLACK SMTP SQUARE STRIPE TELEGRAM TODOIST TRELLO
    TWILIO TWITTER ZENDESK ZOOM
    CELERY COOKIE DJANGO ENCRYPTION FLASK JWT NEXTAUTH RAILS SECRET SESSION SIGNING
    """.split()  # noqa: SIM905 - a literal would have a line for each word
)
"""First words of variables that hold the secrets of other services and of web applications."""
_OF_SECRETS = ("KEY", "TOKEN", "SECRET", "PASS", "AUTH", "CRED")
"""What the name of a variable with a key contains; `HOME` and `DATABASE_URL` hold other things."""


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


def table(name: str) -> dict[str, Any]:
    """The table `[tool.aideon.NAME]` in ./pyproject.toml; an unchanged file is not read again."""
    version = version_of(FILE)
    return _table(name, *version) if version else {}


@functools.lru_cache(maxsize=16)
def _table(name: str, *version: int) -> dict[str, Any]:
    del version
    try:
        # By its relative path: where LangGraph's server runs it, nothing may ask for the folder.
        text = Path(FILE).read_text("utf-8")
        if name not in text:
            return {}
        found: Any = tomllib.loads(text, parse_float=Decimal)
    except (OSError, ValueError) as error:
        raise UserError(f"{FILE} cannot be read: {error}") from None
    for part in ("tool", "aideon", name):
        found = found.get(part, {}) if isinstance(found, dict) else {}
    if not isinstance(found, dict):
        raise UserError(f"{FILE}: tool.aideon.{name} must be a table")
    return cast("dict[str, Any]", found)


@functools.lru_cache(maxsize=8)
def _read(*version: int) -> tuple[ProviderRow, ...]:
    return tuple(_row(name, table) for name, table in _table("deployments", *version).items())


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
        row = ProviderRow.model_validate({"cold_start": _COLD_START, **given, **fixed})
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
    _check_keys(row, where)
    return row


def _check_keys(row: ProviderRow, where: str) -> None:
    """Refuse variables whose keys the deployment must not get."""
    for variable in row.key_env:
        if why := _not_its_key(variable, str(row.base_url)):
            raise UserError(
                f"{where}.key_env: {variable} {why}: put the key of the deployment into a variable of "
                f"its own, such as {_own_variable(row.name)}"
            )


def _not_its_key(variable: str, address: str) -> str | None:
    """Why the address in a file gets no key from a variable; None: it gets it.

    The file may come with a folder that another user made, and choose any address and any variable.
    """
    known, place = variable.upper(), urlsplit(address)
    for one in PROVIDERS:
        if known in one.key_env:
            home = urlsplit(one.base_url or "")
            is_home = (place.scheme, place.netloc.lower()) == (home.scheme, home.netloc)
            only = f" and goes to {home.scheme}://{home.netloc} only" if home.netloc else ""
            return None if is_home else f"is the key of {one.name}{only}"
    if known.partition("_")[0] in _OF_OTHERS:
        return "may hold the key of another service"
    return None if any(one in known for one in _OF_SECRETS) else "is not named like a key"


def _own_variable(name: str) -> str:
    """The name of a variable for the key of a deployment."""
    start = re.sub(r"[^A-Z0-9]", "_", name.upper())
    is_free = start.isascii() and start[0].isalpha() and start.partition("_")[0] not in _OF_OTHERS
    return f"{start}_API_KEY" if is_free else f"MY_{start}_API_KEY"
