"""Metrics that are counted without torchmetrics have its values."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torchmetrics
from torch import nn

from runner.training.parts.metric_sums import MetricValues

CLASSES = {"task": "multiclass", "num_classes": 4}
CASES: dict[str, tuple[str, Any, bool]] = {
    "accuracy": ("multiclass", torchmetrics.Accuracy(**CLASSES, average="micro"), True),
    "accuracy of each class": ("multiclass", torchmetrics.Accuracy(**CLASSES, average="macro"), False),
    "one of the two largest": ("multiclass", torchmetrics.Accuracy(**CLASSES, average="micro", top_k=2), False),
    "squares": ("regression", torchmetrics.MeanSquaredError(), True),
    "roots": ("regression", torchmetrics.MeanSquaredError(squared=False), False),
    "absolute": ("regression", torchmetrics.MeanAbsoluteError(), True),
    "explained": ("regression", torchmetrics.R2Score(), False),
}


@pytest.mark.parametrize("name", CASES)
def test_the_values_are_those_of_torchmetrics(name: str) -> None:
    task, metric, counted = CASES[name]
    model: Any = nn.Linear(1, 1)
    data = SimpleNamespace(task=task, classes=tuple("abcd"), ignored=None)
    loss = nn.CrossEntropyLoss() if task == "multiclass" else nn.MSELoss()
    run: Any = SimpleNamespace(data=data, loss=loss, model=model, metrics={"M": metric}, device=torch.device("cpu"))
    values, expected = MetricValues([run], [0]), metric.clone()
    assert (len(values._counts) == 1) == counted
    torch.manual_seed(0)
    for size in (16, 16, 5):
        if task == "multiclass":
            output, target = torch.randn(size, 4), torch.randint(0, 4, (size,))
            expected.update(output.softmax(1), target)
        else:
            output, target = torch.randn(size, 1), torch.randn(size, 1)
            expected.update(output, target)
        values.update_one(output, target)
    assert values.values()[0] == {"M": pytest.approx(float(expected.compute()), rel=1e-6)}
