"""A training that is stopped and continued in another run, compared with one that is not."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from runner.training.run import Run
from runner.training.state import checkpoint
from tests.training.test_exact import same, trained


def differences(make: Callable[[], Run], stop: int) -> list[str]:
    """What is not as in the uninterrupted training, after a stop after `stop` steps."""
    whole = trained(run := make())
    folders: dict[str, Path] = {}
    trained(first := make(), until=stop, folders=folders)
    second = make()
    random.seed(99), np.random.seed(99), torch.manual_seed(99)  # as in another process
    training = checkpoint.load_training(folders["last"] / "training.pt")
    second.load_state_dict(checkpoint.load_state_dict(folders["last"] / "state_dict.pt"), training)
    rest = trained(second)
    rest["losses"] = whole["losses"][:stop] + rest["losses"]
    for each in (run, first, second):
        each.close()
    return [name for name in whole if not same(whole[name], rest[name])]
