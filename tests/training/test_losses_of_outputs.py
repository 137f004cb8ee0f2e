"""torch's losses of several outputs are torch's to the last digit, in a training and in what is measured of it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from runner.data import Data, Tensors
from runner.settings.errors import ConfigError
from runner.training.checking import target_values
from runner.training.parts import losses

ONE, OTHER, THIRD = (torch.randn(6, 4, generator=torch.Generator().manual_seed(seed)) for seed in range(3))
SIGNS = torch.tensor([1.0, -1, 1, 1, -1, -1])
CASES: dict[str, tuple[Any, Tensor, Any]] = {
    "GaussianNLLLoss": ({"var": OTHER.exp(), "input": ONE}, THIRD, nn.GaussianNLLLoss()(ONE, THIRD, OTHER.exp())),
    "MarginRankingLoss": ((ONE[:, 0], OTHER[:, 0]), SIGNS, nn.MarginRankingLoss()(ONE[:, 0], OTHER[:, 0], SIGNS)),
    "CosineEmbeddingLoss": ({"input1": ONE, "input2": OTHER}, SIGNS, nn.CosineEmbeddingLoss()(ONE, OTHER, SIGNS)),
    "TripletMarginLoss": ([ONE, OTHER, THIRD], SIGNS, nn.TripletMarginLoss()(ONE, OTHER, THIRD)),
    "TripletMarginWithDistanceLoss": (
        {"anchor": ONE, "positive": OTHER, "negative": THIRD, "more": ONE},
        SIGNS,
        nn.TripletMarginWithDistanceLoss()(ONE, OTHER, THIRD),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_loss_takes_outputs_by_their_names_or_in_their_order(name: str) -> None:
    output, target, expected = CASES[name]
    assert torch.equal(losses.build({"name": name})(output, target), expected)


@pytest.mark.parametrize("padding", [0, -100])
@pytest.mark.parametrize("logits", [True, False])
def test_ctc_takes_the_examples_first_and_labels_that_are_padded(padding: int, logits: bool) -> None:
    steps = torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[1, 2, padding], [4, 4, 3]])
    logs = steps.log_softmax(2)
    expected = functional.ctc_loss(
        logs.transpose(0, 1), torch.tensor([1, 2, 4, 4, 3]), torch.tensor([7, 7]), torch.tensor([2, 3])
    )
    loss = losses.build({"name": "CTCLoss"})
    torch.testing.assert_close(loss(steps if logits else logs, labels), expected)
    shorter = functional.ctc_loss(logs[:1].transpose(0, 1), labels[:1, :2], torch.tensor([5]), torch.tensor([2]))
    given = {"log_probs": steps[:1], "input_lengths": torch.tensor([[5]])}
    torch.testing.assert_close(loss(given, labels[:1]), shorter)


@pytest.mark.parametrize(
    ("name", "output", "target", "message"),
    [
        ("GaussianNLLLoss", {"input": ONE, "var": ONE.exp()}, ONE[:, :1], r"input is \(6, 4\) and the targets"),
        ("GaussianNLLLoss", {"mean": ONE, "var": ONE.exp()}, ONE, r"gives mean, var; expected model.outputs=\{input:"),
        ("TripletMarginLoss", (ONE, ONE), SIGNS, r"gives 2 without names; expected model.outputs=\{anchor: ..., pos"),
        ("MarginRankingLoss", (ONE[:, 0], ONE[:, 1]), SIGNS[:, None], r"input1 is \(6,\) and the targets are \(6, 1\)"),
        ("CTCLoss", ONE, SIGNS, r"expected an output of \(N, steps, classes\)"),
    ],
)
def test_what_torch_would_broadcast_or_does_not_take_is_refused(
    name: str, output: Any, target: Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        losses.build({"name": name})(output, target)


@pytest.mark.parametrize("name", ["MarginRankingLoss", "CosineEmbeddingLoss"])
def test_targets_of_pairs_are_signs(name: str) -> None:
    data = Data(train=Tensors(ONE, SIGNS), valid=Tensors(ONE, SIGNS.clamp(min=0)))
    loss = losses.build({"name": name, "margin": 0.1})
    with pytest.raises(ConfigError, match=r"^loss.name: .* the valid data go from 0 to 1; let the data give these"):
        target_values.check(loss, data, ONE)
