"""torch's losses of more than an output and its targets: the tensors they take are the outputs of a model, by name."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from runner.model.conventions import Convention


class OfOutputs(nn.Module):
    """A loss of torch's, with its own arguments, of several outputs.

    A model gives them by the names of the loss's parameters, `outputs: {input: ..., var: ...}`, or as a tuple in their
    order; the targets of the data are its `target`.
    """

    KIND: ClassVar[Any]
    TAKES: ClassVar[tuple[str, ...]]
    #: Values of targets that it takes.
    VALUES: ClassVar[Convention | None] = None

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        self.loss = self.KIND(**arguments)

    @property
    def reduction(self) -> str:
        """The reduction of torch's loss."""
        return str(self.loss.reduction)

    def forward(self, output: Any, target: Any) -> Tensor:
        """Return the loss, of shape (). Raises ValueError for other outputs, and targets of another shape."""
        outputs = self.outputs(output)
        self.check(outputs, target)
        value: Tensor = self.loss(**outputs, target=target)
        return value

    def outputs(self, output: Any) -> dict[str, Tensor]:
        """Return the outputs by the names of the loss's parameters."""
        if isinstance(output, Mapping) and set(self.TAKES) <= output.keys():
            return {name: output[name] for name in self.TAKES}
        if isinstance(output, tuple | list) and len(output) == len(self.TAKES):
            return dict(zip(self.TAKES, output, strict=True))
        there = ", ".join(map(str, output)) if isinstance(output, Mapping) else "a tensor"
        there = f"{len(output)} without names" if isinstance(output, tuple | list) else there
        names = ", ".join(f"{name}: ..." for name in self.TAKES)
        raise ValueError(f"the model gives {there}; expected model.outputs={{{names}}}")

    def check(self, outputs: dict[str, Tensor], target: Tensor) -> None:
        """Raise ValueError where torch would broadcast the targets."""
        first = outputs[self.TAKES[0]]
        if first.shape != target.shape:
            wanted, given = (str(tuple(one.shape)) for one in (first, target))
            raise ValueError(f"{self.TAKES[0]} is {wanted} and the targets are {given}; give both one shape")


class GaussianNLLLoss(OfOutputs):
    """torch.nn.GaussianNLLLoss of outputs `input`, the mean, and `var`, above 0."""

    KIND, TAKES = nn.GaussianNLLLoss, ("input", "var")


class MarginRankingLoss(OfOutputs):
    """torch.nn.MarginRankingLoss of outputs `input1` and `input2`; targets are 1 where the first ranks higher or -1."""

    KIND, TAKES, VALUES = nn.MarginRankingLoss, ("input1", "input2"), Convention("minus_one_one")


class CosineEmbeddingLoss(OfOutputs):
    """torch.nn.CosineEmbeddingLoss of outputs `input1` and `input2`, (N, features); targets are 1 for a pair or -1."""

    KIND, TAKES, VALUES = nn.CosineEmbeddingLoss, ("input1", "input2"), Convention("minus_one_one")

    def check(self, outputs: dict[str, Tensor], target: Tensor) -> None:
        """Leave the shapes to torch, which compares them."""


class TripletMarginLoss(OfOutputs):
    """torch.nn.TripletMarginLoss of outputs `anchor`, `positive` and `negative`, (N, features); it has no targets."""

    KIND: ClassVar[Any] = nn.TripletMarginLoss
    TAKES = ("anchor", "positive", "negative")

    def forward(self, output: Any, target: Any) -> Tensor:
        """Return the loss, of shape (). Raises ValueError for other outputs."""
        value: Tensor = self.loss(**self.outputs(output))
        return value


class TripletMarginWithDistanceLoss(TripletMarginLoss):
    """torch.nn.TripletMarginWithDistanceLoss, as TripletMarginLoss."""

    KIND: ClassVar[Any] = nn.TripletMarginWithDistanceLoss


class CTCLoss(OfOutputs):
    """torch.nn.CTCLoss of (N, steps, classes), logits or logarithms of probabilities, and labels of (N, most labels).

    Rows of labels end in the blank or in negative numbers. The output counts as long as it is, or `input_lengths` of
    outputs `log_probs` and `input_lengths`. Here, unlike in torch's own class, the examples are the first dimension.
    """

    KIND, TAKES = nn.CTCLoss, ("log_probs", "input_lengths")

    def forward(self, output: Any, target: Any) -> Tensor:
        """Return the loss, of shape (). Raises ValueError for other outputs, and labels that are no whole numbers."""
        steps, lengths = (output, None) if isinstance(output, Tensor) else self.outputs(output).values()
        if not isinstance(target, Tensor) or target.dim() != 2 or target.is_floating_point() or steps.dim() != 3:
            raise ValueError(
                "expected an output of (N, steps, classes), and whole numbers of (N, most labels) as targets"
            )
        if lengths is None:
            lengths = torch.full((len(steps),), steps.shape[1], device=steps.device)
        labels = ((target >= 0) & (target != self.loss.blank)).sum(1)
        log_probs = steps.log_softmax(2).transpose(0, 1)  # logarithms of probabilities stay what they are
        value: Tensor = self.loss(log_probs, target.clamp(min=0), lengths.reshape(-1), labels)
        return value


#: torch's classes, and those that stand for them.
OF_OUTPUTS: dict[Any, type[OfOutputs]] = {
    one.KIND: one
    for one in (
        GaussianNLLLoss,
        MarginRankingLoss,
        CosineEmbeddingLoss,
        TripletMarginLoss,
        TripletMarginWithDistanceLoss,
        CTCLoss,
    )
}
