"""What a model says about examples with classes: the class and how sure it is."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from runner.data import Data, Source, labels_of
from runner.plots import Subject


@dataclass(frozen=True)
class Classified:
    """Examples whose outputs are finite, in their order; without those of no class, such as -100 for padding."""

    index: Tensor  # int64 of shape (n,): which examples of the source
    x: Tensor
    truth: Tensor  # int64 of shape (n,)
    said: Tensor  # int64 of shape (n,)
    sure: Tensor  # of shape (n,): the probability of the class it said
    classes: int  # at least 2
    lost: int  # examples left out because the model's output is not finite


def classify(run: Subject, source: Source) -> Classified:
    """Every example of `source`, by outputs of shape (N, K), or of shape (N, 1) or (N,) for two classes."""
    x, y, outputs = run.predict(source)
    shares = probabilities(outputs.float().reshape(len(outputs), -1), run.model)
    labels, finite = labels_of(y, run.data.task).reshape(-1), shares.isfinite().all(1)
    [index] = torch.where(finite & (labels >= 0))
    truth, (sure, said) = labels[index], shares[index].max(1)
    classes = max(shares.shape[1], len(run.data.classes), int(truth.max()) + 1 if len(truth) else 0)
    return Classified(index, x[index], truth, said, sure, classes, int((~finite).sum()))


def probabilities(outputs: Tensor, model: nn.Module) -> Tensor:
    """Outputs of shape (N, K) as the probabilities of K classes, of shape (N, 1) as those of two."""
    last = list(model.modules())[-1]  # a model that ends in its own sigmoid or softmax gives probabilities already
    if outputs.shape[1] == 1:
        second = outputs if isinstance(last, nn.Sigmoid) else outputs.sigmoid()
        return torch.cat([1 - second, second], 1)
    return outputs if isinstance(last, nn.Softmax) else outputs.softmax(1)


def class_names(data: Data, classes: int) -> list[str]:
    """The classes' names; their numbers where the data has none."""
    return [data.classes[k] if k < len(data.classes) else str(k) for k in range(classes)]
