"""What a model says about examples with classes: the class and how sure it is."""

from dataclasses import dataclass

import torch
from torch import Tensor

from runner.data import Data, Source, labels_of
from runner.model.predicted import probabilities
from runner.plots import Subject


@dataclass(frozen=True)
class Classified:
    """Examples whose outputs are finite, in their order; without those of no class, such as -100 for padding."""

    index: Tensor  # int64 of shape (n,): which examples of the source, without those whose target is left out
    truth: Tensor  # int64 of shape (n,)
    said: Tensor  # int64 of shape (n,)
    sure: Tensor  # of shape (n,): the probability of the class it said
    classes: int  # at least 2
    lost: int  # examples left out because the model's output is not finite


def classify(run: Subject, source: Source) -> Classified:
    """Every example of `source`, by outputs of shape (N, K), or of shape (N, 1) or (N,) for two classes."""
    y, outputs = run.outputs(source)
    flat = outputs.float().reshape(len(outputs), -1)
    task = "binary" if flat.shape[1] == 1 else run.data.task
    loss = getattr(run.loss, "loss", run.loss)  # of one that counts what is left out, torch's own
    shares = probabilities(run.model, loss, flat, task)
    labels = labels_of(y, run.data.task).reshape(-1)
    counts = labels != run.data.ignored if run.data.ignored is not None else torch.ones_like(labels, dtype=torch.bool)
    finite = shares.isfinite().all(1)
    [index] = torch.where(finite & counts)
    truth, (sure, said) = labels[index], shares[index].max(1)
    classes = max(shares.shape[1], len(run.data.classes), int(truth.max()) + 1 if len(truth) else 0)
    return Classified(index, truth, said, sure, classes, int((counts & ~finite).sum()))


def class_names(data: Data, classes: int) -> list[str]:
    """The classes' names; their numbers where the data has none."""
    return [data.classes[k] if k < len(data.classes) else str(k) for k in range(classes)]
