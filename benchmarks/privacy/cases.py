"""Made-up private prompts: each kind, in each place of a conversation, with each thing that goes wrong."""

from __future__ import annotations

import dataclasses
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = (
    "email",
    "card",
    "ssn",
    "iban",
    "ip",
    "ip6",
    "mac",
    "phone",
    "password",
    "key",
    "login",
    "wide",
    "hidden",
)
PLACES = (
    "task",
    "middle",
    "instructions",
    "result",
    "feedback",
    "tool_result",
    "tool_arguments",
    "part",
    "split",
    "schema",
    "conversation",
)
WAYS = ("node", "structured", "tools", "chat_model", "stream", "judge", "astream")
TROUBLES = ("none", "down", "refuses", "malformed", "no_server", "cloud_down", "echo", "cached")

WORDS = [
    "heat",
    "pumps",
    "are",
    "quiet",
    "in",
    "winter",
    "and",
    "need",
    "little",
    "room",
    "the",
    "installer",
    "writes",
    "an",
    "offer",
    "after",
    "a",
    "visit",
    "please",
    "explain",
    "what",
    "it",
    "costs",
    "and",
    "how",
    "long",
    "the",
    "work",
    "takes",
    "in",
    "an",
    "old",
    "house",
    "with",
    "radiators",
]


@dataclasses.dataclass(frozen=True)
class Case:
    """One private prompt."""

    number: int
    kind: str
    secret: str
    place: str
    way: str
    trouble: str

    @property
    def mark(self) -> str:
        """A word that is beside the secret, and in no harmless prompt."""
        return f"mark{self.number}mark"


def cases(many: int, seed: int) -> Iterator[Case]:
    """So many cases: each kind meets each place, way and trouble."""
    chance = random.Random(seed)
    for number in range(many):
        kind = KINDS[number % len(KINDS)]
        yield Case(
            number,
            kind,
            secret(kind, chance),
            chance.choice(PLACES),
            chance.choice(WAYS),
            chance.choice(TROUBLES),
        )


def prose(chance: random.Random, words: int) -> str:
    """Harmless words."""
    return " ".join(chance.choice(WORDS) for _ in range(words))


def secret(kind: str, chance: random.Random) -> str:
    """A made-up value of a kind."""
    name = "".join(chance.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(9))
    two, four = chance.randrange(10, 99), chance.randrange(1000, 9999)
    phone = chance.choice((f"+49 170 {four}{two}1", f"(415) 555-{four}", f"+44 20 7946 {four}"))
    known = {
        "email": f"{name}.{four}@{chance.choice(('example.com', 'mail.test.org'))}",
        "ssn": f"{chance.randrange(100, 600)}-{two}-{four}",
        "iban": _iban(chance),
        "ip": ".".join(str(chance.randrange(128, 250)) for _ in range(4)),
        "ip6": "2001:db8:" + ":".join(f"{chance.randrange(4096, 65536):x}" for _ in range(6)),
        "mac": ":".join(f"{chance.randrange(256):02x}" for _ in range(6)),
        "phone": phone,
        "password": f"password: {name}{two}",
        "key": f"sk-{name}{name}{four}",
        "login": f"https://{name}:{name}{two}@host.test/path",
    }
    return known.get(kind) or _card(kind, chance)


def _card(kind: str, chance: random.Random) -> str:
    digits = [4, *(chance.randrange(10) for _ in range(14))]
    doubled = [one * 2 - 9 * (one > 4) if nth % 2 == 0 else one for nth, one in enumerate(digits)]
    number = "".join(map(str, [*digits, -sum(doubled) % 10]))
    grouped = chance.choice((" ", "-", "")).join(number[at : at + 4] for at in range(0, 16, 4))
    if kind == "wide":
        return grouped.translate({ord(str(one)): chr(0xFF10 + one) for one in range(10)})
    return "\u200b".join(number) if kind == "hidden" else grouped


def _iban(chance: random.Random) -> str:
    account = "".join(str(chance.randrange(10)) for _ in range(18))
    check = 98 - int(account + "131400") % 97
    number = f"DE{check:02}{account}"
    return " ".join(number[at : at + 4] for at in range(0, 22, 4))


def harmless(chance: random.Random) -> str:
    """A text with numbers, dates, versions, prices, code and addresses that belong to no person."""
    day = (
        f"{chance.randrange(1990, 2030)}-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}"
    )
    isbn = [9, 7, 8, *(chance.randrange(10) for _ in range(9))]
    last = -sum(one * (1 + 2 * (nth % 2)) for nth, one in enumerate(isbn)) % 10
    digits = "".join(map(str, [*isbn, last]))
    made = [
        f"It began on {day} at 10:{chance.randrange(60):02} and ended {day}T12:00:00Z.",
        f"ISBN {digits} or {digits[:3]}-{digits[3]}-{digits[4:6]}-{digits[6:12]}-{digits[12]}",
        f"version {chance.randrange(20)}.{chance.randrange(30)}.{chance.randrange(9)}.{chance.randrange(9)}",
        f"pip install pkg=={chance.randrange(9)}.{chance.randrange(30)}.{chance.randrange(9)}",
        f"${chance.randrange(1, 999)},{chance.randrange(1000):03}.99, {chance.randrange(10, 99)}.000 EUR",
        f"{chance.randrange(1, 99)} {chance.randrange(1000):03} {chance.randrange(1000):03} people",
        f"{chance.random()} and {chance.random() * 1e6:.6f}",
        f"commit {chance.randrange(16**40):040x}",
        f"order {chance.randrange(10**6, 10**9)}",
        f"timestamp {chance.randrange(1_600_000_000, 1_900_000_000)}",
        f"{chance.randrange(10**8):08x}-e89b-12d3-a456-{chance.randrange(16**12):012x}",
        "def connect(user: str, password: str) -> None: ...",
        "client = Client(password=settings.password, token=token)",
        "see https://docs.python.org/3/library/re.html#re.search and http://127.0.0.1:8000/v1",
        "git clone git@github.com:owner/repo.git && npm install @types/node@20.1.0",
        "for (int i = 0; i < 10000000; ++i) std::cout << a::b(i);",
        f"table: {' '.join(str(chance.randrange(1000)) for _ in range(8))}",
        f"pages {chance.randrange(100, 400)}-{chance.randrange(401, 900)}, ratio 16:9",
        prose(chance, 30),
    ]
    return "\n".join(chance.sample(made, 5))
