"""Recorded work of the processor: repeated, it gives the bits that the work itself gives."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from runner.training.capture import Uncapturable, capture

CPU = torch.device("cpu")
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "Linear": lambda: nn.Linear(6, 4),
    "Conv1d": lambda: nn.Conv1d(2, 3, 3, padding=1),
    "Conv2d": lambda: nn.Conv2d(2, 3, 3, stride=2, padding=1, groups=1),
    "ConvTranspose2d": lambda: nn.ConvTranspose2d(2, 3, 3),
    "BatchNorm1d": lambda: nn.BatchNorm1d(6),
    "BatchNorm2d": lambda: nn.BatchNorm2d(2),
    "LayerNorm": lambda: nn.LayerNorm(6),
    "GroupNorm": lambda: nn.GroupNorm(2, 2),
    "Dropout": lambda: nn.Dropout(0.4),
    "Dropout2d": lambda: nn.Dropout2d(0.4),
    "RReLU": lambda: nn.RReLU(),
    "MaxPool2d": lambda: nn.MaxPool2d(2),
    "AvgPool2d": lambda: nn.AvgPool2d(3, 1, 1),
    "AdaptiveAvgPool2d": lambda: nn.AdaptiveAvgPool2d(2),
    "GELU": lambda: nn.GELU(),
    "Softmax": lambda: nn.Softmax(1),
    "PReLU": lambda: nn.PReLU(),
    "Conv2d without bias": lambda: nn.Conv2d(2, 4, 3, groups=2, bias=False),
    "Bilinear": lambda: _Twice(nn.Bilinear(6, 6, 4)),
    "GRU": lambda: _First(nn.GRU(6, 5, batch_first=True)),
    "LSTM": lambda: _First(nn.LSTM(6, 5, num_layers=2, dropout=0.3, batch_first=True)),
    "Attention": lambda: nn.TransformerEncoderLayer(6, 2, 8, dropout=0.1, batch_first=True),
}
SHAPES = {1: (5, 6), 2: (5, 2, 7), 3: (5, 2, 6, 6), "sequence": (5, 4, 6)}
INPUTS: dict[str, Any] = {
    **dict.fromkeys(["Conv1d"], 2),
    **dict.fromkeys(
        [
            "Conv2d",
            "Conv2d without bias",
            "ConvTranspose2d",
            "BatchNorm2d",
            "GroupNorm",
            "Dropout2d",
            "MaxPool2d",
            "AvgPool2d",
        ],
        3,
    ),
    **dict.fromkeys(["AdaptiveAvgPool2d", "Conv2d without bias"], 3),
    **dict.fromkeys(["GRU", "LSTM", "Attention"], "sequence"),
}


class _First(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)[0]  # type: ignore[no-any-return]


class _Twice(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x, x)  # type: ignore[no-any-return]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layers_loss_and_gradients_are_the_same_bits(name: str, dtype: torch.dtype):
    torch.manual_seed(0)
    layer = LAYERS[name]().to(dtype)
    x = torch.randn(SHAPES[INPUTS.get(name, 1)], dtype=dtype, requires_grad=True)
    wanted = [x, *layer.parameters()]

    def work() -> Any:
        loss = layer(x).square().mean()
        return loss.detach(), torch.autograd.grad(loss, wanted)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of attention without a mask
        captured = capture(work, CPU)
    for number in range(3):
        with torch.no_grad():
            for tensor in wanted:
                tensor.copy_(torch.randn(tensor.shape, dtype=dtype))
        buffers = [b.clone() for b in layer.buffers()]
        torch.manual_seed(number)
        captured.replay()
        loss, gradients = captured.result
        own = [loss.clone(), *(g.clone() for g in gradients), *(b.clone() for b in layer.buffers())]
        for buffer, before in zip(layer.buffers(), buffers, strict=True):
            buffer.copy_(before)
        torch.manual_seed(number)
        loss, gradients = work()
        for one, other in zip(own, [loss, *gradients, *layer.buffers()], strict=True):
            assert torch.equal(one, other)


LOSSES: dict[str, tuple[nn.Module, Tensor]] = {
    "MSELoss": (nn.MSELoss(), torch.randn(5, 4)),
    "HuberLoss": (nn.HuberLoss(), torch.randn(5, 4)),
    "L1Loss": (nn.L1Loss(reduction="sum"), torch.randn(5, 4)),
    "CrossEntropyLoss": (nn.CrossEntropyLoss(label_smoothing=0.1), torch.tensor([0, 3, 2, 1, 1])),
    "weighted": (nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 0.5, 3.0])), torch.tensor([0, 3, 2, 1, 1])),
    "BCEWithLogitsLoss": (nn.BCEWithLogitsLoss(), torch.rand(5, 4).round()),
    "KLDivLoss": (nn.KLDivLoss(reduction="batchmean"), torch.rand(5, 4)),
    "SmoothL1Loss": (nn.SmoothL1Loss(), torch.randn(5, 4)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_the_same_and_nothing_is_resized(name: str, capfd: pytest.CaptureFixture[str]):
    loss, y = LOSSES[name]
    x = torch.randn(5, 4, requires_grad=True)

    def work() -> Any:
        value = loss(x, y)
        return value.detach(), torch.autograd.grad(value, [x])[0]

    captured = capture(work, CPU)
    for _ in range(2):
        with torch.no_grad():
            x.copy_(torch.randn(5, 4))
        captured.replay()
        for own, plain in zip(captured.result, work(), strict=True):
            assert own.shape == plain.shape
            assert torch.equal(own, plain)
    assert "resized" not in capfd.readouterr().err


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", [{}, {"stride": 1}, {"padding": 1}, {"dilation": 2}, {"ceil_mode": True}])
def test_pooling_of_many_channels_has_the_same_maxima_and_places(options: dict[str, Any], dtype: torch.dtype):
    pool = nn.MaxPool2d(2, return_indices=True, **options)
    x = torch.zeros(3, 12, 7, 6, dtype=dtype)
    captured = capture(lambda: pool(x), CPU)
    for number in range(3):
        x.copy_(torch.randint(-2, 3, x.shape).relu_() if number else torch.randn(x.shape))  # most maxima are shared
        x[number, :, 2, 3] = float("nan")
        captured.replay()
        for own, plain in zip(captured.result, pool(x), strict=True):
            torch.testing.assert_close(own, plain, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("bias", [False, True])
def test_a_first_layer_whose_input_needs_no_gradient(bias: bool):
    """Only one of three results is a tensor then, or two."""
    layer, x = nn.Conv2d(2, 3, 3, bias=bias), torch.randn(5, 2, 6, 6)
    captured = capture(lambda: torch.autograd.grad(layer(x).square().mean(), [*layer.parameters()]), CPU)
    for _ in range(2):
        x.normal_()
        captured.replay()
        own = [gradient.clone() for gradient in captured.result]
        for one, other in zip(own, torch.autograd.grad(layer(x).square().mean(), [*layer.parameters()]), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize(
    "work",
    [
        lambda z, k: (z * z.conj()).real + (z @ z.conj().T).imag,
        lambda z, k: z.imag.neg() * z.conj().imag + torch.fft.irfft(z.conj(), n=4),
        lambda z, k: z[k].abs() + z[:, k[:2] % 4].abs().sum(),
    ],
)
def test_numbers_that_are_conjugated_when_they_are_read_and_picked_by_number(work: Callable[[Tensor, Tensor], Tensor]):
    z, k = torch.zeros(4, 4, dtype=torch.cfloat), torch.zeros(4, dtype=torch.int64)
    captured = capture(lambda: work(z, k), CPU)
    for number in range(3):
        z.copy_(torch.randn(4, 4, dtype=torch.cfloat))
        k.copy_((torch.arange(4) * number) % 4)
        captured.replay()
        assert torch.equal(captured.result, work(z, k))


def test_sparse_gradients_are_refused():
    layer, x = nn.Embedding(5, 3, sparse=True), torch.tensor([1, 2])
    with pytest.raises(Uncapturable, match="sparse"):
        capture(lambda: torch.autograd.grad(layer(x).sum(), [layer.weight]), CPU)


def test_views_and_writes_in_place_are_repeated_on_the_same_memory():
    x, total = torch.zeros(4, 3), torch.zeros(3)

    def work() -> Tensor:
        rows = (x * 2).t()[1:].relu_()
        rows += 1
        total.add_(rows.sum(1).sum())
        return rows.clone().mul_(3)

    captured = capture(work, CPU)
    before = total.clone()
    for number in range(3):
        x.fill_(number - 1.0)
        captured.replay()
        rows = (x * 2).t()[1:].relu() + 1
        before = before + rows.sum()
        assert torch.equal(captured.result, rows * 3)
        assert torch.equal(total, before)


def test_a_constant_that_is_written_into_is_made_anew():
    x = torch.ones(3)

    def work() -> Tensor:
        return torch.zeros(3).add_(x)

    captured = capture(work, CPU)
    for _ in range(3):
        captured.replay()
    assert captured.result.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    "work",
    [
        lambda x: x * float(x.sum()),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x + 1 if torch.equal(x, x) else x,
        lambda x: x.clone().resize_(2),
    ],
)
def test_what_follows_from_values_is_refused(work: Callable[[Tensor], Tensor]):
    x = torch.ones(3)
    with pytest.raises(Uncapturable):
        capture(lambda: work(x), CPU)


def test_large_steps_are_refused():
    x = torch.ones(2**22)
    with pytest.raises(Uncapturable, match="MB"):
        capture(lambda: [x + n for n in range(5)], CPU)


def test_without_operations_of_its_own_a_recording_is_wrong():
    """The control: a number that Python computes stays what it was, which is why steps are tried both ways first."""
    calls = []
    x = torch.ones(1)

    def work() -> Tensor:
        calls.append(1)
        return x * len(calls)

    captured = capture(work, CPU)
    captured.replay()
    assert captured.result.item() == 1.0
    assert work().item() == 2.0


@pytest.mark.parametrize("turned", [False, True])
def test_a_normalization_of_any_order_in_memory_is_repeated(turned: bool):
    layer = nn.BatchNorm1d(5)
    x = torch.randn(5, 7).t() if turned else torch.randn(7, 5)
    with torch.no_grad():
        captured = capture(lambda: layer(x), torch.device("cpu"))
        for _ in range(3):
            x.copy_(torch.randn(7, 5))
            plain = copy.deepcopy(layer)
            expected = plain(x)
            captured.replay()
            assert torch.equal(captured.result, expected)
            assert torch.equal(layer.running_mean, plain.running_mean)
