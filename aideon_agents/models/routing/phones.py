"""Finds telephone numbers. phonenumbers decides about most; importing it takes a tenth of a second."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

import phonenumbers

from aideon_agents.models.routing.rules import size

if TYPE_CHECKING:
    from aideon_agents.models.routing.rules import Rules

_ABROAD = re.compile(r"(?<![\w+.,])(?:\+ ?|00(?=[1-9]))\(?\d\)?(?:[\s().\-/]{0,3}\d){6,14}(?!\d)")
_AMERICAN = re.compile(
    r"(?<![\w.,+/-])(?:\+?1[\s.-])?(?:\([2-9]\d{2}\)\s?|[2-9]\d{2}[.-])\d{3}[ .-]\d{4}(?!\d|[-.,/]\d)"
)
_AT_HOME = re.compile(
    r"(?<![\w.,+/-])(?:\(?0[1-9]\d{0,4}\)?|(?:8 ?)?\([1-9]\d{1,2}\)|1[3-9]\d(?=[ -]\d{4}[ -]\d{4}))"
    r"(?:[ /.-]{1,2}\d{2,8}){1,5}(?![\w/]|[.,-]\d)"
)
_MOBILE = re.compile(r"(?<![\w.,+/-])0[1-9]\d{8,9}(?![\w/]|[.,-]\d)")
"""A number that is written as at home, without spaces; a landline looks like any other number."""
_DATE = re.compile(
    r"\D*(?:\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{4}|(?:19|20)\d\d\D+20\d\d)\b"
)
_AMERICA = 1


def has_phone(text: str, whole: str, rules: Rules) -> bool:
    """Whether a text holds a telephone number; `whole` is it in lower case and with all its letters."""
    if _AMERICAN.search(text):
        return True
    for match in _ABROAD.finditer(text):
        number = re.sub(r"\D", "", match[0])
        is_plain = not re.search(r"[\s().\-/]", match[0].lstrip("+ "))
        try:
            parsed = phonenumbers.parse("+" + number.removeprefix("00"), None)
        except phonenumbers.NumberParseException:
            continue
        reason = phonenumbers.is_possible_number_with_reason(parsed)
        is_possible = reason == phonenumbers.ValidationResult.IS_POSSIBLE
        is_enough = parsed.country_code == _AMERICA or not (is_plain or match[0].startswith("00"))
        if phonenumbers.is_valid_number(parsed) or (is_possible and is_enough):
            return True
    leniency = cast("Any", phonenumbers.Leniency).STRICT_GROUPING
    for match in _AT_HOME.finditer(text):
        if not 9 <= size(match[0]) <= 12 or _DATE.match(match[0]):  # noqa: PLR2004
            continue
        if any(
            phonenumbers.PhoneNumberMatcher(match[0], region, leniency).has_next()
            for region in rules.regions
        ):
            return True
    if any(_is_mobile(match[0], rules) for match in _MOBILE.finditer(text)):
        return True
    return any(
        7 <= size(match["value"]) <= 15 and not _DATE.match(match["value"])  # noqa: PLR2004
        for match in rules.phone.finditer(whole)
    )


def _is_mobile(number: str, rules: Rules) -> bool:
    for region in () if _is_isbn(number) else rules.regions:
        parsed = phonenumbers.parse(number, region)
        is_mobile = phonenumbers.number_type(parsed) == phonenumbers.PhoneNumberType.MOBILE
        if (
            is_mobile
            and phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.NATIONAL)[0]
            == "0"
        ):
            return True
    return False


def _is_isbn(number: str) -> bool:
    """Whether ten digits are the number of a book."""
    sums = sum(int(mark) * weight for mark, weight in zip(number, range(10, 0, -1), strict=False))
    return len(number) == 10 and sums % 11 == 0  # noqa: PLR2004
