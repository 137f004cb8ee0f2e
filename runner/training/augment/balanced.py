"""`balanced` in the place of a loss's class weights: numbers by how often the classes occur in the training data."""

from typing import Any

import torch
from torch import Tensor, nn

from runner.data import Data, Tensors
from runner.model import host
from runner.settings import Component
from runner.settings.errors import ConfigError
from runner.training.augment import balance

BALANCED = "balanced"
#: Losses -> the argument that may be balanced.
ARGUMENTS: dict[type, str] = {nn.CrossEntropyLoss: "weight", nn.NLLLoss: "weight", nn.BCEWithLogitsLoss: "pos_weight"}
#: The attribute of a loss with the name of the argument that `fill` fills in.
MARK = "balanced_argument"
#: Characters that a tag of a record holds for sure.
MOST = 4000


def take(kind: type, arguments: dict[str, Any], key: str = "loss") -> str | None:
    """Remove `balanced` from a loss's arguments and return the name of its argument; None: it is not there.

    Raises ConfigError for a loss without class weights.
    """
    named = [name for name in ("weight", "pos_weight") if arguments.get(name) == BALANCED]
    if named and key != "loss":
        raise ConfigError(f"{key}.{named[0]}", "balanced is for the loss of a model with one output; give numbers")
    own = next((argument for one, argument in ARGUMENTS.items() if issubclass(kind, one)), None)
    for name in named:
        if name != own:
            have = "CrossEntropyLoss, NLLLoss and BCEWithLogitsLoss have weights of classes"
            if kind is nn.MSELoss:  # conf/loss/mse.yaml, chosen by conf/config.yaml
                other = "CrossEntropyLoss" if name == "weight" else "BCEWithLogitsLoss"
                have = f"it is the loss where loss.name is not set; expected loss: {{name: {other}, {name}: balanced}}"
            remedy = f"expected loss.{own}=balanced" if own else have
            raise ConfigError(f"loss.{name}", f"balanced is not for this argument of {kind.__name__}; {remedy}")
        del arguments[name]
    return named[0] if named else None


def marked(loss: nn.Module, argument: str | None) -> nn.Module:
    """Return the loss, which knows the argument that `fill` is to fill in."""
    if argument is not None:
        setattr(loss, MARK, argument)
    return loss


def fill(loss: nn.Module, data: Data, complete: bool = True) -> None:
    """Give a loss with a balanced argument its numbers, float32: of the training part alone.

    weight: examples / (classes * examples of the class), as scikit-learn's class_weight="balanced".
    pos_weight: for each label, examples without it / examples with it.
    complete: False for data that were read in part, of which the numbers are 1.
    Raises ConfigError for data without classes, and for a class without training examples.
    """
    argument = getattr(loss, MARK, None)
    if argument is None:
        return
    key = f"loss.{argument}"
    if argument == "weight":
        number = counts(data, key, getattr(loss, "ignore_index", None)) if complete else torch.ones(len(data.classes))
        values = number.sum() / (len(number) * number)
    else:
        values = _positive(data, key, complete)
    setattr(loss, argument, values.float())


def described(loss: nn.Module, digits: int = 9) -> dict[str, str]:
    """Return the numbers of a balanced argument as text by its key; {} for a loss without one.

    digits: of each number; 9 are all of a float32.
    """
    inner = getattr(loss, "loss", loss)  # of losses.Counted
    argument = getattr(inner, MARK, None)
    values = getattr(inner, argument) if argument else None
    if not isinstance(values, Tensor):
        return {}
    text = ", ".join(f"{value:.{digits}g}" for value in host.numbers(values))
    low, high = (float(end) for end in values.aminmax())
    return {f"loss.{argument}": text if len(text) <= MOST else f"{values.numel()} numbers, {low:.4g} to {high:.4g}"}


def as_recorded(spec: Component, tags: dict[str, str]) -> Component:
    """Return a recorded loss with the numbers of its run in the place of `balanced`, whatever the data now."""
    found = {name: tags.get(f"loss.{name}", "") for name in ("weight", "pos_weight") if spec.get(name) == BALANCED}
    numbers = {name: text.split(", ") for name, text in found.items() if text}
    try:
        return {**spec, **{name: [float(value) for value in values] for name, values in numbers.items()}}
    except ValueError:
        return spec


def counts(data: Data, key: str, ignored: int | None = None) -> Tensor:
    """Return the number of training targets of each class, float64 of shape (classes,).

    ignored: a class index that counts for nothing. Raises ConfigError for a class without any.
    """
    classes = balance.labels(data, key).flatten()
    if ignored is not None:
        classes = classes[classes != ignored]
    number = torch.bincount(classes, minlength=len(data.classes)).double()
    _refuse_none(number, data, key)
    return number


def _positive(data: Data, key: str, complete: bool) -> Tensor:
    y = data.train.y if isinstance(data.train, Tensors) else None
    if data.task not in ("binary", "multilabel"):
        raise ConfigError(key, f"balanced goes by labels that hold or do not, and the task of the data is {data.task}")
    if y is None:
        number = counts(data, key) if data.task == "binary" else None
        if number is None:
            raise ConfigError(key, "balanced needs the labels of all training examples in memory; give numbers")
        return number[:1] / number[1:]
    if not complete:
        return torch.ones(y.shape[1:])
    holds = (y > 0.5).double().sum(0)
    _refuse_none(holds, data, key)
    without = len(y) - holds
    shares: Tensor = without / holds
    return shares


def _refuse_none(number: Tensor, data: Data, key: str) -> None:
    names = data.classes if len(data.classes) == len(number) else [str(i) for i in range(len(number))]
    missing = [name for name, n in zip(names, host.numbers(number), strict=False) if n == 0]
    if missing:
        raise ConfigError(key, f"balanced divides by the number of training examples of a class, and there is none of"
            f" {', '.join(missing[:5])}; leave it out, or give numbers")  # fmt: skip
