"""Handwritten digits: scikit-learn's 1,797 real images of 8x8 pixels (Alpaydin & Kaynak 1998, UCI)."""

import torch

from runner.data import Data, Tensors
from runner.data._bundled import bundled
from runner.data._parts import divide, parts


def digits(valid: float = 0.15, test: float = 0.15, flat: bool = False, seed: int = 0) -> Data:
    """Read the digits: x as float32 of shape (N, 1, 8, 8), 0 white to 1 black; y, the digit, as int64 of shape (N,).

    valid, test: fractions of the 1,797 images, taken from every digit alike.
    flat: x has the shape (N, 64) instead.
    seed: chooses which images go where; it is not the run's seed.
    Raises ConfigError when a fraction is outside [0, 1) or nothing is left to train on.
    """
    pixels, digit = bundled("load_digits", "digits.csv.gz")
    x = torch.from_numpy(pixels).float() / 16
    examples = Tensors(x if flat else x.reshape(-1, 1, 8, 8), torch.from_numpy(digit).long())
    return Data(
        *divide(examples, parts(len(examples), valid, test, seed, strata=examples.y)),
        task="multiclass",
        classes=tuple("0123456789"),
        notes={"divided_by": 16},
    )
