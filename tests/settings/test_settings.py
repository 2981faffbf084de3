"""The environment, typed: which variables there are, and what they may hold."""

from __future__ import annotations

import getpass
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from aideon_agents import settings
from aideon_agents.errors import UserError
from aideon_agents.models.providers import providers
from aideon_agents.settings import Settings, load

REFERENCE = Path(__file__).parents[2] / "docs" / "reference.md"
KEY = "sk-looks-like-a-key-123456"


def variables() -> set[str]:
    fields = Settings.model_fields.values()
    return {name for field in fields for name in field.validation_alias.choices}


def test_the_defaults_need_nothing_in_the_environment():
    settings = load()
    assert (settings.together_api_key, settings.openai_api_key, settings.hf_token) == (None,) * 3
    assert (settings.together_base_url, settings.local_base_url) == (None, None)
    assert settings.ledger == "sqlite:///.aideon/ledger.db"
    assert (settings.tier, settings.profile) == ("premium", "current")
    assert settings.user == getpass.getuser()
    assert settings.model_concurrency == 64
    assert settings.offline is False
    assert settings.catalog is None
    assert settings.otel is None
    assert settings.can_call is False


def test_the_reference_has_every_variable_and_no_other():
    text = REFERENCE.read_text(encoding="utf-8")
    section = text.partition("\n## Settings\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"`([A-Z][A-Z_]{4,})`", section)) == variables()


def test_each_variable_is_read(monkeypatch):
    values = {
        "TOGETHER_API_KEY": "a",
        "TOGETHER_AI_API_KEY": "d",
        "OPENAI_API_KEY": "b",
        "HF_TOKEN": "c",
        "REPLICATE_API_TOKEN": "e",
        "REPLICATE_API_KEY": "f",
        "ANYSCALE_API_KEY": "g",
        "RUNWAYML_API_SECRET": "h",
        "RUNWAY_API_KEY": "i",
        "STABILITY_API_KEY": "j",
        "RUNWAYML_BASE_URL": "http://w",
        "STABILITY_BASE_URL": "http://s",
        "REPLICATE_BASE_URL": "http://r",
        "ANYSCALE_BASE_URL": "http://a",
        "TOGETHER_BASE_URL": "http://t",
        "OPENAI_BASE_URL": "http://o",
        "HF_BASE_URL": "http://h",
        "AIDEON_LOCAL_BASE_URL": "http://l",
        "AIDEON_LEDGER": "x.db",
        "AIDEON_TIER": "free",
        "AIDEON_USER": "ada",
        "AIDEON_MODEL_CONCURRENCY": "3",
        "AIDEON_OFFLINE": "1",
        "AIDEON_CATALOG": "my.toml",
        "AIDEON_ARTIFACTS": "files",
        "AIDEON_KEY_RING": "r",
        "AIDEON_PUBLIC_URL": "https://agents.example.org",
        "AIDEON_DAILY_REPORT": "1",
        "AIDEON_OIDC_ISSUER": "https://id.example.org",
        "AIDEON_OIDC_CLIENT_ID": "aideon",
        "AIDEON_OIDC_CLIENT_SECRET": "s",
        "AIDEON_OIDC_ROLE": "viewer",
        "AIDEON_OIDC_TIER": "premium",
        "AIDEON_PROFILE": "seed",
        "AIDEON_OTEL": "0",
    }
    assert variables() == set(values)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    settings = load()
    keys = ("together_api_key", "together_ai_api_key", "openai_api_key", "hf_token")
    keys += ("replicate_api_token", "replicate_api_key", "anyscale_api_key", "key_ring")
    keys += ("oidc_client_secret", "runwayml_api_secret", "runway_api_key", "stability_api_key")
    held = [getattr(settings, key).get_secret_value() for key in keys]
    assert held == ["a", "d", "b", "c", "e", "f", "g", "r", "s", "h", "i", "j"]
    assert settings.model_dump(exclude=set(keys)) == {
        "together_base_url": "http://t",
        "openai_base_url": "http://o",
        "hf_base_url": "http://h",
        "local_base_url": "http://l",
        "replicate_base_url": "http://r",
        "anyscale_base_url": "http://a",
        "runwayml_base_url": "http://w",
        "stability_base_url": "http://s",
        "artifacts": Path("files"),
        "ledger": "x.db",
        "tier": "free",
        "user": "ada",
        "model_concurrency": 3,
        "offline": True,
        "catalog": Path("my.toml"),
        "public_url": "https://agents.example.org",
        "daily_report": True,
        "oidc_issuer": "https://id.example.org",
        "oidc_client_id": "aideon",
        "oidc_role": "viewer",
        "oidc_tier": "premium",
        "profile": "seed",
        "otel": False,
    }


@pytest.mark.parametrize(
    ("given", "key", "variable"),
    [
        ({"TOGETHER_AI_API_KEY": "long"}, "long", "TOGETHER_AI_API_KEY"),
        ({"TOGETHER_AI_API_KEY": "long", "TOGETHER_API_KEY": "short"}, "short", "TOGETHER_API_KEY"),
        ({"TOGETHER_AI_API_KEY": "long", "TOGETHER_API_KEY": " "}, "long", "TOGETHER_AI_API_KEY"),
    ],
)
def test_togethers_key_has_two_names_and_errors_name_the_one_that_was_used(
    monkeypatch, given, key, variable
):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    together = providers(load())["together"]
    assert (together.key.get_secret_value(), together.key_variable) == (key, variable)


@pytest.mark.parametrize("blank", ["", " ", "\n"])
@pytest.mark.parametrize(
    ("variable", "field"),
    [
        ("TOGETHER_API_KEY", "together_api_key"),
        ("OPENAI_API_KEY", "openai_api_key"),
        ("HF_TOKEN", "hf_token"),
        ("OPENAI_BASE_URL", "openai_base_url"),
        ("AIDEON_LOCAL_BASE_URL", "local_base_url"),
    ],
)
def test_a_blank_key_or_address_is_unset(monkeypatch, blank, variable, field):
    monkeypatch.setenv(variable, blank)
    assert getattr(load(), field) is None
    assert load().can_call is False


def test_a_key_out_of_a_file_loses_its_line_break(monkeypatch):
    monkeypatch.setenv("TOGETHER_API_KEY", f"{KEY}\r\n")
    monkeypatch.setenv("TOGETHER_BASE_URL", " http://t/v1\n")
    assert load().together_api_key.get_secret_value() == KEY
    assert load().together_base_url == "http://t/v1"


@pytest.mark.parametrize(
    "variable", ["TOGETHER_API_KEY", "OPENAI_API_KEY", "HF_TOKEN", "AIDEON_LOCAL_BASE_URL"]
)
def test_one_key_or_a_local_server_is_enough_to_call_unless_offline(monkeypatch, variable):
    monkeypatch.setenv(variable, "http://somewhere")
    assert load().can_call is True
    monkeypatch.setenv("AIDEON_OFFLINE", "1")
    assert load().can_call is False


@pytest.mark.parametrize(
    ("address", "reached"),
    [
        ("http://127.0.0.1:11434/v1", True),
        ("http://localhost:11434/v1", True),
        ("http://[::1]:11434/v1", True),
        ("http://192.168.0.7:11434/v1", False),
        ("http://127.evil.example/v1", False),
    ],
)
def test_offline_only_a_local_server_on_this_machine_is_reached(monkeypatch, address, reached):
    monkeypatch.setenv("AIDEON_OFFLINE", "1")
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    assert load().rehearses
    monkeypatch.setenv("AIDEON_LOCAL_BASE_URL", address)
    settings = load()
    assert (settings.can_call, settings.rehearses) == (reached, not reached)
    assert not settings.may_reach(settings.rows["together"])


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AIDEON_TIER", "gold"),
        ("AIDEON_MODEL_CONCURRENCY", "0"),
        ("AIDEON_MODEL_CONCURRENCY", "-3"),
        ("AIDEON_MODEL_CONCURRENCY", "many"),
        ("AIDEON_OFFLINE", "perhaps"),
        ("AIDEON_PROFILE", "old"),
    ],
)
def test_a_value_that_cannot_be_names_its_variable_in_one_line(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(
        UserError, match=f"^the environment variable {variable}: (?!value error)"
    ) as caught:
        load()
    assert "\n" not in str(caught.value)


def test_a_file_is_read_below_the_environment(tmp_path, monkeypatch):
    file = tmp_path / "some.env"
    file.write_text("AIDEON_USER=file\nAIDEON_TIER=free\nSOMETHING_ELSE=1\n", encoding="utf-8")
    monkeypatch.setenv("AIDEON_USER", "environment")
    settings = load(file)
    assert (settings.user, settings.tier) == ("environment", "free")


def test_dotenv_is_not_read_unless_it_is_named(tmp_path):
    (tmp_path / ".env").write_text("AIDEON_TIER=free\n", encoding="utf-8")
    assert load().tier == "premium"
    assert Settings().tier == "premium"


def test_a_file_that_is_not_there_is_no_mistake(tmp_path):
    assert load(tmp_path / "missing.env").tier == "premium"


def test_a_file_that_is_no_text_is_named(tmp_path):
    file = tmp_path / "some.env"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"some\.env is not text in UTF-8"):
        load(file)


