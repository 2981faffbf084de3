"""Signing in: the page of a link, API keys, and OpenID Connect over real HTTP with real providers."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.server
import importlib
import json
import re
import sys
import threading
import time
import warnings
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from aideon_agents.access import api_keys, audit, sessions, users
from aideon_agents.access.audit import By
from aideon_agents.api.app import create_app
from aideon_agents.errors import UserError

BY = By("root", address="cli")
CLIENT, SECRET = "aideon", "quite a secret: 100 %"
KEY = RSAKey.generate_key(2048, {"kid": "first", "use": "sig"})
OTHER = RSAKey.generate_key(2048, {"kid": "first", "use": "sig"})


class Provider:
    """A provider that does all that OpenID Connect asks for, and what a test wants wrong."""

    def __init__(self):
        self.about, self.claims, self.token, self.answers = {}, {}, {}, {}
        self.header, self.keys, self.signs = {"alg": "RS256", "kid": "first"}, [KEY], KEY
        self.codes, self.seen = {}, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def answer(self, status, body):
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self):
                path = urlsplit(self.path).path
                if path in outer.answers:
                    return self.answer(*outer.answers[path])
                if path == "/.well-known/openid-configuration":
                    return self.answer(200, outer.described())
                return self.answer(
                    200, {"keys": [one.as_dict(private=False) for one in outer.keys]}
                )

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                form = dict(parse_qsl(body))
                outer.seen.append((dict(self.headers), form))
                if "/token" in outer.answers:
                    return self.answer(*outer.answers["/token"])
                return self.answer(*outer.exchanged(form))

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def described(self):
        paths = {"authorization_endpoint": "/authorize", "token_endpoint": "/token"}
        paths["jwks_uri"] = "/keys"
        found = {name: self.issuer + path for name, path in paths.items()}
        return {"issuer": self.issuer, **found, **self.about}

    def authorize(self, address):
        """What a browser brings back when the person has signed in at an address."""
        asked = {name: one for name, (one,) in parse_qs(urlsplit(address).query).items()}
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = f"code-{len(self.codes)}"
        self.codes[code] = asked
        return {"code": code, "state": asked["state"]}

    def exchanged(self, form):
        asked = self.codes.pop(form.get("code"), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if asked is None or challenge != asked["code_challenge"]:
            return 400, {"error": "invalid_grant"}
        if form["redirect_uri"] != asked["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        at = int(time.time())
        claims = {"iss": self.issuer, "sub": "7", "aud": CLIENT, "exp": at + 600, "iat": at}
        claims |= {"nonce": asked["nonce"], "name": "Ada", "email": "boss@example.org"}
        claims = {name: one for name, one in (claims | self.claims).items() if one is not None}
        if isinstance(self.signs, bytes):
            signed = with_shared_secret(self.header, claims, self.signs)
        else:
            signed = jwt.encode(self.header, claims, self.signs, algorithms=["RS256", "none"])
        return 200, {"access_token": "a", "token_type": "Bearer", "id_token": signed} | self.token

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def with_shared_secret(header, claims, secret):
    """A token that whoever knows a secret, or takes a public key for one, has signed."""
    parts = [
        base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in (header, claims)
    ]
    signature = hmac.digest(secret, b".".join(parts), "sha256")
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


@pytest.fixture
def provider():
    made = Provider()
    yield made
    made.close()


@pytest.fixture
def browser_of(monkeypatch, make_service, serve):
    """A browser at a service, over HTTP, whose people an issuer signs in."""
    with contextlib.ExitStack() as until_end:

        def make(issuer, **settings):
            given = {"issuer": issuer, "client_id": CLIENT, "client_secret": SECRET, **settings}
            for name, value in given.items():
                monkeypatch.setenv(f"AIDEON_OIDC_{name.upper()}", value)
            service = make_service()
            address = serve(service)
            return until_end.enter_context(httpx2.Client(base_url=address, timeout=60)), service

        yield make


def begun(browser, to="/runs?a=b"):
    """The address at the provider, and the cookie of the attempt."""
    answer = browser.get("/sign-in/oidc", params={"next": to})
    assert answer.status_code == 303, answer.text
    cookie = answer.headers["set-cookie"]
    for flag in ("Secure", "HttpOnly", "SameSite=lax", "Path=/"):
        assert flag in cookie
    return answer.headers["location"], cookie.partition(";")[0]


def back(browser, cookie, query):
    """What the service answers a person who comes back."""
    heads = {"Cookie": cookie} if cookie else {}
    return browser.get("/sign-in/oidc/callback", params=query, headers=heads)


def me_of(browser, answer):
    """Who is signed in by an answer."""
    assert answer.status_code == 303, answer.text
    (cookie,) = (
        one.partition(";")[0]
        for one in answer.headers.get_list("set-cookie")
        if one.startswith(f"{sessions.COOKIE}=")
    )
    return browser.get("/api/v1/me", headers={"Cookie": cookie}).json()


def refused(answer, status, code):
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert not any(
        one.startswith(f"{sessions.COOKIE}=") for one in answer.headers.get_list("set-cookie")
    )
    return answer.json()["detail"]


def signed(browser, provider, cookie=None, **more):
    """What the service answers after a sign-in at a provider of ours."""
    address, own = begun(browser)
    return back(browser, cookie or own, provider.authorize(address) | more)


def test_a_person_signs_in_at_a_provider_that_somebody_else_has_written(browser_of):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it imports a module that Authlib deprecates
        mock = importlib.import_module("oidc_provider_mock")
        with mock.run_server_in_thread(require_nonce=True) as server:
            browser, service = browser_of(
                f"http://localhost:{server.server_port}", role="member", tier="premium"
            )
            address, cookie = begun(browser)
            with httpx2.Client() as person:
                page = person.post(address, data={"sub": "ada@example.org"})
            assert page.status_code == 302
            returned = urlsplit(page.headers["location"])
            assert returned.path == "/sign-in/oidc/callback"
            answer = back(browser, cookie, dict(parse_qsl(returned.query)))
    assert answer.headers["location"] == "/runs?a=b"
    me = me_of(browser, answer)
    assert (me["role"], me["tier"], me["key_id"]) == ("member", "premium", None)
    assert me["user"].startswith("oidc-")
    (row,) = service.ledger.select("SELECT * FROM identities")
    assert (row["subject"], row["user_id"]) == ("ada@example.org", me["user"])


def test_only_known_identities_come_in_unless_new_ones_may(browser_of, provider):
    browser, service = browser_of(provider.issuer)
    users.add(service.ledger, "boss", BY, role="admin", email="boss@example.org")
    detail = refused(signed(browser, provider), 403, "forbidden")
    assert "aideon users identity NAME 7" in detail
    sessions.add_identity(service.ledger, "boss", provider.issuer, "7", BY)
    me = me_of(browser, signed(browser, provider))
    assert (me["user"], me["role"]) == ("boss", "admin")
    users.change(service.ledger, "boss", BY, blocked=True)
    refused(signed(browser, provider), 403, "forbidden")
    found = [one["action"] for one in audit.entries(service.ledger, most=9)]
    assert {"identity.added", "session.begun"} <= set(found)


def test_an_e_mail_address_is_nobody(browser_of, provider):
    browser, service = browser_of(provider.issuer, role="viewer")
    users.add(service.ledger, "boss", BY, role="admin", email="boss@example.org")
    me = me_of(browser, signed(browser, provider))
    assert me["user"] != "boss"
    assert (me["role"], me["tier"], me["name"], me["email"]) == ("viewer", "free", "Ada", None)
    assert me_of(browser, signed(browser, provider))["user"] == me["user"]


def test_one_subject_of_two_issuers_is_two_users(browser_of, provider):
    browser, _ = browser_of(provider.issuer, role="viewer")
    first = me_of(browser, signed(browser, provider))
    second = Provider()
    try:
        other, _ = browser_of(second.issuer, role="viewer")
        assert me_of(other, signed(other, second))["user"] != first["user"]
    finally:
        second.close()


def test_the_secret_of_the_client_goes_to_the_provider_alone(browser_of, provider):
    browser, service = browser_of(provider.issuer, role="viewer")
    me_of(browser, signed(browser, provider))
    heads, form = provider.seen.pop()
    pair = base64.b64decode(heads["Authorization"].removeprefix("Basic ")).decode()
    assert pair == f"{CLIENT}:{SECRET}"
    assert "client_secret" not in form
    provider.about["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    me_of(browser, signed(browser, provider))
    heads, form = provider.seen.pop()
    assert (form["client_id"], form["client_secret"]) == (CLIENT, SECRET)
    assert "Authorization" not in heads
    assert SECRET not in repr(service.settings)


def test_a_foreign_or_missing_state_begins_no_session(browser_of, provider):
    browser, _ = browser_of(provider.issuer, role="viewer")
    address, cookie = begun(browser)
    _, foreign = begun(browser)
    good = provider.authorize(address)
    for own, query in (
        (None, good),
        ("__Host-aideon-sign-in=", good),
        (foreign, good),
        (cookie, {"code": good["code"]}),
        (cookie, good | {"state": "made-up"}),
        (cookie, good | {"state": "ünknown"}),
        (cookie, {}),
    ):
        assert "begin again" in refused(back(browser, own, query), 403, "forbidden")
    assert not provider.seen
    me_of(browser, back(browser, cookie, good))
    refused(back(browser, cookie, good), 403, "forbidden")  # the provider takes a code once


def test_a_person_who_declines_or_an_answer_of_another_issuer_begins_no_session(
    browser_of, provider
):
    browser, _ = browser_of(provider.issuer, role="viewer")
    address, cookie = begun(browser)
    state = provider.authorize(address)["state"]
    query = {"state": state, "error": "access_denied"}
    assert "access_denied" in refused(back(browser, cookie, query), 403, "forbidden")
    refused(signed(browser, provider, iss="https://id.example"), 403, "forbidden")
    provider.about["authorization_response_iss_parameter_supported"] = True
    refused(signed(browser, provider), 403, "forbidden")
    me_of(browser, signed(browser, provider, iss=provider.issuer))


REFUSED = ((403, "forbidden"), (502, "issuer_failed"))
WRONG = (
    {"nonce": "another"},
    {"nonce": None},
    {"iss": "https://id.example"},
    {"iss": None},
    {"aud": "another"},
    {"aud": None},
    {"aud": [CLIENT, "another"]},
    {"aud": [CLIENT, "another"], "azp": "another"},
    {"exp": 1_700_000_000},
    {"exp": None},
    {"exp": "soon"},
    {"iat": 4_000_000_000},
    {"sub": None},
    {"at_hash": "wrong"},
)


def test_a_token_for_somebody_else_or_another_time_is_refused(browser_of, provider):
    browser, service = browser_of(provider.issuer, role="viewer")
    for claims in WRONG:
        provider.claims = claims
        refused(signed(browser, provider), 403, "forbidden")
    assert not users.listed(service.ledger)


def test_a_token_that_the_provider_has_not_signed_is_refused(browser_of, provider):
    browser, service = browser_of(provider.issuer, role="viewer")
    public = KEY.as_pem(private=False)
    for signs, header in (
        (OTHER, {"alg": "RS256", "kid": "first"}),
        (OTHER, {"alg": "RS256"}),
        (OTHER, {"alg": "RS256", "kid": "unknown"}),
        (KEY, {"alg": "none"}),
        (public, {"alg": "HS256", "kid": "first"}),
        (SECRET.encode(), {"alg": "HS256"}),
    ):
        provider.signs, provider.header = signs, header
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the signer: it is what an attacker does
            refused(signed(browser, provider), 403, "forbidden")
    provider.signs, provider.header = KEY, {"alg": "RS256", "kid": "first"}
    for token in ("", "a.b.c", "....", 7, None, ["x"]):
        provider.token = {"id_token": token}
        answer = signed(browser, provider)
        assert (answer.status_code, answer.json()["code"]) in REFUSED, answer.text
    assert not users.listed(service.ledger)
    provider.token, provider.keys = {}, [OTHER]
    refused(signed(browser, provider), 403, "forbidden")
    provider.keys = [RSAKey.generate_key(2048, {"kid": "new"}), KEY]
    me_of(browser, signed(browser, provider))


def test_a_provider_that_answers_rubbish_is_a_problem(browser_of, provider):
    browser, _ = browser_of(provider.issuer, role="viewer")
    rubbish = [(200, one) for one in (b"<html>", b"[]", b"", b"\xff", b"[" * 100_000)]
    for answer in (*rubbish, (500, {}), (302, {})):
        for path in ("/.well-known/openid-configuration", "/token", "/keys"):
            address, cookie = begun(browser)
            provider.answers = {path: answer}
            query = provider.authorize(address)
            refused(back(browser, cookie, query), 502, "issuer_failed")
            if "known" in path:
                refused(browser.get("/sign-in/oidc"), 502, "issuer_failed")
            provider.answers = {}


def test_keys_that_cannot_be_read_sign_nobody_in(browser_of, provider):
    browser, _ = browser_of(provider.issuer, role="viewer")
    for keys in ({}, {"keys": 7}, {"keys": [7]}, {"keys": [{}]}, {"keys": [{"kty": "new"}]}):
        provider.answers["/keys"] = (200, keys)
        answer = signed(browser, provider)
        assert (answer.status_code, answer.json()["code"]) in REFUSED, answer.text


def test_a_provider_with_another_name_or_without_addresses_is_a_problem(browser_of, provider):
    browser, _ = browser_of(provider.issuer)
    for about in (
        {"issuer": "https://id.example"},
        {"issuer": None},
        {"authorization_endpoint": None},
    ):
        provider.about = about
        refused(browser.get("/sign-in/oidc"), 502, "issuer_failed")
    provider.about = {}
    for about in (
        {"token_endpoint": "file:///etc/passwd"},
        {"jwks_uri": 7},
        {"jwks_uri": "http://["},
    ):
        address, cookie = begun(browser)
        provider.about = about
        refused(back(browser, cookie, provider.authorize(address)), 502, "issuer_failed")
        provider.about = {}


def test_a_provider_that_is_down_is_a_problem(browser_of, provider):
    browser, _ = browser_of(provider.issuer)
    address, cookie = begun(browser)
    query = provider.authorize(address)
    provider.close()
    assert "try again" in refused(browser.get("/sign-in/oidc"), 502, "issuer_failed")
    refused(back(browser, cookie, query), 502, "issuer_failed")


def test_nobody_is_sent_to_another_site(browser_of, provider):
    browser, service = browser_of(provider.issuer, role="viewer")
    users.add(service.ledger, "ada", BY)
    evil = ("//evil.example", "/\\evil.example", "https://evil.example", "/\t/evil.example", "evil")
    for to in (*evil, ""):
        address, cookie = begun(browser, to)
        answers = [back(browser, cookie, provider.authorize(address))]
        token = sessions.make_link(service.ledger, "ada", BY)
        answers.append(browser.post("/sign-in", data={"secret": token, "next": to}))
        assert [(one.status_code, one.headers["location"]) for one in answers] == [(303, "/")] * 2
    forged = back(browser, *forged_by(browser, provider))
    assert (forged.status_code, forged.headers["location"]) == (303, "/")


def forged_by(browser, provider):
    """A cookie that names another site, and what a person brings back."""
    address, cookie = begun(browser)
    return cookie.partition(".")[0] + ".%2F%2Fevil.example", provider.authorize(address)


def test_without_a_provider_or_its_extra_one_line_says_what_to_do(
    client_of, make_service, monkeypatch
):
    settings = {"AIDEON_OIDC_ISSUER": "https://id.example", "AIDEON_OIDC_CLIENT_ID": CLIENT}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    create_app(make_service())
    for name in [one for one in sys.modules if one.startswith("aideon_agents.access.sessions.o")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(sessions, "oidc", raising=False)
    with monkeypatch.context() as hidden:
        hidden.setitem(sys.modules, "authlib", None)
        hidden.setitem(sys.modules, "authlib.integrations.starlette_client", None)
        with pytest.raises(UserError, match=r"pip install 'aideon-agents\[oidc\]'"):
            create_app(make_service())
    for issuer in (
        "http://id.example",
        "id.example",
        "https://",
        "https://id.example?a",
        "https://[",
    ):
        monkeypatch.setenv("AIDEON_OIDC_ISSUER", issuer)
        with pytest.raises(UserError, match="must be an https:// URL"):
            create_app(make_service())
    monkeypatch.setenv("AIDEON_OIDC_ISSUER", "https://id.example")
    monkeypatch.delenv("AIDEON_OIDC_CLIENT_ID")
    with pytest.raises(UserError, match="AIDEON_OIDC_CLIENT_ID"):
        create_app(make_service())


async def test_without_an_issuer_there_is_nothing_to_sign_in_with(client):
    for path in ("/sign-in/oidc", "/sign-in/oidc/callback"):
        answer = await client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "no_issuer")
    assert "single sign-on" not in (await client.get("/sign-in")).text


async def test_an_api_key_begins_a_session_that_may_do_what_the_key_may(ledger, client):
    users.add(ledger, "root", BY, role="admin")
    made, key = api_keys.make(ledger, "root", BY, scopes=["runs"], workflows=["two"])
    begun = await client.post("/api/v1/sessions", headers={"Authorization": f"Bearer {key}"})
    assert begun.status_code == 201
    assert begun.json()["user"] == "root"
    flags = begun.headers["set-cookie"].split("; ")
    assert {"HttpOnly", "Max-Age=43200", "Path=/", "SameSite=lax", "Secure"} == set(flags[1:])
    heads = {"Cookie": flags[0]}
    me = (await client.get("/api/v1/me", headers=heads)).json()
    assert (me["scopes"], me["workflows"], me["key_id"]) == (["runs"], ["two"], made.key_id)
    assert me["csrf"] == begun.json()["csrf"]
    assert (await client.get("/api/v1/users", headers=heads)).status_code == 403
    again = await client.post("/api/v1/sessions", headers=heads)
    assert (again.status_code, again.json()["code"]) == (403, "csrf")
    heads["X-CSRF-Token"] = me["csrf"]
    again = await client.post("/api/v1/sessions", headers=heads)
    assert (again.status_code, again.json()["code"]) == (409, "no_key")
    api_keys.revoke(ledger, made.key_id, BY)
    assert (await client.get("/api/v1/me", headers=heads)).status_code == 401


async def test_signing_out_ends_the_session_of_a_key_and_not_the_key(ledger, client):
    users.add(ledger, "ada", BY)
    heads = {"x-api-key": api_keys.make(ledger, "ada", BY)[1]}
    begun = await client.post("/api/v1/sessions", headers=heads)
    cookie = {"Cookie": begun.headers["set-cookie"].partition(";")[0]}
    out = await client.post("/api/v1/sign-out", headers=cookie)
    assert (out.status_code, out.json()["code"]) == (403, "csrf")
    word = {"X-CSRF-Token": begun.json()["csrf"]}
    out = await client.post("/api/v1/sign-out", headers=cookie | word)
    assert out.status_code == 204
    assert (await client.get("/api/v1/me", headers=cookie)).status_code == 401
    assert (await client.get("/api/v1/me", headers=heads)).status_code == 200


async def test_the_page_takes_an_api_key_and_the_end_of_a_link(ledger, client):
    users.add(ledger, "ada", BY)
    key = api_keys.make(ledger, "ada", BY)[1]
    link = sessions.address("https://agents.example.org/", sessions.make_link(ledger, "ada", BY))
    for secret in (key, f" {link} "):
        begun = await client.post("/sign-in", data={"secret": secret, "next": "/runs"})
        assert (begun.status_code, begun.headers["location"]) == (303, "/runs")
        heads = {"Cookie": begun.headers["set-cookie"].partition(";")[0]}
        assert (await client.get("/api/v1/me", headers=heads)).json()["user"] == "ada"
    for secret in (link, key[:-1], "made-up", "#"):
        again = await client.post("/sign-in", data={"secret": secret})
        assert (again.status_code, again.json()["code"]) == (404, "no_link")
    foreign = {"Origin": "https://evil.example"}
    refused = await client.post("/sign-in", data={"secret": key}, headers=foreign)
    assert (refused.status_code, refused.json()["code"]) == (403, "wrong_origin")


async def test_the_page_runs_its_own_script_only_and_repeats_nothing_as_html(client):
    page = await client.get("/sign-in", params={"next": '/"><script>alert(1)</script>&a'})
    assert page.status_code == 200
    script = re.search(r"<script>(.*)</script>", page.text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = page.headers["content-security-policy"]
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    # With no-referrer a browser sends its form as from another site; other sites still get none.
    assert page.headers["referrer-policy"] == "same-origin"
    assert page.text.count("<script>") == 1


async def test_no_span_has_a_link_a_code_or_a_state(make_service, client_of, monkeypatch):
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    kept, made = InMemorySpanExporter(), TracerProvider()
    made.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setenv("AIDEON_OTEL", "1")
    monkeypatch.setattr("aideon_agents.api.app.configured_provider", lambda: made)
    service = make_service()
    link = sessions.address("https://a.example", "the-token")
    async with client_of(create_app(service)) as client:
        await client.get("/healthz")
        await client.get(link.removeprefix("https://a.example"))
        await client.post("/sign-in", data={"secret": link})
        await client.get(
            "/sign-in/oidc/callback", params={"code": "the-code", "state": "the-state"}
        )
    spans = kept.get_finished_spans()
    assert any(one.attributes["url.path"] == "/healthz" for one in spans)
    shown = "".join(one.to_json() for one in spans)
    assert not [word for word in ("the-token", "the-code", "the-state") if word in shown]
