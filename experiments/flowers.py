"""Fisher's irises, as scikit-learn ships them."""

import torch

from runner.data import Data, Tensors


def irises() -> Data:
    """Return the four lengths of 150 flowers in standard deviations, (N, 4), and the species of each, (N,)."""
    from sklearn.datasets import load_iris

    read = load_iris()
    x, y = torch.tensor(read.data, dtype=torch.float32), torch.tensor(read.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, y = ((x - x.mean(0)) / x.std(0))[order], y[order]
    return Data(Tensors(x, y), classes=tuple(map(str, read.target_names)))
