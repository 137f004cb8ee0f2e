"""What a model's outputs say: classes with their probabilities, or numbers with their names."""

from typing import Any

import torch
from torch import Tensor, nn

from runner.errors import ConfigError

#: Layers that a model may end in, whose outputs are probabilities already, and how near their sum must be to 1.
_SUMS_TO_1 = (nn.Softmax, nn.Softmax2d, nn.Softmin)
_NEAR = 1e-3


def columns(
    model: nn.Module, loss: str, output: Tensor, noted: dict[str, Any], margin: float = 1.0
) -> dict[str, list[Any]]:
    """Columns of a table with a row for each example, by their names.

    For classes: `predicted`, the name of the likeliest, and `probability_<name>` for each; for labels: `predicted`, the
    names of those above one half with "; " between, and each one's probability; for numbers: the target's name, or
    output_0, output_1, ... where it has none.
    loss: its name. margin: of a HingeEmbeddingLoss.
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
        names = noted["notes"].get("targets") or _single(noted["notes"])
        if len(names) != flat.shape[1]:
            names = ["output"] if flat.shape[1] == 1 else [f"output_{i}" for i in range(flat.shape[1])]
        return dict(zip(names, flat.T.tolist(), strict=True))
    shares = probabilities(model, loss, flat, noted["task"], margin)
    classes = [*noted["classes"], *map(str, range(len(noted["classes"]), shares.shape[1]))]
    if noted["task"] == "multilabel":
        holds = (shares > 0.5).tolist()
        predicted = ["; ".join(name for name, so in zip(classes, row, strict=False) if so) for row in holds]
    else:
        predicted = [classes[i] for i in shares.argmax(1).tolist()]
    each = {f"probability_{name}": share for name, share in zip(classes, shares.T.tolist(), strict=False)}
    return {"predicted": predicted, **each}


def probabilities(model: nn.Module, loss: str, output: Tensor, task: str, margin: float = 1.0) -> Tensor:
    """Each class's or label's probability, of shape (N, classes): of logits, or of a model that ends in its own.

    loss: its name; BCELoss and NLLLoss take probabilities and their logarithms, HingeEmbeddingLoss takes distances, of
    which small ones are of the second class.
    """
    *_, last = model.modules()
    name = loss.rpartition(".")[2]
    if name == "HingeEmbeddingLoss":
        output = margin / 2 - output
    given = name == "BCELoss" or (isinstance(last, nn.Sigmoid) and bool(((output >= 0) & (output <= 1)).all()))
    if task == "multilabel":
        return output if given else output.sigmoid()
    if output.shape[1] == 1 and task == "binary":
        second = output if given else output.exp() if isinstance(last, nn.LogSigmoid) else output.sigmoid()
        return torch.cat([1 - second, second], dim=1)
    sums = output.sum(1)
    if isinstance(last, _SUMS_TO_1) and bool(((output >= 0).all(1) & ((sums - 1).abs() < _NEAR)).all()):
        return output
    return output.softmax(1)  # of logarithms of probabilities these are the probabilities


def _single(notes: dict[str, Any]) -> list[str]:
    return [str(notes["target"])] if "target" in notes else []
