"""Finds what a text holds that may not leave: addresses, numbers, passwords and keys.

Our patterns find where something may be; LangChain's detectors and phonenumbers decide whether it is.
So a detector reads a few characters, however long the text is. Both packages are imported where a text
looks suspicious: they take most of a second.
"""

from __future__ import annotations

import functools
import ipaddress
import re
import unicodedata
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

from aideon_agents.models.routing.rules import DIGITS, SECRET_IN_URL, size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from aideon_agents.models.routing.rules import Rules


class _Folded(dict[int, "str | None"]):
    """How characters are read that stand for others; for `str.translate`."""

    def __missing__(self, code: int) -> str | None:
        mark = chr(code)
        category = unicodedata.category(mark)
        read: str | None = mark
        if (
            category in ("Cf", "Mn", "Me") or mark == "\u3164"
        ):  # invisible, or drawn over another one
            read = None
        elif category == "Nd":
            read = str(unicodedata.digit(mark))
        elif category == "Pd" or mark == "\u2212":
            read = "-"
        elif category == "Zs" or mark in "\u2028\u2029":
            read = " "
        self[code] = read
        return read


_FOLDED = _Folded()


def folded(text: str) -> str:
    """A text in which digits, dashes and spaces of all scripts are those of ASCII."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text).translate(_FOLDED)


_SEAM = 48
"""Characters on either side of the place where two messages meet, of what may be split over them."""


@functools.lru_cache(maxsize=64)
def kind_in(rules: Rules, parts: tuple[tuple[str, str], ...], *, words: bool) -> str | None:
    """What the messages of a prompt hold that may not leave; None: nothing.

    `parts` has the role and the text of each message. `words`: the words of the documents count alone.
    """
    texts = [text for _, text in parts]
    whole = "\n".join(texts)
    same_role: list[tuple[str, str]] = []
    for role in {role for role, _ in parts}:
        same_role += pairwise([text for one, text in parts if one == role])
    seams = [f"{one[-_SEAM:]}{two[:_SEAM]}" for one, two in (*pairwise(texts), *same_role)]
    for text in dict.fromkeys((whole, *seams)):
        if kind := _kind_in(folded(text), rules):
            return kind
    if words and (word := rules.classes["privacy"].search(folded(whole).lower())):
        return f"the word {' '.join(word[0].split())!r}"
    return None


def _kind_in(text: str, rules: Rules) -> str | None:
    """The first kind that is found in a text whose characters are folded."""
    text = _SPELLED.sub(lambda match: "." if match["dot"] else "@", text)
    lowered = text.lower()
    found: list[tuple[str, Callable[[], bool]]] = []
    if any(one in lowered for one in rules.stems):
        found.append(("a key", lambda: rules.keys.search(text) is not None))
        found.append(("a URL with a secret", lambda: _has_secret_url(text)))
        found.append(("a password", lambda: _has_password(_CAMEL.sub("_", text).lower(), rules)))
    if "@" in text:
        found.append(("an email address", lambda: any(_emails(text))))
        found.append(("a URL with a secret", lambda: _has_secret_url(text)))
    # Letters of other scripts may touch a number, but are part of an email address.
    western = text if text.isascii() else _OTHERS.sub(" ", text)
    if any(one.search(western) for one in rules.marks):
        found.append(("a MAC address", lambda: any(_macs(western))))
        found.append(("an IP address", lambda: any(_ips(western, lowered))))
    if DIGITS.search(western):
        found.append(("a credit card number", lambda: _has_card(western, lowered, rules)))
        found.append(("an IBAN", lambda: any(map(_is_iban, _IBAN.findall(western)))))
        found.append(("a social security number", lambda: _has_ssn(western, lowered, rules)))
        found.append(("a telephone number", lambda: _has_phone(western, lowered, rules)))
    own = (name for name, pattern in rules.own.items() if pattern.search(text))
    return next((kind for kind, is_there in found if is_there()), None) or next(own, None)


_SPELLED = re.compile(
    r"\s?[\[({]\s?(?:at|(?P<dot>dot))\s?[\])}]\s?|%40|\\u0040|&#(?:64|x40);|&commat;", re.IGNORECASE
)
"""Other ways to write the `@` and the dots of an email address."""
_OTHERS = re.compile(r"[^\x00-\x7f]")


def _detectors() -> Any:
    from langchain.agents.middleware import pii  # noqa: PLC0415 - as the module says

    return pii


_LONGEST_NAME, _LONGEST_DOMAIN = 64, 255
_FILES = {
    *("png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "avif"),
    *("pdf", "css", "js", "ts", "py", "md"),
}
"""Endings of files such as `icon@2x.png`; `py` and `md` are countries too, but hardly ever meant."""


_LOGIN_BEFORE = re.compile(r"://[^\s/@:]+:$")


def _emails(text: str) -> Iterator[str]:
    for at in re.finditer("@", text):
        begins = max(0, at.start() - _LONGEST_NAME)
        around = text[begins : at.end() + _LONGEST_DOMAIN]
        for match in _detectors().detect_email(_OTHERS.sub("a", around)):
            name, _, domain = match["value"].rpartition("@")
            ending = domain.rpartition(".")[2].lower()
            behind = around[match["end"] : match["end"] + 1]
            is_login = _LOGIN_BEFORE.search(around[: match["start"]])  # decided as a URL
            # `git@github.com:owner/name` names a repository.
            if (
                not is_login
                and ending not in _FILES
                and not (name == "git" and behind in (":", "/"))
            ):
                yield match["value"]


_PLACEHOLDER = re.compile(
    r"[<{$%\[(]|\*{2}|x{3}|\.{3}|\u2026|your[_-]|example|getpass|os\.|env\b", re.IGNORECASE
)


def _has_password(text: str, rules: Rules) -> bool:
    for match in rules.password.finditer(_FLAG.sub(r"\1=", text)):
        value = match["value"].partition("</")[0].rstrip(".:!?)]}")
        if not value or "..." in match["value"] or value in rules.none or _PLACEHOLDER.match(value):
            continue
        if match["word"].startswith("pin") and not re.fullmatch(r"\d{4,8}", value):
            continue  # also a part of a chip
        if match["word"] in ("secret", "token") and not _RANDOM.fullmatch(value):
            continue  # also a part of a text or of a story
        if match["sign"] == ">" and not match["is_element"]:
            continue  # a comparison, or a part of a page
        has_verb = not match["sign"]
        if has_verb and value.isalpha() and not _IS_OWN.search(text[: match.start()]):
            continue
        if (
            "=" in (match["sign"] or "")
            and not match["quote"]
            and _is_code(match["value"].rstrip(":"))
        ):
            continue
        if match["sign"] == ":" and "(" in match["value"]:
            continue
        return True
    return False


_RANDOM = re.compile(r"(?=.*\d)(?=.*[a-z])\S{10,}")
_FLAG = re.compile(r"(--[a-z-]{0,30}(?:password|passwd|pwd|key|token|secret))[ \t](?=[^\s-])")
_CAMEL = re.compile(
    r"(?<=[a-z])(?=(?:Pass|Pwd|Pin|Api|Auth|Access|Client|Secret|Token|Private)(?:[A-Z]|[a-z]))"
)
_IS_OWN = re.compile(
    r"(?:\b(?:my|our|his|her|their|mein|mon|mi)|'s|的)\s*(?:\w+\s)?$", re.IGNORECASE
)


def _is_code(value: str) -> bool:
    """Whether an unquoted value is an expression, such as the name of a variable."""
    if value[-1] in ")]};[{" or "(" in value:
        return True
    return re.fullmatch(r"[A-Za-z_]\w*(?:\.\w+)+|[A-Za-z_]+", value) is not None


def _has_secret_url(text: str) -> bool:
    logins = (match["value"] for match in _LOGIN_IN_URL.finditer(text))
    queries = (match["value"] for match in SECRET_IN_URL.finditer(text))
    return any(
        not _PLACEHOLDER.match(one) and one.lower() not in _EXAMPLES for one in (*logins, *queries)
    )


_LOGIN_IN_URL = re.compile(
    r"[a-z][a-z0-9+.-]{1,20}://[^\s/@:\"'<>]{0,100}:(?P<value>[^\s/@\"'<>]{1,100})@", re.IGNORECASE
)
_EXAMPLES = frozenset(("password", "pass", "passwd", "pwd", "secret", "user", "token", "key", "pw"))


_CARD = re.compile(
    r"(?<![0-9A-Za-z.])(?=("
    r"\d{4}(?:[ .\t\n_*/-]{1,3}\d{4}){3}"
    r"|\d{8}[ \n-]\d{8}"
    r"|\d{4}[ -]{1,3}\d{6}[ -]{1,3}\d{4,5}"
    r"|\d(?:[ .-]\d){12,15}"
    r"|\d{13,16}"
    r")(?![0-9A-Za-z]|[.,]\d))"
)
_YEARS = re.compile(r"(?:(?:19|20)\d\d\D+){3}(?:19|20)\d\d")
_PLAIN_CARD = re.compile(
    r"[2-9]\d{15}|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11}|4\d{12}"  # 13 digits are mostly an ISBN
)
"""Numbers that cards have; those that begin with 1 are times in microseconds."""


def _has_card(text: str, whole: str, rules: Rules) -> bool:
    for match in _CARD.finditer(text):
        number = match[1]
        digits = re.sub(r"\D", "", number)
        is_plain = number == digits
        if is_plain and not _PLAIN_CARD.fullmatch(digits):
            continue
        if not is_plain and (digits[0] == "0" or _YEARS.fullmatch(number)):
            continue
        if len(digits) < 16 and not _PLAIN_CARD.fullmatch(digits):  # noqa: PLR2004
            continue
        # Zeros in front change nothing in the checksum.
        if _detectors().detect_credit_card(digits.zfill(16)):
            return True
    return any(12 <= size(match["value"]) <= 19 for match in rules.card.finditer(whole))  # noqa: PLR2004


_IBAN = re.compile(
    r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]{4}){2,7}(?:[ -]?[A-Za-z0-9]{1,3})?(?![A-Za-z0-9])"
)


def _is_iban(found: str) -> bool:
    """Whether the checksum holds; words behind a number may look like parts of it."""
    parts = re.split(r"[ -]", found)
    return any(_checks("".join(parts[:many])) for many in range(len(parts), 0, -1))


def _checks(number: str) -> bool:
    if not 15 <= len(number) <= 34:  # noqa: PLR2004
        return False
    moved = number[4:] + number[:4]
    return int("".join(str(int(mark, 36)) for mark in moved)) % 97 == 1


_SSN = re.compile(
    r"(?<![\d.-])(?!000|666|9\d\d)\d{3}(?P<sign>[-\u2010])(?!00)\d{2}(?P=sign)(?!0000)\d{4}(?![\d-]|\.\d)"
)


def _has_ssn(text: str, whole: str, rules: Rules) -> bool:
    if _SSN.search(text):
        return True
    return any(8 <= size(match["value"]) <= 13 for match in rules.ssn.finditer(whole))  # noqa: PLR2004


def _macs(text: str) -> Iterator[str]:
    for match in _detectors().detect_mac_address(text):
        around = text[max(0, match["start"] - 1)], text[match["end"] : match["end"] + 1]
        plain = re.sub("[:-]", "", match["value"]).lower()
        # Longer ones are fingerprints.
        if not {*around} & {":", "-"} and len(set(plain)) > 1:
            yield match["value"]
    yield from _GROUPED_MAC.findall(text)


_GROUPED_MAC = re.compile(
    r"(?<![\w.])(?=[\d.]*[a-f])(?=[a-f.]*\d)[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4}(?![\w.])",
    re.IGNORECASE,
)
_NUMBERED = re.compile(
    r"(?:(?<![a-z])v|version|release|build|section|chapter|clause|article|figure|table|rev|\u00a7|"
    r"[=<>~^!]=?|@|\d\.)[\s\"':]*$"
)
"""What comes before four numbers that are a version or a section."""
_IP6 = re.compile(r"(?<![\w:.])(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4}(?![\w:])")


def _ips(text: str, lowered: str) -> Iterator[str]:
    for match in _detectors().detect_ip(text):
        address = ipaddress.ip_address(match["value"])
        before = lowered[max(0, match["start"] - 16) : match["start"]]
        behind = text[match["end"] : match["end"] + 2]
        if address.is_loopback or address.is_unspecified or match["value"].startswith("255."):
            continue
        if re.match(r"\.\d|[-+]\w", behind) or _NUMBERED.search(before):
            continue
        yield match["value"]
    for match in _IP6.finditer(text):
        first = match[0].split(":")[0]
        try:
            address = ipaddress.ip_address(match[0])
        except ValueError:
            continue
        is_whole = match[0].count(":") == 7  # noqa: PLR2004 - else `a::b` of a language is one
        is_likely = len(first) > 2 and any(mark.isdigit() for mark in match[0])  # noqa: PLR2004
        if (is_whole or is_likely) and not (address.is_loopback or address.is_unspecified):
            yield match[0]


def _has_phone(text: str, whole: str, rules: Rules) -> bool:
    from aideon_agents.models.routing.phones import has_phone  # noqa: PLC0415 - as the module says

    return has_phone(text, whole, rules)


def strings(
    value: object, name: str = "", *, without: frozenset[str] = frozenset()
) -> Iterator[str]:
    """The texts in a value made of lists and dicts, without the bytes of files.

    `without` names keys to leave out, such as those of ids. It does not hold in the arguments of a call.
    """
    if isinstance(value, str):
        if not _BYTES.fullmatch(value):
            yield f"{name}: {value}" if name else value
    elif isinstance(value, dict):
        for key, one in cast("dict[Any, Any]", value).items():
            if key not in without:
                is_given = key in ("args", "input", "arguments")
                yield from strings(one, str(key), without=frozenset() if is_given else without)
    elif isinstance(value, list | tuple):
        for one in cast("Sequence[Any]", value):
            yield from strings(one, name, without=without)
    elif value is not None and not isinstance(value, bool):
        yield f"{name}: {value}" if name else str(value)


_BYTES = re.compile(
    r"(?:data:[\w.+-]+/[\w.+-]+;base64,)?(?=[A-Za-z0-9+/_-]{76})[A-Za-z0-9+/_=\r\n-]+"
)
"""A file in base64."""
