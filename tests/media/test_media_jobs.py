"""Jobs outlive their process: they are continued, cancelled by a person, and paid once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from decimal import Decimal

import pytest
import warm
from filming import Films

from aideon_agents import Ledger, resume, run, sequential, video
from aideon_agents.media.dialects.videos import Runway
from aideon_agents.runner import prepare

PAID = Decimal("0.6")


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    monkeypatch.setattr(Runway, "pause", 0.01)


@pytest.fixture
def films(monkeypatch):
    made = Films()
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    made.looks = [made.runway("RUNNING"), made.runway()]
    yield made
    made.close()


@pytest.fixture
def command(folder, films):
    """Starts the command line in a process of its own; what is left over is killed."""
    started = []

    def start(*words):
        known = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        known |= {"AIDEON_USER": "ada", "NO_COLOR": "1", **films.environment}
        process = warm.Process(
            ["-m", "aideon_agents", *words],
            cwd=folder,
            env=known,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def kill_at_first_look(films, process):
    """Kill a process as soon as its job is looked at."""
    assert films.first_look.wait(60)
    process.kill()
    process.communicate(timeout=60)
    films.goes_on.set()


def settled(ledger):
    """The state of each hold, and what the budgets of runs have spent and held."""
    holds = [one["status"] for one in ledger.select("SELECT status FROM holds ORDER BY taken_at")]
    (sums,) = ledger.select(
        "SELECT SUM(spent_nanousd) AS spent, SUM(held_nanousd) AS held FROM accounts"
        " WHERE account LIKE 'run:%'"
    )
    return holds, sums["spent"], sums["held"]


def test_a_command_that_was_killed_waits_for_the_same_video_when_it_is_repeated(
    folder, films, command
):
    words = ("video", "A red house", "--budget", "2", "--out", "house.mp4")
    films.goes_on.clear()
    kill_at_first_look(films, command(*words))
    out, err = command(*words, "--json").communicate(timeout=60)
    document = json.loads(out)
    assert document["status"] == "completed", err
    assert (document["usd"], document["complete"]) == ("0.600000", True)
    assert "has begun this video" in err
    assert (folder / "house.mp4").stat().st_size == document["artifacts"][0]["bytes"]
    assert len(films.begun) == 1
    with Ledger(folder / ".aideon" / "ledger.db") as ledger:
        (call,) = ledger.calls(document["run_id"])
        assert (call.status, call.usd, call.provider_job) == ("ok", PAID, "job-0")
        assert settled(ledger) == (["settled"], 600_000_000, 0)
    out, _ = command(*words, "--json").communicate(timeout=60)
    assert json.loads(out)["status"] == "completed"
    assert len(films.begun) == 2  # that one was done: this is another one


def test_another_video_or_user_does_not_get_a_job_that_is_open(films, command):
    films.goes_on.clear()
    kill_at_first_look(films, command("video", "A red house"))
    for words in (["A blue house"], ["A red house", "--user", "bob"]):
        _, err = command("video", *words).communicate(timeout=60)
        assert "has begun this video" not in err
    assert len(films.begun) == 3


def test_ctrl_c_cancels_the_job_and_says_so(folder, films, command):
    films.looks = [films.runway("RUNNING")]
    process = command("video", "A red house")
    films.goes_on.clear()
    assert films.first_look.wait(60)
    films.looks = [films.runway("CANCELLED", cost={"credits": 0})]
    process.send_signal(signal.SIGINT)
    films.goes_on.set()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "interrupted" in err
    with Ledger(folder / ".aideon" / "ledger.db") as ledger:
        run_id = ledger.find_run("last").run_id
        (call,) = ledger.calls(run_id)
    assert films.cancelled == ["/v1/tasks/job-0"]
    assert (call.status, call.cost_nanousd) == ("cancelled", 0)


SCRIPT = """
import sys
from pathlib import Path
from aideon_agents import Ledger, run, sequential, video
from aideon_agents.media.dialects.videos import Runway
Runway.pause = 0.01
with Ledger(Path("ledger.db")) as ledger:
    run(sequential(video()), "A red house", ledger=ledger, budget="2", checkpoint=True)
