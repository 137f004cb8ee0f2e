"""The command `summary`: the layers with their shapes, parameters, multiply-adds and memory."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from runner.commands._result import Result
from runner.settings import Settings
from runner.settings.context import Context

if TYPE_CHECKING:
    from runner.model.stack import Stack
    from runner.training.run import Run


def with_settings(settings: Settings, context: Context) -> Result:
    """Print the layers of the configured model for the configured data with what they cost, and train nothing."""
    from runner.training.prepare import prepare

    return _result(prepare(settings, context.name))


def with_run(uri: str, run: str, change: Callable[[Settings], Settings], *, code: str = "current") -> Result:
    """Print the layers of a recorded run's model, which is made anew of its configuration, and train nothing.

    code: current or recorded, for the user's own layers and data.
    """
    from runner.settings import loaded
    from runner.tracking import recorded_code
    from runner.tracking.read import drift, recall, restoring
    from runner.training.prepare import prepare

    run_id = recall.find_run(uri, run)
    recorded_code.report(uri, run_id, code)
    settings, tags = change(recall.settings(uri, run_id)), recall.facts(uri, run_id)[1]
    settings = dataclasses.replace(settings, model=restoring.started(settings.model, tags), plots=[])
    with drift.data_in_place(settings), loaded.as_recorded(tags):
        prepared = prepare(settings, run_id, noted=recall.data(uri, run_id))
    return _result(prepared)


def _result(run: "Run") -> Result:
    from runner.tracking import weights_table
    from runner.training.augment import treatment

    try:
        plain = costs(run)
        treated = treatment.lines(run.parts.treatment, run.loss, run.data)
        further = weights_table.table(run) if weights_table.differs(run) else None
        return Result(plain, partial(_print, plain, treated, run.stack, run.data.train[0][0], further))
    finally:
        run.close()


def costs(run: "Run") -> dict[str, Any]:
    """Return what the layers of a model cost, as plain values.

    layers: of each name, layer, output (its shape without the batch), parameters, multiply_adds (forward, one example)
        and memory (bytes of its outputs for a batch); memory: of weights, gradients, optimizer and outputs, in bytes.
    """
    from math import prod

    from runner.training.checking import cost

    settings = run.settings
    batch = cost.batch_size(settings, run.data)
    bill = cost.cost(settings, run.parts.optimizer, run.stack, batch)
    wide = 8 if settings.trainer.precision == "fp64" else 4
    layers = [
        {
            "name": layer.name,
            "layer": layer.target.__name__,
            "output": list(layer.shape),
            "parameters": layer.parameters,
            "multiply_adds": cost.counted(layer),
            "memory": wide * batch * prod(layer.shape),
        }
        for layer in run.stack.layers
    ]
    memory = {"weights": bill.weights, "gradients": bill.gradients, "optimizer": bill.optimizer}
    return {
        "layers": layers,
        "parameters": bill.parameters,
        "multiply_adds": sum(layer["multiply_adds"] for layer in layers),
        "batch": batch,
        "memory": memory | {"outputs": bill.activations},
    }


def _print(plain: dict[str, Any], treated: list[str], stack: "Stack", example: Any, further: Any) -> None:
    from runner.settings.memory import size
    from runner.settings.trust import terminal
    from runner.tracking import screen, training_screen

    def shown(count: int, memory: int) -> tuple[str, str]:
        return f"{count:,}" if count else "", size(memory)

    each = {layer["name"]: shown(layer["multiply_adds"], layer["memory"]) for layer in plain["layers"]}
    terminal.put(*treated)
    console, memory = screen.console(), plain["memory"]
    console.print(training_screen.layer_table(stack, example, each, shown(plain["multiply_adds"], memory["outputs"])))
    needs = ", ".join(f"{name} {size(count)}" for name, count in memory.items())
    terminal.put(
        f"multiply-adds of one example, forward; memory of what the layers give for a batch of {plain['batch']:,}"
    )
    terminal.put(f"memory of training: {needs}; `runner check` measures it, and the time")
    if further is not None:
        console.print("")
        console.print(further)
