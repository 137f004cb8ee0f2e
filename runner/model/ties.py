"""Parameters of two layers, `weight: {tie: embed.weight}`, and layers that are an earlier one, `{tie: left}`."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from runner.model import classes, looking
from runner.model.stack import Layer, values_of
from runner.model.wires import Inner, Wires, some
from runner.model.written import FROM, TIE, Written, read_path, read_references
from runner.settings.errors import ConfigError, did_you_mean


def shared(
    name: str, spec: Mapping[str, Any], key: str, wires: Wires, targets: classes.Targets, before: list[Layer]
) -> tuple[Layer, Any]:
    """Return the plan of a layer that is an earlier one, and what it gives for its own input. Raises ConfigError.

    spec: {tie: left}, or {tie: left, from: image}: the module, with its weights and buffers, is called once more.
    """
    if further := [one for one in spec if one not in (TIE, FROM)]:
        raise ConfigError(
            f"{key}.{further[0]}",
            f"stands beside tie, by which all is that of {spec[TIE]!r}; expected `from` or nothing",
        )
    other, names = read_path(spec[TIE], f"{key}.{TIE}"), [one.name for one in before]
    if other not in names:
        raise ConfigError(
            f"{key}.{TIE}",
            f"{other!r} is no earlier layer of this stack{did_you_mean(other, names)} (there are {some(names)})",
        )
    one = before[names.index(other)]
    reads = read_references(spec[FROM], f"{key}.{FROM}") if FROM in spec else ()
    inputs = wires.inputs(
        Inner(None, key, reads) if not isinstance(reads, dict) else _by_name(one, key, reads), targets
    )
    inputs.spread(one.planned)
    layer = Layer(name, key, one.target, one.arguments, reads=inputs.reads, shares=other)
    layer.planned = one.planned
    layer.output = looking.output(layer, one.planned, inputs)
    layer.taken, [example, *_] = (inputs.inputs, inputs.named), inputs.all()
    layer.input = tuple(example.shape[1:]) if isinstance(example, Tensor) else ()
    layer.shape = tuple(layer.output.shape[1:]) if isinstance(layer.output, Tensor) else ()
    return layer, layer.output


def _by_name(one: Layer, key: str, reads: dict[str, str]) -> Written:
    return Written(one.target, key, {}, {}, reads)


def sizes(written: Written, before: list[Layer]) -> dict[str, int]:
    """Fill in the number of outputs of a Linear whose weight is an earlier layer's, and return it by its name."""
    path = written.ties.get("weight")
    if written.target is not nn.Linear or "out_features" in written.arguments or path is None:
        return {}
    shape = _parameter(path, before, f"{written.key}.weight").shape
    written.arguments["out_features"] = shape[0]
    return {"out_features": shape[0]}


def check(layer: Layer, before: list[Layer]) -> None:
    """Raise ConfigError for a parameter that is tied to none of an earlier layer, or to one of another shape."""
    own = values_of(layer.planned)
    for name, path in layer.ties.items():
        if name not in own:
            raise ConfigError(
                f"{layer.key}.{name}",
                f"{layer.target.__name__} has no parameter {name!r}{did_you_mean(name, own)}"
                f" (it has {', '.join(own) or 'none'})",
            )
        shape = _parameter(path, before, f"{layer.key}.{name}").shape
        if own[name].shape != shape:
            raise ConfigError(
                f"{layer.key}.{name}.tie",
                f"{path} has the shape {tuple(shape)}, and {name} {tuple(own[name].shape)};"
                " only tensors of one shape can be shared",
            )


def _parameter(path: str, before: list[Layer], key: str) -> nn.Parameter:
    """Return a parameter of an earlier layer by its path. key: of the one that is tied. Raises ConfigError."""
    others = {f"{one.name}.{name}": p for one in before for name, p in one.planned.named_parameters()}
    if path not in others:
        raise ConfigError(
            f"{key}.tie",
            f"{path!r} is no parameter of an earlier layer of this stack{did_you_mean(path, others)}"
            f" (there are {some(others)})",
        )
    return others[path]
