"""The worked arithmetic: the chapter's numbers, random layers against torch, impossible ones, a training step."""

import random
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from runner.model.explain import (
    Choice,
    Disagreement,
    NoSuchElement,
    NoSuchLayer,
    arithmetic,
    explain,
    impossible,
    impossible_arguments,
    predict,
    spread,
    training_step,
    work,
)
from runner.model.explain.kinds.activation import FORMULAS
from runner.model.explain.shown.markdown import layer_markdown
from runner.model.explain.shown.picture import layer_picture
from runner.model.explain.shown.text import layer_text, step_text
from runner.model.explain.spans import Span


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
    assert "last window at (3 - 1)*2 = 4 < 5 + 0: counts" in counts
    dropped = one(nn.MaxPool1d(2, 3, padding=1, ceil_mode=True), arange(1, 1, 5)).predicted.lines[-1]
    assert "last window at (3 - 1)*3 = 6 >= 5 + 1" in dropped
    assert dropped.endswith("dropped, 2 left")


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
    shape = (draw.randint(1, 2), *(draw.randint(1, 4) for _ in range(draw.randint(0, 2))), inputs)
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
        lambda: nn.GLU(draw.choice([1, 2, -1])),
        lambda: nn.LocalResponseNorm(draw.randint(1, 4), alpha=draw.choice([1e-4, 0.5]), k=2.0),
        lambda: nn.SyncBatchNorm(3),
        lambda: nn.Flatten(draw.choice([0, 1, 2]), draw.choice([2, -1])),
        nn.Identity,
        nn.Dropout,
    ]
    return draw.choice(makers), shape


def several(draw: random.Random, dims: int, low: int, high: int) -> Any:
    """One number for all dimensions, or one for each."""
    return draw.randint(low, high) if draw.random() < 0.3 else tuple(draw.randint(low, high) for _ in range(dims))


def sized(draw: random.Random, dims: int, channels: int) -> tuple[int, ...]:
    return (draw.choice([1, 1, 2, 3]), channels, *(draw.randint(1, 7) for _ in range(dims)))


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


# A guard must guard


def test_a_wrong_kernel_of_torch_is_an_error() -> None:
    layer: Any = nn.Conv1d(1, 1, 2, bias=False)
    layer._conv_forward = lambda x, weight, bias: nn.functional.conv1d(x, weight * 1.001, bias)
    weighted(layer, [[[1.0, 2.0]]])
    message = r"layer '0' \(Conv1d\), output\[0, 0, 0\]: worked by hand 2, torch gives 2.00\d+; .* apart is allowed"
    with pytest.raises(Disagreement, match=message):
        one(layer, arange(1, 1, 4))


@pytest.mark.parametrize("layer", [nn.Conv2d(1, 1, 2), nn.ConvTranspose2d(1, 1, 2), nn.Linear(4, 4)])
def test_a_wrong_rule_is_an_error(layer: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    right = arithmetic.products
    monkeypatch.setattr(arithmetic, "products", lambda values, weights, bias: right(values[1:], weights[1:], bias))
    with pytest.raises(Disagreement, match="worked by hand"):
        one(layer, torch.ones(1, 1, 4, 4))


def test_a_wrong_shape_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Span, "out", 7)
    with pytest.raises(Disagreement, match=r"the formula predicts \(1, 1, 7\), torch gives \(1, 1, 3\)"):
        one(nn.Conv1d(1, 1, 2), torch.ones(1, 1, 4))


# A stack


def cnn() -> nn.Sequential:
    torch.manual_seed(1)
    first = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
    layers = [first, nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(96, 10), nn.LogSoftmax(1)]
    return nn.Sequential(*layers)


