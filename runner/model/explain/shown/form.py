"""The form in which all numbers of one grid are written: alike, and in few characters."""

import math
from dataclasses import dataclass

import numpy as np

from runner.model.explain.arithmetic import number
from runner.model.explain.parts import Array

#: float32 prints 27.8 as 27.799999: such a number needs one decimal.
ROUNDING = 1e-6
#: Characters of a number of two significant digits: -0.00012.
LONGEST = 8


@dataclass(frozen=True)
class Form:
    """The form of a grid's numbers."""

    decimals: int | None  # None: two significant digits instead
    width: int  # characters of the longest

    def text(self, value: float) -> str:
        """Return a number in this form."""
        if value == 0 or not math.isfinite(value):
            return number(value) if value == 0 else str(value)
        if self.decimals is None:
            return number(value, 2)
        return f"{round(value, self.decimals) + 0.0:.{self.decimals}f}"  # -0.0 + 0.0 is 0.0


def form(values: Array) -> Form:
    """Return the form with as many decimals as the numbers have, at most three."""
    finite = values[np.isfinite(values)]
    top = float(np.abs(finite).max(initial=0.0))
    form = Form(_decimals(finite, top), 0)
    ends = [float(v) for v in (finite.min(initial=0.0), finite.max(initial=0.0))]
    longest = max(len(form.text(v)) for v in ends) if form.decimals is not None else LONGEST
    others = {str(float(v)) for v in values[~np.isfinite(values)]}
    return Form(form.decimals, max(longest, *map(len, others), 1))


def _decimals(finite: Array, top: float) -> int | None:
    limit = 3 if top < 100 else 2 if top < 1000 else 1
    if top >= 1e5 or 0 < top < 0.01:
        return None
    allowed = ROUNDING * max(1.0, top)
    return next((d for d in range(limit) if np.all(np.abs(np.round(finite, d) - finite) <= allowed)), limit)
