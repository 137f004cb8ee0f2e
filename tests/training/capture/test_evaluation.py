"""Captured evaluations: the numbers of the evaluation as it is, and the weights of the moment."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from runner.training import measure
from runner.training.capture.evaluation import WARM, CapturedCost
from runner.training.capture.hidden import Hidden
from runner.training.capture.step import CapturedStep
from runner.training.step import plain
from tests.training.capture.test_step import made, trained

CPU = torch.device("cpu")


def cost(model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    output = model(batch[0])
    return nn.functional.mse_loss(output, batch[1]), output


def captured_cost(*roots: nn.Module) -> CapturedCost:
    return CapturedCost(cost, CapturedStep(plain, CPU, hidden=Hidden(roots)))


def test_it_follows_batches_weights_and_buffers():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 1)).eval()
    captured = captured_cost()
    with torch.no_grad():
        for number, size in itertools.product(range(WARM + 4), (5, 2)):
            for tensor in (*model.parameters(), *model.buffers()):
                tensor.copy_(torch.rand(tensor.shape) + number)
            batch = torch.randn(size, 3), torch.randn(size, 1)
            for own, plain in zip(captured(model, batch), cost(model, batch), strict=True):
                assert torch.equal(own, plain)
    assert len(captured._replays) == 2


def test_what_it_returns_is_not_written_by_the_next_batch():
    model, captured = nn.Linear(3, 1).eval(), captured_cost()
    with torch.no_grad():
        batches = [(torch.randn(4, 3), torch.randn(4, 1)) for _ in range(WARM + 4)]
        all_of_them = [captured(model, batch) for batch in batches]
        for (loss, output), batch in zip(all_of_them, batches, strict=True):
            assert torch.equal(output, model(batch[0]))
            assert torch.equal(loss, cost(model, batch)[0])


def test_training_and_gradients_are_left_alone():
    model, captured = nn.Linear(3, 1), captured_cost()
    batch = torch.randn(4, 3), torch.randn(4, 1)
    for _ in range(WARM + 2):
        loss, _ = captured(model, batch)
        assert loss.requires_grad
    assert not captured._replays


def test_another_model_is_not_taken_for_the_first():
    one, other, captured = nn.Linear(3, 1).eval(), nn.Linear(3, 1).eval(), captured_cost()
    batch = torch.randn(4, 3), torch.randn(4, 1)
    with torch.no_grad():
        for model in [one] * (WARM + 2) + [other] * (WARM + 2):
            batch = torch.randn(4, 3), torch.randn(4, 1)
            assert torch.equal(captured(model, batch)[1], model(batch[0]))


@pytest.mark.parametrize("layers", ["dropout", "batchnorm"])
def test_what_a_run_has_recorded_is_measured_again(layers: str):
    plain, captured = (trained(made(graph, layers, epochs=WARM + 2)) for graph in (False, True))
    assert isinstance(captured.cost, CapturedCost)
    assert captured.cost._replays
    for name in ("last", "best"):
        with captured.weights(name), plain.weights(name):
            assert measure.validate(captured) == measure.validate(plain)


def test_an_evaluation_that_draws_leaves_the_generators_as_it_is():
    """Fractional max pooling draws its regions in evaluation mode too."""
    model, plain = nn.Sequential(nn.FractionalMaxPool2d(2, 2), nn.Flatten(), nn.Linear(4, 1)).eval(), []
    captured = captured_cost()
    batches = [(torch.randn(3, 1, 5, 5), torch.randn(3, 1)) for _ in range(21)]
    with torch.no_grad():
        for one in (cost, captured):
            torch.manual_seed(0)
            plain.append([one(model, batch) for batch in batches])
            plain[-1].append((torch.rand(3), torch.zeros(())))
    assert captured._replays
    for own, other in zip(*plain, strict=True):
        assert all(map(torch.equal, own, other))


class Moves(nn.Module):
    """Has another tensor for its buffer after each training step, as layers of one's own may."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor  # type: ignore[no-any-return]


def test_a_buffer_that_is_replaced_is_read_where_it_is():
    model = nn.Sequential(nn.Linear(3, 1), Moves()).eval()
    captured, batch = captured_cost(model), (torch.randn(4, 3), torch.randn(4, 1))
    with torch.no_grad():
        for number in range(40):
            if number in (20, 25):
                model[1].factor = model[1].factor * 2
            for own, plain in zip(captured(model, batch), cost(model, batch), strict=True):
                assert torch.equal(own, plain), number
    assert captured._replays
