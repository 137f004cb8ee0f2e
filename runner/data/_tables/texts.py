"""Texts that stand for something else: numbers with signs around them, dates, words for a missing value."""

import re
from collections.abc import Iterable
from typing import NamedTuple

_CURRENCY = "[$\u20ac\u00a3\u00a5\u20b9]|USD|EUR|GBP|CHF|JPY|INR"
_UNIT = "[kmc\u00b5]?m|[km]?g|m?l|lbs?|ft|km/h|mph|[m\u00b5]?s|h|min|[kMGT]?B|[kKM]|\u00b0 ?[CF]?|px|pt"
_WRITTEN = re.compile(
    rf"[+\-\u2212]?((?P<before>{_CURRENCY}) ?)?[+\-\u2212]?(?P<digits>\d+([.,'\u2019_ \u00a0\u202f]\d+)*)"
    rf"(\s?(?P<after>[%\u2030]|{_CURRENCY}|{_UNIT})|\s(?P<unit>[A-Za-z\u00b5%/]+))?"
)
#: Signs that only group digits, by threes.
_GROUPS = re.compile(r"\d{1,3}(['\u2019_ \u00a0\u202f]\d{3})*([.,]\d+)?|\d+([.,]\d+)*")
_THOUSANDS = re.compile(r"\d{1,3}(,\d{2,3})*,\d{3}\.\d+|\d{1,3}(,\d{2,3})+,\d{3}")
_DECIMALS = re.compile(r"\d{1,3}(\.\d{3})+,\d+|\d{1,3}(\.\d{3}){2,}|\d+,(\d{1,2}|\d{4,})|(0|\d{4,}),\d+")
_EITHER = re.compile(r"\d{1,3}[,.]\d{3}")
_DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([T ].*)?|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})([T ].*)?|\d{1,2}:\d{2}(:\d{2}.*)?"
    r"|\d{1,2}[- ][A-Za-z]{3,9}\.?[- ]\d{2,4}|[A-Za-z]{3,9}\.? \d{1,2},? \d{4}"
)
#: Missing values like pandas' own NA, NaN, null and None, whatever their case.
MISSING = {"na", "nan", "n/a", "null", "#n/a", "<na>"}
#: Stand for a missing value where all else in a column is a number.
_NOTHING = MISSING | {"", "?", "-", "--", ".", "none", "missing", "unknown", "nil", "*"}


class WrittenNumber(NamedTuple):
    """A number with more than pandas reads: its digits, and the sign or the unit that stands before or after it."""

    digits: str
    sign: str

    @property
    def form(self) -> str:
        """Words for the way in which it is written."""
        if self.sign:
            return "a percent sign" if self.sign in "%\u2030" else f"{self.sign!r} beside it"
        if _THOUSANDS.fullmatch(self.digits):
            return "a comma for thousands"
        if _DECIMALS.fullmatch(self.digits):
            return "a decimal comma" if "," in self.digits else "dots for thousands"
        if not self.digits.isascii():
            return "digits of another script"
        return "a comma, for thousands or for decimals" if "," in self.digits else "signs between its digits"


def parse_number(text: str) -> WrittenNumber | None:
    """Return the number that `text` is, plain or not; None for what is no number."""
    if text.startswith("(") and text.endswith(")"):  # an accountant's minus
        inner = parse_number(text[1:-1])
        return inner._replace(sign="()") if inner else None
    match = _WRITTEN.fullmatch(text)
    if match is None or not _GROUPS.fullmatch(match["digits"]):
        return None
    digits = re.sub(r"['\u2019_ \u00a0\u202f]", "", match["digits"])
    if not re.fullmatch(r"\d+([.,]\d+)?", digits) and not (_THOUSANDS.fullmatch(digits) or _DECIMALS.fullmatch(digits)):
        return None
    return WrittenNumber(digits, match["before"] or match["after"] or match["unit"] or "")


def remedy(texts: list[str], column: str) -> str:
    """Return the remedy for a column of such numbers: pandas' line that reads them, where it is plain what they mean.

    texts: the values as they are written. column: its name.
    """
    if all(map(_is_pythons, texts)):  # of another script, or with spaces that do not break
        return f"make numbers of it, pandas: frame[{column!r}] = frame[{column!r}].map(float)"
    numbers = [number for number in map(parse_number, texts) if number is not None]
    commas = [number.digits for number in numbers if re.search(r",|\..*\.", number.digits)]
    thousands = any(_THOUSANDS.fullmatch(digits) for digits in commas)
    decimals = any(_DECIMALS.fullmatch(digits) for digits in commas)
    either = not commas and any(number.sign for number in numbers) and all(_EITHER.fullmatch(n.digits) for n in numbers)
    signs = {number.sign for number in numbers} - {""}
    if (thousands and decimals) or len(signs) > 1 or "()" in signs:
        return "write all of them alike, as plain numbers such as 1234.5"
    minus = ".str.replace('\u2212', '-')" if any("\u2212" in text for text in texts) else ""
    dots = f"frame[{column!r}]{minus}.str.replace('[^0-9.+-]', '', regex=True).astype(float)"
    comma = dots.replace("[^0-9.+-]", "[^0-9,+-]").replace(".astype", ".str.replace(',', '.').astype")
    if (commas and not thousands and not decimals) or either:
        sign = "comma" if commas else "dot"
        groups, point = (dots, comma) if commas else (comma, dots)
        return (
            f"make numbers of it, pandas: if the {sign} groups thousands, frame[{column!r}] = {groups}; if it stands"
            f" before decimals, frame[{column!r}] = {point}"
        )
    return f"make numbers of it, pandas: frame[{column!r}] = {comma if decimals else dots}"


def _is_pythons(text: str) -> bool:
    """Return whether Python reads the text as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_date(text: str) -> bool:
    """Return whether `text` is a date or a time of day."""
    return _DATE.fullmatch(text) is not None


def stand_for_nothing(texts: Iterable[str]) -> bool:
    """Return whether all of the texts are signs or words for a missing value."""
    return all(text.casefold() in _NOTHING for text in texts)
