"""Numbers in answers, compared by their values.

-5  −5  minus 5              a sign belongs to its number
3.14  3,14                   a comma is a decimal mark unless it groups by thousands
1,000  1 000  1'000  1.234,5 groups of three digits
1/2  ½  1½  6/12             fractions; 05/12 and 1/2/2026 are dates, compared part by part
50%  50 per cent  0.5        a per cent is a hundredth: 50 % is 0.5 and not 50
5e3  5 × 10^3  10³           powers of ten
2 million  2e6  5万           words that multiply; also 20k, $5bn
$5  5 dollars  5             the same currency, or none on one side
007                          a gold answer with a leading zero is a code: 7 is not 007
"""
# ruff: noqa: RUF001, RUF002  the characters of other scripts are what this module is about

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

from hasse.stages.grading.scales import SCALE, power_of_ten

MAX_DIGITS = 300
"""Longer runs of digits, and larger exponents, are compared as text."""

_CURRENCIES = {
    "$": "dollar", "us$": "dollar", "usd": "dollar", "dollar": "dollar", "dollars": "dollar",
    "€": "euro", "eur": "euro", "euro": "euro", "euros": "euro",
    "£": "pound", "gbp": "pound", "pound": "pound", "pounds": "pound",
    "¥": "yen", "jpy": "yen", "yen": "yen", "¢": "cent", "cent": "cent", "cents": "cent",
    "₹": "rupee", "inr": "rupee", "rupee": "rupee", "rupees": "rupee",
}  # fmt: skip

CURRENCY_SIGNS = "$¢£¤¥֏؋৳฿៛₠-₿"

_GROUPED = r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?(?!\d)|[1-9]\d?(?:,\d{2})+,\d{3}(?:\.\d+)?(?!\d)"
_SPACED = r"[1-9]\d{0,2}(?:[\ '_]\d{3})+(?:[.,]\d+)?(?!\d)"
_EUROPEAN = r"\d{1,3}(?:\.\d{3})+,\d+(?!\d)|\d{1,3}(?:\.\d{3}){2,}(?!\d)"
_PLAIN = r"\d+(?:[.,]\d+)?|\.\d+"
_DATE = r"\d+/\d+/\d+|\d+-\d+-\d+|\d+(?:\.\d+){2,}|\d+(?::\d+)+|\d+-\d+"
_POWER = r"(?:[eE][+-]?\d+|\s?[x×·*]\s?10\s?(?:\^|\*\*)\s?\{?[+-]?\d+\}?|\^\{?[+-]?\d+\}?)"

