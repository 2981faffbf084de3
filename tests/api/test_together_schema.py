"""The nine endpoints, asked with what their OpenAPI document allows, and with what it does not."""

from __future__ import annotations

import fastapi
import hypothesis
import pytest
import schemathesis
from hypothesis.internal.conjecture.utils import many
from schemathesis.specs.openapi.checks import positive_data_acceptance

from aideon_agents.api import problems, together
from aideon_agents.api.together import PREFIX

EXAMPLES = 10
AT_URLS = ("/images/analysis", "/audio/transcriptions")
PATHS = [
    *("/models", "/quota", "/text/completions", "/chat/completions", "/code/completions"),
    *("/images/generations", "/audio/speech", *AT_URLS),
]


@pytest.fixture
def objects(monkeypatch):
    """Lets hypothesis-jsonschema 0.23 make objects with hypothesis 6.170, which has no `more` here."""

    def more(self):
        if self._depth is None:
            self.steps = iter(self.__enter__())
        return next(self.steps, self) is None

    if not hasattr(many, "more"):
        monkeypatch.setattr(many, "more", more, raising=False)


@pytest.mark.usefixtures("objects")
@pytest.mark.parametrize("path", PATHS)
def test_what_is_answered_is_what_the_document_says(make_service, serve, path):
    service = make_service()
    described = fastapi.FastAPI()
    problems.install(described)
    described.include_router(together.router())
    document = described.openapi()
    for operation in document["paths"][PREFIX + path].values():
        del operation["security"]  # a key is not what is tried here
    schema = schemathesis.openapi.from_dict(document)
    url = serve(service)
    (operation,) = [
        one.ok() for one in schema.get_all_operations() if one.ok().path == PREFIX + path
    ]
    modes = schemathesis.GenerationMode
    # What is at a URL is in no schema.
    left_out = [positive_data_acceptance] if path in AT_URLS else []
    takes_nothing = path == "/quota"
    for mode in (modes.POSITIVE,) if takes_nothing else (modes.POSITIVE, modes.NEGATIVE):

        @hypothesis.settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            phases=[hypothesis.Phase.generate],
        )
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def ask(case):
            case.call_and_validate(base_url=url, timeout=60, excluded_checks=left_out)

        ask()
