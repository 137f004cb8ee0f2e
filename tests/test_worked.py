"""The worked arithmetic: the chapter's numbers, random layers against torch, impossible ones, a training step."""

import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from runner.worked import (
    Disagreement,
    explain,
    impossible,
    impossible_arguments,
    predict,
    spread,
    training_step,
    work,
)
from runner.worked.activation import FORMULAS


def weighted(layer: Any, values: Any) -> Any:
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(values))
    return layer


def one(layer: nn.Module, x: Tensor) -> Any:
    [explained] = explain([("0", layer)], x)
    return explained


def arange(*shape: int) -> Tensor:
    return torch.arange(float(np.prod(shape))).reshape(shape)


# The chapter


def test_conv2d_of_the_chapter() -> None:
    layer = weighted(nn.Conv2d(1, 1, 2, bias=False), [[[[0.1, 0.2], [0.3, 0.4]]]])
    explained = one(layer, torch.ones(1, 1, 4, 4))
    np.testing.assert_allclose(explained.output, np.ones((1, 1, 3, 3)), atol=1e-6)
    assert explained.elements[0].lines == ("1*0.1 + 1*0.2 + 1*0.3 + 1*0.4 = 1",)
    assert "H: floor((4 + 2*0 - 1*(2 - 1) - 1)/1 + 1) = 3" in explained.predicted.lines


def test_conv1d_of_the_chapter() -> None:
    explained = one(weighted(nn.Conv1d(1, 1, 3, bias=False), [[[0.1, 0.2, 0.3]]]), arange(1, 1, 16))
    np.testing.assert_allclose(explained.output.ravel(), 0.8 + 0.6 * np.arange(14), atol=1e-5)
    assert explained.elements[0].lines == ("0*0.1 + 1*0.2 + 2*0.3 = 0.8",)


def test_conv1d_of_two_channels() -> None:
    layer = weighted(nn.Conv1d(2, 1, 3, bias=False), [[[0.1, 0.2, 0.3], [1.0, 1.0, 1.0]]])
    explained = one(layer, arange(1, 2, 8))
    np.testing.assert_allclose(explained.output.ravel(), [27.8, 31.4, 35.0, 38.6, 42.2, 45.8], atol=1e-5)
    assert explained.elements[0].lines == ("0*0.1 + 1*0.2 + 2*0.3 + 8*1 + 9*1 + 10*1 = 27.8",)


@pytest.mark.parametrize(
    ("layer", "expected", "line"),
    [
        (nn.MaxPool2d(2), [[6, 8], [16, 18]], "max(0, 1, 5, 6) = 6"),
        (nn.MaxPool2d(2, ceil_mode=True), [[6, 8, 9], [16, 18, 19]], "max(0, 1, 5, 6) = 6"),
        (nn.AvgPool2d(2), [[3, 5], [13, 15]], "(0 + 1 + 5 + 6)/4 = 3"),
        (
            nn.AvgPool2d(2, padding=1, count_include_pad=False),
            [[0, 1.5, 3.5], [7.5, 9, 11], [15, 16.5, 18.5]],
            "(0)/1 = 0",
        ),
    ],
)
def test_pooling_of_the_chapter(layer: nn.Module, expected: list[list[float]], line: str) -> None:
    explained = one(layer, arange(1, 1, 4, 5))
    assert explained.output[0, 0].tolist() == expected
    assert explained.elements[0].lines == (line,)


def test_ceil_mode_tells_whether_the_last_window_counts() -> None:
    counts = one(nn.MaxPool2d(2, ceil_mode=True), arange(1, 1, 4, 5)).predicted.lines[-1]
    assert "starts at (3 - 1)*2 = 4, before 5 + 0 = 5, and counts" in counts
    dropped = one(nn.MaxPool1d(2, 3, padding=1, ceil_mode=True), arange(1, 1, 5)).predicted.lines[-1]
    assert "(3 - 1)*3 = 6, not before 5 + 1 = 6" in dropped
    assert dropped.endswith("is dropped: 2")


# Any layer: the arithmetic and the shape are torch's


