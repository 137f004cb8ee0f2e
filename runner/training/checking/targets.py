"""Targets as the loss takes them: classes or numbers where both may be meant, and 0 and 1 for a binary loss."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from runner.data import Batch, Data, Source, Tensors
from runner.data._reading import batch
from runner.model.conventions import BY_CLASS, convention, targets_of
from runner.settings.errors import ConfigError
from runner.settings.values import lookup
from runner.settings.values.lookup import Bound
from runner.training import forward
from runner.training.checking import rescale, several
from runner.training.parts import source
from runner.training.parts.named import ByOutput

#: Kinds of targets (`conventions.Convention`) that are numbers of any size.
NUMBERS = ("numbers", "counts")

#: Whole numbers that look like classes have at most so many different values, and two examples of each on average.
FEW = 10
#: Of more classes than these, counted by the largest whole number, that number is rather a mistake.
MOST = 1_000_000


def read(bound: Bound, loss: nn.Module | None, brief: bool = False, noted: dict[str, Any] | None = None) -> Data:
    """Read the data with targets for `loss`. A source without `data.task` gets the task that the loss decides.

    brief: see runner.training.parts.source.read. noted: see there; the task is the noted one.
    Raises ConfigError where whole numbers may be classes or numbers and the loss takes either.
    """
    open_task = "task" in lookup.parameters(bound.target) and bound.arguments.get("task") is None
    if noted is not None:
        kind = "regression" if noted["task"] == "regression" else "classification"
        return _as_noted(bound.but(task=kind) if open_task else bound, loss, noted)
    if not open_task or loss is None or isinstance(loss, forward.Unmeasured):
        return fit(source.read(bound, brief), loss)
    first = source.read(bound, brief=True)
    task = task_for(first, loss)
    if task is None:
        complete = brief or not source.reads_less(bound)
        return fit(first if complete else source.read(bound), loss)
    data = source.read(bound.but(task=task), brief)
    line = f"data.task: {task}, which {type(loss).__name__} takes"
    return fit(replace(data, report=(*data.report, line)), loss)


def _as_noted(bound: Bound, loss: nn.Module | None, noted: dict[str, Any]) -> Data:
    if source.reads_again(bound):
        return fit(source.read(bound, noted=noted), loss)
    data = fit(source.read(bound), loss, noted["task"] == "regression")
    rescale.check(data, noted)
    return rescale.alike(data, noted)


def task_for(data: Data, loss: nn.Module) -> str | None:
    """Return the task that `loss` decides for targets whose task the source has guessed; None: the guess stands."""
    y = _all(data) if data.guess is not None else None
    if y is None or not y.numel():
        return None
    if isinstance(loss, ByOutput):  # of one target for all
        loss = loss.losses[0]
    if data.task == "regression":
        return _of_numbers(data, loss, y)
    if data.guess != "whole" or targets_of(loss) not in NUMBERS:
        return None
    if y.dim() > 1 or _is_few(y):
        raise _either(data, data.classes if y.dim() == 1 else ("0", "1"))
    return "regression"


def fit(data: Data, loss: nn.Module | None, numbers: bool = False) -> Data:
    """Return data with targets of the shape and type that `loss` takes, and with the class index that it ignores.

    numbers: of a run whose targets are numbers, also where the loss would take them for classes.
    Two classes become float32 of shape (N, 1), or (N, 1, places...): 0 and 1 for a binary loss, -1 and 1 for a loss of
    signs.
    """
    if not isinstance(data.train[0][1], Tensor):
        return several.fit(data, loss, fit)
    if isinstance(loss, ByOutput):  # of one target for all
        loss = loss.losses[0]
    fitted, ignored = _fitted(data, loss, numbers), _ignored(data, loss)
    return fitted if fitted.ignored == ignored else replace(fitted, ignored=ignored)


def _ignored(data: Data, loss: nn.Module | None) -> int | None:
    """Return the loss's `ignore_index` if a target has that value or is not in memory; else None."""
    if not isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss) or data.train[0][1].is_floating_point():
        return None
    y = _all(data)
    return loss.ignore_index if y is None or bool((y == loss.ignore_index).any()) else None


