"""The output and the targets that each loss of torch takes."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

#: Kinds of targets whose shape is not that of the output.
BY_CLASS = ("classes", "classes_or_shares")
MORE_INPUTS = "takes more than the output and the targets; use another, or write one in experiments/ that calls it"


@dataclass(frozen=True)
class Convention:
    """The output and the targets that a loss takes.

    targets: a word for the values and the shape.
        numbers: any, of the output's shape.
        zero_to_one: from 0 to 1, of the output's shape.
        minus_one_one: -1 or 1, of the output's shape.
        counts: 0 or more, of the output's shape.
        shares: of the output's shape, from 0 to 1, adding up to 1 over the classes.
        log_shares: of the output's shape, logarithms of shares.
        classes: indices, int64, of the output's shape without its second dimension, the classes.
        classes_or_shares: either.
        label_sets: int64 of the output's shape, (N, C): indices of the classes that hold, then -1.
    output: "numbers", "probabilities" or "log_probabilities", which the model has to give.
    refused: the reason and the remedy, for a loss that cannot be used; else "".
    """

    targets: str = ""
    output: str = "numbers"
    refused: str = ""

    @property
    def elementwise(self) -> bool:
        """True if output and targets must have one shape."""
        return self.targets not in BY_CLASS


#: Every loss of torch.nn of an output and its targets; others are in training/parts/losses_of_outputs.py, or refused.
TABLE = {
    nn.MSELoss: Convention("numbers"),
    nn.L1Loss: Convention("numbers"),
    nn.SmoothL1Loss: Convention("numbers"),
    nn.HuberLoss: Convention("numbers"),
    nn.BCELoss: Convention("zero_to_one", "probabilities"),
    nn.BCEWithLogitsLoss: Convention("zero_to_one"),
    nn.MultiLabelSoftMarginLoss: Convention("zero_to_one"),
    nn.SoftMarginLoss: Convention("minus_one_one"),
    nn.HingeEmbeddingLoss: Convention("minus_one_one"),
    nn.PoissonNLLLoss: Convention("counts"),
    nn.KLDivLoss: Convention("shares", "log_probabilities"),
    nn.CrossEntropyLoss: Convention("classes_or_shares"),
    nn.NLLLoss: Convention("classes", "log_probabilities"),
    nn.MultiMarginLoss: Convention("classes"),
    nn.MultiLabelMarginLoss: Convention("label_sets"),
    nn.NLLLoss2d: Convention(refused="is torch's old name of another; use NLLLoss"),
}
if hasattr(nn, "LinearCrossEntropyLoss"):  # since torch 2.13
    TABLE[nn.LinearCrossEntropyLoss] = Convention(
        refused="has weights of its own, which no optimizer would be given; use a Linear layer and CrossEntropyLoss"
    )


def convention(loss: nn.Module) -> Convention | None:
    """Return the convention of a loss of torch or of one that inherits from it; None for others."""
    of_class = next((TABLE[kind] for kind in type(loss).__mro__ if kind in TABLE), None)
    if isinstance(loss, nn.KLDivLoss) and loss.log_target and of_class is not None:
        return replace(of_class, targets="log_shares")
    return of_class


def targets_of(loss: nn.Module | None) -> str:
    """Return the kind of targets that a loss takes, of those that `Convention` lists; "" for a loss without one."""
    taken = convention(loss) if loss is not None else None
    return taken.targets if taken is not None else ""


def is_torchs(loss: nn.Module) -> bool:
    """Return whether the loss is computed by torch's own `forward`."""
    return type(loss).forward.__module__ == "torch.nn.modules.loss"


#: Layers that a model may end in, whose outputs are probabilities already, and how near their sum must be to 1.
SUMS_TO_1 = (nn.Softmax, nn.Softmax2d, nn.Softmin)
NEAR = 1e-3


def takes_logarithms(loss: nn.Module) -> bool:
    """Return whether the loss takes logarithms of numbers whose targets are the numbers themselves."""
    if isinstance(loss, nn.KLDivLoss):
        return not loss.log_target
    return isinstance(loss, nn.PoissonNLLLoss) and loss.log_input


def on_scale(loss: nn.Module, output: Tensor) -> Tensor:
    """Return the numbers that a model predicts, on the scale of the targets: of logarithms, the exponential."""
    return output.exp() if takes_logarithms(loss) else output


def shares(model: nn.Module | None, output: Tensor) -> Tensor:
    """Return the probability of each class, of shape (N, classes, ...).

    output: of the model, of the same shape: logits, logarithms of probabilities, or probabilities already.
    model: its last layer decides which of them; None: logits.
    """
    return output if are_probabilities(model, output) else output.softmax(1)


def chances(model: nn.Module | None, loss: nn.Module, output: Tensor) -> Tensor:
    """Return the probability of each label, or of the second of two classes, of the shape of `output`.

    output: one number for each. BCELoss takes probabilities, HingeEmbeddingLoss distances, of which small ones are of
    the second class; the last layer of `model` may give probabilities, or their logarithms; else they are logits.
    """
    if isinstance(loss, nn.HingeEmbeddingLoss):
        output = loss.margin / 2 - output
    if isinstance(loss, nn.BCELoss) or are_probabilities(model, output):
        return output
    return output.exp() if isinstance(_last(model), nn.LogSigmoid) else output.sigmoid()


def are_probabilities(model: nn.Module | None, output: Tensor) -> bool:
    """Return whether `output` holds probabilities: `model` ends in a layer that gives them, and the values agree.

    They are of each label, or of classes in the second dimension. The layer that is listed last need not be the last
    that computes, so that the values are checked as well.
    """
    last = _last(model)
    if isinstance(last, nn.Sigmoid):
        return bool(((output >= 0) & (output <= 1)).all())
    if not isinstance(last, SUMS_TO_1) or output.dim() < 2 or output.shape[1] < 2:
        return False
    near = max(NEAR, 8 * torch.finfo(output.dtype).eps)
    return bool((output >= 0).all() and ((output.sum(1) - 1).abs() < near).all())


def _last(model: nn.Module | None) -> nn.Module | None:
    *_, last = (None,) if model is None else model.modules()
    return last
