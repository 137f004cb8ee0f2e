"""Predictions from a model's outputs: classes with their probabilities, or numbers with their names."""

from typing import Any

import torch
from torch import Tensor, nn

from runner.model.conventions import chances, on_scale, shares
from runner.settings.errors import ConfigError


def columns(model: nn.Module, loss: nn.Module, output: Tensor, noted: dict[str, Any]) -> dict[str, list[Any]]:
    """Return the columns of a table with a row for each example, by their names.

    For classes: `predicted`, the name of the likeliest, and `probability_<name>` for each; for labels: `predicted`, the
    names of those above one half with "; " between, and each one's probability; for numbers: the target's name, or
    output_0, output_1, ... where it has none, and the numbers themselves where the model gives their logarithms.
    output: (N, classes), or (N, 1) or (N,) for two classes; (N, labels); (N, targets) or (N,) for numbers.
    noted: what the run has noted of its data: `task`, `classes` and `notes`.
    Raises ConfigError for outputs of another shape.
    """
    flat = output.reshape(len(output), 1) if output.dim() == 1 else output
    if flat.dim() != 2:
        shape = tuple(output.shape[1:])
        raise ConfigError(
            "output", f"the model gives {shape} for an example, which is no row of a table; write an .npy file"
        )
    if noted["task"] == "regression":
        notes = noted["notes"]
        names = notes.get("targets") or ([str(notes["target"])] if "target" in notes else [])
        if len(names) != flat.shape[1]:
            names = ["output"] if flat.shape[1] == 1 else [f"output_{i}" for i in range(flat.shape[1])]
        numbers = on_scale(loss, flat)
        return dict(zip(names, numbers.T.tolist(), strict=True))
    chances_of = probabilities(model, loss, flat, noted["task"])
    classes = [*noted["classes"], *map(str, range(len(noted["classes"]), chances_of.shape[1]))]
    if noted["task"] == "multilabel":
        holds = (chances_of > 0.5).tolist()
        predicted = ["; ".join(name for name, so in zip(classes, row, strict=False) if so) for row in holds]
    else:
        predicted = [classes[i] for i in chances_of.argmax(1).tolist()]
    each = {f"probability_{name}": share for name, share in zip(classes, chances_of.T.tolist(), strict=False)}
    return {"predicted": predicted, **each}


def probabilities(model: nn.Module, loss: nn.Module, output: Tensor, task: str) -> Tensor:
    """Return each class's or label's probability, of shape (N, classes) or (N, labels).

    output: of the model, of the same shape, or (N, 1) for two classes: logits, or probabilities of its last layer.
    task: "binary", "multiclass" or "multilabel".
    """
    if task == "multilabel":
        return chances(model, loss, output)
    if output.shape[1] == 1 and task == "binary":
        second = chances(model, loss, output)
        return torch.cat([1 - second, second], dim=1)
    return shares(model, output)
