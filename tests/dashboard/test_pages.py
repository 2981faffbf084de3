"""The pages as a person without JavaScript uses them."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re

import pytest
from fastapi.routing import iter_route_contexts
from starlette.routing import Mount

from aideon_agents.access import api_keys, flags, increases, quotas
from aideon_agents.access.audit import By
from aideon_agents.access.callers import LOCAL
from aideon_agents.access.roles import ROLES
from aideon_agents.api.app import create_app
from aideon_agents.dashboard.app import mount
from aideon_agents.dashboard.pages import NAVIGATION, ROOT
from aideon_agents.ledger import checkpoints
from aideon_agents.ledger.identity import now, utc_text
from aideon_agents.ledger.rows import Call, CallEnd, Run

BY = By("tests")
EVIL = '<script>alert("x")</script>'
PAGES = [at for _, at, _ in NAVIGATION]


async def ended(service, run_id):
    assert await service.wait(run_id, 60)


async def run_of(person, service, workflow, task, **more):
    """Ask for a run by the form, and wait for its end."""
    answer = await person.client.post("/ui/ask", data={"workflow": workflow, "task": task, **more})
    assert answer.status_code == 303, answer.text
    run_id = answer.headers["location"].rpartition("/")[2]
    await ended(service, run_id)
    return run_id


@pytest.mark.parametrize("page", PAGES)
async def test_every_page_shows_itself_as_the_current_one(person, page):
    shown = await person.get(page)
    assert f'href="/ui/{page}" aria-current="page"' in shown
    assert "<h1>" in shown


def test_every_page_needs_a_permission_but_those_without_a_person(service):
    routes = create_app(service, pages=mount).routes
    (pages,) = [one.app for one in routes if isinstance(one, Mount) and one.path == ROOT]
    without = {
        route.path
        for route in iter_route_contexts(pages.routes)
        if not any(hasattr(one.call, "permission") for one in route.dependant.dependencies)
    }
    assert without == {"/", "/static/{name}"}


@pytest.mark.parametrize("path", ["/", "/ui"])
async def test_the_root_goes_to_the_pages(person, path):
    answer = await person.client.get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/")


async def test_a_run_is_asked_for_and_shows_its_output_and_money(person, service):
    run_id = await run_of(person, service, "one", "Heat pumps.")
    shown = await person.get(f"runs/{run_id}")
    assert "Heat pumps." in shown
    assert re.search(r"<th scope=\"row\">draft</th><td class=\"n\">\$0\.0", shown)
    assert f'src="/api/v1/runs/{run_id}/graph?format=html"' in shown
    listed = await person.get("runs?status=completed&workflow=one")
    assert run_id in listed
    assert run_id not in await person.get("runs?status=failed")


async def test_a_form_that_is_sent_twice_starts_one_run(person, service):
    shown = await person.get("ask?workflow=one")
    word = re.search(r'name="word" value="([^"]+)"', shown)[1]
    assert word not in await person.get("ask?workflow=one")
    first = await run_of(person, service, "one", "Heat pumps.", word=word)
    assert await run_of(person, service, "one", "Heat pumps.", word=word) == first
    assert len(service.ledger.select("SELECT run_id FROM runs")) == 1


async def test_an_estimate_is_shown_and_starts_no_run(person, service):
    shown = await person.post("ask", 200, workflow="one", task="Heat pumps.", do="estimate")
    assert "At most" in shown
    assert "Heat pumps." in shown
    assert service.ledger.select("SELECT run_id FROM runs") == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"task": "  "}, "the task is empty"),
        ({"task": "x", "budget": "much"}, "budget"),
        ({"task": "x", "timeout": "-1"}, "timeout"),
        ({"task": "x", "model": "nothing-like-it"}, "nothing-like-it"),
    ],
)
async def test_a_wrong_field_is_said_beside_what_was_written(person, fields, words):
    shown = await person.post("ask", 200, workflow="one", do="run", **fields)
    assert words in re.search(r'role="alert">([^<]+)<', shown)[1]


async def test_the_form_has_the_inputs_of_the_workflow(person, service):
    assert 'name="input-place"' in await person.get("ask?workflow=named")
    run_id = await run_of(person, service, "named", "Where?", **{"input-place": "Bern"})
    assert service.ledger.find_run(run_id).status == "completed"


async def test_a_waiting_run_is_approved_as_edited(person, service):
    run_id = await run_of(person, service, "asks", "A note. It is short.")
    shown = await person.get(f"runs/{run_id}")
    name = re.search(r'name="(content-[^"]+)"', shown)[1]
    await person.post(
        f"runs/{run_id}/answer",
        page=f"runs/{run_id}",
        decision="approve",
        **{name: "Quite another text."},
    )
    await ended(service, run_id)
    found = service.show(_local(service), run_id)
    assert found["status"] == "completed"
    assert found["results"]["draft"]["content"] == "Quite another text."


async def test_several_waiting_runs_are_answered_at_once(person, service):
    ids = [await run_of(person, service, "asks", f"Note {one}.") for one in range(3)]
    shown = await person.get("approvals")
    assert all(one in shown for one in ids)
    shown = await person.post("approvals", decision="approve", run=ids[:2])
    assert "The answers were given" in shown
    for one in ids[:2]:
        await ended(service, one)
    assert [service.ledger.find_run(one).status for one in ids] == [
        "completed",
        "completed",
        "waiting",
    ]


async def test_a_declined_run_ends(person, service):
    run_id = await run_of(person, service, "asks", "A note.")
    await person.post(f"runs/{run_id}/answer", page=f"runs/{run_id}", decision="decline")
    await ended(service, run_id)
    assert service.ledger.find_run(run_id).stop_reason == "declined"


async def test_a_run_is_rated_and_deleted(person, service):
    run_id = await run_of(person, service, "one", "Heat pumps.")
    shown = await person.post(f"runs/{run_id}/rate", page=f"runs/{run_id}", score="good")
    assert "The rating is recorded" in shown
    answer = await person.client.post(f"/ui/runs/{run_id}/delete")
    assert answer.status_code == 303
    await person.get(f"runs/{run_id}", 404)


async def test_a_batch_of_a_file_is_run_and_its_results_are_fetched(person, service):
    rows = b"id,task\na,First.\nb,Second.\n"
    shown = await person.post(
        "batches", workflow="one", files={"items": ("items.csv", rows, "text/csv")}
    )
    batch_id = re.search(r"/ui/batches/([^/\"]+)/results", shown)[1]
    async with asyncio.timeout(60):
        while "completed</span>" not in (shown := await person.get(f"batches/{batch_id}")):
            await asyncio.sleep(0.05)
    lines = (await person.get(f"batches/{batch_id}/results")).splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["a", "b"]
    assert batch_id in await person.get("batches")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("items.csv", b"id,task\na,\n", "line 2 of items.csv"),
        ("items.csv", b"", "no item"),
        ("items.csv", bytes(64), "a column task"),
    ],
)
async def test_a_file_that_holds_no_items_is_refused_with_the_place(person, name, content, words):
    shown = await person.post("batches", 422, workflow="one", files={"items": (name, content)})
    assert words in shown


async def test_a_key_is_shown_once_and_revoked(signed_in):
    ada = await signed_in("ada")
    shown = await ada.post("keys", 200, name="laptop", scope=["runs"])
    key = re.search(r"<code>(aid_\S+)</code>", shown)[1]
    assert (await ada.client.get("/api/v1/me", headers={"x-api-key": key})).status_code == 200
    listed = await ada.get("keys")
    assert key not in listed
    key_id = key.split("_")[1]
    await ada.post(f"keys/{key_id}/revoke", page="keys")
    answer = await ada.client.get("/api/v1/me", headers={"x-api-key": key, "cookie": ""})
    assert answer.status_code == 401


async def test_more_is_asked_for_and_granted(signed_in, service):
    ada, admin = await signed_in("ada", tier="free"), await signed_in("root", "admin")
    await ada.post(
        "quotas/requests", page="quotas", feature="text_generation", unit="requests", limit="500"
    )
    (asked,) = increases.requests(service.ledger)
    assert "Approve" not in await ada.get("quotas")
    await admin.post(f"quotas/requests/{asked['id']}", page="quotas", decision="approve")
    used = quotas.used(service.ledger, "ada", "free")
    assert used["text_generation"]["requests_limit"] == 500


async def test_admins_add_users_and_change_what_they_may(signed_in):
    admin = await signed_in("root", "admin")
    shown = await admin.post("users", user="bob", role="member", tier="free")
    assert "bob" in shown
    await admin.post("users/bob", page="users", role="viewer", tier="premium")
    (shown,) = re.findall(r'action="/ui/users/bob".*?</form>', await admin.get("users"))
    assert "<option selected>viewer</option>" in shown
    assert "<option selected>premium</option>" in shown
    shown = await admin.post("users/bob", page="users", do="block")
    assert "blocked</span>" in shown


async def test_an_admin_makes_a_link_that_signs_a_user_in_and_a_key_cannot(
    signed_in, client_of, service
):
    admin = await signed_in("root", "admin")
    await admin.post("users", user="bob", role="member", tier="free")
    shown = await admin.post("users/bob", 200, page="users", do="link")
    token = re.search(r"/sign-in#(\S+)</code>", shown)[1]
    answer = await admin.client.post("/sign-in", data={"secret": token, "next": "/ui/"})
    assert answer.status_code == 303
    _, key = api_keys.make(service.ledger, "root", BY, scopes=["admin"])
    app = create_app(service, pages=mount)
    async with client_of(app, Authorization=f"Bearer {key}") as client:
        refused = await client.post("/ui/users/bob", data={"do": "link"})
    assert refused.status_code == 403
    assert "a key cannot sign people in" in refused.text


async def test_an_admin_sees_and_revokes_the_keys_of_all(signed_in):
    ada, admin = await signed_in("ada"), await signed_in("root", "admin")
    made = await ada.post("keys", 200, name="laptop", scope=["runs"])
    key_id = re.search(r"<code>aid_(\w+)_", made)[1]
    shown = await admin.get("keys")
    assert re.search(rf"aid_{key_id}</code></th><td>ada</td>", shown)
    assert f"keys/{key_id}/rotate" not in shown
    await admin.post(f"keys/{key_id}/revoke", page="keys")
    assert "revoked</span>" in await ada.get("keys")
    bob = await signed_in("bob")
    assert key_id not in await bob.get("keys")
    await bob.post(f"keys/{key_id}/revoke", 404, page="keys")


async def test_an_admin_sets_the_quota_of_a_user_and_removes_it(signed_in, service):
    admin = await signed_in("root", "admin")
    await signed_in("ada", tier="free")
    named = {"subject": "user:ada", "feature": "text_generation", "unit": "requests"}
    first = quotas.used(service.ledger, "ada", "free")["text_generation"]["requests_limit"]
    for limit, expected in (("7", 7), ("unlimited", None), ("", first)):
        shown = await admin.post("quotas", limit=limit, **named)
        assert "The quota applies" in shown
        found = quotas.used(service.ledger, "ada", "free")["text_generation"]
        assert found.get("requests_limit") == expected
    assert "must be a number" in await admin.post("quotas", 422, limit="many", **named)
    ada = await signed_in("eve")
    await ada.post("quotas", 403, page="runs", limit="9", **named)


async def test_a_flag_is_set_for_a_share(signed_in, service):
    admin = await signed_in("root", "admin")
    shown = await admin.post("flags/together_ai_fallback", page="flags", on="on", share="25")
    assert "for 25 % of the users" in shown
    assert flags.find(service.ledger, "together_ai_fallback").share == 25


async def test_a_budget_is_set_and_audited(signed_in):
    admin = await signed_in("root", "admin")
    shown = await admin.post("alerts", scope="month:user:ada", usd="12.50")
    assert "month:user:ada" in shown
    assert "$12.50" in shown
    await admin.post("alerts", scope="month:user:ada", do="remove")
    shown = await admin.get("audit")
    assert "enforced: true; usd: 12.50" in shown
    assert "budget.set" in shown
    assert "budget.removed" in shown


async def test_a_service_that_is_to_report_each_day_does_and_shows_it(
    make_service, client_of, monkeypatch
):
    monkeypatch.setenv("AIDEON_DAILY_REPORT", "1")
    service = make_service()
    await service.open()
    async with client_of(create_app(service, pages=mount)) as client, asyncio.timeout(60):
        assert "goes there as well" in (await client.get("/ui/alerts")).text
        while "daily report</th>" not in (await client.get("/ui/alerts")).text:
            await asyncio.sleep(0.05)
    await service.drain()
    days = service.ledger.select("SELECT account FROM told")
    assert len(days) == 1


@pytest.mark.parametrize("role", ["viewer", "member"])
async def test_a_person_sees_the_pages_of_their_role_alone(signed_in, role):
    ada = await signed_in("ada", role)
    shown = await ada.get("runs")
    for _, at, permission in NAVIGATION:
        is_shown = f'href="/ui/{at}"' in shown
        assert is_shown == _may(role, permission), at
        await ada.get(at, 200 if is_shown else 403)


async def test_another_users_run_is_not_found(signed_in, service):
    ada, bob = await signed_in("ada"), await signed_in("bob")
    shown = await ada.post("ask", workflow="one", task="Heat pumps.")
    run_id = re.search(r"<small>(\w{26})</small>", shown)[1]
    await ended(service, run_id)
    await bob.get(f"runs/{run_id}", 404)
    assert run_id not in await bob.get("runs")
    word = re.search(r'name="csrf" value="([^"]+)"', await bob.get("runs"))[1]
    for action in ("cancel", "delete", "rate", "answer"):
        answer = await bob.client.post(
            f"/ui/runs/{run_id}/{action}", data={"csrf": word, "score": "good"}
        )
        assert answer.status_code == 404


async def test_an_admin_sees_the_money_and_graph_of_another_users_run_but_no_text(
    signed_in, service
):
    ada, admin = await signed_in("ada"), await signed_in("root", "admin")
    shown = await ada.post("ask", workflow="asks", task="Heat pumps are secret.")
    run_id = re.search(r"<small>(\w{26})</small>", shown)[1]
    await ended(service, run_id)
    assert "Heat pumps are secret" in await ada.get(f"runs/{run_id}")
    listed = await admin.get("runs")
    assert re.search(rf"{run_id}\".*?<td>ada</td>", listed)
    shown = await admin.get(f"runs/{run_id}")
    assert "the run of another user" in shown
    assert re.search(r"<th scope=\"row\">draft</th><td class=\"n\">\$0\.0", shown)
    assert "secret" not in shown
    assert "<textarea" not in shown
    picture = await admin.get(f"runs/{run_id}/graph")
    assert picture.startswith("<svg")
    assert "secret" not in picture
    assert "Heat pumps" not in await admin.get("approvals")
    await admin.post(f"runs/{run_id}/answer", 404, page="runs", decision="approve")
    assert (await admin.client.get(f"/api/v1/runs/{run_id}")).status_code == 404
    bob = await signed_in("bob")
    await bob.get(f"runs/{run_id}/graph", 404)


async def test_runs_are_found_by_status_workflow_time_and_user(signed_in, service):
    ada, admin = await signed_in("ada"), await signed_in("root", "admin")
    ids = []
    for person, workflow in ((ada, "one"), (ada, "asks"), (admin, "one")):
        shown = await person.post("ask", workflow=workflow, task="Heat pumps.")
        ids.append(re.search(r"<small>(\w{26})</small>", shown)[1])
        await ended(service, ids[-1])
    service.ledger.database.write(
        "UPDATE runs SET started_at = '2026-01-31T23:59:59.999Z' WHERE run_id = :run",
        {"run": ids[1]},
    )

    async def listed(person, query):
        shown = await person.get(f"runs?{query}")
        return [ids.index(one) for one in re.findall(r"/ui/runs/(\w{26})", shown)]

    assert await listed(admin, "") == [2, 1, 0]
    assert await listed(admin, "user=ada") == [1, 0]
    assert await listed(ada, "user=root") == [1, 0], "a member sees their own whatever they ask"
    assert await listed(admin, "workflow=one") == [2, 0]
    assert await listed(admin, "status=waiting&user=ada&workflow=asks") == [1]
    assert await listed(admin, "until=2026-01-31") == [1]
    assert await listed(admin, "since=2026-01-31&until=2026-01-31&user=ada") == [1]
    assert await listed(admin, "since=2026-02-01") == [2, 0]
    assert await listed(admin, "until=2026-01-30") == []
    await admin.get("runs?since=nonsense")


async def test_more_runs_are_listed_by_pages_with_the_same_filters(person, service):
    for _ in range(27):
        service.ledger.start_run(Run(workflow="one", user="ada"))
    service.ledger.start_run(Run(workflow="two", user="ada"))
    shown = await person.get("runs?workflow=one&since=2026-01-01")
    assert shown.count('<th scope="row">') == 25
    older = re.search(r'href="/ui/(runs\?[^"]+before=[^"]+)"', shown)[1].replace("&amp;", "&")
    assert "workflow=one" in older
    assert (await person.get(older)).count('<th scope="row">') == 2


async def test_models_are_chosen_among_those_of_the_tier_for_all_agents_or_for_each(
    signed_in, service
):
    ada = await signed_in("ada", tier="free")
    shown = await ada.get("ask?workflow=two")
    known = re.findall(r'<option value="([^"]+)">', shown)
    assert known == service.launcher.models_of(
        dataclasses.replace(LOCAL, user="ada", tier="free", session="s")
    )
    assert 0 < len(known) < len(service.launcher.models_of(LOCAL))
    first, second = known[:2]
    fields = {"model": first, "model-creative": second, "thread": "", "timeout": "60"}
    shown = await ada.post("ask", workflow="two", task="Heat pumps.", **fields)
    run_id = re.search(r"<small>(\w{26})</small>", shown)[1]
    await ended(service, run_id)
    asked = {
        one.role: f"{one.provider}:{one.requested_model}" for one in service.ledger.calls(run_id)
    }
    assert asked == {"executor": first, "creative": second}
    others = set(service.launcher.models_of(LOCAL)) - set(known)
    shown = await ada.post("ask", 200, workflow="two", task="x", model=min(others), do="run")
    assert "not among the models of the tier free" in shown


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("usage?user=ada&by=node&rehearsed=true", 200, "Recommendations"),
        ("usage?since=2026-12-31&until=2026-01-01", 200, "No call in this time"),
        ("usage?by=nonsense&since=never", 200, "Workflow"),
        ("runs?before=%00&workflow=%00", 200, "There is no such run"),
        ("runs/none", 404, ">there is no run none<"),
        ("ask?workflow=none", 404, ">there is no workflow &#39;none&#39;<"),
        ("success?against=nobody:none", 422, "unknown provider"),
        ("nothing", 404, "not found"),
    ],
)
async def test_whatever_is_asked_for_is_a_page_that_says_what_is_wrong(
    person, service, path, status, words
):
    for one in range(12):  # a model that fails often is worth a recommendation
        run_id = service.ledger.start_run(Run(workflow="one", user="ada"))
        named = {"role": "creative", "provider": "together", "requested_model": "m"}
        at = {"started_at": utc_text(now()), "rehearsed": True}
        call = Call(call_id=f"call-{one}", run_id=run_id, node_path="draft", **named, **at)
        service.ledger.start_call(call)
        service.ledger.finish_call(call.call_id, CallEnd(status="error", duration_ms=5))
    shown = await person.get(path, status)
    assert words in shown
    assert "GET /api" not in shown


async def test_all_waiting_runs_of_a_page_are_answered_at_once(person, service):
    ids = [await run_of(person, service, "asks", f"Note {one}.") for one in range(3)]
    shown = await person.get("approvals")
    listed = re.findall(r'name="shown" value="(\w+)"', shown)
    assert listed == ids[::-1]
    assert "all 3 of this page" in shown
    await person.post("approvals", decision="decline", all="on", shown=listed)
    for one in ids:
        await ended(service, one)
    assert {service.ledger.find_run(one).stop_reason for one in ids} == {"declined"}


async def test_a_form_of_another_site_does_nothing(signed_in, service):
    ada = await signed_in("ada")
    for word in ("", "a-guess"):
        form = {"workflow": "one", "task": "x", "csrf": word}
        assert (await ada.client.post("/ui/ask", data=form)).status_code == 403
    assert service.ledger.select("SELECT run_id FROM runs") == []


async def test_who_is_not_signed_in_is_asked_to(signed_in, client_of, service):
    await signed_in("ada")
    ada = await signed_in("bob")
    word = re.search(r'name="csrf" value="([^"]+)"', await ada.get("runs"))[1]
    answers = [
        await ada.client.post("/ui/sign-out", data={"csrf": word}),
        await ada.client.get("/ui/runs"),
    ]
    for answer in answers:
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=/ui/")
    assert "API key" in (await ada.client.get("/sign-in?next=/ui/")).text


async def test_what_people_write_is_text_on_every_page(person, service):
    run_id = await run_of(person, service, "asks", EVIL + ". More.")
    quotas.set_quota(service.ledger, "tier:premium", "text_generation", "requests", BY, most=3)
    await person.post(
        "quotas/requests",
        page="quotas",
        feature="text_generation",
        unit="requests",
        limit="5",
        reason=EVIL,
    )
    for page in (*PAGES, f"runs/{run_id}"):
        assert EVIL not in await person.get(page), page
    shown = await person.post("ask", 200, workflow="one", task=EVIL, do="estimate")
    assert EVIL not in shown


async def test_a_page_runs_no_script_but_its_own(person):
    answer = await person.client.get("/ui/runs")
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "<script>" not in answer.text
    assert " style=" not in answer.text


async def test_an_output_that_is_not_kept_is_said(person, service):
    run_id = await run_of(person, service, "one", "Heat pumps.")
    with service.ledger.database.transaction() as tx:
        tx.write(checkpoints.NO_EVENTS, {"run_id": run_id})
        tx.write(checkpoints.NO_RESULTS, {"run_id": run_id})
    assert "not kept any more" in await person.get(f"runs/{run_id}")


def _local(service):
    return dataclasses.replace(LOCAL, user=service.settings.user)


def _may(role, permission):
    return permission in ROLES[role]
