"""The metrics of a configuration: a list, a name for each, or those of each output of a model."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from runner.settings.errors import ConfigError, brief, did_you_mean
from runner.settings.values import lookup
from runner.settings.values.lookup import Kind

#: Keys of a component's class.
NAMES = ("name", "_target_")


def _is_metric(value: Any) -> bool:
    import torchmetrics

    return isinstance(value, type) and issubclass(value, torchmetrics.Metric) and value is not torchmetrics.Metric


METRIC = Kind("a metric", ("torchmetrics",), _is_metric, own="a class that inherits from torchmetrics.Metric")


def load() -> None:
    """Import torchmetrics. Raises ConfigError where it fails, as beside a torchvision of another build than torch."""
    try:
        importlib.import_module("torchmetrics")
    except Exception as error:
        remedy = "install it again"
        if "torchvision" in str(error):
            remedy = "it imports torchvision: install that and torch from the same index, or uninstall torchvision"
        raise ConfigError("metrics", f"torchmetrics cannot be imported: {brief(error)}; {remedy}") from error


@dataclass(frozen=True)
class Spec:
    """A metric as the configuration has it: a name such as "Accuracy", or {"F1Score": {"average": "macro"}}."""

    value: Any
    key: str
    name: str = ""  # that it is given; "": that of its class
    output: str = ""  # the output that it is of


def specs_of(specs: Any, key: str) -> Iterator[Spec]:
    """Yield the metrics of a list, or of a mapping, each with its key.

    [Accuracy, {F1Score: {average: macro}}]
    {top1: Accuracy, top3: {Accuracy: {top_k: 3}}}
    {digit: [Accuracy], parity: {f1: F1Score}}
    """
    if isinstance(specs, list):
        for i, spec in enumerate(specs):
            yield _of_list(spec, f"{key}[{i}]")
    elif isinstance(specs, dict) and not _is_one(specs):
        for name, value in specs.items():
            yield from _under(str(name), value, f"{key}.{name}")
    elif isinstance(specs, dict):
        yield Spec(specs, key)
    elif isinstance(specs, str):
        raise ConfigError(key, f"expected a list in brackets, such as metrics=[{specs}]")
    else:
        raise ConfigError(
            key, f"{specs!r} is not a list, as in [Accuracy], or a name for each, as in {{top1: Accuracy}}"
        )


def _of_list(spec: Any, key: str) -> Spec:
    if isinstance(spec, dict) and len(spec) == 1 and not _is_one(spec):
        [(name, value)] = spec.items()
        if isinstance(value, str) or _is_one(value):
            return Spec(value, key, str(name))
    return Spec(spec, key)


def _under(name: str, value: Any, key: str) -> Iterator[Spec]:
    if (
        _is_class(name) and isinstance(value, dict | None) and not _is_named(name, value)
    ):  # {Accuracy: {top_k: 3}, F1Score: {average: macro}}
        yield Spec({name: value}, key)
    elif isinstance(value, str) or _is_one(value):
        yield Spec(value, key, name)
    else:
        if value == {}:
            near = did_you_mean(name, lookup.known(METRIC))
            raise ConfigError(key, f"{name!r} is no metric, nor an output with some, as {{{name}: [Accuracy]}}{near}")
        for spec in specs_of(value, key):
            if spec.output:
                raise ConfigError(key, f"{value!r} is deeper than a list of metrics, or a name for each")
            yield replace(spec, output=name)


def _is_one(value: Any) -> bool:
    """Return whether a value is the class of one metric with its arguments."""
    if not isinstance(value, dict):
        return False
    if any(name in value for name in NAMES):
        return True
    return len(value) == 1 and all(
        _is_class(str(name)) and not _is_named(str(name), one) for name, one in value.items()
    )


def _is_named(name: str, value: Any) -> bool:
    """Return whether another program's name of a metric is given to one: {rmse: {MeanSquaredError: ...}}."""
    return name not in lookup.known(METRIC) and "." not in name and (isinstance(value, str) or _is_one(value))


def _is_class(name: str) -> bool:
    return "." in name or name.lower().replace("_", "") in OTHERS or name in lookup.known(METRIC)


#: Other programs' names of metrics, in lower case.
OTHERS = {
    "acc": "Accuracy",
    "auc": "AUROC",
    "f1": "F1Score",
    "iou": "JaccardIndex",
    "kappa": "CohenKappa",
    "mae": "MeanAbsoluteError",
    "mape": "MeanAbsolutePercentageError",
    "mcc": "MatthewsCorrCoef",
    "mse": "MeanSquaredError",
    "r2": "R2Score",
    "rmse": "{MeanSquaredError: {squared: false}}",
    "rocauc": "AUROC",
}


def read(spec: Any, key: str) -> tuple[str, dict[str, Any]]:
    """Return the class name and the arguments of a metric. Raises ConfigError for anything else."""
    if isinstance(spec, str) and (name := OTHERS.get(spec.lower().replace("_", ""))) and spec != name:
        raise ConfigError(key, f"{spec!r} is not a metric in torchmetrics; did you mean {name}?")
    if isinstance(spec, str):
        return spec, {}
    if isinstance(spec, dict) and len(spec) == 1 and "name" not in spec and "_target_" not in spec:
        [(name, arguments)] = spec.items()
        if isinstance(arguments, dict | None):
            return name, dict(arguments or {})
    if isinstance(spec, dict) and spec:
        return lookup.component(spec, key)
    raise ConfigError(key, f"expected a name such as Accuracy, or {{F1Score: {{average: macro}}}}, found {spec!r}")
