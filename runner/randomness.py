"""Where random numbers start, and what else decides the last bits."""

import os
import random

import numpy as np
import torch

from runner.settings import Settings, Trainer

#: What torch starts with; a run that asks for another number leaves it to the next run of a sweep.
THREADS = torch.get_num_threads()


def seed(settings: Settings) -> None:
    """Start every random generator from the run's seed, and fix what else decides the last bits."""
    start(settings.seed)
    torch.manual_seed(settings.seed)  # those of other devices too
    restrain(settings.trainer)


def start(number: int) -> None:
    """Start the generators of the processor from `number`."""
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.default_generator.manual_seed(number)


def restrain(trainer: Trainer) -> None:
    """Fix what else decides the last bits: the choice of algorithms, and the number of threads."""
    if torch.are_deterministic_algorithms_enabled() != trainer.deterministic:  # saying it again costs 2.5 s
        torch.use_deterministic_algorithms(trainer.deterministic)
    if trainer.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS refuses to be deterministic without it
    torch.set_num_threads(trainer.threads or THREADS)
