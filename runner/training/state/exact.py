"""Everything beside the weights that the next step depends on, so that a continued run is the uninterrupted one."""

import contextlib
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from runner.settings.errors import first_line
from runner.training.state import checkpoint

if TYPE_CHECKING:
    from runner.training.run import Run


def taken(run: "Run") -> dict[str, Any]:
    """The state between two steps, as tensors and plain values: what `restore` needs, beside the model's own."""
    best, scheduler = run.best, run.schedule.scheduler
    return {
        "step": run.state.step,
        "steps": run.steps,
        "epoch": run.epoch,
        "optimizer": run.state.optimizer.state_dict(),
        "scaler": run.state.scaler.state_dict(),
        "scheduler": None if scheduler is None else scheduler.state_dict(),
        "best": {"value": best.value, "step": best.step, "stale": best.stale, "weights": best.weights},
        "history": run.history_.taken(),
        "random": run.random() if run.random else random_state(run.device),
    }


def restore(run: "Run", weights: dict[str, Any], training: dict[str, Any]) -> None:
    """Put a run that has just been prepared where another one stood when `training` was taken.

    Raises CheckpointError where `training` is not what `taken` gives.
    """
    checkpoint.fill(run.model, weights)
    try:
        _restore(run, training)
    except (AttributeError, IndexError, KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        why = f"{type(error).__name__}: {first_line(error)}"
        raise checkpoint.CheckpointError(
            f"the checkpoint's training state is damaged or of another run: {why}"
        ) from error


def _restore(run: "Run", training: dict[str, Any]) -> None:
    run.state.optimizer.load_state_dict(training["optimizer"])
    run.state.scaler.load_state_dict(training["scaler"])
    if run.schedule.scheduler is not None:
        run.schedule.scheduler.load_state_dict(training["scheduler"])
    run.state.step, run.epoch = training["step"], training["epoch"]
    for name in ("value", "step", "stale", "weights"):
        setattr(run.best, name, training["best"][name])
    run.lose_patience()
    run.history_.restore(training["history"])
    set_random_state(training["random"], run.device)
    run.ready = random_state(run.device)


def random_state(device: torch.device) -> dict[str, Any]:
    """Of every random generator of this process that training may draw from."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": [str(kind), torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss],
        "torch": torch.get_rng_state(),
        **({} if device.type == "cpu" else {device.type: torch.get_device_module(device).get_rng_state(device)}),
    }


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Let them go on from what `random_state` gave."""
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if device.type != "cpu" and (drawn := state.get(device.type)) is not None:
        torch.get_device_module(device).set_rng_state(drawn, device)


@contextlib.contextmanager
def undrawn(device: torch.device) -> Iterator[None]:
    """Around a block that may draw random numbers: after it they are those that would have come without it."""
    before = random_state(device)
    try:
        yield
    finally:
        set_random_state(before, device)
