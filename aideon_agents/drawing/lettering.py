"""How much room text takes, and what is left of it when there is too little.

A picture is opened on machines with other fonts than the one it was made on, so a width is an upper
bound: for ASCII that of the widest among DejaVu Sans, Liberation Sans (as wide as Arial), Noto
Sans, Roboto and Inter in bold, for other characters that of their kind.
"""

from __future__ import annotations

import unicodedata

ELLIPSIS = "…"
_MARK = "\u200f"
"""Right-to-left mark: keeps the ellipsis at the end of what is read from the right."""

_WIDTHS = {
    350: " 'ijl",
    400: ",.:;I",
    460: "!()/[\\]f",
    500: "-`rt",
    560: '"*_|',
    600: "Jcsz",
    650: "?Lx",
    700: "$0123456789EFTaekovy",
    720: "bdghnpqu{}",
    780: "ABCKPRSVXYZ",
    840: "#+<=>DGHNU^~",
    880: "&OQ",
    930: "w",
    1050: "%@Mm",
    1110: "W",
}
"""Thousandths of the font's size."""
_OTHERS = {
    460: "Ιιגוזיןנ",
    560: "εг",
    660: "ΓζξςτχГвзстухьэяבדךכלפצר",
    730: "ΕΖΞΣΤΥαβγδηθκλνορυЕЗТабеийкнопрчאהחטםמסעףץת",
    790: "ΑΒΔΚΛΡΧμσАБВРСУХЬЭЯлцъקש",
    860: "ΗΘΝΟΠΩπφψИЙКЛНОПЧдм",
    960: "ΦΨωДЦЪы",
    1130: "ΜМФЫжфшщю",
    1340: "ЖШЩЮ",
}
"""The same for Greek, Cyrillic and Hebrew."""
_KNOWN = {
    char: width for some in (_WIDTHS, _OTHERS) for width, chars in some.items() for char in chars
}
_ELLIPSIS_WIDTH = 1000
_ACCENT = 60
_KINDS = {"Ll": 1050, "Lu": 1350, "Lo": 1200}
_ARABIC = 1000
"""A few letters are wider, but not where they join others."""
_SYMBOL = 1450
_IDEOGRAPH = 1050
_LONG = {ELLIPSIS: _ELLIPSIS_WIDTH, "\ufdfa": 4000, "\ufdfb": 4000, "\ufdfd": 12000}
"""Among them whole sentences in one character."""


def width(text: str, size: float) -> float:
    """The most room that a line takes, in any common font, up to bold."""
    return sum(_thousandths(char) for char in text) * size / 1000


def fitted(text: str, size: float, room: float) -> str:
    """The beginning of a line that fits, with an ellipsis where it was cut."""
    if width(text, size) <= room:
        return text
    left = room - _ELLIPSIS_WIDTH * size / 1000
    kept = ""
    for cluster in _clusters(text):
        left -= width(cluster, size)
        if left < 0:
            break
        kept += cluster
    kept = kept.rstrip()
    is_leftward = kept and unicodedata.bidirectional(kept[-1]) in {"R", "AL"}
    return kept + ELLIPSIS + (_MARK if is_leftward else "")


def _thousandths(char: str) -> int:
    """The width of one character in thousandths of the font's size."""
    known = _KNOWN.get(char) or _LONG.get(char)
    if known is not None:
        return known
    category = unicodedata.category(char)
    if category in {"Mn", "Me", "Cf"}:
        return 0
    letter = unicodedata.normalize("NFD", char)[0]
    if letter in _KNOWN:
        return _KNOWN[letter] + _ACCENT
    is_picture = category in {"So", "Sk"}
    if unicodedata.east_asian_width(char) in {"W", "F"} and not is_picture:
        return _IDEOGRAPH
    if unicodedata.bidirectional(char) == "AL":
        return _ARABIC
    return _KINDS.get(category, _SYMBOL)


def _clusters(text: str) -> list[str]:
    """The characters of a line as people see them, nearly as Unicode's annex 29 has them."""
    clusters: list[str] = []
    joins = False
    for char in text:
        is_mark = unicodedata.category(char) in {"Mn", "Mc", "Me", "Cf"}
        is_tone = "\U0001f3fb" <= char <= "\U0001f3ff"
        if clusters and (is_mark or is_tone or joins or _is_flag(clusters[-1], char)):
            clusters[-1] += char
        else:
            clusters.append(char)
        joins = char == "\u200d"
    return clusters


def _is_flag(before: str, char: str) -> bool:
    """Whether two letters make a flag."""
    return len(before) == 1 and all("\U0001f1e6" <= one <= "\U0001f1ff" for one in before + char)
