"""The page for keys of providers: stored, proven and rotated over a provider, and never shown."""

from __future__ import annotations

import base64
import os
import re

import pytest

from aideon_agents.access import flags
from aideon_agents.access.audit import By
from aideon_agents.testing import SimulatedProvider

BY = By("tests")
OLD, NEW, OWN = "tgp_v1_old9f3kQ2mZ7", "tgp_v1_newZq8wN5vB1", "tgp_v1_own7Yt2pL0sD"
BAD = "tgp_v1_bad4Rr6uH8jK"
SYSTEM = {"page": "provider-keys", "provider": "together"}


@pytest.fixture(autouse=True)
def provider(folder, monkeypatch):
    ring = base64.b64encode(os.urandom(24) + bytes(range(200, 208))).decode()
    monkeypatch.setenv("AIDEON_KEY_RING", f"a:{ring}")
    with SimulatedProvider(keys={OLD, NEW, OWN}) as running:
        monkeypatch.setenv("TOGETHER_BASE_URL", running.base_url)
        yield running


async def test_a_person_stores_proves_and_removes_a_key_of_their_own(signed_in, service):
    ada = await signed_in("ada")
    shown = await ada.get("provider-keys")
    assert "has not allowed keys of users" in shown
    assert 'name="key"' not in shown
    assert "Runs that use it" not in shown
    path, given = "provider-keys/own", {"page": "provider-keys", "provider": "together"}
    await ada.post(path, 403, do="store", key=OWN, **given)
    flags.change(service.ledger, "user_provider_keys", BY, is_on=True)
    shown = await ada.post(path, do="store", key=OWN, may_fall_back="on", **given)
    assert "The key is stored" in shown
    assert f"…{OWN[-4:]}" in shown
    assert "not proven" in shown
    assert "takes the key" in await ada.post(path, do="prove", **given)
    assert "not proven" not in await ada.get("provider-keys")
    shown = await ada.post(path, 422, do="store", key="changeme-changeme", **given)
    assert "placeholder" in shown
    await ada.post(path, do="remove", **given)
    assert "You have stored no key" in await ada.get("provider-keys")
    await ada.post("provider-keys/system", 403, do="store", key=OWN, **given)
    for row in service.ledger.select("SELECT body FROM audit"):
        assert OWN not in row["body"]


async def test_an_admin_rotates_the_systems_key_by_steps_and_takes_it_back(signed_in):
    admin, path = await signed_in("root", "admin"), "provider-keys/system"

    async def does(do, status=303, **more):
        shown = await admin.post(path, status, do=do, **SYSTEM, **more)
        shares = re.findall(r"<code>…(\w+)</code></td><td class=\"n\">(\d+) %", shown)
        return shown, {last4: int(share) for last4, share in shares}

    assert (await does("store", key=OLD))[1] == {OLD[-4:]: 100}
    shown, _ = await does("rotate", 422, key=BAD)
    assert "rejects this key" in shown
    shown, shares = await does("rotate", key=NEW)
    assert shares == {OLD[-4:]: 90, NEW[-4:]: 10}
    assert "Continue with 50 %" in shown
    assert NEW not in shown
    assert (await does("next"))[1][NEW[-4:]] == 50
    shown, shares = await does("back")
    assert (shares[OLD[-4:]], shares[NEW[-4:]]) == (100, 0)
    assert "Rotation of together" not in shown


async def test_a_provider_that_rejects_a_key_or_does_not_answer_is_said(signed_in, provider):
    admin = await signed_in("root", "admin")
    await admin.post("provider-keys/system", do="store", key=BAD, **SYSTEM)
    shown = await admin.post("provider-keys/system", 422, do="prove", **SYSTEM)
    assert "together rejects the key" in shown
    assert "rejected</span>" in await admin.get("provider-keys")
    provider.close()
    shown = await admin.post("provider-keys/system", 502, do="prove", **SYSTEM)
    assert "could not be asked" in shown
    assert BAD not in shown