def test_keys_are_hidden_in_what_settings_show(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    settings = load()
    assert (
        KEY not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    )


def test_settings_do_not_change():
    with pytest.raises(ValidationError):
        load().tier = "free"


def test_settings_are_made_by_field_name_too():
    settings = Settings(together_api_key=KEY, tier="enterprise")
    assert settings.together_api_key.get_secret_value() == KEY
    assert settings.tier == "enterprise"


def test_a_user_without_a_login_name_is_unknown(monkeypatch):
    def no_name() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", no_name)
    settings._as_before.cache_clear()
    assert load().user == "unknown"
    settings._as_before.cache_clear()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TOGETHER_API_KEY", "kéy"),
        ("OPENAI_API_KEY", "ab\ncd"),
        ("TOGETHER_BASE_URL", "nonsense"),
        ("TOGETHER_BASE_URL", "127.0.0.1:8000"),
        ("OPENAI_BASE_URL", "http://"),
        ("HF_BASE_URL", "ftp://127.0.0.1"),
        ("AIDEON_LOCAL_BASE_URL", "http://a b"),
        ("AIDEON_LOCAL_BASE_URL", "http://127.0.0.1:99999"),
        ("AIDEON_LOCAL_BASE_URL", "http://[::1"),
    ],
)
def test_what_cannot_be_sent_or_reached_is_refused_by_its_variables_name(
    monkeypatch, variable, value
):
    monkeypatch.setenv(variable, value)
    with pytest.raises(UserError, match=variable):
        load()


