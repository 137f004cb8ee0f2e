"""A training that is stopped and continued in another run, compared with one that is not."""

import contextlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from runner.training.drive import advance
from runner.training.events import Snapshot, Step
from runner.training.run import Run
from runner.training.state import checkpoint


class Stop(Exception):
    pass


def trained(run: Run, until: int | None = None, folders: dict[str, Path] | None = None) -> dict[str, Any]:
    """Everything that can be compared after the training, or after `until` steps of it."""
    losses: list[Any] = []

    class Notes:
        def record(self, event: Any) -> None:
            if isinstance(event, Step):
                losses.append((event.step, event.loss.item()))
            if isinstance(event, Snapshot) and folders is not None:
                folders[event.name] = event.folder

    run.stop = lambda: Stop() if run.state.step == until else None
    with contextlib.suppress(Stop):
        advance(run, (run.recorder, Notes()))
    state = run.state_dict()
    history = dict(run.history)
    return {"losses": losses, "weights": checkpoint.copy(run.model), **state, "history": history}


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def differences(make: Callable[[], Run], stop: int, drop: str = "") -> list[str]:
    """What is not as in the uninterrupted training, where another run goes on after `stop` steps; `drop` gets lost."""
    whole = trained(run := make())
    folders: dict[str, Path] = {}
    trained(first := make(), until=stop, folders=folders)
    second = make()
    random.seed(99), np.random.seed(99), torch.manual_seed(99)  # as in another process
    training = checkpoint.load_training(folders["last"] / "training.pt")
    if drop:
        training[drop] = second.state_dict()[drop]
    second.load_state_dict(checkpoint.load_state_dict(folders["last"] / "state_dict.pt"), training)
    rest = trained(second)
    rest["losses"] = whole["losses"][:stop] + rest["losses"]
    for each in (run, first, second):
        each.close()
    return [name for name in whole if not same(whole[name], rest[name])]
