"""The screen of a training: the table of layers, and the progress."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from runner.data import nests
from runner.model.graph import names
from runner.model.stack import Layer, Stack, is_stacks, shapes, stacks
from runner.settings.errors import batch_shape
from runner.settings.trust import terminal
from runner.tracking.screen import WIDTH, Plain, figures, is_watched
from runner.training.events import Epoch, Event, Silence, Step
from runner.training.parts.length import Length


class Lines:
    """One plain line per validation: for files and pipes."""

    #: Seconds between two flushes: each is a call to the system, which takes as long as a small model's step.
    PERIOD = 0.1

    def __init__(self, console: Console, length: Length, done: int = 0) -> None:
        self.console, self.length, self.steps, self.done = console, length, length.steps, done
        self._begun, self._flushed = time.monotonic(), 0.0
        self._last: Step | None = None

    def record(self, event: Event) -> None:
        """Write the line of an epoch."""
        if isinstance(event, Step):
            self._last = event
        elif isinstance(event, Epoch):
            seconds = time.monotonic() - self._begun
            rate = (event.step - self.done) / seconds if seconds else 0.0
            remaining = (self.steps - event.step) / rate if rate else 0.0
            line = f"{self.length.place(event.step)}  {self._train()}{figures(event.metrics)}"
            # Not by the console: it lays out every line anew, which takes longer than a small model's step.
            self.console.file.write(f"{line}  {rate:.0f} steps/s  {remaining:.0f} s left\n")
            if (now := time.monotonic()) - self._flushed > self.PERIOD:
                self._flushed = now
                self.console.file.flush()

    def _train(self) -> str:
        return f"train/loss={self._last.read():.4g}  " if self._last is not None else ""

    def close(self) -> None:
        """Write what waits in Python's buffer."""
        self.console.file.flush()


