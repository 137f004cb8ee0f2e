"""Random layers: what a configuration says of one, and the plain torch module that it should become."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Shape = tuple[int, ...]
Make = Callable[[], nn.Module]


@dataclass
class Drawn:
    """One layer, or a stack of them."""

    spec: Any  # as in a configuration
    make: Make  # the plain module, its parameters drawn in torch's usual order


class Residual(nn.Module):
    def __init__(self, layers: nn.Module, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.layers, self.shortcut = layers, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) + (x if self.shortcut is None else self.shortcut(x))


class Parallel(nn.Module):
    def __init__(self, branches: list[nn.Module], combine: str) -> None:
        super().__init__()
        self.branches, self.combine = nn.ModuleList(branches), combine

    def forward(self, x: Tensor) -> Tensor:
        outputs = [branch(x) for branch in self.branches]
        return torch.cat(outputs, 1) if self.combine == "cat" else torch.stack(outputs).sum(0)


class First(nn.Module):
    def forward(self, x: Any) -> Any:
        return x[0]


class Last(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, -1]


ACTIVATIONS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in ("Tanh", "Sigmoid", "GELU", "SiLU", "Mish", "Softplus", "Softsign", "Hardtanh", "ReLU6")),
    *((name, {}) for name in ("LogSigmoid", "Hardswish", "Hardsigmoid", "Tanhshrink", "SELU", "CELU", "Softshrink")),
    *((name, {}) for name in ("Hardshrink", "Identity", "RReLU", "PReLU", "ELU")),
    ("ReLU", {}),
    ("ReLU", {"inplace": True}),
    ("LeakyReLU", {"negative_slope": 0.2}),
    ("Threshold", {"threshold": 0.1, "value": 0.5}),
    ("Softmax", {"dim": 1}),
    ("LogSoftmax", {"dim": 1}),
    ("Dropout", {"p": 0.3}),
    ("AlphaDropout", {"p": 0.2}),
    ("Dropout", {"p": 0.5, "inplace": True}),
]


def layer(rng: random.Random, shape: Shape, depth: int = 0) -> Drawn:
    """A layer for inputs of this shape, the batch left out; now and then one that does not fit."""
    if depth < 2 and rng.random() < 0.12:
        return _container(rng, shape, depth)
    name, told, inferred = rng.choice([_any, *[_of_dimensions] * 2])(rng, shape)
    return plain(name, told, inferred)


def plain(name: str, told: dict[str, Any], inferred: dict[str, Any]) -> Drawn:
    """A class of torch.nn: the arguments of the configuration, and those that it leaves to the input.

    A lazy class is its other class with the sizes filled in: torch's own draws its weights only when first called.
    """
    lists = {k: list(v) if isinstance(v, tuple) else v for k, v in told.items()}
    return Drawn({name: lists} if told else name, lambda: getattr(nn, name.removeprefix("Lazy"))(**inferred, **told))


def stack(drawn: list[Drawn]) -> Make:
    return lambda: nn.Sequential(*[d.make() for d in drawn])


def after(drawn: Drawn, x: Tensor) -> Tensor:
    """What the layer gives in evaluation; draws random numbers, as every new layer does."""
    with torch.no_grad():
        return drawn.make().eval()(x)


def _inner(rng: random.Random, shape: Shape, depth: int) -> list[Drawn]:
    drawn, x = [], torch.zeros(2, *shape)
    for _ in range(rng.randint(1, 2)):
        drawn.append(layer(rng, tuple(x.shape[1:]), depth + 1))
        try:
            x = after(drawn[-1], x)
        except Exception:
            break
        if not isinstance(x, Tensor):
            break
    return drawn


def _container(rng: random.Random, shape: Shape, depth: int) -> Drawn:
    inner = _inner(rng, shape, depth)
    specs, make = [d.spec for d in inner], stack(inner)
    kind = rng.choice(["Sequential", "Residual", "Parallel", "Repeat", "shortcut"])
    if kind == "Repeat" and _keeps(make, shape):
        return Drawn({"Repeat": {"layers": specs, "times": 2}}, lambda: nn.Sequential(make(), make()))
    if kind in ("Sequential", "Repeat"):
        return Drawn({"Sequential": specs}, make)
    other = _inner(rng, shape, depth)
    others, make_other = [d.spec for d in other], stack(other)
    if kind == "Parallel":
        combine = rng.choice(["cat", "sum"])
        spec = {"Parallel": {"branches": [{"Sequential": specs}, {"Sequential": others}], "combine": combine}}
        return Drawn(spec, lambda: Parallel([make(), make_other()], combine))
    if kind == "shortcut":
        spec = {"Residual": {"layers": specs, "shortcut": others}}
        return Drawn(spec, lambda: Residual(make(), make_other()))
    return Drawn({"Residual": {"layers": specs}}, lambda: Residual(make(), None))


def _keeps(make: Make, shape: Shape) -> bool:
    """Whether the layers give what they take, so that their sizes are the same the second time."""
    x = torch.zeros(2, *shape)
    try:
        return bool(make().eval()(x).shape == x.shape)
    except Exception:
        return False


Choice = tuple[str, dict[str, Any], dict[str, Any]]


def _any(rng: random.Random, shape: Shape) -> Choice:
    name, told = rng.choice(ACTIVATIONS)
    return name, dict(told), {}


def _of_dimensions(rng: random.Random, shape: Shape) -> Choice:
    known = {1: _flat, 2: _sequence, 3: _image, 4: _volume}.get(len(shape), _any)
    return known(rng, shape)


def _norm(rng: random.Random, shape: Shape) -> Choice:
    channels, dims = shape[0], len(shape) - 1
    groups = rng.choice([g for g in (1, 2, 3, channels) if channels % g == 0])
    options: list[Choice] = [
        ("GroupNorm", {"num_groups": groups}, {"num_channels": channels}),
        ("LayerNorm", {}, {"normalized_shape": shape[-1]}),
        ("RMSNorm", {}, {"normalized_shape": shape[-1]}),
    ]
    told = rng.choice([{}, {}, {"affine": False}, {"track_running_stats": False}, {"momentum": None}])
    options += [(f"BatchNorm{max(dims, 1)}d", told, {"num_features": channels})] * 2
    if dims:
        told = rng.choice([{}, {"affine": True}, {"track_running_stats": True}])
        options.append((f"InstanceNorm{dims}d", told, {"num_features": channels}))
        options.append((f"LazyBatchNorm{dims}d", {}, {"num_features": channels}))
    return rng.choice(options)


def _flat(rng: random.Random, shape: Shape) -> Choice:
    features = shape[0]
    options: list[Choice] = [
        *[("Linear", {"out_features": rng.randint(1, 6), "bias": rng.random() < 0.8}, {"in_features": features})] * 4,
        ("LazyLinear", {"out_features": 3}, {"in_features": features}),
        _norm(rng, shape),
        _norm(rng, shape),
        ("Unflatten", {"dim": 1, "unflattened_size": (1, features)}, {}),
        ("GLU", {}, {}),
        ("PReLU", {"num_parameters": features}, {}),
        ("Bilinear", {"in1_features": features, "in2_features": features, "out_features": 2}, {}),
    ]
    return rng.choice(options)


def _conv(rng: random.Random, shape: Shape) -> Choice:
    channels, dims = shape[0], len(shape) - 1
    told: dict[str, Any] = {"out_channels": rng.choice([1, 2, 4]), "kernel_size": rng.randint(1, 3)}
    name = rng.choice(["Conv", "Conv", "Conv", "ConvTranspose", "LazyConv"])
    if rng.random() < 0.4:
        told["padding"] = rng.choice([1, 1, "same"] if name == "Conv" else [1])
    if rng.random() < 0.3 and told.get("padding") != "same":
        told["stride"] = 2
    if rng.random() < 0.2 and name == "Conv":
        told["padding_mode"] = rng.choice(["reflect", "circular", "replicate"])
    if rng.random() < 0.2:
        told["bias"] = False
    return f"{name}{dims}d", told, {"in_channels": channels}


def _pool(rng: random.Random, shape: Shape) -> Choice:
    dims, kernel = len(shape) - 1, rng.randint(1, 3)
    options: list[Choice] = [
        (f"MaxPool{dims}d", {"kernel_size": kernel}, {}),
        (f"AvgPool{dims}d", {"kernel_size": kernel, "ceil_mode": rng.random() < 0.3}, {}),
        (f"AdaptiveAvgPool{dims}d", {"output_size": rng.randint(1, 3)}, {}),
        (f"AdaptiveMaxPool{dims}d", {"output_size": rng.randint(1, 2)}, {}),
        (f"LPPool{dims}d", {"norm_type": 2, "kernel_size": 2}, {}),
    ]
    return rng.choice(options)


def _window(rng: random.Random, shape: Shape) -> list[Choice]:
    dims = len(shape) - 1
    return [
        *[_conv(rng, shape)] * 3,
        *[_pool(rng, shape)] * 2,
        *[_norm(rng, shape)] * 3,
        ("Flatten", {}, {}),
        ("Flatten", {}, {}),
        (f"ConstantPad{dims}d", {"padding": 1, "value": 0.5}, {}),
        (f"ReplicationPad{dims}d", {"padding": 1}, {}),
        ("LocalResponseNorm", {"size": 2}, {}),
        (f"Dropout{dims}d", {"p": 0.3}, {}),
        ("Upsample", {"scale_factor": 2}, {}),
        ("Linear", {"out_features": rng.randint(1, 4)}, {"in_features": shape[-1]}),
    ]


def _sequence(rng: random.Random, shape: Shape) -> Choice:
    width = shape[-1]
    recurrent = rng.choice(["RNN", "GRU", "LSTM"])
    told: dict[str, Any] = {"hidden_size": rng.randint(1, 4)}
    if rng.random() < 0.3:
        told |= {"bidirectional": True}
    if rng.random() < 0.2:
        told |= {"num_layers": 2, "dropout": 0.2}
    options = _window(rng, shape) + [(recurrent, told, {"input_size": width, "batch_first": True})] * 3
    heads = rng.choice([h for h in (1, 2) if width % h == 0])
    options.append(
        (
            "TransformerEncoderLayer",
            {"nhead": heads, "dim_feedforward": 4, "dropout": 0.1},
            {"d_model": width, "batch_first": True},
        )
    )
    return rng.choice(options)


def _image(rng: random.Random, shape: Shape) -> Choice:
    return rng.choice([*_window(rng, shape), ("PixelUnshuffle", {"downscale_factor": 1}, {}), ("Softmax2d", {}, {})])


def _volume(rng: random.Random, shape: Shape) -> Choice:
    return rng.choice(_window(rng, shape))
