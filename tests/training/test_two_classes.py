"""No argument of a metric is dropped: those of several classes are read of two as well, or refused."""

import copy
from typing import Any

import pytest
import torch
import torchmetrics

from runner.settings.errors import ConfigError
from runner.training.parts.two_classes import read_all

SCORES, TARGETS = torch.tensor([0.9, 0.2, 0.7, 0.4, 0.1, 0.3]), torch.tensor([1, 0, 0, 1, 0, 0])


def made(name: str, of: str, **given: Any) -> Any:
    target = getattr(torchmetrics, name)
    further = {"num_classes": 3} if of == "multiclass" else {}
    arguments = {"task": of, **further, **given}
    return read_all(target(**arguments), target, arguments, given, of, "metrics[0]")


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("Accuracy", {"average": "macro"}),
        ("F1Score", {"average": "weighted"}),
        ("JaccardIndex", {"average": "none"}),
        ("AUROC", {"average": "macro"}),
        ("Accuracy", {"num_classes": 2}),
        ("Recall", {"task": "multiclass", "num_classes": 2, "average": "macro"}),
    ],
)
def test_of_two_classes_a_metric_reads_what_it_reads_of_several(name: str, given: dict[str, Any]) -> None:
    metric = copy.deepcopy(made(name, "binary", **given))
    for rows in (slice(3), slice(3, None)):
        metric.update(SCORES[rows], TARGETS[rows])
    plain = getattr(torchmetrics, name)(**{"task": "multiclass", "num_classes": 2, **given})
    plain.update(torch.stack([1 - SCORES, SCORES], 1), TARGETS)
    torch.testing.assert_close(metric.compute(), plain.compute())
    metric.reset()
    metric.update(SCORES[:2], TARGETS[:2])


@pytest.mark.parametrize("given", [{}, {"threshold": 0.3}, {"sync_on_compute": False}])
def test_what_a_metric_of_two_classes_reads_by_itself_is_left_as_it_is(given: dict[str, Any]) -> None:
    assert type(made("Accuracy", "binary", **given)) is torchmetrics.classification.BinaryAccuracy


@pytest.mark.parametrize(
    ("task", "given", "name"),
    [
        ("multiclass", {"threshold": 0.3}, "threshold"),
        ("binary", {"average": "macro", "threshold": 0.3}, "threshold"),
        ("binary", {"num_labels": 2}, "num_labels"),
    ],
)
def test_what_nothing_reads_is_refused(task: str, given: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^metrics\[0\].Accuracy.{name}: is not read by Accuracy of "):
        made("Accuracy", task, **given)
