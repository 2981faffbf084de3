"""How the catalog differs from the providers' own lists of models."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

from aideon_agents.errors import AideonError, RunError
from aideon_agents.ledger.pricing import HUGGING_FACE
from aideon_agents.ledger.redaction import bare_address, one_line
from aideon_agents.models.catalog.entries import Entry
from aideon_agents.models.protocol.ways import authorization, below
from aideon_agents.models.providers import ANY_MODEL
from aideon_agents.models.transport import get

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from yarl import URL

    from aideon_agents.models.catalog import Catalog
    from aideon_agents.models.providers import Provider

_SECONDS = 30.0
_MOST_PAGES = 100
_CONTEXT = ("context_length", "contextLength", "max_model_len")
"""What lists call the context of a model; the last one is vLLM's."""

_MAKES, _MEDIA = "makes", ("video", "image", "audio")
"""What a new model makes, where it is no text."""

Listed: TypeAlias = "dict[str, Any]"
"""What a provider says of one model, in its own form."""
Facts: TypeAlias = "dict[str, str]"
"""The same in ours: its context, prices and lifecycle as text, as far as they are known."""


class Change(NamedTuple):
    """One difference."""

    kind: str
    """`new`: only the provider has the model; `gone`: only the catalog has it; `ending`: the provider
    says that it ends, and the catalog does not, or on another day; `changed`: another field differs."""
    name: str
    field: str | None = None
    catalog: str | None = None
    provider: str | None = None


async def drift(
    catalog: Catalog, providers: Sequence[Provider]
) -> tuple[list[Change], dict[str, str]]:
    """The differences, and by provider why its list cannot be read."""
    answers = await asyncio.gather(*map(_offers, providers), return_exceptions=True)
    changes: list[Change] = []
    failed: dict[str, str] = {}
    for provider, answer in zip(providers, answers, strict=True):
        if isinstance(answer, AideonError | OSError):
            where = bare_address(str(provider.base_url))
            why = f"{where} does not list its models ({one_line(str(answer))})"
            variable = provider.row.base_url_env
            failed[provider.name] = why + (f": check {variable}" if variable else "")
        elif isinstance(answer, BaseException):
            raise answer
        else:
            changes += _changes(_known(catalog, provider), answer)
    return changes, failed


async def _offers(provider: Provider) -> Mapping[str, Facts]:
    """What a provider says of its models, by name."""
    listed: list[Listed] = []
    if provider.name == "together":
        with contextlib.suppress(AideonError, OSError):
            listed = await _supported(provider)
    listed = listed or _items(await _asked(provider, below(str(provider.base_url), "models")))
    models = _named(listed, "serverlessEndpoint", "name", "id")
    if provider.name == HUGGING_FACE:
        models = (
            (f"{model}:{seller}", at)
            for model, one in models
            for seller, at in _named(_items(one.get("providers")), "provider")
            if at.get("status") in (None, "live")
        )
    found = {f"{provider.name}:{model}": _facts(one) for model, one in models}
    if not found:
        raise RunError("its answer names no model")
    return found


async def _supported(provider: Provider) -> list[Listed]:
    """Together's catalog, which not every address of it has."""
    base = re.sub(r"/v1(?=/?(?:\?|$))", "", str(provider.base_url))
    query, found = {"product": "PRODUCT_SERVERLESS"}, list[Listed]()
    for _ in range(_MOST_PAGES):
        page = await _asked(provider, below(base, "v2/supported-models").update_query(query))
        found += _items(page)
        cursor = page.get("next_cursor") if isinstance(page, dict) else None
        if not isinstance(cursor, str) or cursor in ("", query.get("after")):
            break
        query["after"] = cursor
    served = (one for one in found if "PRODUCT_SERVERLESS" in (one.get("products") or ()))
    return [one for one in served if not str(one.get("status")).endswith("_HIDDEN")]


async def _asked(provider: Provider, address: URL) -> Any:
    key = provider.key.get_secret_value() if provider.key else ""
    headers = {"Authorization": authorization(str(provider.base_url), key)}
    try:
        return json.loads(await get(str(address), headers, _SECONDS))
    except (ValueError, RecursionError):
        raise RunError("its answer is not JSON") from None