def test_a_stack_is_walked_in_evaluation_mode_and_left_as_it_was() -> None:
    model, x = cnn(), torch.randn(1, 1, 8, 8)
    explained = explain(model.named_children(), x, Choice(3))
    assert [(e.name, e.depth) for e in explained[:5]] == [("0", 0), ("0.0", 1), ("0.1", 1), ("0.2", 1), ("1", 0)]
    assert all(len(e.elements) == 3 for e in explained if e.name != "0")
    assert explained[0].note == "a stack; its layers follow"
    assert all(module.training and not module._forward_hooks for module in model.modules())
    np.testing.assert_allclose(explained[-1].output, model.eval()(x).detach(), rtol=1e-6)  # type: ignore[arg-type]


def test_a_layer_that_works_in_place_shows_what_went_in() -> None:
    relu = explain(cnn().named_children(), torch.randn(1, 1, 8, 8))[3]
    assert relu.input is not None
    assert relu.input.values.min() < 0


def test_a_layer_without_a_rule_says_so_and_shows_its_values() -> None:
    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    layers = [("doubled", Doubled(3, 8)), ("lstm", nn.LSTM(8, 4))]
    doubled, lstm = explain(layers, torch.randn(1, 5, 3))
    assert doubled.note == (
        "Doubled has no worked rule; it computes something of its own, not what Linear does: shapes and values only"
    )
    assert (lstm.elements, lstm.output is not None and lstm.output.shape) == ([], (1, 5, 4))
    assert "LSTM has no worked rule" in layer_text(lstm).plain


