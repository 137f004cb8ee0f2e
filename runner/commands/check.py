"""Everything that can be checked without training, and what training would cost."""

from typing import TYPE_CHECKING

from runner.context import Context
from runner.settings import Settings

if TYPE_CHECKING:
    from runner.checks import Checked


def with_settings(settings: Settings, context: Context) -> int:
    """Print the layer table and the cost. Raises ConfigError with everything that is wrong; makes no run."""
    from runner import checks

    show(settings, checks.check(settings), context.title)
    return 0


def show(settings: Settings, found: "Checked", name: str) -> None:
    """The layers, and the cost in numbers, bytes and steps."""
    from runner import cores, cost, screen
    from runner.memory import size
    from runner.run import steps_per_epoch

    console, trainer = screen.console(), settings.trainer
    total = len(found.data.train)  # type: ignore[arg-type]
    batch = min(trainer.batch_size or total, total)
    bill = cost.cost(settings, found.plan, batch)
    console.print(f"{name}: right", soft_wrap=True)
    console.print(screen.layer_table(found.plan, tuple(found.data.train[0][0].shape)))
    memory = f"weights {size(bill.weights)}, gradients {size(bill.gradients)}"
    memory += f", optimizer {size(bill.optimizer)}, activations {size(bill.activations)}"
    steps = steps_per_epoch(settings, found.data)
    wanted = "null" if trainer.threads is None else trainer.threads
    threads = cost.threads(settings, found.plan, batch, found.device)
    lines = (
        f"parameters     {bill.parameters:,}",
        f"multiply-adds  {bill.multiply_adds:,} for one example, forward",
        f"memory         {memory} (a batch of {batch:,})",
        f"steps          {trainer.epochs * steps:,} = {trainer.epochs:,} epochs of {steps:,}, {total:,} examples",
        f"device         {found.device}",
        f"threads        {threads} for one operation, of {cores.share()} cores (trainer.threads={wanted})",
    )
    console.print("\n".join(lines), soft_wrap=True)