NUMBER = re.compile(
    rf"""(?P<currency>(?:US)?[{CURRENCY_SIGNS}]\ ?)?
         (?P<sign>(?<![\w)])[+-](?=[.\d{CURRENCY_SIGNS}])|(?<==\ )[+-]\ (?=\.?\d)|\b(?:minus|negative)\ (?=\.?\d))?
         (?P<inner>[{CURRENCY_SIGNS}])?
         (?:(?P<date>(?<![\d.])(?!(?:{_EUROPEAN})(?![.,]?\d))(?:{_DATE})(?!\d))
           |(?P<whole>\d+)\ (?P<part>\d+/\d+)(?![/\d])
           |(?P<fraction>\d+/\d+)
           |(?P<number>{_EUROPEAN}|{_GROUPED}|{_SPACED}|{_PLAIN})(?P<power>{_POWER})?(?:{SCALE})?)
         (?P<percent>\ ?(?:%|per\ ?cent\b))?
         (?P<after>\ (?:USD|EUR|GBP|JPY|INR|dollars?|euros?|pounds?|yen|rupees?|cents?)\b
           |\ ?[{CURRENCY_SIGNS}](?!\ ?[\d.]))?""",
    re.VERBOSE | re.IGNORECASE,
)
_SUPERSCRIPT = re.compile("[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_FOREIGN_DIGIT = re.compile(r"(?![0-9])\d")
_RANGE = re.compile(r"(?<=\d)(?: – |[–—‐])(?=\d)")
"""A dash between two numbers; 1939–1945 is 1939-1945."""
_SIGNS = str.maketrans(dict.fromkeys("−﹣－‒", "-") | {"٫": ".", "٬": ",", "٪": "%", "’": "'", "⁄": "/"})
_SPACES = str.maketrans(dict.fromkeys("\u00a0\u2007\u2009\u202f", " "))


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number, with all that decides whether another number equals it.

    parts: the numbers of a date, a time, a range or a version. fraction: its two numbers as written; 5/12 may also be
    the date 05/12. mark: the character between the parts. digits: as written, if a leading zero makes it a code.
    """

    value: Fraction | None = None
    parts: tuple[int, ...] = ()
    fraction: tuple[int, ...] = ()
    mark: str = ""
    currency: str | None = None
    digits: str = ""


def same(found: Quantity, gold: Quantity) -> bool:
    """Whether the number of an answer equals the gold number."""
    if found.currency and gold.currency and found.currency != gold.currency:
        return False
    if found.parts or gold.parts:
        return (found.parts or found.fraction, found.mark) == (gold.parts or gold.fraction, gold.mark)
    return found.value == gold.value and (not gold.digits or found.digits == gold.digits)


def plain_digits(text: str) -> str:
    """The text with digits, signs, exponents and fractions of any script written in ASCII."""
    text = _SUPERSCRIPT.sub(lambda m: "^" + unicodedata.normalize("NFKC", m[0]).replace("−", "-"), text)
    text = re.sub(r"(?<=\d)(?=[¼½¾⅐-⅞])", " ", text)
    text = unicodedata.normalize("NFKC", text.translate(_SPACES)).translate(_SIGNS)
    text = _FOREIGN_DIGIT.sub(lambda m: str(unicodedata.decimal(m[0])), text)
    return _RANGE.sub("-", text)


def quantity(match: re.Match[str]) -> Quantity | None:
    """The number in a match of `NUMBER`; None if it is too long or divides by zero."""
    if sum(c.isdigit() for c in match[0]) > MAX_DIGITS:
        return None
    sign = (match["currency"] or match["inner"] or match["after"] or "").strip().lower()
    currency = _CURRENCIES.get(sign) or sign or None
    if match["date"] or _is_date(match["fraction"]):
        written = match["date"] or match["fraction"]
        parts = tuple(int(part) for part in re.split(r"\D", written))
        return Quantity(parts=parts, mark=re.sub(r"\d", "", written)[0], currency=currency)
    value = _value(match)
    if value is None:
        return None
    if (match["sign"] or "").strip().lower() in ("-", "minus", "negative"):
        value = -value
    if match["percent"]:
        value /= 100
    number = match["number"] or ""
    if match["fraction"]:
        fraction = tuple(int(part) for part in match["fraction"].split("/"))
        return Quantity(value=value, fraction=fraction, mark="/", currency=currency)
    return Quantity(value=value, currency=currency, digits=number if re.fullmatch(r"0\d+", number) else "")


def _is_date(fraction: str | None) -> bool:
    return fraction is not None and any(len(part) > 1 and part[0] == "0" for part in fraction.split("/"))


def _value(match: re.Match[str]) -> Fraction | None:
    if match["whole"]:
        part = _ratio(match["part"])
        return None if part is None else int(match["whole"]) + part
    if match["fraction"]:
        return _ratio(match["fraction"])
    value = Fraction(_decimal(match["number"]))
    value = value if match["power"] is None else _raised(value, match["power"])
    return value if match["scale"] is None or value is None else value * 10 ** power_of_ten(match["scale"])


def _ratio(text: str) -> Fraction | None:
    over, under = (int(part) for part in text.split("/"))
    return Fraction(over, under) if under else None


def _decimal(number: str) -> str:
    """The number with a point as decimal mark and without groups of digits."""
    if re.fullmatch(_EUROPEAN, number):
        return number.replace(".", "").replace(",", ".")
    if re.fullmatch(_GROUPED, number):
        return number.replace(",", "")
    return re.sub(r"[ '_]", "", number).replace(",", ".")


def _raised(value: Fraction, power: str) -> Fraction | None:
    exponent = int(re.findall(r"[+-]?\d+", power)[-1])
    if abs(exponent) > MAX_DIGITS:
        return None
    return value**exponent if power.startswith("^") and value else value * Fraction(10) ** exponent
