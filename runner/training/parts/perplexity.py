"""Perplexity of torchmetrics, from what metrics are shown here: probabilities with the classes in dimension 1."""

import torchmetrics.text
from torch import Tensor


class Perplexity(torchmetrics.text.Perplexity):  # type: ignore[misc]
    """The exponential of the mean negative logarithm of the right class's probability, over all places."""

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch.

        preds: probabilities, (N, classes) or (N, classes, ...). target: class indices, (N,) or (N, ...).
        """
        # Torchmetrics takes logits with the classes last; the softmax of logarithms of probabilities are these again.
        super().update(preds.log().reshape(*preds.shape[:2], -1).transpose(1, 2), target.reshape(len(target), -1))