class Centred(nn.Conv2d):
    """Standardizes its kernels, like many a layer of the literature."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(input, weight - weight.mean(), bias)


def test_a_subclass_that_computes_something_else_has_no_rule() -> None:
    assert "Centred has no worked rule" in one(Centred(1, 1, 2), torch.ones(1, 1, 4, 4)).note
    assert one(type("Mine", (nn.Conv2d,), {})(1, 1, 2), torch.ones(1, 1, 4, 4)).elements


def test_a_parametrized_layer_is_worked_with_the_weight_in_use() -> None:
    explained = one(nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 2, 3)), torch.randn(1, 1, 5, 5))
    text = layer_text(explained).plain
    assert "agrees within 1e-5" in text
    assert "22 parameters: bias 2 + parametrizations.weight.original0 2*1*1*1" in text
    assert "ParametrizedConv2d(1, 2, kernel_size=(3, 3), stride=(1, 1))" in text


def test_one_layer_and_one_element_can_be_chosen() -> None:
    layers = [("a", nn.Sequential(nn.ReLU(), nn.Flatten())), ("ab", nn.Linear(12, 2))]
    x = arange(1, 3, 4)
    chosen = explain(layers, x, Choice(index=(0, 7), layer="a.1"))
    assert [(e.name, [element.index for element in e.elements]) for e in chosen] == [("a.1", [(0, 7)])]
    assert [e.name for e in explain(layers, x, Choice(layer="a"))] == ["a", "a.0", "a.1"]
    for index in ((0, 12), (0, 0, 0), (-1, 0)):
        with pytest.raises(NoSuchElement, match=r"is not in the output, whose shape is \(1, 12\)"):
            explain(layers, x, Choice(index=index, layer="a.1"))
    with pytest.raises(NoSuchLayer, match="there is no layer 'b'"):
        explain(layers, x, Choice(layer="b"))


def test_what_is_further_apart_than_the_tolerance_says_by_what_it_is_measured() -> None:
    torch.manual_seed(0)
    text = layer_text(one(nn.Linear(1000, 1), 1e4 * torch.randn(1, 1000))).plain
    assert "agrees within 1e-5 of the largest number in it, " in text
    assert "agrees within 1e-5\n" in layer_text(one(nn.Linear(2, 1), torch.ones(1, 2))).plain


def test_a_number_that_passes_is_not_said_to_equal_itself() -> None:
    x = torch.tensor([[2.0]])
    for layer in (nn.LeakyReLU(), nn.ELU(), nn.Threshold(1.0, 0.0), nn.Hardshrink(), nn.Softplus(threshold=1)):
        [line] = one(layer, x).elements[0].lines
        assert line.endswith(": 2")


def test_the_layers_inside_of_a_layer_without_a_rule_are_explained() -> None:
    names = [e.name for e in explain([("t", nn.TransformerEncoderLayer(8, 2, 8))], torch.randn(1, 5, 8)) if e.elements]
    assert {"t.linear1", "t.norm2"} <= set(names)


def test_not_a_number_is_worked_too() -> None:
    x = torch.tensor([[[1.0, float("nan"), 2.0, float("inf")]]])
    for layer in (nn.MaxPool1d(2), nn.ReLU(), nn.Conv1d(1, 1, 1), nn.AvgPool1d(2)):
        assert one(layer, x).elements


# Impossible


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (
            nn.Conv2d(1, 2, 5),
            (1, 1, 3, 9),
            "Conv2d: the kernel does not fit along H: it covers 1*(5 - 1) + 1 = 5, the padded input has 3;"
            " size out = floor((3 + 2*0 - 1*(5 - 1) - 1)/1 + 1) = -1",
        ),
        (
            nn.Conv1d(2, 2, 3),
            (1, 3, 9),
            "Conv1d: in_channels = 2, and the input (1, 3, 9) has 3 channels: in_channels = C of (N, C, L)",
        ),
        (
            nn.MaxPool2d(2, padding=2),
            (1, 1, 4, 4),
            "MaxPool2d: padding along H is 2, more than half of the kernel: it may be floor(2/2) = 1 at most",
        ),
        (nn.Linear(3, 1), (1, 4), "Linear: in_features = 3, and the last dimension of the input (1, 4) is 4"),
        (
            nn.Conv1d(1, 1, 3, padding=3, padding_mode="reflect"),
            (1, 1, 3),
            "Conv1d: reflect padding along L is 3; with size 3 it may be 2 at most",
        ),
        (nn.Conv2d(1, 1, 1), (1, 4), "Conv2d: takes inputs of shape (N, C, H, W), found 2 dimensions: (1, 4)"),
    ],
)
def test_what_cannot_be_is_told_with_sizes_and_formula(layer: nn.Module, shape: tuple[int, ...], message: str) -> None:
    assert impossible(layer, shape) == message
    with pytest.raises((RuntimeError, ValueError)):
        layer(torch.zeros(shape))


UNFIT = {
    "stride = 0: expected whole numbers of at least 1": (nn.MaxPool2d, {"kernel_size": 2, "stride": 0}),
    "kernel_size = [2, 2, 2] is of length 3; expected 2 (H, W), or a single number": (
        nn.Conv2d,
        {"in_channels": 1, "out_channels": 1, "kernel_size": [2, 2, 2]},
    ),
    "padding = -1: expected whole numbers of at least 0": (nn.AvgPool1d, {"kernel_size": 2, "padding": -1}),
    "kernel_size = [2.5, 2]: expected whole numbers of at least 1": (nn.AvgPool2d, {"kernel_size": [2.5, 2]}),
    "output_size = [1, 0]: expected whole numbers of at least 1": (nn.AdaptiveAvgPool2d, {"output_size": [1, 0]}),
    "output_padding = [1] is of length 1; expected 2 (H, W), or a single number": (
        nn.ConvTranspose2d,
        {"in_channels": 1, "out_channels": 1, "kernel_size": 2, "output_padding": [1]},
    ),
    "out_channels = -2; at least 1 is needed": (nn.Conv1d, {"in_channels": 1, "out_channels": -2, "kernel_size": 1}),
    "groups = 0; at least 1 is needed": (
        nn.Conv1d,
        {"in_channels": 1, "out_channels": 1, "kernel_size": 1, "groups": 0},
    ),
}


@pytest.mark.parametrize("message", UNFIT)
def test_sizes_that_no_layer_has_are_told(message: str) -> None:
    target, arguments = UNFIT[message]
    assert impossible_arguments(target, arguments) == f"{target.__name__}: {message}"


def test_sizes_of_a_finished_layer_are_told_too() -> None:
    assert impossible(nn.MaxPool2d(2, stride=0), (1, 1, 4, 4)) == (
        "MaxPool2d: stride = 0: expected whole numbers of at least 1"
    )
    assert impossible_arguments(nn.AdaptiveAvgPool2d, {"output_size": [None, 2]}) is None


def test_a_batch_is_not_taken_for_channels() -> None:
    message = impossible(nn.Conv2d(8, 1, 3), (8, 8, 8))
    assert message is not None
    assert "takes inputs of shape (N, C, H, W), found 3 dimensions" in message
    assert "Unflatten: {dim: 1, unflattened_size: [1, 8]}" in message
    assert impossible(nn.MaxPool2d(2), (8, 8, 8)) is None  # where it makes no difference
    assert "does not fit along W" in str(impossible(nn.MaxPool2d((2, 9)), (8, 8, 8)))
    assert impossible(nn.ReLU(), (4,)) is None


def test_arguments_that_cannot_be_are_told() -> None:
    divided = impossible_arguments(nn.Conv2d, {"in_channels": 3, "out_channels": 4, "groups": 2})
    assert divided == "Conv2d: in_channels = 3 is not divisible by groups = 2 (3 = 1*2 + 1)"
    norm = impossible_arguments(nn.GroupNorm, {"num_channels": 6, "num_groups": 4})
    assert norm == "GroupNorm: num_channels = 6 is not divisible by num_groups = 4 (6 = 1*4 + 2)"
    same = impossible_arguments(nn.Conv1d, {"padding": "same", "stride": 2})
    assert same == "Conv1d: padding 'same' keeps the size, which needs stride 1; found stride 2"
    assert impossible_arguments(nn.Conv2d, {"in_channels": 4, "out_channels": 4, "groups": 2}) is None


# A training step


@pytest.mark.parametrize(("outputs", "bias", "reduction"), [(1, True, "mean"), (2, True, "sum"), (1, False, "mean")])
def test_a_training_step_is_torchs_and_leaves_the_model_alone(outputs: int, bias: bool, reduction: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, outputs, bias=bias))
    optimizer, x = torch.optim.SGD(model.parameters(), lr=0.1), torch.randn(20, 2)
    before = [p.clone() for p in model.parameters()]
    step = training_step(model, nn.MSELoss(reduction=reduction), optimizer, x, torch.randn(20, outputs))
    assert step is not None
    assert len(step.stages) == (6 if bias else 4)
    assert all(abs(s.value - s.torch) < 1e-4 for s in step.stages)
    assert all(torch.equal(p, old) and p.grad is None for p, old in zip(model.parameters(), before, strict=True))


def test_a_training_step_in_numbers() -> None:
    model = weighted(nn.Linear(1, 1, bias=False), [[2.0]])
    x, y = torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [4.0]])
    step = training_step(model, nn.MSELoss(), torch.optim.SGD(model.parameters(), lr=0.5), x, y)
    assert step is not None
    assert [s.line for s in step.stages] == [
        "1*2 = 2",
        "((2 - 1)^2 + (6 - 4)^2)/2 = 2.5",
        "2/2*(1*1 + 2*3) = 7",
        "2 - 0.5*7 = -1.5",
    ]
    assert "autograd: 7, 0 apart: agrees within 1e-5" in step_text(step).plain


def test_only_a_plain_step_is_worked() -> None:
    x, linear = torch.ones(1, 1), nn.Linear(1, 1)
    for optimizer in (torch.optim.Adam(linear.parameters()), torch.optim.SGD(linear.parameters(), momentum=0.9)):
        assert training_step(linear, nn.MSELoss(), optimizer, x, x) is None
    assert training_step(linear, nn.L1Loss(), torch.optim.SGD(linear.parameters()), x, x) is None


def test_a_wrong_step_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    linear, x = nn.Linear(1, 1), torch.ones(3, 1)
    monkeypatch.setattr(torch.optim.SGD, "step", lambda self: None)
    with pytest.raises(Disagreement, match="training step, new weight"):
        training_step(linear, nn.MSELoss(), torch.optim.SGD(linear.parameters()), x, 9 * x)


# How it looks


def samples() -> list[Any]:
    stack = [*explain(cnn().named_children(), torch.randn(1, 1, 8, 8))]
    volume = explain([("volume", nn.Conv3d(4, 2, 3, padding=1, padding_mode="reflect"))], torch.randn(1, 4, 9, 9, 9))
    long = explain([("long", nn.Linear(1000, 200))], 1000 * torch.randn(1, 1000))
    tiny = explain([("tiny", nn.Linear(20, 3))], 1e-3 * torch.randn(1, 20))
    hollow = explain([("hollow", nn.MaxPool2d((2, 1), 1, (1, 0), (2, 1)))], torch.randn(1, 2, 1, 7))  # padding only
    return [
        *stack,
        *volume,
        *long,
        *tiny,
        *hollow,
        *explain([("up", nn.ConvTranspose1d(2, 2, 3, 2))], torch.randn(1, 2, 40)),
    ]


def test_the_window_is_marked_with_and_without_colour() -> None:
    explained = one(nn.MaxPool2d(2), arange(1, 1, 4, 5))
    plain, coloured = layer_text(explained, colour=False), layer_text(explained, colour=True)
    assert "[ 0][ 1]  2   3   4    [ 6]  8" in plain.plain
    assert "[ 0]" not in coloured.plain
    marked = [span for span in coloured.spans if "yellow" in str(span.style)]
    assert len(marked) == 5  # four cells of the window, one of the output


def test_padding_is_named() -> None:
    text = layer_text(one(nn.AvgPool2d(2, padding=1), arange(1, 1, 4, 5)), colour=False).plain
    assert "[p0][p0] p0" in text
    assert "3 of the window's 4 cells are padding" in text


def test_nothing_is_wider_than_the_terminal() -> None:
    for width in (80, 100, 160):
        for explained in samples():
            assert max(len(line) for line in layer_text(explained, width, colour=False).plain.split("\n")) <= width


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(nn.Linear(99, 2), (99,)), (nn.ReLU(), (1, 2, 2, 2, 2, 99)), (nn.Tanh(), (1, 0, 4)), (nn.Sigmoid(), ())],
)
def test_unusual_shapes_are_drawn_too(layer: nn.Module, shape: tuple[int, ...]) -> None:
    explained = one(layer, torch.randn(shape))
    assert explained.name in layer_text(explained).plain
    assert layer_picture(explained).get_figwidth() == 8.0


def test_large_tensors_are_shown_in_part_and_say_so() -> None:
    text = layer_text(one(nn.Conv2d(1, 4, 3), torch.rand(1, 1, 28, 28)), colour=False).plain
    assert "rows 0-7 of 28" in text
    assert "2 of 4 channels" in text
    long = one(nn.Linear(40, 1, bias=False), arange(1, 40))
    assert "(31 more, together" in long.elements[0].lines[0]


def test_markdown_has_the_arithmetic_and_the_picture() -> None:
    text = layer_markdown(one(nn.MaxPool2d(2), arange(1, 1, 4, 5)), "../plots/explain_0.png")
    assert text.startswith("# 0: MaxPool2d\n")
    assert "\nmax(0, 1, 5, 6) = 6\n" in text
    assert "](../plots/explain_0.png)" in text


def test_nothing_overlaps_in_the_pictures() -> None:
    for explained in samples():
        figure = layer_picture(explained)
        renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
        boxes = [t.get_window_extent(renderer) for t in figure.axes[0].texts if t.get_text()]
        page = figure.bbox
        for i, box in enumerate(boxes):
            assert min(box.x0, box.y0) >= 0
            assert (box.x1 <= page.x1, box.y1 <= page.y1) == (True, True)
            assert not any(box.shrunk(0.98, 0.9).overlaps(other.shrunk(0.98, 0.9)) for other in boxes[:i])


def test_arithmetic_needs_neither_matplotlib_nor_rich() -> None:
    loaded = (
        "import sys, runner.model.explain; sys.exit(any(m in sys.modules for m in ('matplotlib', 'rich', 'mlflow')))"
    )
    assert subprocess.run([sys.executable, "-c", loaded], check=False).returncode == 0
