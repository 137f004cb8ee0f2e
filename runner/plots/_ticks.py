"""The numbers at the ticks of an axis: functions of a module, which another process can load with a figure."""

import math

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def plain(value: float, position: float | None = None) -> str:
    """Return `0.001`."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def power(value: float, position: float | None = None) -> str:
    """Return `10⁻⁷`."""
    return "10" + str(round(math.log10(value))).translate(SUPERSCRIPTS)


def whole(value: float, position: float | None = None) -> str:
    """Return `12,000`."""
    return f"{value:,.0f}"


def percent(share: float, position: float | None = None) -> str:
    """Return `40 %`."""
    return f"{100 * share:.0f} %"


def nothing(value: float, position: float | None = None) -> str:
    """Return no text: for ticks between those with numbers."""
    return ""
