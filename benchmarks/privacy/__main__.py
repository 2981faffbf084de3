"""Does private text reach a cloud, a log, an error or the ledger? 1,000 cases, everything going wrong.

    python benchmarks/privacy [--cases N] [--seed S]

Each case is a made-up private text in some place of a conversation, asked in some way, with a server of
one's own that may be off, refuse, or repeat the prompt in its errors. Clouds and server are real HTTP
servers on loopback addresses. Then harmless texts are read, and the time that reading takes is measured.
Ends with 1 where text of a private prompt was found, or more than 1 % of the harmless texts is private.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path

from asking import Found, Servers, bare, look
from cases import cases, harmless, prose

from aideon_agents.models.routing.privacy import kind_in
from aideon_agents.models.routing.rules import load

MOST_FALSE = 0.01
"""The share of harmless texts that may be taken for private ones."""


async def ask_all(many: int, seed: int) -> Found:
    """Ask every case, and look for its text."""
    found, chance = Found(), random.Random(seed)
    listed = list(cases(many, seed))
    with tempfile.TemporaryDirectory() as folder, Servers().running() as servers:
        path = Path(folder, "ledger.db")
        for case in listed:
            await look(case, servers, str(path), chance, found)
        with sqlite3.connect(path) as db:
            kept = bare("\n".join(db.iterdump()))
    hidden = {case.number: bare(case.secret.removeprefix("password: ")) for case in listed}
    found.in_ledger += [number for number, text in hidden.items() if text in kept]
    return found


def false_positives(many: int, seed: int) -> list[tuple[str, str]]:
    """Harmless texts that are taken for private ones, and for what."""
    chance, rules = random.Random(seed), load()
    texts = [harmless(chance) for _ in range(many)]
    kinds = [kind_in(rules, (("human", text),), words=False) for text in texts]
    return [(kind, text) for kind, text in zip(kinds, texts, strict=True) if kind]


def milliseconds(seed: int) -> tuple[float, float]:
    """The median time to read 2 kB of prose, and of prose with numbers, as it is read in each call."""
    chance, rules = random.Random(seed), load()
    medians: list[float] = []
    for between in ("", " costs 12,000 euros since 2024-01-02, "):
        took: list[float] = []
        for _ in range(200):
            text = (prose(chance, 40) + between) * 8
            began = time.perf_counter()
            lowered = text.lower()
            any(one.search(text) for one in rules.marks) or any(
                one in lowered for one in rules.stems
            )
            took.append(time.perf_counter() - began)
        medians.append(statistics.median(took) * 1000)
    return medians[0], medians[1]


def main() -> int:
    """Ask, print, and say whether it holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    logging.lastResort = None
    found = asyncio.run(ask_all(given.cases, given.seed))
    wrong = false_positives(given.cases, given.seed)
    plain, numbers = milliseconds(given.seed)
    print(f"{found.asked} private prompts: {found.answered} answered, {found.refused} refused")
    for where in ("cloud", "logs", "errors", "ledger"):
        numbers_of = getattr(found, f"in_{where}")
        print(f"  text found in {where}: {len(numbers_of)} {numbers_of[:5] or ''}")
    share = len(wrong) / given.cases
    print(f"{given.cases} harmless texts: {len(wrong)} taken for private ones ({share:.1%})")
    for kind, text in wrong[:5]:
        print(f"  {kind}: {text!r}")
    print(f"2 kB are read in {plain:.3f} ms, with numbers in {numbers:.3f} ms")
    return int(found.leaks > 0 or share > MOST_FALSE)


if __name__ == "__main__":
    sys.exit(main())
