"""`aideon doctor`: what works here, what is missing, what is broken."""

from __future__ import annotations

import re
import socket

import pytest

from aideon_agents.testing import Fault, SimulatedProvider

# apprise still asks for a module that Python is about to drop, and does without it.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

KEY = "plain-looking-key-0123456789"


def states(document: list[dict[str, str]]) -> dict[str, str]:
    return {finding["what"]: finding["state"] for finding in document}


@pytest.fixture
def nobody_listens():
    """An address on which there is no server."""
    with socket.socket() as taken:  # bound and not listening: nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


def test_without_keys_everything_works_and_providers_are_missing(aideon):
    done = aideon("doctor")
    assert done.code == 0
    assert re.search(r"ok +python +3\.", done.out)
    assert re.search(r"ok +ledger +sqlite:///\.aideon/ledger\.db, 0 runs", done.out)
    assert re.search(r"missing +together +set TOGETHER_API_KEY to use it", done.out)
    assert re.search(r"missing +local +set AIDEON_LOCAL_BASE_URL to use it", done.out)
    assert done.err.startswith("without a key or a local server, `aideon run` rehearses")


def test_with_a_key_the_address_is_shown_and_the_key_is_not(aideon, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", KEY)
    monkeypatch.setenv("HF_BASE_URL", "https://hub.example/v1")
    done = aideon("doctor")
    assert (done.code, done.err) == (0, "")
    assert re.search(r"ok +huggingface +set; https://hub\.example/v1", done.out)
    assert KEY not in done.out


def test_the_document_lists_findings(aideon):
    document = aideon("doctor", "--json").document
    assert all(list(finding) == ["what", "state", "detail"] for finding in document)
    assert states(document) == {
        "python": "ok",
        "aideon-agents": "ok",
        "langchain-core": "ok",
        "langgraph": "ok",
        "genai-prices": "ok",
        "ledger": "ok",
        "alerts": "ok",
        "together": "missing",
        "openai": "missing",
        "huggingface": "missing",
        "local": "missing",
        "replicate": "missing",
        "anyscale": "missing",
        "runway": "missing",
        "stability": "missing",
    }


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"own.toml": "no TOML"}, "catalog: the catalog own.toml cannot be read: "),
        (
            {"own.toml": "[routing]\nown = {a = '('}"},
            "routing: own.toml: routing.own: '(' is no regular",
        ),
        ({"pyproject.toml": "[tool.aideon]\nrouter = 'r.json'"}, "router: the router r.json can"),
    ],
)
def test_a_file_that_chooses_models_and_cannot_be_used_is_broken(
    aideon, folder, monkeypatch, files, told
):
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    if "own.toml" in files:
        monkeypatch.setenv("AIDEON_CATALOG", "own.toml")
    done = aideon("doctor", "--json")
    (found,) = (one for one in done.document if one["state"] == "broken")
    assert done.code == 1
    assert told in f"{found['what']}: {found['detail']}"


def test_alert_channels_are_named_by_place_and_service_and_their_secrets_are_not(aideon, folder):
    (folder / ".aideon").mkdir()
    conf = folder / ".aideon" / "apprise.conf"
    conf.write_text(f"json://ada:{KEY}@127.0.0.1:1/{KEY}\nxml://127.0.0.1/{KEY}\n")
    done = aideon("doctor", "--json")
    (alerts,) = (one for one in done.document if one["what"] == "alerts")
    assert alerts["detail"] == (
        "to the log, .aideon/apprise.conf:1 (JSON), .aideon/apprise.conf:2 (XML)"
    )
    assert (done.code, KEY in done.out) == (0, False)


def test_an_alert_channel_that_cannot_be_used_is_broken(aideon, folder):
    (folder / ".aideon").mkdir()
    (folder / ".aideon" / "apprise.conf").write_text(f"nobody-knows://{KEY}\n")
    done = aideon("doctor", "--json")
    found = {one["what"]: one for one in done.document}
    assert (done.code, found["alerts"]["detail"]) == (1, "to the log")
    assert found["alert channels"]["state"] == "broken"
    assert found["alert channels"]["detail"].startswith(".aideon/apprise.conf:1: no address")
    assert KEY not in done.out


