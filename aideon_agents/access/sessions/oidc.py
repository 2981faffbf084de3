"""Signing in with an OpenID Connect provider: the authorization code flow with PKCE, state and nonce.

The browser keeps one secret for the time of a sign-in, in a cookie. State, nonce and the verifier of
PKCE are digests of it, so no process keeps anything. This module needs the extra `oidc`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx2
from authlib.integrations.base_client import OAuthError
from authlib.integrations.starlette_client import StarletteOAuth2App
from joserfc.errors import JoseError

from aideon_agents.access.sessions import IssuerError
from aideon_agents.errors import NotAllowed, UserError, shown

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from aideon_agents.settings import Settings

_SECONDS = 10.0
_BASIC = "client_secret_basic"
_LONGEST = 255
_ALGORITHMS = [
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA", "Ed25519"),
]
"""Signatures that only the provider can make: never `none`, and none with a shared secret."""


def check(settings: Settings) -> None:
    """Refuse settings with which no user could sign in."""
    try:
        parts = urlsplit(str(settings.oidc_issuer))
    except ValueError:
        parts = urlsplit("")
    is_near = parts.hostname in {"localhost", "127.0.0.1", "::1"} and parts.scheme == "http"
    is_whole = bool(parts.hostname) and not parts.query and not parts.fragment
    if not is_whole or not (is_near or parts.scheme == "https"):
        raise UserError("AIDEON_OIDC_ISSUER must be an https:// URL without ? and #")
    if not settings.oidc_client_id:
        raise UserError("AIDEON_OIDC_ISSUER needs AIDEON_OIDC_CLIENT_ID as well")


async def begin(settings: Settings, secret: str, back: str) -> str:
    """The address at the provider to which a browser goes; the provider sends it `back`."""
    words = {name: _derived(secret, name) for name in ("state", "nonce", "code_verifier")}
    with _understood():
        made = await (await _provider(settings)).create_authorization_url(back, **words)
    return made["url"]


async def finish(
    settings: Settings, secret: str, back: str, answer: Mapping[str, str]
) -> tuple[str, str, str | None]:
    """Who was signed in, from what a browser brings back: issuer, subject and a name to show."""
    issuer, state = str(settings.oidc_issuer), answer.get("state", "").encode()
    if not secret or not hmac.compare_digest(state, _derived(secret, "state").encode()):
        raise NotAllowed("this sign-in was not begun in this browser, or is too old: begin again")
    wanted: Any = {
        "iss": {"essential": True, "value": issuer},
        "aud": {"essential": True, "value": settings.oidc_client_id},
    }
    with _understood():
        provider = await _provider(settings)
        is_named = provider.server_metadata.get("authorization_response_iss_parameter_supported")
        if ("iss" in answer or is_named) and answer.get("iss") != issuer:
            raise NotAllowed("the answer comes from another provider: begin again")
        if "code" not in answer:
            why = shown(answer.get("error", "no code"))
            raise NotAllowed(f"the provider has not signed you in ({why}): begin again")
        given = {"code": answer["code"], "code_verifier": _derived(secret, "code_verifier")}
        token = await provider.fetch_access_token(back, **given)
        nonce = _derived(secret, "nonce")
        claims: Any = await provider.parse_id_token(token, nonce, claims_options=wanted)
        subject, name = claims["sub"], claims.get("name") or claims.get("preferred_username")
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST:
        raise NotAllowed("the provider's token names no subject: begin again")
    is_name = isinstance(name, str) and name.isprintable() and len(name) <= _LONGEST
    return issuer, subject, name if is_name else None


def _derived(secret: str, use: str) -> str:
    """A word for one use, from which neither the secret nor another word can be found."""
    digest = hmac.digest(secret.encode(), use.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


async def _provider(settings: Settings) -> Any:
    """The provider, with what it says of itself."""
    issuer, secret = str(settings.oidc_issuer), settings.oidc_client_secret
    options = {"scope": "openid profile", "code_challenge_method": "S256", "timeout": _SECONDS}
    made: Any = StarletteOAuth2App(
        None,
        "oidc",
        client_id=settings.oidc_client_id,
        client_secret=secret and secret.get_secret_value(),
        server_metadata_url=f"{issuer.rstrip('/')}/.well-known/openid-configuration",
        client_kwargs=options,
    )
    about = await made.load_server_metadata()
    if about.get("issuer") != issuer:
        name = shown(about.get("issuer"))
        raise IssuerError(f"the provider calls itself {name}: AIDEON_OIDC_ISSUER must be the same")
    about["id_token_signing_alg_values_supported"] = _ALGORITHMS
    if _BASIC not in (about.get("token_endpoint_auth_methods_supported") or [_BASIC]):
        options["token_endpoint_auth_method"] = "client_secret_post"  # noqa: S105 - how, not what
    return made


@contextlib.contextmanager
def _understood() -> Generator[None]:
    """What goes wrong with a provider, as an error of ours; its words may hold what was sent."""
    try:
        yield
    except (OAuthError, JoseError) as error:
        why = shown(getattr(error, "error", None) or type(error).__name__)
        raise NotAllowed(f"the provider's answer is not valid ({why}): begin again") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        why = type(error).__name__
        raise IssuerError(f"the provider cannot be asked ({why}): try again") from None
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        why = type(error).__name__
        raise IssuerError(f"the provider answers what it must not ({why}): try again") from None
