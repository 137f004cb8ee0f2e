"""Milliseconds to augment a batch: ours for a whole batch, ours example by example, and torchvision's in a plain loop.

python benchmarks/augment.py [batch] [size]
"""

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torchvision.transforms import v2

from runner.training.augment import draws, transforms
from runner.training.augment.augment import Augment, Step


def lists(size: int) -> dict[str, list[Any]]:
    """Return lists of transforms of pictures of this size."""
    crop = {"RandomCrop": {"size": size, "padding": 4}}
    return {
        "crop, flip": [crop, "RandomHorizontalFlip"],
        "crop, flip, brightness, erase": [
            crop,
            "RandomHorizontalFlip",
            {"ColorJitter": {"brightness": 0.2}},
            "RandomErasing",
        ],
        "rotation (no version for batches)": [{"RandomRotation": 10}],
    }


def median(work: Callable[[], Any], times: int = 7) -> float:
    """Return the median of some calls in milliseconds."""
    work()
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return 1000 * statistics.median(seconds)


def main(batch: int = 256, size: int = 32) -> None:
    """Print a line for each list of transforms."""
    torch.set_num_threads(1)
    x, y = torch.rand(batch, 3, size, size), torch.zeros(batch, dtype=torch.int64)
    key = draws.keys(0, 0, torch.arange(batch))
    print(f"{batch} pictures of 3x{size}x{size}, one thread; ms: ours, ours one by one, torchvision in a loop")
    for name, spec in lists(size).items():
        ours = Augment(transforms.resolve(transforms.entries(spec)), moves={})
        alone = Augment((), moves={})
        alone.steps = [Step(step.transform, None, step.pictures, step.pairs) for step in ours.steps]
        theirs = v2.Compose([step.transform for step in ours.steps])
        figures = [
            median(lambda ours=ours: ours(x, y, key)),  # type: ignore[misc]
            median(lambda alone=alone: alone(x, y, key)),  # type: ignore[misc]
            median(lambda theirs=theirs: torch.stack([theirs(one) for one in x])),  # type: ignore[misc]
        ]
        print(f"{name:36}", *(f"{value:9.1f}" for value in figures))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
