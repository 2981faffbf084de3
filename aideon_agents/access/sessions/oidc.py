"""Signing in with an OpenID Connect provider: the authorization code flow with PKCE, state and nonce.

The browser keeps one secret for the time of a sign-in, in a cookie. State, nonce and the verifier of
PKCE are digests of it, so no process keeps anything. This module needs the extra `oidc`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, KeySet
from joserfc.jws import JWSRegistry

from aideon_agents.access.sessions import IssuerError
from aideon_agents.errors import NotAllowed, UserError, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aideon_agents.settings import Settings

_SECONDS = 10.0
_LARGEST = 1024 * 1024
_LEEWAY_S = 120
"""How far the provider's clock may be off."""
_ALGORITHMS = [
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA", "Ed25519"),
]
"""Signatures that only the provider can make: never `none`, and none with a shared secret."""
_PATHS = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_LONGEST_SUBJECT = 255


def check(settings: Settings) -> None:
    """Refuse settings with which no user could sign in."""
    issuer = str(settings.oidc_issuer)
    if not _is_safe(issuer, issuer):
        raise UserError("AIDEON_OIDC_ISSUER must be an https:// URL without ? and #")
    if not settings.oidc_client_id:
        raise UserError("AIDEON_OIDC_ISSUER needs AIDEON_OIDC_CLIENT_ID as well")


async def begin(settings: Settings, secret: str, back: str) -> str:
    """The address at the provider to which a browser goes; the provider sends it `back`."""
    about = await _discovered(settings)
    asked = {
        "response_type": "code",
        "client_id": settings.oidc_client_id,
        "redirect_uri": back,
        "scope": "openid profile",
        "state": derived(secret, "state"),
        "nonce": derived(secret, "nonce"),
        "code_challenge": create_s256_code_challenge(derived(secret, "verifier")),
        "code_challenge_method": "S256",
    }
    address = about["authorization_endpoint"]
    return f"{address}{'&' if urlsplit(address).query else '?'}{urlencode(asked)}"


async def finish(
    settings: Settings, secret: str, back: str, answer: Mapping[str, str]
) -> tuple[str, str, str | None]:
    """Who was signed in, from what a browser brings back: issuer, subject and a name to show."""
    state = answer.get("state", "").encode()
    if not secret or not hmac.compare_digest(state, derived(secret, "state").encode()):
        raise NotAllowed("this sign-in was not begun in this browser, or is too old: begin again")
    about = await _discovered(settings)
    is_named = "iss" in answer or about.get("authorization_response_iss_parameter_supported")
    if is_named and answer.get("iss") != settings.oidc_issuer:
        raise NotAllowed("the answer comes from another provider: begin again")
    if "code" not in answer:
        why = shown(answer.get("error", "no code"))
        raise NotAllowed(f"the provider has not signed you in ({why}): begin again")
    form = {
        "grant_type": "authorization_code",
        "code": answer["code"],
        "redirect_uri": back,
        "code_verifier": derived(secret, "verifier"),
    }
    token = await _ask(about["token_endpoint"], **_as_client(settings, about, form))
    keys = await _ask(about["jwks_uri"])
    claims = _claims(settings, token, keys, derived(secret, "nonce"))
    subject, name = claims["sub"], claims.get("name") or claims.get("preferred_username")
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_SUBJECT:
        raise IssuerError("the provider's token names no subject")
    is_name = isinstance(name, str) and name.isprintable() and len(name) <= _LONGEST_SUBJECT
    return str(settings.oidc_issuer), subject, name if is_name else None


