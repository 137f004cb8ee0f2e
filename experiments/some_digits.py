"""Some of the ten digits, of which as few examples are trained on as one likes."""

import torch
from sklearn.datasets import load_digits

from runner.data import Data, Tensors


def some_digits(classes: list[int], each: int = 100) -> Data:
    """Return 8x8 images of the digits `classes`, numbered from 0.

    each: training examples of every class; of the others every second one validates, and the rest tests.
    """
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 16, torch.tensor(labels)
    train, valid, test = [], [], []
    for digit in classes:
        places = (y == digit).nonzero()[:, 0]
        train.append(places[:each])
        valid.append(places[each::2])
        test.append(places[each + 1 :: 2])
    numbers = torch.full((10,), -1).index_put((torch.tensor(classes),), torch.arange(len(classes)))
    parts = [Tensors(x[rows], numbers[y[rows]]) for rows in map(torch.cat, (train, valid, test))]
    return Data(*parts, task="multiclass", classes=tuple(map(str, classes)))
