"""`aideon models refresh`: the providers' own lists of models against the catalog."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

KEY = "sk-a-key-that-is-never-shown"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Authorization"]))
        answer = self.server.answers.get(self.path)
        if answer is None:
            self.send_error(404)
            return
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture
def lists():
    """A server with answers by path."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.answers, server.asked = {}, []
    server.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def keyed(monkeypatch, lists):
    """Sets the key and the address of a provider."""

    def use(key, address="", url=lists.url):
        if address:
            monkeypatch.setenv(address, url)
        if key:
            monkeypatch.setenv(key, KEY)

    return use


def changes(done, name):
    return [one for one in done.document["changes"] if one["name"] == name]


def supported(name, *, status="SUPPORTED", **fields):
    return {
        "id": f"ml_{name}",
        "name": name,
        "products": ["PRODUCT_SERVERLESS", "PRODUCT_DEDICATED"],
        "capabilities": ["CAPABILITY_CHAT"],
        "inputModalities": ["MODALITY_TEXT"],
        "status": f"SUPPORTED_MODEL_STATUS_{status}",
        **fields,
    }


def test_togethers_catalog_is_read_to_its_last_page(aideon, keyed, lists):
    keyed("TOGETHER_API_KEY", "TOGETHER_BASE_URL")
    lists.answers = {
        "/v2/supported-models?product=PRODUCT_SERVERLESS": {
            "object": "list",
            "data": [
                supported(
                    "Qwen/Qwen3.5-9B",
                    contextLength="262144",
                    pricing={"input": 0.2, "output": 0.25, "cachedInput": None},
                ),
                supported("openai/gpt-oss-120b", contextLength="1000", status="DEPRECATED"),
                supported("nobody/sees-this", status="HIDDEN"),
                {**supported("nobody/sells-this"), "products": ["PRODUCT_DEDICATED"]},
            ],
            "next_cursor": "page2",
        },
        "/v2/supported-models?product=PRODUCT_SERVERLESS&after=page2": {
            "data": [supported("acme/new-1"), supported("mistralai/Mixtral-8x7B-Instruct-v0.1")],
            "next_cursor": None,
        },
    }
    done = aideon("models", "refresh", "--json")
    assert done.code == 0
    assert done.document["asked"] == ["together"]
    assert changes(done, "together:Qwen/Qwen3.5-9B") == [
        {
            "kind": "changed",
            "name": "together:Qwen/Qwen3.5-9B",
            "field": "price in",
            "catalog": "0.17",
            "provider": "0.2",
        }
    ]
    ends, context = changes(done, "together:openai/gpt-oss-120b")
    assert (ends["kind"], ends["catalog"], ends["provider"]) == ("ending", "active", "ending")
    assert (context["field"], context["catalog"], context["provider"]) == (
        "context",
        "131072",
        "1000",
    )
    assert [one["kind"] for one in changes(done, "together:acme/new-1")] == ["new"]
    (back,) = changes(done, "together:mistralai/Mixtral-8x7B-Instruct-v0.1")
    assert (back["catalog"], back["provider"]) == ("retired", "listed")
    assert [one["kind"] for one in changes(done, "together:zai-org/GLM-5.3")] == ["gone"]
    shown = {one["name"] for one in done.document["changes"]}
    assert not any("nobody" in name for name in shown)
    assert {key for _, key in lists.asked} == {f"Bearer {KEY}"}
    assert KEY not in done.out + done.err


def test_togethers_plain_list_is_read_where_there_is_no_catalog(aideon, keyed, lists):
    keyed("TOGETHER_API_KEY", "TOGETHER_BASE_URL")
    lists.answers = {
        "/v1/models": [
            {
                "id": "Qwen/Qwen3.5-9B",
                "object": "model",
                "type": "chat",
                "context_length": 262144,
                "pricing": {"hourly": 0, "input": 0.17, "output": 0.3, "base": 0, "finetune": 0},
            },
            {"id": "black-forest-labs/FLUX.1-schnell", "pricing": {"input": 0, "output": 0}},
        ]
    }
    done = aideon("models", "refresh", "--json")
    (price,) = changes(done, "together:Qwen/Qwen3.5-9B")
    assert (price["field"], price["catalog"], price["provider"]) == ("price out", "0.25", "0.3")
    assert changes(done, "together:black-forest-labs/FLUX.1-schnell") == []


