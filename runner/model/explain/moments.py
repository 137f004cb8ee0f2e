"""The steps of a normalization: mean, variance, the quotient, and the layer's own weight and bias."""

import math
from typing import Any

from runner.model.explain import arithmetic
from runner.model.explain.arithmetic import Sum, factor, in_part, largest_of, number, plus_bias
from runner.model.explain.parts import Index, array


def mean(values: list[float]) -> tuple[float, str]:
    """Return the mean, and a line with its arithmetic."""
    worked = arithmetic.average(values, len(values))
    return worked.value, f"mean = {worked.text} = {number(worked.value)}"


def variance(values: list[float], mean: float) -> tuple[float, str]:
    """Return the biased variance, as torch's normalizations take it, and a line with its arithmetic."""
    terms = [f"({number(v)} - {factor(mean)})^2" for v in values]
    return _average("variance", terms, [(v - mean) ** 2 for v in values])


def mean_of_squares(values: list[float]) -> tuple[float, str]:
    """Return the mean of the squares, and a line with its arithmetic."""
    return _average("mean of squares", [f"{factor(v)}^2" for v in values], [v * v for v in values])


def centred(x: float, mean: float, variance: float, eps: float, values: list[float]) -> Sum:
    """Return (x - mean)/sqrt(variance + eps)."""
    deviation = math.sqrt(variance + eps)
    text = f"({number(x)} - {factor(mean)})/sqrt({number(variance)} + {number(eps)})"
    return Sum(text, (x - mean) / deviation, largest_of(values) / deviation)


def scaled(layer: Any, at: Index, quotient: Sum) -> Sum:
    """Return the quotient times the layer's weight at `at`, plus its bias, where it has them."""
    text, value, scale = quotient.text, quotient.value, quotient.scale
    if layer.weight is not None:
        weight = float(array(layer.weight)[at])
        text, value, scale = f"{text}*{factor(weight)}", value * weight, scale * abs(weight)
    if getattr(layer, "bias", None) is not None:
        bias = float(array(layer.bias)[at])
        text, value = plus_bias(text, bias), value + bias
    return Sum(text, value, scale)


def _average(name: str, texts: list[str], terms: list[float]) -> tuple[float, str]:
    value = sum(terms) / len(terms)
    text = in_part(texts, " + ", lambda rest: f"({rest} more, together {number(sum(terms[-rest:]))})")
    return value, f"{name} = ({text})/{len(terms)} = {number(value)}"
