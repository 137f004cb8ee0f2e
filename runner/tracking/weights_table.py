"""The table of a model's weights: which are trained, from where they come, and their group of the optimizer."""

from itertools import groupby
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from runner.settings.trust import terminal
from runner.training.parts import freezing, groups

if TYPE_CHECKING:
    from runner.training.run import Run


def differs(run: "Run") -> bool:
    """Return whether some weights are not drawn, not trained, or in a group, so that there is something to be shown."""
    return bool(run.start.facts or freezing.read(run.settings.model.freeze) or run.parts.optimizer.groups)


def table(run: "Run") -> Table:
    """Return a row for each layer with weights of its own, or for each of its parameters where these differ."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("weights", "trained", "start", "group"):
        shown.add_column(heading, overflow="fold")
    for layer, cells in groupby(_cells(run), key=lambda cell: cell[0].rpartition(".")[0]):
        rows = list(cells)
        if len({row[1:] for row in rows}) == 1:
            rows = [(layer, *rows[0][1:])]
        for row in rows:
            shown.add_row(*(Text(terminal.line(text)) for text in row))
    return shown


def _cells(run: "Run") -> list[tuple[str, str, str, str]]:
    model, settings = run.model, run.settings
    frozen = freezing.described(freezing.read(settings.model.freeze), model)
    grouped = groups.described(run.parts.optimizer.groups, model)
    return [
        (
            name,
            frozen.get(name, "yes"),
            run.start.source if name in run.start.weights else "drawn",
            grouped.get(name, ""),
        )
        for name, _ in model.named_parameters()
    ]
