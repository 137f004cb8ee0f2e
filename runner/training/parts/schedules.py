"""Learning-rate schedules that torch.optim.lr_scheduler lacks."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class WarmupCosineLR(LambdaLR):
    """A linear rise from `start` to the full learning rate, then a fall along half a cosine to `end`.

    total_steps: length of the whole schedule, in the scheduler's interval; filled in from the trainer.
    warmup: how many of them the rise takes; a number below 1 is a fraction of total_steps.
    start, end: factors of the optimizer's learning rate.
    The cosine is SGDR's without restarts, https://arxiv.org/abs/1608.03983, equation 5.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        warmup: float = 0.1,
        start: float = 0.01,
        end: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        rise = round(warmup * total_steps) if warmup < 1 else int(warmup)
        fall = max(total_steps - rise, 1)

        def factor(step: int) -> float:
            if step < rise:
                return start + (1 - start) * step / rise
            done = min((step - rise) / fall, 1.0)
            return end + (1 - end) * (1 + math.cos(math.pi * done)) / 2

        super().__init__(optimizer, factor, last_epoch)