def test_openais_list_says_which_models_shut_down(aideon, keyed, lists):
    keyed("OPENAI_API_KEY", "OPENAI_BASE_URL")
    model = {"object": "model", "created": 1686935002, "owned_by": "openai"}
    lists.answers = {
        "/v1/models": {
            "object": "list",
            "data": [
                {"id": "gpt-6-luna", "shutdown_date": "2027-06-01", **model},
                {"id": "gpt-4o", "shutdown_date": "2027-01-14", **model},
                {"id": "gpt-4o-mini", "shutdown_date": "2027-02-01", **model},
                {"id": "gpt-7-nova", "shutdown_date": None, **model},
            ],
        }
    }
    done = aideon("models", "refresh", "--json")
    (luna,) = changes(done, "openai:gpt-6-luna")
    assert (luna["kind"], luna["provider"]) == ("ending", "ending 2027-06-01")
    assert changes(done, "openai:gpt-4o") == []
    (mini,) = changes(done, "openai:gpt-4o-mini")
    assert (mini["catalog"], mini["provider"]) == ("ending 2027-01-14", "ending 2027-02-01")
    assert [one["kind"] for one in changes(done, "openai:gpt-7-nova")] == ["new"]
    assert [one["kind"] for one in changes(done, "openai:gpt-6.1-sol")] == ["gone"]


def test_hugging_faces_list_has_each_model_at_its_sellers(aideon, keyed, lists):
    keyed("HF_TOKEN", "HF_BASE_URL")
    seller = {"status": "live", "supports_tools": True, "supports_structured_output": True}
    lists.answers = {
        "/v1/models": {
            "object": "list",
            "data": [
                {
                    "id": "openai/gpt-oss-120b",
                    "architecture": {"input_modalities": ["text"]},
                    "providers": [
                        {
                            **seller,
                            "provider": "groq",
                            "context_length": 131072,
                            "pricing": {"input": 0.15, "output": 0.8},
                        },
                        {**seller, "provider": "acme"},
                        {**seller, "provider": "cerebras", "status": "error"},
                    ],
                },
                {"id": "acme/new", "providers": [{**seller, "provider": "groq"}]},
            ],
        }
    }
    done = aideon("models", "refresh", "--json")
    (price,) = changes(done, "huggingface:openai/gpt-oss-120b:groq")
    assert (price["field"], price["catalog"], price["provider"]) == ("price out", "0.75", "0.8")
    assert changes(done, "huggingface:openai/gpt-oss-120b:acme") == []
    (gone,) = changes(done, "huggingface:openai/gpt-oss-120b:cerebras")
    assert gone["kind"] == "gone"
    assert [one["kind"] for one in changes(done, "huggingface:acme/new:groq")] == ["new"]


def test_a_local_server_and_ones_own_catalog_are_compared_too(
    aideon, keyed, lists, folder, monkeypatch
):
    keyed("", "AIDEON_LOCAL_BASE_URL")
    (folder / "own.toml").write_text("[models.'local:gone']\n[models.'local:here']\n")
    monkeypatch.setenv("AIDEON_CATALOG", "own.toml")
    lists.answers = {"/v1/models": {"data": [{"id": "here"}, {"id": "more"}]}}
    done = aideon("models", "refresh", "--json")
    assert [(one["kind"], one["name"]) for one in done.document["changes"]] == [
        ("new", "local:more"),
        ("gone", "local:gone"),
    ]


def test_a_deployment_is_compared_with_its_table(aideon, lists, folder, monkeypatch):
    (folder / "pyproject.toml").write_text(
        f'[tool.aideon.deployments.prod]\nbase_url = "{lists.url}"\nkey_env = "PROD_API_KEY"\n'
        'model = "qwen"\ncontext = 32768\n'
        f'[tool.aideon.deployments.other]\nbase_url = "{lists.url}"\nmodel = "gone"\n'
        '[tool.aideon.deployments.keyless]\nbase_url = "http://127.0.0.1:9/v1"\n'
        'key_env = "NO_SUCH_API_KEY"\n'
    )
    monkeypatch.setenv("PROD_API_KEY", KEY)
    lists.answers = {"/v1/models": {"data": [{"id": "qwen", "max_model_len": 8192}, {"id": "b"}]}}
    done = aideon("models", "refresh", "--json")
    assert (done.code, done.document["asked"]) == (0, ["prod", "other"])
    assert [tuple(one.values()) for one in done.document["changes"]] == [
        ("new", "prod:b", None, None, None),
        ("changed", "prod:qwen", "context", "32768", "8192"),
        ("new", "other:b", None, None, None),
        ("new", "other:qwen", None, None, None),
        ("gone", "other:gone", None, None, None),
    ]
    assert {key for _, key in lists.asked} >= {f"Bearer {KEY}"}


