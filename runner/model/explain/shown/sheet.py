"""A tensor as it is about to be drawn: without its batch dimension, with the window and the words for its axes."""

from dataclasses import dataclass

import numpy as np

from runner.model.explain.parts import Array, Element, Explained, Padded, Window, single
from runner.model.explain.places import PLAIN
from runner.model.explain.shown.form import Form, form


@dataclass(frozen=True)
class Sheet:
    """A tensor without its batch dimension, about to be cut."""

    title: str
    values: Padded
    window: Window
    axes: tuple[str, ...]
    form: Form
    marks: bool = True  # mark the window's cells
    note: str = ""  # the example of the batch

    @property
    def columns(self) -> int:
        """The number of columns, padding included."""
        return len(self.values.bounds(len(self.values.shape) - 1)) if self.values.shape else 1

    @property
    def cell(self) -> int:
        """The characters of the widest number."""
        padding = 2 if any(self.values.before) else 0  # p0
        return max(self.form.width + _copies(self.values), padding)


def sheets(explained: Explained, element: Element | None) -> list[Sheet]:
    """Return the sheets of input, kernel (if there is one) and output."""
    drawn = []
    if explained.input is not None:
        window = element.window if element else ()
        drawn.append(_sheet("first input" if explained.taken else "input", explained.input, window, explained.axes))
    if element and element.kernel:
        kernel = element.kernel
        partial = any(len(t) < n for t, n in zip(kernel.taps, kernel.values.shape, strict=True))
        axes = explained.axes[-kernel.values.ndim :] or ("number",) * kernel.values.ndim
        bare = Padded(kernel.values, (0,) * kernel.values.ndim, kernel.values.shape)
        drawn.append(Sheet(kernel.name, bare, kernel.taps, axes, form(kernel.values), marks=partial))
    if explained.output is not None:
        bare = Padded(explained.output, (0,) * explained.output.ndim, explained.output.shape)
        axes = explained.axes if len(explained.axes) == explained.output.ndim - 1 else ()
        drawn.append(
            _sheet(
                "first output" if explained.given else "output", bare, single(element.index) if element else (), axes
            )
        )
    return drawn


def _sheet(title: str, values: Padded, window: Window, axes: tuple[str, ...]) -> Sheet:
    """Return the sheet of one example of the batch: the one that the window begins in."""
    title = f"{title} {values.shape}"
    axes = axes or PLAIN.get(len(values.shape), ())
    note = ""
    if len(values.shape) > 1:
        example = window[0].start if window and len(window[0]) else 0
        note = f"example {example} of {values.shape[0]}" if values.shape[0] > 1 else ""
        values = Padded(values.values[example], values.before[1:], values.shape[1:])
        window = window[1:]
    words = axes or ("number",) * len(values.shape)
    return Sheet(title, values, window, words, form(_inside(values)), note=note)


def _copies(values: Padded) -> bool:
    """Return whether the padding holds numbers other than 0 and minus infinity."""
    return bool(_counted(values.values) > _counted(_inside(values)))


def _inside(values: Padded) -> Array:
    """Return the numbers without the padding."""
    inside = tuple(slice(before, before + n) for before, n in zip(values.before, values.shape, strict=True))
    return values.values[inside]


def _counted(values: Array) -> int:
    return int(np.count_nonzero(np.isfinite(values) & (values != 0)))
