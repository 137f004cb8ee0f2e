"""The ten digits, of which as few are trained on as one likes, to be told apart or into even and odd ones."""

import torch
from sklearn.datasets import load_digits

from runner.data import Data, Tensors

#: Of each digit, so many are for training; of the others every second one validates, and the rest tests.
MOST = 100


def some_digits(each: int = MOST, parity: bool = False) -> Data:
    """Return 8x8 images of digits. each: training examples of every digit. parity: the target is 0 even, 1 odd."""
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 16, torch.tensor(labels)
    places = [(y == digit).nonzero()[:, 0] for digit in range(10)]
    splits = slice(min(each, MOST)), slice(MOST, None, 2), slice(MOST + 1, None, 2)
    target, classes = (y % 2, ("even", "odd")) if parity else (y, tuple("0123456789"))
    rows = [torch.cat([of[split] for of in places]) for split in splits]
    return Data(*(Tensors(x[part], target[part]) for part in rows), task="multiclass", classes=classes)
