"""Parameters that two layers share, `weight: {tie: embed.weight}`: what follows from them, and whether they fit."""

from torch import nn

from runner.model.stack import Layer, values_of
from runner.model.wires import some
from runner.model.written import Written
from runner.settings.errors import ConfigError, did_you_mean


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