def test_replicate_is_said_to_have_no_list(aideon, keyed, lists):
    keyed("REPLICATE_API_TOKEN", "REPLICATE_BASE_URL")
    keyed("", "AIDEON_LOCAL_BASE_URL")
    lists.answers = {"/v1/models": {"data": [{"id": "a-model"}]}}
    done = aideon("models", "refresh")
    assert (done.code, len(lists.asked)) == (0, 1)
    assert done.err.splitlines() == [
        "replicate is not asked: it has no list of its text models",
        "1 difference from local",
    ]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (None, "it answered 404"),
        (b"<html>", "its answer is not JSON"),
        ({"data": []}, "its answer names no model"),
        ({"data": [{"id": None}, 3, {"id": ""}]}, "its answer names no model"),
        ({"error": "no"}, "its answer names no model"),
        (3, "its answer names no model"),
    ],
)
def test_a_provider_without_a_list_is_one_line_and_the_others_are_read(
    aideon, keyed, lists, answer, why
):
    keyed("OPENAI_API_KEY", "OPENAI_BASE_URL")
    keyed("", "AIDEON_LOCAL_BASE_URL", lists.url.replace("/v1", "/other/v1"))
    lists.answers = {"/other/v1/models": {"data": [{"id": "a-model"}]}, "/v1/models": answer}
    done = aideon("models", "refresh")
    assert done.code == 1
    (line,) = [line for line in done.err.splitlines() if "openai" in line]
    assert line.startswith("aideon: openai: ")
    assert line.endswith(f"does not list its models ({why}): check OPENAI_BASE_URL")
    assert "local:a-model" in done.out
    assert "1 difference from local" in done.err
    assert KEY not in done.out + done.err


@pytest.mark.parametrize(
    "odd",
    [
        {"pricing": 3, "context_length": "many", "shutdown_date": "soon"},
        {"pricing": {"input": "free", "output": None}, "context_length": -1, "shutdown_date": 20},
        {"pricing": {"input": True, "output": "NaN"}, "context_length": True},
        {"pricing": {"input": float("inf")}, "context_length": 0, "status": None},
    ],
)
def test_what_a_list_says_oddly_is_unknown(aideon, keyed, lists, odd):
    keyed("OPENAI_API_KEY", "OPENAI_BASE_URL")
    lists.answers = {"/v1/models": {"data": [{"id": "gpt-6-luna", **odd}]}}
    done = aideon("models", "refresh", "--json")
    assert (done.code, changes(done, "openai:gpt-6-luna")) == (0, [])


def test_a_server_that_is_off_is_one_line(aideon, keyed):
    keyed("", "AIDEON_LOCAL_BASE_URL", "http://127.0.0.1:9/v1")
    done = aideon("models", "refresh")
    assert done.code == 1
    assert done.err.startswith("aideon: local: http://127.0.0.1:9/v1 does not list its models (")
    assert len(done.err.splitlines()) == 1


def test_without_a_provider_to_ask_it_says_what_to_set(aideon, monkeypatch):
    done = aideon("models", "refresh")
    assert done.code == 2
    assert "set TOGETHER_API_KEY or OPENAI_API_KEY" in done.complaint
    monkeypatch.setenv("AIDEON_OFFLINE", "1")
    assert "AIDEON_OFFLINE is set" in aideon("models", "refresh").complaint


def test_a_new_model_that_makes_videos_says_so(aideon, keyed, lists):
    keyed("TOGETHER_API_KEY", "TOGETHER_BASE_URL")
    served = {"products": ["PRODUCT_SERVERLESS"], "status": "STATUS_SUPPORTED"}
    lists.answers["/v2/supported-models?product=PRODUCT_SERVERLESS"] = {
        "data": [
            {"name": "new/films", "capabilities": ["CAPABILITY_VIDEO_GENERATION"], **served},
            {"name": "new/words", "capabilities": ["CAPABILITY_CHAT"], **served},
        ]
    }
    found = aideon("models", "refresh", "--json").document["changes"]
    new = {one["name"]: (one["field"], one["provider"]) for one in found if one["kind"] == "new"}
    assert new == {"together:new/films": ("makes", "video"), "together:new/words": (None, None)}
