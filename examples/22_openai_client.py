"""A workflow for every client of OpenAI: `aideon serve`, asked with the `openai` package.

Chat UIs such as Open WebUI and LibreChat connect in the same way, with the base URL and a key.
"""

import re
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

from openai import OpenAI
from openai.types.chat import ChatCompletionUserMessageParam

SERVE = [sys.executable, "-m", "aideon_agents", "serve", "--port", "0", "--workflow", "brief=brief"]


@contextmanager
def service() -> Generator[str]:
    """The address of a service. On loopback it needs no key until the first one is made."""
    process = subprocess.Popen(SERVE, stderr=subprocess.PIPE, text=True)  # noqa: S603 - our own
    with process as serving:
        lines = serving.stderr or ()
        yield next(found[0] for line in lines if (found := re.search(r"http://\S+", line)))
        serving.terminate()


with service() as address, OpenAI(base_url=f"{address}/v1", api_key="none") as client:
    chunks = client.chat.completions.create(
        model="workflow:brief",
        messages=[ChatCompletionUserMessageParam(role="user", content="heat pumps")],
        stream=True,
        stream_options={"include_usage": True},
    )
    for chunk in chunks:
        for choice in chunk.choices:
            print(choice.delta.content or "", end="")
        if chunk.usage:
            print(f"\n{chunk.usage.total_tokens} tokens:", (chunk.model_extra or {})["aideon"])
