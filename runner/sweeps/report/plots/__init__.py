"""Plots of a sweep: one file per plot, each with `draw(table, curves) -> Figure | None`."""

import importlib
from typing import TYPE_CHECKING

from runner.settings.values import lookup
from runner.sweeps.report.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Job number -> [(optimizer step, value), ...] by step, of the ranked metric or of train/loss.
Curves = dict[int, list[tuple[int, float]]]


def draw(name: str, table: Table, curves: Curves) -> "Figure | None":
    """Draw one plot; None if the sweep has nothing for it to show."""
    figure: Figure | None = importlib.import_module(f"{__name__}.{name}").draw(table, curves)
    return figure


def names() -> list[str]:
    """Return the names of the plots, which are the files of this folder."""
    return lookup.modules(__path__)