def conv(draw: random.Random) -> tuple[Callable[[], nn.Module], tuple[int, ...]]:
    dims, groups = draw.randint(1, 3), draw.randint(1, 3)
    mode = draw.choice(["zeros", "reflect", "replicate", "circular"])
    inputs = groups * draw.randint(1, 2)
    padding = draw.choice(["same", "valid", several(draw, dims, 0, 2), several(draw, dims, 0, 2)])
    options = {
        "kernel_size": several(draw, dims, 1, 3),
        "stride": 1 if padding == "same" else several(draw, dims, 1, 3),
        "padding": padding,
        "dilation": several(draw, dims, 1, 2),
        "groups": groups,
        "bias": draw.random() < 0.5,
        "padding_mode": mode,
    }
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    return lambda: kind(inputs, groups * draw.randint(1, 2), **options), sized(draw, dims, inputs)


def transposed(draw: random.Random) -> tuple[Callable[[], nn.Module], tuple[int, ...]]:
    dims, groups = draw.randint(1, 3), draw.randint(1, 2)
    inputs = groups * draw.randint(1, 2)
    options = {
        "kernel_size": several(draw, dims, 1, 3),
        "stride": several(draw, dims, 1, 3),
        "padding": several(draw, dims, 0, 2),
        "output_padding": several(draw, dims, 0, 1),
        "dilation": several(draw, dims, 1, 2),
        "groups": groups,
        "bias": draw.random() < 0.5,
    }
    kind = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[dims - 1]
    return lambda: kind(inputs, groups * draw.randint(1, 2), **options), sized(draw, dims, inputs)


def max_pool(draw: random.Random) -> tuple[Callable[[], nn.Module], tuple[int, ...]]:
    dims = draw.randint(1, 3)
    options = {
        "kernel_size": several(draw, dims, 1, 3),
        "stride": draw.choice([None, several(draw, dims, 1, 3)]),
        "padding": several(draw, dims, 0, 1),
        "dilation": several(draw, dims, 1, 2),
        "ceil_mode": draw.random() < 0.5,
    }
    kind = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[dims - 1]
    return lambda: kind(**options), sized(draw, dims, draw.randint(1, 3))


def avg_pool(draw: random.Random) -> tuple[Callable[[], nn.Module], tuple[int, ...]]:
    dims = draw.randint(1, 3)
    options = {
        "kernel_size": several(draw, dims, 1, 3),
        "stride": draw.choice([None, several(draw, dims, 1, 3)]),
        "padding": several(draw, dims, 0, 1),
        "ceil_mode": draw.random() < 0.5,
        "count_include_pad": draw.random() < 0.5,
    }
    if dims > 1:
        options["divisor_override"] = draw.choice([None, None, 3])
    kind = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)[dims - 1]
    return lambda: kind(**options), sized(draw, dims, draw.randint(1, 3))


def adaptive(draw: random.Random) -> tuple[Callable[[], nn.Module], tuple[int, ...]]:
    dims, name = draw.randint(1, 3), draw.choice(["Avg", "Max"])
    kept = tuple(draw.choice([None, 2]) for _ in range(dims)) if dims > 1 else 2
    out = draw.choice([several(draw, dims, 1, 5), kept])
    return lambda: getattr(nn, f"Adaptive{name}Pool{dims}d")(out), sized(draw, dims, draw.randint(1, 3))


def linear(draw: random.Random) -> tuple[Callable[[], nn.Module], tuple[int, ...]]:
    inputs = draw.randint(1, 30)
    shape = (1, *(draw.randint(1, 4) for _ in range(draw.randint(0, 2))), inputs)
    return lambda: nn.Linear(inputs, draw.randint(1, 5), bias=draw.random() < 0.5), shape


