"""The command `check`: all checks without training, and the cost of training."""

from typing import TYPE_CHECKING

from runner.settings import Settings
from runner.settings.context import Context

if TYPE_CHECKING:
    from runner.data import Data, Source
    from runner.training.checking.checks import Checked


def with_settings(settings: Settings, context: Context) -> int:
    """Print the layer table and the cost, and record no run. Raises ConfigError with everything that is wrong."""
    from runner.training import prepare
    from runner.training.checking import checks

    checked = checks.check(settings)
    if not checked.kind.complete:  # read all data to the last value, as a training does before its first step
        prepare.whole(settings, checked)
    show(settings, checked, context.title)
    return 0


def show(settings: Settings, checked: "Checked", name: str) -> None:
    """Print the data, the layers, and the cost in numbers, bytes and steps."""
    from runner.settings.memory import size
    from runner.settings.trust import terminal
    from runner.tracking import screen
    from runner.training.checking import cost
    from runner.training.machine import cores
    from runner.training.parts.batches import steps_per_epoch

    console, trainer = screen.console(), settings.trainer
    total = len(checked.data.train)  # type: ignore[arg-type]
    batch = cost.batch_size(settings, checked.data)
    bill = cost.cost(settings, checked.parts.optimizer, checked.plan, batch)
    terminal.put(f"{name}: right", *_data_lines(checked.data))
    console.print(screen.layer_table(checked.plan, tuple(checked.data.train[0][0].shape)))
    memory = f"weights {size(bill.weights)}, gradients {size(bill.gradients)}"
    memory += f", optimizer {size(bill.optimizer)}, activations {size(bill.activations)}"
    steps = steps_per_epoch(settings, checked.data)
    setting = "null" if trainer.threads is None else trainer.threads
    threads = cost.threads(settings, checked.plan, batch, checked.parts.device)
    lines = (
        f"parameters     {bill.parameters:,}",
        f"multiply-adds  {bill.multiply_adds:,} for one example, forward",
        f"memory         {memory} (a batch of {batch:,})",
        f"steps          {trainer.epochs * steps:,} = {trainer.epochs:,} epochs of {steps:,}, {total:,} examples",
        f"device         {checked.parts.device}",
        f"threads        {threads} for one operation, of {cores.share()} cores (trainer.threads={setting})",
    )
    terminal.put(*lines)


#: Classes whose examples are listed.
MOST = 20


def _data_lines(data: "Data") -> list[str]:
    """Return lines on how the source read its files, the task, and the sizes of the splits and their classes."""
    lines = [f"{'data' if i == 0 else '':15}{line}" for i, line in enumerate(data.report)]
    lines.append(f"{'task':15}{data.task}" + (f" of {len(data.classes):,} classes" if data.classes else ""))
    parts = {name: part for name in ("train", "valid", "test") if (part := getattr(data, name)) is not None}
    lines.append(f"{'examples':15}" + ", ".join(f"{len(part):,} {name}" for name, part in parts.items()))
    counts = {name: counted for name, part in parts.items() if (counted := _counts(part, data))}
    for i, name in enumerate(data.classes[:MOST] if counts else ()):
        each = ", ".join(f"{counted[i]:,} {part}" for part, counted in counts.items())
        lines.append(f"{'classes' if i == 0 else '':15}{name!r}: {each}")
    if counts and len(data.classes) > MOST:
        lines.append(f"{'':15}and {len(data.classes) - MOST:,} more")
    return lines


def _counts(source: "Source", data: "Data") -> list[int]:
    """Return the number of examples of each class; empty if all examples would have to be read for that."""
    from runner.data import labels_of

    labels = getattr(source, "labels", getattr(source, "y", None))
    if not data.classes or labels is None or labels.is_meta or labels.numel() != len(labels):
        return []
    classes = labels_of(labels, data.task).flatten()
    return classes[classes >= 0].bincount(minlength=len(data.classes)).tolist()
