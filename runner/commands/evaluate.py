"""The command `evaluate`: loss and metrics of a recorded run's model, on its own data or on other data."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from runner.commands._result import Result, nothing
from runner.settings import Settings
from runner.settings.errors import ConfigError, full_message
from runner.settings.trust import terminal

if TYPE_CHECKING:
    from runner.training.run import Run

SPLITS = ("train", "valid", "test")
#: Parts of the configuration that change the values; all others are fixed by the checkpoint or have no effect.
MATTERS = ("seed", "device", "data", "loss", "metrics", "trainer")


def with_run(
    uri: str,
    run: str,
    change: Callable[[Settings], Settings],
    *,
    split: str = "test",
    checkpoint: str = "",
    weights: str = "",
    code: str = "current",
) -> Result | int:
    """Print loss and metrics of a checkpoint on `split`, and write nothing to the tracking store.

    checkpoint: best, last or averaged.
    weights: another word for checkpoint.
    code: current or recorded, for the user's own layers, loss, metrics and data.
    """
    if split not in SPLITS:
        raise ConfigError("split", f"{split!r} is not one of {', '.join(SPLITS)}")
    from runner.model import stack
    from runner.settings import loaded, random_state
    from runner.settings.trust import record_reading
    from runner.tracking import recorded_code
    from runner.tracking.read import checkpoints, drift, load, recall, restoring
    from runner.training.augment import balanced
    from runner.training.prepare import prepare
    from runner.training.state.checkpoint import CheckpointError, fill

    if checkpoint and weights and checkpoint != weights:
        raise ConfigError("weights", f"{weights!r} is another word for checkpoint={checkpoint}; leave one out")
    checkpoint = checkpoint or weights or "best"
    load.check(checkpoint)
    run_id = recall.find_run(uri, run)
    recorded_code.report(uri, run_id, code)
    recorded = recall.settings(uri, run_id)
    settings = change(recorded)
    _check(recorded, settings)
    tags, as_it_was = recall.facts(uri, run_id)[1], settings == recorded
    settings = dataclasses.replace(settings, loss=balanced.as_recorded(settings.loss, tags))
    threads = None
    if settings.trainer.threads == recorded.trainer.threads:
        threads = random_state.recorded(recorded.trainer, tags)
    with drift.data_in_place(settings), loaded.as_recorded(tags):
        prepared = prepare(
            restoring.without_start(dataclasses.replace(settings, plots=[])), run_id, threads, recall.data(uri, run_id)
        )
    try:
        fill(prepared.model, checkpoints.weights(uri, run_id, checkpoint, stack.classes(prepared.stack)))
        values = _measure(prepared, split)
    except CheckpointError as error:
        terminal.say(full_message(error))
        return 1
    finally:
        prepared.close()
    key = f"checkpoint.{checkpoint}.step"
    step = record_reading.whole(tags.get(key, "0"), f"the tag {key} of run {run_id}")
    _show(values, _recorded(uri, run_id, list(values), step) if as_it_was else {}, prepared)
    figures = " ".join(f"{name}={value!r}" for name, value in values.items())
    terminal.put(f"evaluate {run_id} checkpoint={checkpoint} step={step} {figures}")
    return Result({"run": run_id, "checkpoint": checkpoint, "step": step, "values": values}, nothing)


def _check(recorded: Settings, settings: Settings) -> None:
    for field in dataclasses.fields(Settings):
        if field.name not in MATTERS and getattr(settings, field.name) != getattr(recorded, field.name):
            raise ConfigError(
                field.name,
                f"evaluate takes this key from the record; only {', '.join(MATTERS)} can be overridden",
            )
    if not settings.trainer.trains:
        raise ConfigError(
            "trainer.epochs", "the run trained nothing (trainer.epochs=0), so that there is no loss to compute"
        )


def _measure(run: "Run", split: str) -> dict[str, float]:
    from runner.settings import memory
    from runner.training import measure
    from runner.training.checking import rows
    from runner.training.parts import metrics

    source = getattr(run.data, split)
    if source is None:
        splits = [name for name in SPLITS if getattr(run.data, name) is not None]
        raise ConfigError("split", f"the data has no {split} set; it has {' and '.join(splits)}")
    if split == "train":
        metrics.check_train(run.metrics, run.data, run.loss, run.stack.output, run.settings.trainer)
    with rows.checked(run.model, "data", f"the {split} data"):
        return memory.explained(measure.values)(run, source, split)


def _recorded(uri: str, run_id: str, names: list[str], step: int) -> dict[str, float]:
    """Return the values of `names` that the run recorded with the weights of `step`."""
    from runner.tracking.read import recall
    from runner.training.measure import EVAL_LOSS

    recorded = {name: EVAL_LOSS if name == "train/loss" else name for name in names}
    points = recall.points(uri, run_id, recorded.values())
    return {name: points[key][step] for name, key in recorded.items() if step in points[key]}


def _show(values: dict[str, float], recorded: dict[str, float], run: "Run") -> None:
    from rich.table import Table

    from runner.tracking import screen

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "value", *(["recorded"] if recorded else [])):
        table.add_column(heading, justify="right" if heading else "left")
    for name, value in values.items():
        past = [f"{recorded[name]:.6g}" if name in recorded else "-"] if recorded else []
        table.add_row(name, f"{value:.6g}", *past)
    split = next(iter(values)).partition("/")[0]
    screen.console().print(f"device {run.device}; {len(getattr(run.data, split)):,} examples")
    screen.console().print(table)
