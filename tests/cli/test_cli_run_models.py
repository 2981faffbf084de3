"""`aideon run` against providers: chains by hand, keys, limits, settings from the environment."""

from __future__ import annotations

import pytest

from aideon_agents.testing import Fault, SimulatedProvider

KEY = "plain-looking-key-0123456789"


@pytest.fixture
def together(monkeypatch):
    """Makes a simulated provider stand in for Together."""
    started = []

    def start(*faults, **options) -> SimulatedProvider:
        provider = SimulatedProvider(faults=faults, **options).start()
        started.append(provider)
        monkeypatch.setenv("TOGETHER_API_KEY", KEY)
        monkeypatch.setenv("TOGETHER_BASE_URL", provider.base_url)
        return provider

    yield start
    for provider in started:
        provider.close()


def test_with_a_key_models_are_called_and_nothing_is_said_of_rehearsing(aideon, together):
    provider = together()
    done = aideon("run", "one.py", "--task", "x", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.document["rehearsed"] is False
    assert done.document["cost"]["output_tokens"] == provider.bill.output_tokens > 0


def test_a_model_by_hand_replaces_the_chain_of_a_role(aideon, together):
    together(Fault(404))
    chain = "creative=together:first/choice,together:Qwen/Qwen3.5-9B"
    done = aideon("run", "two.py", "--task", "x", "--model", chain, "--json")
    assert done.code == 0
    calls = aideon("runs", "show", "last", "--json").document["calls"]
    assert [
        (call["role"], call["requested_model"], call["candidate"], call["status"])
        for call in calls
        if call["role"] == "creative"
    ] == [("creative", "first/choice", 0, "ok")]  # the executor met the fault
    assert calls[0]["error_type"] == "ModelGone"


def test_a_failed_call_is_counted_in_the_table(aideon, together):
    together(Fault(404))
    done = aideon("run", "one.py", "--task", "x")
    assert done.code == 0
    assert "2 (1 failed)" in done.err


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("boss=together:m", "there is no role 'boss': one of planner, executor, validator, creat"),
        ("creative=antropic:m", "unknown provider 'antropic'"),
        ("creative=togehter:m", "did you mean together:m?"),
        ("creative=together:", "names no model"),
        ("creative=together:a,", "unknown provider ''"),
        (
            "creative=together:meta-llama/Meta-Llama-3.1-8B-Instruct-Turbo",
            "is retired since 2026-03-06: use together:Qwen/Qwen3.5-9B",
        ),
        ("creative=openai:gpt-4o", "no model can be asked for the creative: set OPENAI_API_KEY"),
    ],
)
def test_a_wrong_model_is_code_2_and_nothing_is_called(aideon, together, model, says):
    provider = together()
    done = aideon("run", "one.py", "--task", "x", "--model", model)
    assert done.code == 2
    assert says in done.complaint
    assert provider.requests == []
    assert aideon("runs", "list", "--json").document == []


def test_a_rejected_key_without_another_provider_is_code_1_naming_the_variable(aideon, together):
    together(Fault(401), Fault(401))
    done = aideon("run", "one.py", "--task", "x", "--json")
    assert done.code == 1
    assert "TOGETHER_API_KEY" in done.err.splitlines()[-1]
    assert done.document["status"] == "failed"
    assert done.document["error"] in done.err


def test_a_timeout_stops_the_run_with_code_3_and_cancelled_rows(aideon, together):
    together(Fault("hang"))
    done = aideon("run", "one.py", "--task", "x", "--timeout", "5", "--json")
    assert done.code == 3
    assert done.err.splitlines()[-1] == "aideon: the run reached its time limit of 5 s"
    document = done.document
    assert (document["status"], document["stop_reason"]) == ("stopped", "timeout")
    assert (document["error"], document["output"]) == (None, None)
    assert document["cost"]["complete"] is False  # the provider may charge for it
    (call,) = aideon("runs", "show", "last", "--json").document["calls"]
    assert (call["status"], call["usd"]) == ("cancelled", None)


def test_a_stopped_run_says_why_to_a_person_too(aideon, together):
    together(Fault("hang"))
    done = aideon("run", "one.py", "--task", "x", "--timeout", "5")
    assert (done.code, done.out) == (3, "")
    run, reason, _ = done.err.splitlines()[-3:]
    assert run.endswith("stopped (timeout)")
    assert reason == "aideon: the run reached its time limit of 5 s"
    (total,) = [line for line in done.err.splitlines() if line.strip().startswith("total")]
    assert total.split()[-1] == "?", "at least 0 would say nothing"


@pytest.mark.parametrize("seconds", ["0", "-1", "nan"])
def test_a_timeout_that_leaves_no_time_is_code_2(aideon, seconds):
    done = aideon("run", "one.py", "--task", "x", f"--timeout={seconds}")
    assert done.code == 2
    assert "leaves no time: give more than 0" in done.complaint


def test_the_command_line_reads_dotenv_below_the_environment(aideon, together, folder, monkeypatch):
    provider = together(keys=[KEY])
    monkeypatch.delenv("TOGETHER_API_KEY")
    (folder / ".env").write_text(f"TOGETHER_API_KEY={KEY}\nAIDEON_USER=eve\n", encoding="utf-8")
    assert aideon("run", "one.py", "--task", "x", "--json").code == 0
    assert len(provider.requests) == 1
    assert aideon("runs", "list", "--json").document[0]["user"] == "ada"  # the environment's


def test_the_library_does_not_read_dotenv(folder):
    from aideon_agents import Settings

    (folder / ".env").write_text(f"TOGETHER_API_KEY={KEY}\n", encoding="utf-8")
    assert Settings().together_api_key is None


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AIDEON_TIER", "gold"),
        ("AIDEON_MODEL_CONCURRENCY", "0"),
        ("AIDEON_MODEL_CONCURRENCY", "many"),
        ("AIDEON_OFFLINE", "perhaps"),
        ("AIDEON_PROFILE", "old"),
        ("AIDEON_LEDGER", "mysql://host/db"),
        ("AIDEON_CATALOG", "missing.toml"),
    ],
)
def test_a_setting_that_cannot_be_is_one_line_and_code_2(aideon, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    done = aideon("run", "one.py", "--task", "x", "--json")
    assert done.code == 2
    what = {"AIDEON_LEDGER": "the ledger cannot be at", "AIDEON_CATALOG": "missing.toml"}
    assert what.get(variable, variable) in done.complaint.removeprefix("rehearsing")


def test_a_dotenv_that_is_no_text_is_one_line_and_code_2(aideon, folder):
    (folder / ".env").write_bytes(b"\xff\xfeK=1")
    done = aideon("run", "one.py", "--task", "x")
    assert (done.code, done.complaint) == (2, ".env is not text in UTF-8: it must be")


def test_the_ledger_goes_where_the_environment_says(aideon, folder, monkeypatch):
    monkeypatch.setenv("AIDEON_LEDGER", "sqlite:///elsewhere/money.db")
    assert aideon("run", "one.py", "--task", "x").code == 0
    assert (folder / "elsewhere" / "money.db").is_file()
    assert not (folder / ".aideon").exists()