def _fitted(data: Data, loss: nn.Module | None, numbers: bool) -> Data:
    takes = targets_of(loss)
    if data.task == "regression" and not numbers:
        data = _of_own_source(data, loss)
    if data.task == "regression" and data.classes and takes in BY_CLASS and not data.train[0][1].is_floating_point():
        data = replace(data, task="classification")  # of a dataset, all of whose targets nobody has seen
    if takes == "zero_to_one" and data.task in ("binary", "multiclass") and _width(data) > 1:
        return replace(data, task="multilabel")
    if takes == "classes_or_shares" and data.task == "regression" and not data.classes and _are_shares(data):
        names = tuple(str(k) for k in range(_width(data)))
        return replace(data, task="binary" if len(names) == 2 else "multiclass", classes=names)
    if data.task != "binary" or takes not in ("zero_to_one", "minus_one_one"):
        return data
    low = -1.0 if takes == "minus_one_one" else 0.0
    valid, test = (None if source is None else _column(source, low) for source in (data.valid, data.test))
    return replace(data, train=_column(data.train, low), valid=valid, test=test)


def check(data: Data, loss: nn.Module, output: Any) -> None:
    """Raise ConfigError for classes with a loss that takes none. output: of a batch, on the meta device."""
    y, name, takes = data.train[0][1], type(loss).__name__, targets_of(loss)
    if not data.classes or not isinstance(y, Tensor) or y.is_floating_point():
        return
    if takes == "zero_to_one":
        raise ConfigError(
            "loss.name",
            f"{name} needs two classes, or 0 and 1 for every label, and the data has {len(data.classes)} classes;"
            " try loss=cross_entropy",
        )
    if takes in NUMBERS:
        one = data.task == "binary" and isinstance(output, Tensor) and output.dim() == 2 and output.shape[1] == 1
        remedy = "bce_with_logits" if one else "cross_entropy"
        raise ConfigError("loss.name", f"{name} needs numbers to predict, and the data has classes; try loss={remedy}")


def check_ignored(bound: Bound, data: Data, loss: nn.Module) -> None:
    """Raise ConfigError for an `ignore_index` that our sources, which number the classes from 0, have renumbered."""
    name = str(getattr(loss, "ignore_index", None))
    if name not in data.classes or (place := data.classes.index(name)) == getattr(loss, "ignore_index", None):
        return
    if not source.is_ours(bound):  # its targets are what the loss is given
        return
    raise ConfigError(
        "loss.ignore_index",
        f"is {name}, and classes are numbered from 0 in sorted order, so that class {name!r} of the data is {place}: "
        + (f"loss.ignore_index={place} leaves it out, or " if len(data.classes) > 2 else "")
        + f"drop those examples, x[y != {name}], or write a data source in experiments/ whose targets stay as they are",
    )


@dataclass(frozen=True, eq=False)
class Columns(torch.utils.data.Dataset[Batch]):
    """A dataset with targets `low` and 1, float32 of (1,) or (1, places...), for the classes 0 and 1 of `inner`."""

    inner: Any
    low: float

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> Batch:
        x, y = self.inner[index]
        return x, _two(y, self.low).reshape(1, *(y.shape if y.numel() != 1 else ()))

    def batch(self, indices: Sequence[int]) -> Batch | None:
        """Return the batch of these examples if `data.collate` makes it."""
        if (pair := batch(self.inner, indices)) is None:
            return None
        x, y = pair
        if bool((y < 0).any()):
            raise ConfigError(
                "data.collate",
                f"fills targets of two classes up with {int(y.min())}, which this loss would count as class 0; use"
                " CrossEntropyLoss and two outputs, whose ignore_index leaves them out",
            )
        return x, _two(y, self.low).reshape(len(y), 1, *(y.shape[1:] if y[0].numel() != 1 else ()))


def _of_numbers(data: Data, loss: nn.Module, y: Tensor) -> str | None:
    takes = targets_of(loss)
    whole, shares = bool((y == y.round()).all()), bool(((y >= 0) & (y <= 1)).all())
    if y.dim() == 2 and y.shape[1] > 1:
        rows = takes == "classes_or_shares" and shares and _sum_to_one(y)
        return "classification" if rows or (takes == "zero_to_one" and whole and shares) else None
    if y.dim() > 2:
        return None
    if takes == "minus_one_one":
        return "classification" if bool((y.abs() == 1).all()) else None
    if takes in BY_CLASS:
        return "classification" if whole else None
    if takes == "zero_to_one":
        return "classification" if shares else None
    if whole and _is_few(y) and not (takes in NUMBERS and data.guess == "decimals"):
        raise _either(data, tuple(f"{value:g}" for value in _different(y)))
    return None


