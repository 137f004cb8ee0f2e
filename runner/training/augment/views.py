"""The transforms of `data.augment` for code of the user's own, such as a loss that compares two views of each image."""

from typing import Any

import torch
from torch import Tensor

from runner.training.augment import draws, transforms
from runner.training.augment.augment import Augment


class Views:
    """Makes another view of each example, with every call: `first, second = views(x), views(x)`.

    spec: written as `data.augment` is. Raises ConfigErrors for what is no transform.
    What is drawn follows from torch's generator, from which each call draws once, whatever the device.
    """

    def __init__(self, spec: Any) -> None:
        self._augment = Augment(transforms.resolve(transforms.entries(spec, "augment")), moves={})

    def __call__(self, x: Tensor) -> Tensor:
        """Return a view of each example. x: of shape (N, ...), which stays as it is."""
        start = int(torch.randint(2**62, ()))
        key = draws.keys(start, 0, torch.arange(len(x))).to(x.device)
        return self._augment(x, torch.zeros(len(x), device=x.device), key)[0]
