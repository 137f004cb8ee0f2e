"""Everything that can be checked without training, and what training would cost."""

from typing import TYPE_CHECKING

from runner.settings import Settings
from runner.settings.context import Context

if TYPE_CHECKING:
    from runner.data import Data, Source
    from runner.training.checking.checks import Checked


def with_settings(settings: Settings, context: Context) -> int:
    """Print the layer table and the cost. Raises ConfigError with everything that is wrong; makes no run."""
    from runner.training import prepare
    from runner.training.checking import checks

    found = checks.check(settings)
    if not found.complete:  # what is right is read to its last value, as a training does before it begins
        prepare.whole(settings, found)
    show(settings, found, context.title)
    return 0


def show(settings: Settings, found: "Checked", name: str) -> None:
    """The layers, and the cost in numbers, bytes and steps."""
    from runner.settings.memory import size
    from runner.settings.trust import terminal
    from runner.tracking import screen
    from runner.training.checking import cost
    from runner.training.machine import cores
    from runner.training.parts.batches import steps_per_epoch

    console, trainer = screen.console(), settings.trainer
    total = len(found.data.train)  # type: ignore[arg-type]
    batch = cost.batch_size(settings, found.data)
    bill = cost.cost(settings, found.parts.optimizer, found.plan, batch)
    terminal.put(f"{name}: right", *_data_lines(found.data))
    console.print(screen.layer_table(found.plan, tuple(found.data.train[0][0].shape)))
    memory = f"weights {size(bill.weights)}, gradients {size(bill.gradients)}"
    memory += f", optimizer {size(bill.optimizer)}, activations {size(bill.activations)}"
    steps = steps_per_epoch(settings, found.data)
    wanted = "null" if trainer.threads is None else trainer.threads
    threads = cost.threads(settings, found.plan, batch, found.parts.device)
    lines = (
        f"parameters     {bill.parameters:,}",
        f"multiply-adds  {bill.multiply_adds:,} for one example, forward",
        f"memory         {memory} (a batch of {batch:,})",
        f"steps          {trainer.epochs * steps:,} = {trainer.epochs:,} epochs of {steps:,}, {total:,} examples",
        f"device         {found.parts.device}",
        f"threads        {threads} for one operation, of {cores.share()} cores (trainer.threads={wanted})",
    )
    terminal.put(*lines)


#: Classes whose examples are counted.
MOST = 20


def _data_lines(data: "Data") -> list[str]:
    """How the source understood its files, the task, and the sizes of the parts with their classes."""
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
    """Examples of each class; empty where the source cannot tell without reading everything."""
    from runner.data import labels_of

    labels = getattr(source, "labels", getattr(source, "y", None))
    if not data.classes or labels is None or labels.is_meta or labels.numel() != len(labels):
        return []
    found = labels_of(labels, data.task).flatten()
    return found[found >= 0].bincount(minlength=len(data.classes)).tolist()