FROM_ELSEWHERE = "k-of-the-environment"


@pytest.mark.parametrize(
    ("file", "variable"),
    [
        ("TOGETHER_BASE_URL=http://evil/v1", "TOGETHER_API_KEY"),
        ("TOGETHER_BASE_URL=http://evil/v1", "TOGETHER_AI_API_KEY"),
        ("together_base_url = http://evil/v1", "together_api_key"),
        ("export OPENAI_BASE_URL='http://evil/v1'\nHF_TOKEN=mine", "OPENAI_API_KEY"),
        ('HF_BASE_URL="http://evil/v1"\nHF_TOKEN=', "HF_TOKEN"),
    ],
)
def test_an_address_in_a_file_gets_no_key_of_the_environment(tmp_path, monkeypatch, file, variable):
    (tmp_path / ".env").write_text(f"{file}\n", encoding="utf-8")
    monkeypatch.setenv(variable, FROM_ELSEWHERE)
    with pytest.raises(UserError, match=r"_BASE_URL is set in .*\.env and .* in the environment"):
        load(tmp_path / ".env")
    monkeypatch.delenv(variable)
    assert load(tmp_path / ".env")


def test_the_secret_of_a_sign_in_goes_only_to_an_issuer_from_the_same_place(tmp_path, monkeypatch):
    monkeypatch.setenv("AIDEON_OIDC_CLIENT_SECRET", FROM_ELSEWHERE)
    (tmp_path / ".env").write_text("AIDEON_OIDC_ISSUER=https://evil.example\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"AIDEON_OIDC_ISSUER is set in .*\.env and AIDEON_OIDC_C"):
        load(tmp_path / ".env")
    with (tmp_path / ".env").open("a", encoding="utf-8") as file:
        file.write("AIDEON_OIDC_CLIENT_SECRET=of-the-file\n")
    settings = load(tmp_path / ".env")
    assert settings.oidc_client_secret.get_secret_value() == "of-the-file"
    monkeypatch.setenv("AIDEON_OIDC_ISSUER", "https://id.example")
    settings = load(tmp_path / ".env")
    assert settings.oidc_issuer == "https://id.example"
    assert settings.oidc_client_secret.get_secret_value() == FROM_ELSEWHERE


@pytest.mark.parametrize(
    "line", ["TOGETHER_API_KEY=${TOGETHER_API_KEY}", 'TOGETHER_API_KEY="a${X}"']
)
def test_a_file_cannot_take_a_key_from_a_variable(tmp_path, monkeypatch, line):
    (tmp_path / ".env").write_text(f"TOGETHER_BASE_URL=http://evil/v1\n{line}\n", encoding="utf-8")
    monkeypatch.setenv("TOGETHER_API_KEY", FROM_ELSEWHERE)
    with pytest.raises(UserError, match="write the value of TOGETHER_API_KEY itself"):
        load(tmp_path / ".env")


@pytest.mark.parametrize("own", ["TOGETHER_API_KEY", "TOGETHER_AI_API_KEY"])
def test_an_address_and_a_key_of_one_file_belong_together(tmp_path, monkeypatch, own):
    (tmp_path / ".env").write_text(f"TOGETHER_BASE_URL=http://t/v1\n{own}=mine\n", encoding="utf-8")
    monkeypatch.setenv("TOGETHER_API_KEY", FROM_ELSEWHERE)
    monkeypatch.setenv("TOGETHER_AI_API_KEY", FROM_ELSEWHERE)
    settings = load(tmp_path / ".env")
    key = settings.together_api_key or settings.together_ai_api_key
    assert (key.get_secret_value(), settings.together_base_url) == ("mine", "http://t/v1")


def test_an_address_of_the_environment_goes_before_that_of_a_file(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("TOGETHER_BASE_URL=http://evil/v1\n", encoding="utf-8")
    monkeypatch.setenv("TOGETHER_BASE_URL", "http://t/v1")
    monkeypatch.setenv("TOGETHER_API_KEY", FROM_ELSEWHERE)
    assert load(tmp_path / ".env").together_base_url == "http://t/v1"


@pytest.mark.parametrize("blank", ["", " "])
def test_every_empty_variable_is_unset(monkeypatch, blank):
    before = load()
    for field in Settings.model_fields.values():
        for variable in field.validation_alias.choices:
            monkeypatch.setenv(variable, blank)
    assert load() == before


def test_an_empty_variable_leaves_the_value_of_a_file(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("AIDEON_TIER=free\n", encoding="utf-8")
    monkeypatch.setenv("AIDEON_TIER", "")
    assert load(tmp_path / ".env").tier == "free"


def test_settings_show_no_password_or_key_of_an_address(monkeypatch):
    address = "http://me:hunter2@127.0.0.1:9/v1?api_key=hunter3"
    for variable in (
        "TOGETHER_BASE_URL",
        "OPENAI_BASE_URL",
        "HF_BASE_URL",
        "AIDEON_LOCAL_BASE_URL",
    ):
        monkeypatch.setenv(variable, address)
    monkeypatch.setenv("AIDEON_LEDGER", "postgresql://me:hunter2@127.0.0.1/x")
    assert "hunter" not in repr(load())
    assert "hunter" not in repr(providers(load()))