def _items(answer: Any) -> list[Listed]:
    """The objects of a list, which is an answer itself or its `data`."""
    listed = cast("Listed", answer).get("data") if isinstance(answer, dict) else answer
    items = cast("list[Any]", listed if isinstance(listed, list) else [])
    return [one for one in items if isinstance(one, dict)]


def _named(models: Iterable[Listed], *keys: str) -> Iterator[tuple[str, Listed]]:
    """Models by the first of these keys that they have."""
    for one in models:
        names = (one.get(key) for key in keys)
        if name := next((name for name in names if isinstance(name, str) and name), None):
            yield one_line(name), one


def _facts(one: Listed) -> Facts:
    prices: Listed = one["pricing"] if isinstance(one.get("pricing"), dict) else {}
    found = {"price in": _amount(prices.get("input")), "price out": _amount(prices.get("output"))}
    if {*found.values()} <= {None, "0"}:  # it is not sold by the token
        found = dict[str, str | None]()
    size = next((str(one[key]) for key in _CONTEXT if one.get(key)), "")
    found["context"] = size if size.isascii() and size.isdigit() and int(size) else None
    ends = "ending" if str(one.get("status")).endswith("_DEPRECATED") else None
    words = f"{one.get('outputModalities')} {one.get('capabilities')} {one.get('type')}".lower()
    found[_MAKES] = next((kind for kind in _MEDIA if kind in words), None)
    with contextlib.suppress(KeyError, TypeError, ValueError):
        ends = f"ending {dt.date.fromisoformat(one['shutdown_date'])}"
    return {key: text for key, text in {"lifecycle": ends, **found}.items() if text}


def _amount(price: Any) -> str | None:
    """A price as text; some lists have a float's last digits, which are left out."""
    with contextlib.suppress(InvalidOperation):
        amount = Decimal(str(price))
        if amount.is_finite() and not isinstance(price, bool):
            return f"{amount.quantize(Decimal('0.0001')).normalize():f}"
    return None


def _known(catalog: Catalog, provider: Provider) -> Mapping[str, Entry]:
    """What the catalog has of a provider, and the table of a deployment."""
    row = provider.row
    known = {name: one for name, one in catalog.entries.items() if one.provider == row.name}
    if row.deployment and row.model:
        name = f"{row.name}:{row.model}"
        known.setdefault(name, Entry(name=name, context=row.context))
    return known


def _changes(known: Mapping[str, Entry], offers: Mapping[str, Facts]) -> Iterator[Change]:
    models = {_model(name) for name in known}
    for name in sorted(offers.keys() - known.keys()):
        if _model(name) not in models:  # one seller of a model is enough to show it
            models.add(_model(name))
            makes = offers[name].get(_MAKES)
            yield Change("new", name, makes and _MAKES, None, makes)
    offered = {*offers, *map(_model, offers)}
    for name, entry in sorted(known.items()):
        is_gone = entry.lifecycle.status == "retired"
        if name not in offered and not is_gone and entry.id != ANY_MODEL:
            yield Change("gone", name)
        elif name in offers and is_gone:
            yield Change("changed", name, "lifecycle", "retired", "listed")
        elif name in offers:
            ours = _ours(entry)
            for field, text in offers[name].items():
                if field != _MAKES and text not in (
                    ours.get(field),
                    ours.get("lifecycle", "").partition(" ")[0],
                ):
                    kind = "ending" if field == "lifecycle" else "changed"
                    yield Change(kind, name, field, ours.get(field), text)


def _model(name: str) -> str:
    """The name without the seller, where Hugging Face routes it."""
    return ":".join(name.split(":")[:2]) if name.startswith(f"{HUGGING_FACE}:") else name


def _ours(entry: Entry) -> Facts:
    prices, life = entry.prices, entry.lifecycle
    found = {"lifecycle": f"{life.status or 'unknown'} {life.date or ''}".rstrip()}
    if prices:
        amounts = {"price in": prices.input, "price out": prices.output}
        found |= {field: text for field, one in amounts.items() if (text := _amount(one))}
    return found | ({"context": str(entry.context)} if entry.context else {})
