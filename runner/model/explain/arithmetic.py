"""Numbers, sums, averages and largest ones as a person would write them down."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

#: A longer sum is written in part.
TERMS = 12


@dataclass(frozen=True)
class Sum:
    """A sum in words and in number."""

    text: str
    value: float
    scale: float  # its largest term


def number(value: float, digits: int = 5) -> str:
    """Return a number with so many significant digits; whole numbers without a point."""
    if math.isfinite(value) and value == int(value) and abs(value) < 1e6:
        return str(int(value))
    mantissa, e, exponent = f"{value:.{digits}g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if e else mantissa


def factor(value: float) -> str:
    """Return a number as it stands after an operator: negative ones in parentheses."""
    return f"({number(value)})" if value < 0 else number(value)


def products(values: Sequence[float], weights: Sequence[float], bias: float | None = None) -> Sum:
    """Return `0*0.1 + 1*0.2 + 2*0.3 + 0.5 (bias)` of values, weights and a bias."""
    terms = [v * w for v, w in zip(values, weights, strict=True)]
    texts = [f"{factor(v)}*{factor(w)}" for v, w in zip(values, weights, strict=True)]
    text = in_part(texts, " + ", lambda rest: f"({rest} more, together {number(sum(terms[-rest:]))})")
    if bias is not None:
        text, terms = plus_bias(text, bias), [*terms, bias]
    return Sum(text or "0", sum(terms, 0.0), largest_of(terms))


def plus_bias(text: str, bias: float) -> str:
    """Return `... + 0.5 (bias)` or `... - 0.5 (bias)`."""
    return f"{text} {'-' if bias < 0 else '+'} {number(abs(bias))} (bias)".lstrip(" +")


def added(values: Sequence[float]) -> Sum:
    """Return `0 + 1 + 5 + 6`."""
    text = in_part(
        [factor(v) for v in values], " + ", lambda rest: f"({rest} more, together {number(sum(values[-rest:]))})"
    )
    return Sum(text or "0", sum(values, 0.0), largest_of(values))


def average(values: Sequence[float], divisor: float) -> Sum:
    """Return `(0 + 1 + 5 + 6)/4`; NaN for a divisor of 0, as torch."""
    total = added(values)
    mean = total.value / divisor if divisor else math.nan
    return Sum(f"({total.text})/{factor(divisor)}", mean, total.scale)


def largest(values: Sequence[float]) -> Sum:
    """Return `max(0, 1, 5, 6)`."""
    texts = [number(v) for v in values]
    text = in_part(texts, ", ", lambda rest: f"{rest} more, the largest {number(_max(values[-rest:]))}")
    return Sum(f"max({text})", _max(values), largest_of(values))


def largest_of(terms: Sequence[float]) -> float:
    """Return the size of the largest finite one."""
    return max((abs(t) for t in terms if math.isfinite(t)), default=0.0)


def in_part(texts: list[str], between: str, rest: Callable[[int], str]) -> str:
    """Return all of a short list; of a long one the beginning, and `rest`'s words for those left out."""
    if len(texts) <= TERMS:
        return between.join(texts)
    shown = TERMS - 3
    return between.join([*texts[:shown], rest(len(texts) - shown)])


def _max(values: Sequence[float]) -> float:
    """Return the largest number as torch does: NaN if there is one; of padding alone, minus infinity."""
    return math.nan if any(map(math.isnan, values)) else max(values, default=-math.inf)
