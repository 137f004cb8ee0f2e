"""A module that a program in Python hands over: `runner.train(study, model=nn.Sequential(...))`."""

import copy

import torch
from torch import nn

from runner.settings import given as things


def given() -> nn.Module:
    """Return a copy of the module that the calling program has handed over, with its weights.

    Raises ConfigError where there is no such program.
    """
    module: nn.Module = copy.deepcopy(things.taken("model"))
    return module.to(torch.get_default_device())