def derived(secret: str, use: str) -> str:
    """A word for one use, from which neither the secret nor another word can be found."""
    digest = hmac.digest(secret.encode(), use.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _as_client(
    settings: Settings, about: Mapping[str, Any], form: dict[str, str]
) -> dict[str, Any]:
    """The form with what shows that this service sends it, as the provider takes it."""
    client, password = str(settings.oidc_client_id), settings.oidc_client_secret
    if password is None:
        return {"form": {**form, "client_id": client}}
    word = password.get_secret_value()
    known = about.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    if "client_secret_basic" in known:
        pair = f"{quote(client, safe='')}:{quote(word, safe='')}"
        basic = base64.b64encode(pair.encode()).decode()
        return {"form": form, "heads": {"Authorization": f"Basic {basic}"}}
    return {"form": {**form, "client_id": client, "client_secret": word}}


def _claims(
    settings: Settings, token: Mapping[str, Any], keys: Mapping[str, Any], nonce: str
) -> dict[str, Any]:
    """What a token says that the provider has signed for this sign-in."""
    found = []
    for one in keys["keys"] if isinstance(keys.get("keys"), list) else ():
        with contextlib.suppress(JoseError, ValueError, TypeError, KeyError, AttributeError):
            if one.get("use", "sig") == "sig" and one.get("kty") != "oct":
                found.append(JWKRegistry.import_key(one))
    registry = JWSRegistry(algorithms=_ALGORITHMS, strict_check_header=False)
    wanted: Any = {
        "iss": {"essential": True, "value": settings.oidc_issuer},
        "aud": {"essential": True, "value": settings.oidc_client_id},
    }
    given = {"nonce": nonce, "client_id": settings.oidc_client_id}
    given["access_token"] = token.get("access_token")
    try:
        decoded = jwt.decode(token["id_token"], KeySet(found), registry=registry)
        claims = CodeIDToken(decoded.claims, decoded.header, wanted, given)
        claims.validate(leeway=_LEEWAY_S)
    except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
        why = getattr(error, "error", None) or type(error).__name__
        raise NotAllowed(f"the provider's token is not valid ({why}): begin again") from None
    return dict(claims)


async def _discovered(settings: Settings) -> dict[str, Any]:
    """What the provider says of itself."""
    issuer = str(settings.oidc_issuer)
    about = await _ask(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if about.get("issuer") != issuer:
        name = shown(str(about.get("issuer")))
        raise IssuerError(f"the provider calls itself {name}: AIDEON_OIDC_ISSUER must be the same")
    for name in _PATHS:
        if not _is_safe(about.get(name), issuer, query=True):
            raise IssuerError(f"the provider's {name} is no https:// URL")
    return about


def _is_safe(address: object, issuer: str, *, query: bool = False) -> bool:
    """Whether what an address is sent is safe on its way."""
    try:
        parts, own = urlsplit(str(address)), urlsplit(issuer)
        is_near = parts.hostname in {"localhost", "127.0.0.1", "::1"}
    except ValueError:
        return False
    is_plain = parts.scheme == "http" and is_near and own.scheme == "http"
    is_whole = bool(parts.hostname) and not parts.fragment and (query or not parts.query)
    return is_whole and (parts.scheme == "https" or is_plain)


async def _ask(
    address: str,
    *,
    form: Mapping[str, str] | None = None,
    heads: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The JSON object that the provider answers with."""
    where = f"the provider at {shown(urlsplit(address).netloc)}"
    method = "GET" if form is None else "POST"
    accepts = {"Accept": "application/json", **(heads or {})}
    try:
        async with (
            asyncio.timeout(_SECONDS),
            aiohttp.ClientSession(trust_env=True) as session,
            session.request(
                method, address, data=form, headers=accepts, allow_redirects=False
            ) as answer,
        ):
            text = b""
            while len(text) < _LARGEST and (piece := await answer.content.read(_LARGEST)):
                text += piece
    except TimeoutError:
        raise IssuerError(f"{where} has not answered within {_SECONDS:g} s: try again") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        why = type(error).__name__
        raise IssuerError(f"{where} cannot be asked ({why}): try again") from None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if form is not None and isinstance(found, dict) and "error" in found:
        raise NotAllowed(f"{where} does not take the sign-in ({shown(str(found['error']))})")
    if answer.status != 200 or not isinstance(found, dict):  # noqa: PLR2004 - HTTP's OK
        raise IssuerError(f"{where} answers {answer.status} without the JSON object that is due")
    return found
