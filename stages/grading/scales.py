"""Words and letters behind a number that multiply it: 2 million, $5bn, 20k, 5万, 3 млн."""
# ruff: noqa: RUF001  the characters of other scripts are what this module is about

import re

_WORDS = {
    2: r"hundred",
    3: r"thousand|tausend|mille|mil(?!\w)|mila|тыс(?:яч[аиу]?)?|हज़ार",
    5: r"lakhs?|लाख",
    6: r"millions?|millionen|mio|mill[oó]n|millones|milh(?:ão|ões)|milion[ei]|milion(?:y|ów)?|mln|млн|миллион(?:а|ов)?",
    7: r"crores?|करोड़",
    9: r"billions?|milliarden?|milliards?|mrd|miliard[oi]|miljard|bn|млрд|миллиард(?:а|ов)?|mil\ millones",
    12: r"trillions?|billones|billionen|трлн",
}
_UNSPACED = {
    "十万": 5, "百万": 6, "千万": 7, "十萬": 5, "百萬": 6, "千萬": 7, "만": 4, "십만": 5, "백만": 6, "천만": 7, "万": 4,
    "萬": 4, "亿": 8, "億": 8, "억": 8, "兆": 12, "조": 12, "千": 3, "천": 3,
}  # fmt: skip
_LETTERS = {"k": 3, "K": 3, "M": 6, "B": 9, "mn": 6, "bn": 9}
_AFTER_CURRENCY = {"m": 6, "b": 9, "tn": 12}
"""Letters that multiply only behind an amount of money: £5m, but 5m is a length."""

_LONGEST_FIRST = sorted(_UNSPACED, key=len, reverse=True)
SCALE = (
    r"(?P<scale>"
    + r"\ ?(?:" + "|".join(_WORDS[n] for n in sorted(_WORDS, reverse=True)) + r")(?!\w)\.?(?=\W|$)"
    + r"|(?-i:(?:" + "|".join(sorted(_LETTERS, key=len, reverse=True)) + r"))(?!\w)"
    + r"|(?(currency)(?:mn|bn|tn|m|b)(?!\w)|(?!))"
    + r"|\ ?(?:" + "|".join(_LONGEST_FIRST) + r"))"
)  # fmt: skip
"""For a pattern that has a group `currency`, in verbose mode and without regard to case."""


def power_of_ten(scale: str) -> int:
    """The exponent for a match of the group `scale`."""
    word = scale.strip().rstrip(".")
    for known in (_LETTERS, _UNSPACED):
        if word in known:
            return known[word]
    word = word.lower()
    found = (power for power, pattern in _WORDS.items() if re.fullmatch(pattern, word, re.IGNORECASE | re.VERBOSE))
    return next(found, 0) or _AFTER_CURRENCY[word]
