"""Activations: every number by itself, through a formula."""

import math
from collections.abc import Callable
from typing import Any

from torch import nn

from runner.model.explain.arithmetic import factor, number
from runner.model.explain.parts import Element, Index, Padded, array, single
from runner.model.explain.parts import bare as pad
from runner.model.explain.parts import same_shape as shape
from runner.model.explain.places import PLAIN as AXES

__all__ = ["AXES", "FORMULAS", "KINDS", "element", "pad", "shape"]

#: The arithmetic written down, and its value.
Formula = Callable[[Any, float], tuple[str, float]]


def element(layer: Any, x: Padded, index: Index) -> Element:
    """Return f(x) of one number."""
    value = x[index]
    if isinstance(layer, nn.PReLU):
        text, out = _leaky(value, float(array(layer.weight)[index[1] if layer.num_parameters > 1 else 0]))
    else:
        text, out = next(FORMULAS[kind] for kind in type(layer).__mro__ if kind in FORMULAS)(layer, value)
    line = text if text.endswith(f": {number(out)}") else f"{text} = {number(out)}"
    return Element(index, (line,), out, abs(value) if math.isfinite(value) else 1.0, single(index))


def _leaky(x: float, slope: float) -> tuple[str, float]:
    return (f"not below 0: {number(x)}", x) if x >= 0 else (f"below 0: {factor(slope)}*{factor(x)}", slope * x)


def _elu(x: float, alpha: float, scale: float = 1.0, width: float = 1.0) -> tuple[str, float]:
    times = f"{number(scale)}*" if scale != 1 else ""
    if x > 0:
        return f"above 0: {times}{number(x)}", scale * x
    inside = number(x) if width == 1 else f"{factor(x)}/{number(width)}"
    return f"not above 0: {times}{factor(alpha)}*(exp({inside}) - 1)", scale * alpha * math.expm1(x / width)


def _clamp(x: float, low: float, high: float) -> tuple[str, float]:
    return f"min(max({number(x)}, {number(low)}), {number(high)})", _between(x, low, high)


def _gelu(layer: Any, x: float) -> tuple[str, float]:
    v = factor(x)
    if layer.approximate == "tanh":
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        return f"0.5*{v}*(1 + tanh(sqrt(2/pi)*({v} + 0.044715*{v}^3)))", 0.5 * x * (1 + math.tanh(inner))
    return f"0.5*{v}*(1 + erf({v}/sqrt(2)))", 0.5 * x * (1 + math.erf(x / math.sqrt(2)))


def _softplus(layer: Any, x: float) -> tuple[str, float]:
    beta, v = layer.beta, factor(x)
    if beta * x > layer.threshold:
        return f"{number(beta)}*{v} is above the threshold {number(layer.threshold)}: {v}", x
    return f"log(1 + exp({number(beta)}*{v}))/{number(beta)}", _log1pexp(beta * x) / beta


def _hard_shrink(layer: Any, x: float) -> tuple[str, float]:
    passes = abs(x) > layer.lambd
    return (
        f"|{number(x)}| is {'above' if passes else 'not above'} {number(layer.lambd)}: {number(x) if passes else 0}",
        (x if passes else 0.0),
    )


def _soft_shrink(layer: Any, x: float) -> tuple[str, float]:
    if abs(x) <= layer.lambd:
        return f"|{number(x)}| is not above {number(layer.lambd)}: 0", 0.0
    sign = "-" if x > 0 else "+"
    return f"{number(x)} {sign} {number(layer.lambd)}", x - math.copysign(layer.lambd, x)


def _threshold(layer: Any, x: float) -> tuple[str, float]:
    passes = x > layer.threshold
    out = x if passes else layer.value
    return f"{number(x)} is {'above' if passes else 'not above'} {number(layer.threshold)}: {number(out)}", out


def _sigmoid(x: float) -> float:
    return 0.5 * (1 + math.tanh(x / 2))  # 1/(1 + exp(-x)) without the overflow


def _log1pexp(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))  # log(1 + exp(x)) without the overflow


def _between(x: float, low: float, high: float) -> float:
    return min(max(x, low), high)


SELU = (1.6732632423543772, 1.0507009873554805)  # alpha and scale, torch.nn.SELU

FORMULAS: dict[type[nn.Module], Formula] = {
    nn.ReLU: lambda _, x: (f"max(0, {number(x)})", max(0.0, x)),
    nn.ReLU6: lambda _, x: _clamp(x, 0, 6),
    nn.Hardtanh: lambda layer, x: _clamp(x, layer.min_val, layer.max_val),
    nn.LeakyReLU: lambda layer, x: _leaky(x, layer.negative_slope),
    nn.RReLU: lambda layer, x: _leaky(x, (layer.lower + layer.upper) / 2),  # in evaluation
    nn.ELU: lambda layer, x: _elu(x, layer.alpha),
    nn.CELU: lambda layer, x: _elu(x, layer.alpha, width=layer.alpha),
    nn.SELU: lambda _, x: _elu(x, *SELU),
    nn.GELU: _gelu,
    nn.SiLU: lambda _, x: (f"{factor(x)}/(1 + exp(-{factor(x)}))", x * _sigmoid(x)),
    nn.Mish: lambda _, x: (f"{factor(x)}*tanh(log(1 + exp({factor(x)})))", x * math.tanh(_log1pexp(x))),
    nn.Sigmoid: lambda _, x: (f"1/(1 + exp(-{factor(x)}))", _sigmoid(x)),
    nn.LogSigmoid: lambda _, x: (f"log(1/(1 + exp(-{factor(x)})))", -_log1pexp(-x)),
    nn.Tanh: lambda _, x: (f"tanh({number(x)})", math.tanh(x)),
    nn.Tanhshrink: lambda _, x: (f"{number(x)} - tanh({number(x)})", x - math.tanh(x)),
    nn.Softplus: _softplus,
    nn.Softsign: lambda _, x: (f"{factor(x)}/(1 + |{number(x)}|)", x / (1 + abs(x))),
    nn.Softshrink: _soft_shrink,
    nn.Hardshrink: _hard_shrink,
    nn.Hardsigmoid: lambda _, x: (f"min(max({factor(x)} + 3, 0), 6)/6", _between(x + 3, 0, 6) / 6),
    nn.Hardswish: lambda _, x: (f"{factor(x)}*min(max({factor(x)} + 3, 0), 6)/6", x * _between(x + 3, 0, 6) / 6),
    nn.Threshold: _threshold,
}
KINDS: dict[Any, tuple[int, ...]] = dict.fromkeys((nn.PReLU, *FORMULAS), ())