@pytest.mark.parametrize("address", [".", "mysql://host/db"])
def test_a_broken_ledger_is_code_1_and_the_rest_is_still_looked_at(aideon, monkeypatch, address):
    monkeypatch.setenv("AIDEON_LEDGER", address)
    done = aideon("doctor", "--json")
    assert done.code == 1
    assert states(done.document)["ledger"] == "broken"
    assert "local" in states(done.document)


def test_a_setting_that_cannot_be_is_code_2(aideon, monkeypatch):
    monkeypatch.setenv("AIDEON_TIER", "gold")
    done = aideon("doctor")
    assert done.code == 2
    assert "AIDEON_TIER" in done.complaint


def test_live_makes_one_call_per_provider_that_has_a_key(aideon, monkeypatch):
    with SimulatedProvider(keys=[KEY]) as together, SimulatedProvider(keys=["other"]) as openai:
        monkeypatch.setenv("TOGETHER_API_KEY", KEY)
        monkeypatch.setenv("TOGETHER_BASE_URL", together.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", openai.base_url)
        done = aideon("doctor", "--live", "--json")
        assert (len(together.requests), len(openai.requests)) == (1, 1)
    assert done.code == 1
    found = {finding["what"]: finding for finding in done.document}
    assert re.fullmatch(r"answered, \$0\.\d{6}", found["together live"]["detail"])
    assert found["together takes"]["detail"] == "Qwen/Qwen3.5-9B: typed answers by json_schema"
    assert found["openai live"]["state"] == "broken"
    assert "OPENAI_API_KEY" in found["openai live"]["detail"]
    assert "huggingface live" not in found
    listed = aideon("runs", "list", "--json").document
    assert [run["workflow"] for run in listed] == ["doctor", "doctor"]


def test_live_asks_nobody_when_offline(aideon, monkeypatch):
    monkeypatch.setenv("AIDEON_OFFLINE", "1")
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    document = aideon("doctor", "--live", "--json").document
    assert document[-1] == {
        "what": "live",
        "state": "missing",
        "detail": "AIDEON_OFFLINE is set: no provider was called",
    }
    assert aideon("runs", "list", "--json").document == []


def test_live_finds_a_local_server_that_is_not_there(aideon, monkeypatch, nobody_listens):
    monkeypatch.setenv("AIDEON_LOCAL_BASE_URL", nobody_listens)
    done = aideon("doctor", "--live", "--json")
    assert done.code == 1
    assert states(done.document)["local live"] == "broken"
    assert nobody_listens in done.document[-1]["detail"]


def test_live_leaves_out_a_provider_that_the_catalog_has_no_model_of(aideon, monkeypatch):
    monkeypatch.setenv("AIDEON_PROFILE", "seed")  # it knows Together alone
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert "openai live" not in states(aideon("doctor", "--live", "--json").document)


def test_live_says_that_a_provider_hit_a_fault(aideon, monkeypatch):
    with SimulatedProvider(faults=Fault(402)) as together:
        monkeypatch.setenv("TOGETHER_API_KEY", KEY)
        monkeypatch.setenv("TOGETHER_BASE_URL", together.base_url)
        done = aideon("doctor", "--live")
    assert done.code == 1
    assert re.search(r"broken +together live +.*402", done.out)


@pytest.mark.parametrize(
    ("variable", "value", "detail"),
    [
        ("ALL_PROXY", "socks://127.0.0.1:1080", "the proxy in ALL_PROXY cannot be used"),
        ("HTTPS_PROXY", "http://127.0.0.1:99999", "the proxy in HTTPS_PROXY cannot be used"),
        ("SSL_CERT_FILE", "gone.pem", "the certificates in SSL_CERT_FILE cannot be read"),
        ("SSL_CERT_DIR", "gone", "the certificates in SSL_CERT_DIR cannot be read"),
    ],
)
def test_a_proxy_or_certificates_that_cannot_be_used_are_broken(
    aideon, monkeypatch, variable, value, detail
):
    monkeypatch.setenv(variable, value)
    done = aideon("doctor", "--json")
    assert done.code == 1
    (broken,) = (one for one in done.document if one["state"] == "broken")
    assert broken["what"] == "environment"
    assert detail in broken["detail"]