"""


def test_a_run_that_was_killed_goes_on_with_its_job_when_it_resumes(folder, films, ledger):
    films.goes_on.clear()
    with subprocess.Popen([sys.executable, "-c", SCRIPT], cwd=folder) as process:
        assert films.first_look.wait(60)
        process.kill()
    films.goes_on.set()
    ledger.budgets.forfeit_dead()
    assert settled(ledger) == (["held"], 0, 600_000_000)
    result = resume(sequential(video()), "last", ledger=ledger)
    assert result.status == "completed", result.error
    assert (result.cost.usd, result.cost.calls, result.cost.complete) == (PAID, 1, True)
    assert len(result.results["video"].artifacts) == 1
    assert settled(ledger) == (["settled"], 600_000_000, 0)
    assert len(films.begun) == 1


def interrupted(films, ledger, **how):
    """A run that is interrupted while its job is looked at."""
    graph = sequential(video())
    running = prepare(graph, "A red house", ledger=ledger, budget="2", checkpoint=True)

    async def interrupt():
        films.goes_on.clear()
        task = asyncio.create_task(running.to_end())
        assert await asyncio.to_thread(films.first_look.wait, 60)
        running.interrupt(**how)
        films.goes_on.set()
        return await task

    return graph, asyncio.run(interrupt())


def test_a_job_that_its_provider_does_not_cancel_is_waited_for_again(films, ledger, monkeypatch):
    async def cancel(*_):
        return False

    monkeypatch.setattr(Runway, "cancel", cancel)
    graph, result = interrupted(films, ledger, gives_up=True)
    assert (result.status, result.cost.complete) == ("cancelled", False)
    assert settled(ledger) == (["held"], 0, 600_000_000)
    again = resume(graph, "last", ledger=ledger)
    assert (again.status, again.cost.usd) == ("completed", PAID)
    assert len(films.begun) == 1


def test_a_run_that_no_person_interrupts_keeps_its_job(films, ledger):
    graph, result = interrupted(films, ledger)
    assert (result.status, films.cancelled) == ("cancelled", [])
    assert resume(graph, "last", ledger=ledger).status == "completed"
    assert len(films.begun) == 1


def test_a_job_that_failed_while_nobody_waited_is_settled_and_the_next_model_is_asked(
    films, ledger
):
    graph, _ = interrupted(films, ledger)
    failed = films.runway("FAILED", failureCode="INTERNAL", cost={"credits": 3})
    films.looks = [failed, films.together()]
    films.refusal = {"text_to_video": (404, {"error": "gone"})}
    again = resume(graph, "last", ledger=ledger)
    assert again.status == "completed", again.error
    calls = ledger.calls(again.run_id)
    assert [(one.provider, one.status) for one in calls] == [
        ("runway", "error"),
        ("runway", "error"),
        ("together", "ok"),
    ]
    assert calls[0].usd == Decimal("0.03")
    assert settled(ledger)[2] == 0


def test_a_job_whose_key_is_rejected_stays_open(films, ledger):
    films.looks = [401]
    graph = sequential(video())
    result = run(graph, "A red house", ledger=ledger, checkpoint=True)
    assert result.status == "failed"
    assert "job-0 of runway:gen4.5 continues there" in result.error
    films.looks = [films.runway()]
    assert resume(graph, "last", ledger=ledger).status == "completed"
    assert len(films.begun) == 1


def test_a_job_of_a_model_that_cannot_be_asked_any_more_is_not_bought_elsewhere(
    films, ledger, monkeypatch
):
    graph, _ = interrupted(films, ledger)
    monkeypatch.delenv("RUNWAYML_API_SECRET")
    result = resume(graph, "last", ledger=ledger)
    assert result.status == "failed"
    assert "job job-0 of runway:gen4.5 continues there" in result.error
    assert len(films.begun) == 1
    monkeypatch.setenv("RUNWAYML_API_SECRET", "runway-key-123456")
    assert resume(graph, "last", ledger=ledger).status == "completed"


def test_a_submission_whose_answer_is_lost_is_not_repeated_anywhere(films, ledger):
    films.refusal = {"text_to_video": (200, b"\x00 no document")}
    result = run(sequential(video()), "A red house", ledger=ledger, budget="2")
    assert result.status == "failed"
    (call,) = ledger.calls(result.run_id)
    assert (call.provider, call.cost_nanousd) == ("runway", None)
    assert settled(ledger) == (["unknown"], 600_000_000, 0)
