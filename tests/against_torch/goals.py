"""What a case learns: its targets, its loss, and the last layers that the loss wants."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tests.against_torch import layers
from tests.against_torch.layers import Drawn


@dataclass
class Goal:
    """Targets and their loss."""

    task: str  # regression | binary | multiclass, as Data calls it
    outputs: int  # numbers that the model gives for each example, or each step
    targets: Callable[[int], Tensor]  # of so many examples
    loss: dict[str, Any]  # as in a configuration
    end: list[Drawn] = field(default_factory=list)  # layers after the last one with weights
    classes: int = 0
    steps: int = 0  # of a target for each example; 0 where it has none
    complete: bool = False  # whether every part holds every class, so that a file of them can be read back


def draw(rng: random.Random) -> Goal:
    kinds = [_numbers] * 3 + [_classes] * 3 + [_two] * 2 + [_labels, _steps, _signs, _counts, _shares, _sets, _spread]
    return rng.choice(kinds)(rng)


REGRESSION = ["MeanAbsoluteError", "MeanSquaredError", "R2Score", "PearsonCorrCoef", "SpearmanCorrCoef"]
CLASSES = ["Accuracy", "F1Score", "AUROC", "Precision", "Recall", "CohenKappa", "MatthewsCorrCoef", "AveragePrecision"]
METRICS: dict[str, list[Any]] = {
    "regression": [
        *REGRESSION,
        "ExplainedVariance",
        "ConcordanceCorrCoef",
        "KendallRankCorrCoef",
        "MeanAbsolutePercentageError",
        "CosineSimilarity",
        "RelativeSquaredError",
        {"MeanSquaredError": {"squared": False}},
        {"R2Score": {"multioutput": "raw_values"}},
        "Accuracy",
    ],
    "multiclass": [
        *CLASSES,
        "ConfusionMatrix",
        "CalibrationError",
        "Specificity",
        "ExactMatch",
        {"Accuracy": {"top_k": 2}},
        {"Accuracy": {"top_k": 9}},
        {"Accuracy": {"average": "macro"}},
        {"F1Score": {"average": "none"}},
        {"F1Score": {"average": "macro"}},
        {"JaccardIndex": {"average": "weighted"}},
        "MeanSquaredError",
        "ROC",
    ],
    "binary": [*CLASSES, "ConfusionMatrix", "Specificity", "HammingDistance", "StatScores", "R2Score"],
}


def _numbers(rng: random.Random) -> Goal:
    many = rng.choice([1, 1, 1, 2, 3])
    loss: dict[str, Any] = {"name": rng.choice(["MSELoss", "MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss"])}
    if loss["name"] == "HuberLoss":
        loss["delta"] = 0.5
    return Goal("regression", many, lambda n: torch.randn(n, many), _reduced(rng, loss))


def _reduced(rng: random.Random, loss: dict[str, Any]) -> dict[str, Any]:
    return {**loss, "reduction": "sum"} if rng.random() < 0.2 else loss


def _classes(rng: random.Random) -> Goal:
    classes = rng.choice([3, 3, 4, 5])
    outputs = rng.choice([classes, classes, classes, 2 * classes])
    complete = rng.random() < 0.7 and outputs == classes
    name = rng.choice(["CrossEntropyLoss", "CrossEntropyLoss", "CrossEntropyLoss", "NLLLoss", "MultiMarginLoss"])
    loss: dict[str, Any] = {"name": name}
    if name == "CrossEntropyLoss":
        loss |= rng.choice([{}, {}, {"label_smoothing": 0.1}, {"ignore_index": 1}])
    if name != "MultiMarginLoss" and rng.random() < 0.2:
        loss["weight"] = [round(rng.uniform(0.2, 2), 2) for _ in range(outputs)]
    end = [layers.plain("LogSoftmax", {"dim": 1}, {})] if name == "NLLLoss" else []
    return Goal(
        "multiclass", outputs, _indices(classes, complete), _reduced(rng, loss), end, classes, complete=complete
    )


def _indices(classes: int, complete: bool) -> Callable[[int], Tensor]:
    def targets(n: int) -> Tensor:
        return torch.arange(n) % classes if complete else torch.randint(0, classes, (n,))

    return targets


def _two(rng: random.Random) -> Goal:
    complete = rng.random() < 0.7
    name = rng.choice(["BCEWithLogitsLoss", "BCEWithLogitsLoss", "BCELoss", "CrossEntropyLoss"])
    loss: dict[str, Any] = {"name": name}
    if name == "BCEWithLogitsLoss" and rng.random() < 0.3:
        loss["pos_weight"] = [2.5]
    end = [Drawn("Sigmoid", nn.Sigmoid)] if name == "BCELoss" else []
    outputs = 2 if name == "CrossEntropyLoss" else 1
    return Goal("binary", outputs, _indices(2, complete), _reduced(rng, loss), end, 2, complete=complete)


def _labels(rng: random.Random) -> Goal:
    """Several answers of yes and no for each example."""
    many, name = rng.choice([1, 2, 3]), rng.choice(["BCEWithLogitsLoss", "MultiLabelSoftMarginLoss"])
    return Goal("regression", many, lambda n: torch.randint(0, 2, (n, many)).float(), {"name": name})


def _steps(rng: random.Random) -> Goal:
    """A class for every step of a sequence."""
    classes, steps = rng.choice([3, 4]), rng.randint(1, 4)
    loss: dict[str, Any] = {"name": "CrossEntropyLoss", **rng.choice([{}, {"ignore_index": 0}])}
    return Goal("multiclass", classes, lambda n: torch.randint(0, classes, (n, steps)), loss, [], classes, steps)


def _signs(rng: random.Random) -> Goal:
    name = rng.choice(["SoftMarginLoss", "HingeEmbeddingLoss"])
    return Goal("regression", 1, lambda n: torch.randint(0, 2, (n, 1)).float() * 2 - 1, {"name": name})


def _counts(rng: random.Random) -> Goal:
    loss = {"name": "PoissonNLLLoss", **rng.choice([{}, {"full": True}])}
    return Goal("regression", 1, lambda n: torch.randint(0, 5, (n, 1)).float(), loss)


def _shares(rng: random.Random) -> Goal:
    """Probabilities of classes."""
    many, name = rng.choice([2, 3]), rng.choice(["KLDivLoss", "CrossEntropyLoss"])
    loss = {"name": name, **({"reduction": rng.choice(["batchmean", "sum"])} if name == "KLDivLoss" else {})}
    end = [layers.plain("LogSoftmax", {"dim": 1}, {})] if name == "KLDivLoss" else []
    return Goal("regression", many, lambda n: torch.rand(n, many).softmax(1), loss, end)


def _sets(rng: random.Random) -> Goal:
    """For each example the classes that it has, then -1."""

    def targets(n: int) -> Tensor:
        y = torch.full((n, 3), -1)
        y[:, 0] = torch.randint(0, 3, (n,))
        return y

    return Goal("multiclass", 3, targets, {"name": "MultiLabelMarginLoss"}, [], 3)


def _spread(rng: random.Random) -> Goal:
    """Shapes that torch would spread over each other, and losses that take more than two inputs."""
    shape = rng.choice([(), (), (2,), (1, 1)])
    name = rng.choice(["MSELoss", "L1Loss", "MSELoss", "GaussianNLLLoss", "CosineEmbeddingLoss", "MarginRankingLoss"])
    return Goal("regression", 1, lambda n: torch.randn(n, *shape), {"name": name})
