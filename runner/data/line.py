"""A straight line with noise: Y = slope * X + intercept + scale * N(0, sigma)."""

import math

import torch

from runner.data import Data, Tensors
from runner.data._values import MOST
from runner.settings.errors import ConfigError


def line(
    points: int = 200,
    slope: float = 0.5,
    intercept: float = 0.0,
    scale: float = 0.2,
    sigma: float = 0.05,
    low: float = -1.0,
    high: float = 1.0,
    valid: int = 50,
    test: int = 0,
    seed: int = 0,
) -> Data:
    """Return examples of the line: x evenly spaced on [low, high], x and y float32 of shape (points, 1).

    points: the number of training examples.
    slope, intercept: of the line. scale, sigma: factor and standard deviation of the noise.
    valid, test: numbers of further points of the same line, with noise of their own.
    seed: chooses the noise; it is not the run's seed, so runs with different seeds see the same data.
    Raises ConfigError for numbers that are out of range.
    """
    for key, count, least in (("points", points, 1), ("valid", valid, 0), ("test", test, 0)):
        if not isinstance(count, int) or isinstance(count, bool) or not least <= count <= MOST:
            expected = f"expected a whole number of at least {least} and at most {MOST:,}"
            raise ConfigError(f"data.{key}", f"{count!r} is out of range; {expected}")
    for key, value in (("scale", scale), ("sigma", sigma)):
        if not 0 <= value < math.inf:
            raise ConfigError(f"data.{key}", f"{value!r} is out of range; expected a number of at least 0")
    for key, value in (("slope", slope), ("intercept", intercept), ("low", low), ("high", high)):
        if not math.isfinite(value):
            raise ConfigError(f"data.{key}", f"{value!r} is out of range; expected a finite number")
    if not low < high:
        raise ConfigError("data.low", f"{low!r} is not below data.high={high!r}; give a range from low to high")
    generator = torch.Generator().manual_seed(seed)

    def draw(n: int) -> Tensors:
        x = torch.linspace(low, high, n).unsqueeze(1)
        return Tensors(x, slope * x + intercept + scale * sigma * torch.randn(n, 1, generator=generator))

    return Data(draw(points), draw(valid) if valid else None, draw(test) if test else None)
