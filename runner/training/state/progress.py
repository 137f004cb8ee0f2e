"""The state of a training beside its weights, as tensors and plain values, and how a run takes it up again."""

from typing import Any, Protocol

import torch

from runner.settings.errors import labelled
from runner.training.loop import State
from runner.training.state import generators
from runner.training.state.best import Best
from runner.training.state.checkpoint import CheckpointError
from runner.training.state.history import History


class Resumed(Protocol):
    """The part of a run that its next step depends on."""

    state: State
    schedule: Any
    best: Best
    recorder: History
    seen: Any
    average: Any
    frozen: Any
    streams: Any
    device: torch.device
    epoch: int
    ready: dict[str, Any]

    @property
    def step(self) -> Any:
        """The function that takes a step."""

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training."""

    def random_state(self) -> dict[str, Any]:
        """Return the states of generators and streams."""

    def stop_if_stale(self) -> None:
        """Stop where nothing has been better for long."""


def state_dict(run: Resumed) -> dict[str, Any]:
    """Return everything beside the weights that a run's next step depends on."""
    scheduler = run.schedule.scheduler
    return {
        "step": run.state.step,
        "steps": run.steps,
        "epoch": run.epoch,
        "optimizer": run.state.optimizer.state_dict(),
        "scaler": run.state.scaler.state_dict(),
        "scheduler": None if scheduler is None else scheduler.state_dict(),
        "own_step": run.step.state_dict() if hasattr(run.step, "state_dict") else None,
        "best": run.best.state_dict(),
        "history": run.recorder.state_dict(),
        "seen": run.seen.state_dict(),
        "random": run.random_state(),
        **run.average.state_dict(),
    }


def load_state_dict(run: Resumed, training: dict[str, Any]) -> None:
    """Let a run go on from what `state_dict` returned of another one.

    Raises CheckpointError where it is damaged or does not fit this run.
    """
    try:
        _load(run, training)
    except (AttributeError, IndexError, KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"the checkpoint's training state is damaged or of another run: {labelled(error)}"
        ) from error


def _load(run: Resumed, training: dict[str, Any]) -> None:
    run.state.optimizer.load_state_dict(training["optimizer"])
    run.state.scaler.load_state_dict(training["scaler"])
    if run.schedule.scheduler is not None:
        run.schedule.scheduler.load_state_dict(training["scheduler"])
    if hasattr(run.step, "load_state_dict"):
        run.step.load_state_dict(training["own_step"])
    run.state.step, run.epoch = training["step"], training["epoch"]
    run.frozen.at(run.epoch)
    run.seen.load_state_dict(training.get("seen", {}))
    run.best.load_state_dict(training["best"])
    run.average.load_state_dict(training)
    run.stop_if_stale()
    run.recorder.load_state_dict(training["history"])
    generators.set_random_state(training["random"], run.device)
    run.streams.load_state_dict(training["random"], run.state.step)
    run.ready = run.random_state()
