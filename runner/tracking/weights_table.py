"""The table of a model's weights: which are trained, from where they come, and their group of the optimizer."""

from itertools import groupby
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from runner.settings.trust import terminal
from runner.training.checking import untrained
from runner.training.parts import freezing, groups

if TYPE_CHECKING:
    from runner.training.run import Run


def differs(run: "Run") -> bool:
    """Return whether some weights are not drawn as torch draws them, not trained, in a group or of one optimizer."""
    started = run.start.facts or run.stack.start
    alone = untrained.layers(run.parts, run.loss, run.stack)
    return bool(
        started
        or alone
        or freezing.read(run.settings.model.freeze)
        or run.parts.optimizer.groups
        or run.state.optimizers
    )


def table(run: "Run") -> Table:
    """Return a row for each layer with weights of its own, or for each of its parameters where these differ."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("weights", "trained", "start", "optimizer" if run.state.optimizers else "group"):
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
    alone = untrained.layers(run.parts, run.loss, run.stack)
    frozen |= {n: "no loss" for n, _ in model.named_parameters() if n.startswith(_below(alone))}
    drawn = {one.name: one.words() for one in run.stack.start}
    grouped = _of_each(run) if run.state.optimizers else groups.described(run.parts.optimizer.groups, model)
    return [
        (
            name,
            frozen.get(name, "yes"),
            run.start.source if name in run.start.weights else drawn.get(name, "drawn"),
            grouped.get(name, ""),
        )
        for name, _ in model.named_parameters()
    ]


def _below(layers: dict[str, list[str]]) -> tuple[str, ...]:
    """Return how the names of the layers' parameters begin."""
    return tuple(f"{name}." for own in layers.values() for name in own)


def _of_each(run: "Run") -> dict[str, str]:
    """Return the words for the optimizer of each parameter, one of several: `critic (SGD, lr=0.01)`."""
    names = {id(parameter): name for name, parameter in run.model.named_parameters()}
    words = dict[str, str]()
    for own, optimizer in run.state.optimizers.items():
        described = f"{own} ({type(optimizer).__name__}, lr={float(optimizer.defaults['lr']):g})"
        words |= {names[id(p)]: described for group in optimizer.param_groups for p in group["params"]}
    return words
