"""The pages over an app in this process, as its users see them, and in a real Chromium."""

import re

import pytest
from service_fixtures import *  # noqa: F403 - fixtures

from aideon_agents.access import sessions, users
from aideon_agents.access.audit import By
from aideon_agents.api.app import create_app
from aideon_agents.dashboard.app import mount

BY = By("tests")


class Person:
    """Somebody who reads pages and sends their forms, with and without JavaScript alike."""

    def __init__(self, client):
        self.client = client

    async def get(self, path, status=200):
        answer = await self.client.get(f"/ui/{path}")
        assert answer.status_code == status, answer.text
        return answer.text

    async def post(self, path, status=303, *, page=None, files=None, **fields):
        """Send a form of a page, with the word that the page has put into it."""
        shown = await self.get(page or path.partition("?")[0])
        word = re.search(r'name="csrf" value="([^"]*)"', shown)
        form = {"csrf": word[1] if word else "", **fields}
        answer = await self.client.post(f"/ui/{path}", data=form, files=files)
        assert answer.status_code == status, answer.text
        if status != 303:
            return answer.text
        return await self.get(answer.headers["location"].removeprefix("/ui/"))


@pytest.fixture
async def person(service, client_of):
    """The user of this machine, where the service is open."""
    async with client_of(create_app(service, pages=mount)) as client:
        yield Person(client)


@pytest.fixture
async def signed_in(service, client_of):
    """Signs a new user of a role and a tier in by a link."""
    clients = []

    async def sign_in(user, role="member", tier="premium"):
        users.add(service.ledger, user, BY, role=role, tier=tier)
        link = sessions.make_link(service.ledger, user, BY)
        client = client_of(create_app(service, pages=mount))
        clients.append(client)
        answer = await client.post("/sign-in", data={"secret": link, "next": "/ui/"})
        assert answer.status_code == 303, answer.text
        secret = re.search(r"__Host-aideon=([^;]+)", answer.headers["set-cookie"])[1]
        client.headers["cookie"] = f"__Host-aideon={secret}"
        return Person(client)

    yield sign_in
    for client in clients:
        await client.aclose()