class Bar:
    """A live bar with loss, metrics, speed and time left: for terminals."""

    #: Seconds between two readings of the loss: each waits for the device.
    PERIOD = 0.2

    def __init__(self, console: Console, length: Length, done: int = 0) -> None:
        self.progress = Progress(
            TextColumn("{task.fields[place]}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            TextColumn("{task.fields[rate]} steps/s", markup=False),
            TimeRemainingColumn(),
            console=console,
            refresh_per_second=8,
        )
        self._begun = self._seen = time.monotonic()
        self._metrics: dict[str, float] = {}
        first, steps = length.place(done), length.steps
        self._task = self.progress.add_task("", total=steps, completed=done, place=first, figures="", rate="-")
        self._length, self._done = length, done
        self.progress.start()

    def record(self, event: Event) -> None:
        """Show a step, if PERIOD has passed since the last one, or the end of an epoch."""
        if isinstance(event, Step):
            if (now := time.monotonic()) - self._seen > self.PERIOD:
                self._seen = now
                self._show(event.step, f"train/loss={event.read():.4g}  ")
        elif isinstance(event, Epoch):
            self._metrics = dict(event.metrics)
            self.progress.update(self._task, place=self._length.place(event.step))
            self._show(event.step, "")

    def _show(self, step: int, loss: str) -> None:
        rate = (step - self._done) / max(time.monotonic() - self._begun, 1e-9)
        self.progress.update(self._task, completed=step, figures=loss + figures(self._metrics), rate=f"{rate:.0f}")

    def close(self) -> None:
        """Leave the bar as it is, and the cursor below it."""
        self.progress.stop()


class Events(Silence):
    """No screen, but a line of JSON for each validation where a program reads along."""

    def __init__(self, length: Length, run_id: str) -> None:
        self._length, self._run_id = length, run_id
        self._last: Step | None = None

    def record(self, event: Event) -> None:
        """Print the metrics of an epoch, or of another validation, with the last loss before it."""
        if isinstance(event, Step):
            self._last = event
        elif isinstance(event, Epoch):
            loss = {} if self._last is None else {"train/loss": self._last.read()}
            values = {"step": event.step, "steps": self._length.steps, "metrics": {**loss, **event.metrics}}
            terminal.event("validation", run=self._run_id, **values)

    def close(self) -> None:
        """Do nothing."""


#: Makes the observer of a training that a caller in Python shows; None for the command line.
_display: "Callable[[Length, int, str], Any] | None" = None


@contextlib.contextmanager
def displayed(make: "Callable[[Length, int, str], Any]") -> Iterator[None]:
    """Show trainings within the block by the observers that `make` returns for their length, steps and run."""
    global _display
    before, _display = _display, make
    try:
        yield
    finally:
        _display = before


def plainly(length: Length, done: int, run_id: str) -> Bar | Lines:
    """Return a bar on a terminal, lines elsewhere, where no text of the command line is shown."""
    shown = Plain() if is_watched() else Plain(width=WIDTH, force_terminal=False)
    return (Bar if shown.is_terminal else Lines)(shown, length, done)


def watching(console: Console, length: Length, done: int = 0, run_id: str = "") -> Any:
    """Return the observer that shows a training: a bar on a terminal, lines elsewhere, events on a quiet console.

    length: of the whole training. done: steps of an earlier process, which do not count for the speed.
    run_id: of the run, "" for a training without a record.
    """
    if console.quiet and _display is not None:
        return _display(length, done, run_id)
    if console.quiet:
        return Events(length, run_id)
    return (Bar if console.is_terminal else Lines)(console, length, done)


def layer_table(
    stack: Stack, example: nests.Nest, costs: dict[str, tuple[str, str]] | None = None, total: tuple[str, ...] = ()
) -> Table:
    """Return a table with index, name, kind, output shape and parameters of every layer; inner layers are indented.

    example: one input, without the batch.
    costs: multiply-adds and memory of the outer layers by name, which are columns of their own; None: without them.
    total: those of all layers.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, side in (
        ("", "right"),
        ("name", "left"),
        ("layer", "left"),
        ("output", "left"),
        ("parameters", "right"),
        *([("multiply-adds", "right"), ("memory", "right")] if costs else []),
    ):
        table.add_column(heading, justify=side, no_wrap=heading != "layer")  # type: ignore[arg-type]
    for name, tensor in nests.named(example, "input"):
        table.add_row("", name, "", batch_shape(torch.as_tensor(tensor).shape), "")
    for index, layer in enumerate(stack.layers):
        _add(table, str(index), layer, 0, (costs or {}).get(layer.name, ()))
    if stack.outputs:
        table.add_row("", "", "", f"outputs: {', '.join(stack.outputs)}", "")
    parameters = sum(layer.parameters for layer in stack.layers)
    table.add_row("", "", "", "total", f"{parameters:,}", *total, style="bold")
    return table


def _add(table: Table, index: str, layer: Layer, depth: int, costs: tuple[str, ...] = ()) -> None:
    own = f"{layer.parameters:,}" if layer.parameters else ""
    table.add_row(index, "  " * depth + layer.name, described(layer), shapes(layer), own, *costs)
    for stack in stacks(layer):
        for inner in stack.layers:
            _add(table, "", inner, depth + 1)


def described(layer: Layer) -> str:
    """Return a layer as one would write it: `Conv2d(in_channels=1, out_channels=16, kernel_size=3)`."""
    of_stacks = [
        k for k, v in layer.arguments.items() if isinstance(v, Stack) or (isinstance(v, list) and is_stacks(v))
    ]
    inside = [f"{k}={v}" for k, v in layer.arguments.items() if k not in of_stacks]
    inside += [f"{k}=given" for k in layer.given]
    inside += [f"{k}={path}" for k, path in layer.ties.items()]
    inside += [f"tie={layer.shares}"] if layer.shares else []
    reads = f" from {', '.join(names(layer.reads))}" if layer.reads else ""
    return f"{layer.target.__name__}({', '.join(inside)}){reads}"