def _either(data: Data, values: tuple[str, ...]) -> ConfigError:
    name = f"column {data.notes['target']!r}" if "target" in data.notes else "y"
    listed = f"{', '.join(values[:-1])} and {values[-1]}"
    return ConfigError(
        "data.task",
        f"missing; {name} holds {listed} only, which may be classes or numbers: expected data.task=classification"
        " (with loss=cross_entropy, or loss=bce_with_logits where the model gives one number for two classes) or"
        " data.task=regression",
    )


def _different(y: Tensor) -> list[float]:
    return y.unique().tolist()  # type: ignore[no-any-return, no-untyped-call]


def _is_few(y: Tensor) -> bool:
    different = len(_different(y))
    return 1 < different <= FEW and len(y) >= 2 * different


def _all(data: Data) -> Tensor | None:
    parts = [part for part in (data.train, data.valid, data.test) if part is not None]
    y = [part.y for part in parts if isinstance(part, Tensors) and isinstance(part.y, Tensor)]
    alike = len(y) == len(parts) and len({one.shape[1:] for one in y}) == 1
    return torch.cat(y) if alike else None  # parts of several shapes are refused by the checks


def _width(data: Data) -> int:
    """Return the length of one example's target if that is a row of numbers; else 0."""
    y = data.train[0][1]
    return len(y) if isinstance(y, Tensor) and y.is_floating_point() and y.dim() == 1 else 0


def _of_own_source(data: Data, loss: nn.Module | None) -> Data:
    """Return data whose source says no task with the one that its loss decides: whole numbers may be classes.

    What the loss ignores is no class. All of one class, or with numbers that are none, they stay as they are. For a
    loss of the user's own one whole number for each example is a class. Targets that are read as they are needed are
    not counted: there are as many classes as the model gives numbers.
    """
    y, takes = _all(data), targets_of(loss)
    if not isinstance(data.train, Tensors):
        first = data.train[0][1]
        is_class = takes in BY_CLASS and not data.classes and not first.is_floating_point()
        return replace(data, task="multiclass") if is_class else data
    if y is None or not y.numel():
        return data
    own = loss is not None and convention(loss) is None and not isinstance(loss, forward.Unmeasured)
    if (takes in BY_CLASS or (own and y.dim() == 1)) and not y.is_floating_point():
        ignored = getattr(loss, "ignore_index", None)
        held = y if ignored is None else y[y != ignored]
        low, high = map(int, held.aminmax()) if held.numel() else (0, 0)
        if low < 0 or not 0 < high < MOST:
            return data
        return replace(data, task="classification", classes=data.classes or tuple(map(str, range(high + 1))))
    if takes == "zero_to_one" and y.dim() > 1 and y.shape[1] == 1 and bool(((y == 0) | (y == 1)).all()):
        return replace(data, task="binary", classes=data.classes or ("0", "1"))
    if takes == "zero_to_one" and y.dim() == 1 and not y.is_floating_point() and set(y.tolist()) == {0, 1}:
        return replace(data, task="binary", classes=data.classes or ("0", "1"))
    return data


def _are_shares(data: Data) -> bool:
    """Return whether targets, or the first of data that is not in memory, are rows of probabilities."""
    if _width(data) < 2:
        return False
    y = data.train.y if isinstance(data.train, Tensors) else data.train[0][1][None]
    return bool(((y >= 0) & (y <= 1)).all()) and _sum_to_one(y)


def _sum_to_one(y: Tensor) -> bool:
    return bool(torch.isclose(y.double().sum(1), torch.ones(len(y), dtype=torch.float64), atol=1e-4).all())


def _column(source: Source, low: float) -> Source:
    if not isinstance(source, Tensors):
        return source if source[0][1].is_floating_point() else Columns(source, low)
    if source.y.is_floating_point():
        return source
    places = source.y.shape[1:] if source.y[0].numel() != 1 else ()
    return Tensors(source.x, _two(source.y, low).reshape(len(source), 1, *places))


def _two(y: Tensor, low: float) -> Tensor:
    return torch.where(y > 0, 1.0, low)
