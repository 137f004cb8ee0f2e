"""Check the values of targets: classes in range, probabilities that add up to 1, -1 and 1, counts."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from runner.data import Data, Tensors
from runner.model.conventions import Convention, convention
from runner.settings.errors import ConfigError


def check(loss: nn.Module, data: Data, output: Tensor) -> None:
    """Raise ConfigError for targets whose values the loss does not take.

    data: all targets in memory are checked, and the first of a dataset that reads files.
    output: of the model for a batch, on the meta device: (N, ...).
    """
    takes = convention(loss) or getattr(loss, "VALUES", None)
    for part in ("train", "valid", "test") if takes is not None else ():
        source = getattr(data, part)
        if source is None:
            continue
        y = source.y if isinstance(source, Tensors) else source[0][1].unsqueeze(0)
        if y.numel() and not y.is_meta:
            assert takes is not None
            _check_values(loss, takes, y, f"the {part} data", output)
            if isinstance(source, Tensors):
                _check_some_count(loss, y, f"the {part} data")


def are_beyond(loss: nn.Module, data: Data, output: Any) -> bool:
    """Return whether the model gives a number for each class of the train data, and too few for those of all parts.

    data, output: see `check`.
    """
    y, takes = data.train.y if isinstance(data.train, Tensors) else None, convention(loss)
    if takes is None or takes.elementwise or not isinstance(y, Tensor) or y.is_floating_point() or y.is_meta:
        return False
    if not isinstance(output, Tensor) or output.dim() < 2 or output.shape[2:] != y.shape[1:]:
        return False
    ignored = getattr(loss, "ignore_index", None)
    held = y if ignored is None else y[y != ignored]
    return bool(held.numel()) and int(held.max()) < output.shape[1] < len(data.classes)


def _check_values(loss: Any, takes: Convention, y: Tensor, where: str, output: Tensor) -> None:
    name, kind = type(loss).__name__, takes.targets
    if kind in ("classes", "classes_or_shares") and not y.is_floating_point():
        _check_indices(loss, y, where, output.shape[1])
        return
    low, high = (value.item() for value in y.aminmax())
    values = f"those of {where} go from {low:.4g} to {high:.4g}"
    if not math.isfinite(low) or not math.isfinite(high):
        raise ConfigError("data", f"the targets of {where} hold NaN or infinite numbers; remove or replace them")
    if kind == "zero_to_one" and (low < 0 or high > 1):
        raise ConfigError(
            "loss.name",
            f"{name} needs targets from 0 to 1, and {values};"
            " try loss=mse, or loss=cross_entropy for more than two classes",
        )
    if kind == "minus_one_one" and not bool(((y == 1) | (y == -1)).all()):
        flags = bool(((y == 0) | (y == 1)).all())
        remedy = "two classes as whole numbers (data.task=classification) become -1 and 1" if flags else "try loss=mse"
        if convention(loss) is None:  # of several outputs, whose targets stay as they are
            remedy = "let the data give these: 2.0 * y - 1 of 0 and 1"
        raise ConfigError("loss.name", f"{name} needs targets of -1 and 1, and {values}; {remedy}")
    if kind == "counts" and low < 0:
        raise ConfigError("loss.name", f"{name} needs counts, 0 or more, as targets, and {values}; try loss=mse")
    if kind == "log_shares" and high > 1e-6:
        raise ConfigError(
            "loss.name",
            f"{name} with log_target=true needs logarithms of probabilities, 0 or less, and {values};"
            " leave loss.log_target out for probabilities",
        )
    if kind in ("shares", "classes_or_shares"):
        _check_shares(name, kind, y, low, where)
    if kind == "label_sets":
        _check_sets(name, y, where, output.shape[-1])


def _check_indices(loss: Any, y: Tensor, where: str, outputs: int) -> None:
    ignored = getattr(loss, "ignore_index", None)
    counts = y if ignored is None else y[y != ignored]
    if not counts.numel():
        return
    low, high = (int(value) for value in counts.aminmax())
    if low < 0 or high >= outputs:
        wrong = low if low < 0 else high
        leave_out = f"; loss.ignore_index={wrong} leaves such targets out" if ignored is not None else ""
        remedy = leave_out if wrong < 0 else f"; let it give {high + 1}"
        raise ConfigError(
            "model.layers",
            f"{where} holds the class {wrong}, and the last layer gives {outputs} numbers, for the classes 0 to"
            f" {outputs - 1}{remedy}",
        )


def _check_some_count(loss: Any, y: Tensor, where: str) -> None:
    """Check that the loss, a mean, leaves some targets in: over none it would be NaN."""
    if y.is_floating_point() or not hasattr(loss, "ignore_index"):
        return
    counts = y[y != loss.ignore_index]
    if not counts.numel():
        raise ConfigError(
            "loss.ignore_index",
            f"every target of {where} is {loss.ignore_index}, which is left out; nothing is left to measure",
        )
    if isinstance(loss.weight, Tensor) and not loss.weight.to(y.device)[counts].any():
        raise ConfigError("loss.weight", f"is 0 for every class that {where} holds; give one of them a weight above 0")


def _check_shares(name: str, kind: str, y: Tensor, low: float, where: str) -> None:
    """Check that probabilities add up to 1 over the classes, the second dimension; for KLDivLoss over any other one."""
    dims = [1] if kind == "classes_or_shares" else [*range(1, y.dim()), tuple(range(1, y.dim()))]
    sums = [y.sum(dim) for dim in dims if y.dim() > 1]
    wrong = [total.sub(1).abs().max().item() for total in sums]
    if low >= 0 and (not wrong or min(wrong) <= 0.01):
        return
    wrong_values = f"holds {low:.4g}" if low < 0 else f"holds some that add up to {_furthest(sums[0]):.4g}"
    classes = "classes, or " if kind == "classes_or_shares" else ""
    raise ConfigError(
        "loss.name",
        f"{name} needs {classes}probabilities that add up to 1 for every example as targets, and {where}"
        f" {wrong_values}; try loss=mse, or loss=bce_with_logits where several classes may hold at once",
    )


def _furthest(sums: Tensor) -> float:
    flat = sums.flatten()
    return float(flat[flat.sub(1).abs().argmax()])


def _check_sets(name: str, y: Tensor, where: str, outputs: int) -> None:
    """Check sets of labels: class indices from the left, each once, then -1; what follows the first -1 is ignored."""
    rows = y.reshape(-1, y.shape[-1])
    held = (rows < 0).cumsum(1) == 0
    if bool(((rows < -1) | (rows >= outputs)).any()):
        low, high = (int(value) for value in rows.aminmax())
        raise ConfigError(
            "loss.name",
            f"{name} needs the indices of the classes that hold, 0 to {outputs - 1}, then -1, and those of {where} go"
            f" from {low} to {high}",
        )
    places = torch.arange(rows.shape[1], device=y.device)
    ordered = rows.where(held, -1 - places).sort(1).values
    twice = (ordered.diff(dim=1) == 0).any(1).nonzero()
    if len(twice):
        raise ConfigError(
            "loss.name",
            f"{name} needs the indices of the classes that hold, each once, then -1, and target {int(twice[0])} of"
            f" {where} is {rows[int(twice[0])].tolist()}; for 0 and 1 per class use MultiLabelSoftMarginLoss",
        )