def norm(draw: random.Random) -> tuple[Callable[[], nn.Module], tuple[int, ...]]:
    dims, channels = draw.randint(1, 3), 2 * draw.randint(1, 2)
    shape = sized(draw, dims, channels)
    makers: list[Callable[[], nn.Module]] = [
        lambda: getattr(nn, f"BatchNorm{dims}d")(channels, affine=draw.random() < 0.5),
        lambda: getattr(nn, f"InstanceNorm{dims}d")(channels, affine=True, track_running_stats=draw.random() < 0.5),
        lambda: nn.BatchNorm1d(channels, track_running_stats=False) if dims == 1 else nn.BatchNorm2d(channels),
        lambda: nn.GroupNorm(draw.choice([1, 2, channels]), channels, affine=draw.random() < 0.5),
        lambda: nn.LayerNorm(shape[-draw.randint(1, dims) :], bias=draw.random() < 0.5),
        lambda: nn.RMSNorm(shape[-1:], eps=draw.choice([None, 1e-3]), elementwise_affine=draw.random() < 0.5),
    ]
    which = draw.randrange(len(makers))
    return makers[which], shape if which != 2 or dims == 1 else sized(draw, 2, channels)


def elementwise(draw: random.Random) -> tuple[Callable[[], nn.Module], tuple[int, ...]]:
    kind = draw.choice([*FORMULAS, nn.PReLU])
    shape = sized(draw, draw.randint(1, 2), 3)
    options = {
        nn.Threshold: {"threshold": 0.1, "value": -2.0},
        nn.GELU: {"approximate": draw.choice(["none", "tanh"])},
        nn.PReLU: {"num_parameters": draw.choice([1, 3])},
        nn.ELU: {"alpha": 0.7},
        nn.CELU: {"alpha": 0.7},
        nn.Softplus: {"beta": 3, "threshold": 4},
    }
    return lambda: kind(**options.get(kind, {})), shape


def rest(draw: random.Random) -> tuple[Callable[[], nn.Module], tuple[int, ...]]:
    shape = sized(draw, 2, 3)
    makers: list[Callable[[], nn.Module]] = [
        lambda: nn.Softmax(draw.choice([1, -1])),
        lambda: nn.LogSoftmax(draw.choice([1, 2])),
        lambda: nn.Softmin(1),
        nn.Softmax2d,
        lambda: nn.Flatten(draw.choice([0, 1, 2]), draw.choice([2, -1])),
        nn.Identity,
        nn.Dropout,
    ]
    return draw.choice(makers), shape


def several(draw: random.Random, dims: int, low: int, high: int) -> Any:
    """One number for all dimensions, or one for each."""
    return draw.randint(low, high) if draw.random() < 0.3 else tuple(draw.randint(low, high) for _ in range(dims))


def sized(draw: random.Random, dims: int, channels: int) -> tuple[int, ...]:
    return (1, channels, *(draw.randint(1, 7) for _ in range(dims)))


def shaken(layer: nn.Module) -> nn.Module:
    """With parameters and running statistics that are not 0 and 1."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-1, 1)
        for name, buffer in layer.named_buffers():
            if name.startswith("running"):
                buffer.uniform_(0.5, 2)
    return layer.eval()


def corners(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    highest = [n - 1 for n in shape]
    mixed = [n if i % 2 else 0 for i, n in enumerate(highest)]
    return [*spread(shape, 5), tuple(mixed), tuple(h - m for h, m in zip(highest, mixed, strict=True))]


@pytest.mark.parametrize("family", [conv, transposed, max_pool, avg_pool, adaptive, linear, norm, elementwise, rest])
def test_arithmetic_and_shapes_of_random_layers_are_torchs(family: Any) -> None:
    draw, done, refused = random.Random(family.__name__), 0, 0
    torch.manual_seed(0)
    while done < 45:
        make, shape = family(draw)
        layer, x = shaken(make()), torch.randn(shape) * 3
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # padding='same' with an even kernel copies the input
                output = layer(x)
        except (RuntimeError, ValueError):
            refused += 1
            assert impossible(layer, shape), f"torch refuses {layer} on {shape}"
            continue
        if not output.numel():  # torch gives a transposed convolution that crops everything; nobody wants it
            assert impossible(layer, shape)
            continue
        assert impossible(layer, shape) is None, f"torch takes {layer} on {shape}"
        predicted = predict(layer, shape)
        assert predicted is not None
        assert predicted.shape == tuple(output.shape), f"{layer} on {shape}"
        elements = work(layer, x.double().numpy(), output.double().numpy(), corners(tuple(output.shape)))
        for element in elements:
            assert element.value == pytest.approx(element.torch, rel=1e-4, abs=1e-4)
        done += 1
    assert refused < 200
