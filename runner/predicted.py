"""What a model's outputs say: classes with their probabilities, or numbers with their names."""

from typing import Any

import torch
from torch import Tensor, nn

from runner.errors import ConfigError

#: Layers that a model may end in, whose outputs are probabilities already, and how near their sum must be to 1.
_SUMS_TO_1 = (nn.Softmax, nn.Softmax2d, nn.Softmin)
_NEAR = 1e-3


def columns(model: nn.Module, loss: str, output: Tensor, noted: dict[str, Any]) -> dict[str, list[Any]]:
    """Columns of a table with a row for each example, by their names.

    For classes: `predicted`, the name of the likeliest, and `probability_<name>` for each; for labels the names of all
    that are likelier than not, with semicolons between them; for numbers: the target's name, or output_0, output_1,
    ... where it has none.
    loss: its name. output: (N, classes), or (N, 1) or (N,) for two classes; (N, targets) or (N,) for numbers.
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
        names = noted["notes"].get("targets") or _single(noted["notes"])
        if len(names) != flat.shape[1]:
            names = ["output"] if flat.shape[1] == 1 else [f"output_{i}" for i in range(flat.shape[1])]
        return dict(zip(names, flat.T.tolist(), strict=True))
    shares = probabilities(model, loss, flat, noted["task"])
    classes = [*noted["classes"], *map(str, range(len(noted["classes"]), shares.shape[1]))]
    if noted["task"] == "multilabel":
        predicted = ["; ".join(n for n, share in zip(classes, row, strict=True) if share > 0.5) for row in shares]
    else:
        predicted = [classes[i] for i in shares.argmax(1).tolist()]
    each = {f"probability_{name}": share for name, share in zip(classes, shares.T.tolist(), strict=False)}
    return {"predicted": predicted, **each}


def probabilities(model: nn.Module, loss: str, output: Tensor, task: str) -> Tensor:
    """Each class's or label's probability, of shape (N, classes): of logits, or of what a model gives that ends in its
    own.

    loss: its name; BCELoss and NLLLoss take probabilities and their logarithms.
    """
    *_, last = model.modules()
    if task == "multilabel" or (output.shape[1] == 1 and task == "binary"):
        within = bool(((output >= 0) & (output <= 1)).all())
        given = loss.rpartition(".")[2] == "BCELoss" or (isinstance(last, nn.Sigmoid) and within)
        each = output if given else output.exp() if isinstance(last, nn.LogSigmoid) else output.sigmoid()
        return each if task == "multilabel" else torch.cat([1 - each, each], dim=1)
    sums = output.sum(1)
    if isinstance(last, _SUMS_TO_1) and bool(((output >= 0).all(1) & ((sums - 1).abs() < _NEAR)).all()):
        return output
    return output.softmax(1)  # of logarithms of probabilities these are the probabilities


def _single(notes: dict[str, Any]) -> list[str]:
    return [str(notes["target"])] if "target" in notes else []
