"""What pictures, speech and recordings use of the quotas of the free tier, with a real answer."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from aideon_agents.access import api_keys, users
from aideon_agents.access.audit import By
from aideon_agents.api.app import create_app
from aideon_agents.media.rehearsal import png, wav

BASE = "/api/v1/together"
BY = By("root")


class Answers(BaseHTTPRequestHandler):
    """Together, as far as it is asked here."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(self.path)
        if self.path.endswith("speech"):
            return self.say(wav(30), "audio/wav")
        if self.path.endswith("transcriptions"):
            return self.say(json.dumps({"text": "hi", "duration": 90.0}).encode())
        body = json.loads(asked)
        picture = base64.b64encode(png(body["width"], body["height"])).decode()
        return self.say(json.dumps({"data": [{"b64_json": picture}]}).encode())

    def say(self, data, kind="application/json"):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")  # else its socket stays open after the test
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def together(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("TOGETHER_API_KEY", "together-key-1234")
    monkeypatch.setenv("TOGETHER_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def free(ledger, together, make_service, client_of):
    users.add(ledger, "ann", BY, role="member", tier="free")
    _, secret = api_keys.make(ledger, "ann", BY, scopes=("models", "usage"))
    app = create_app(make_service(rehearse=False))
    return client_of(app, authorization=f"Bearer {secret}")


def recording(seconds):
    return {"audio_url": f"data:audio/wav;base64,{base64.b64encode(wav(seconds)).decode()}"}


async def test_ten_pictures_a_day_are_made_and_the_next_one_is_refused_before_it_is_asked(
    free, together, ledger
):
    asked = {"prompt": "a sunset", "width": 64, "height": 64}
    made = [await free.post(f"{BASE}/images/generations", json=asked) for _ in range(11)]
    assert [one.status_code for one in made] == [200] * 10 + [429]
    assert made[-1].json()["code"] == "quota_exceeded"
    assert len(together.asked) == 10
    assert made[0].headers["X-Aideon-Cost-Usd"] == "0.000011059"
    used = (await free.get(f"{BASE}/quota")).json()["image_generation"]
    assert used == {"requests_used": 10, "requests_limit": 10}
    assert {call.provider for run in ledger.runs() for call in ledger.calls(run.run_id)} == {
        "together"
    }


async def test_minutes_are_those_of_the_sound(free, together):
    written = await free.post(f"{BASE}/audio/transcriptions", json=recording(120))
    assert (written.status_code, written.json()["text"]) == (200, "hi")
    spoken = await free.post(f"{BASE}/audio/speech", json={"text": "Hello there"})
    assert spoken.status_code == 200
    used = (await free.get(f"{BASE}/quota")).json()
    assert used["audio_stt"]["minutes_used"] == 1.5  # as the provider counts them
    assert used["audio_tts"]["minutes_used"] == 0.5
    refused = await free.post(f"{BASE}/audio/transcriptions", json=recording(9 * 60))
    assert (refused.status_code, refused.json()["unit"]) == (429, "minutes")
    assert len(together.asked) == 2
    after = (await free.get(f"{BASE}/quota")).json()["audio_stt"]
    assert (after["requests_used"], after["minutes_used"]) == (1, 1.5)
