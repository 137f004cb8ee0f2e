"""A table of one's own: a CSV or Parquet file, one example per row."""

from typing import Any, Literal

from torch import Tensor

from runner.data import Data, Tensors
from runner.data._files import file
from runner.data._frame import Frame, categories, expand, need, read, values
from runner.data._parts import divide, parts
from runner.data._standard import moments, scale
from runner.data._targets import strata, targets
from runner.data._values import Values
from runner.lookup import ConfigError


def table(
    path: str | None = None,
    target: str | None = None,
    features: list[str] | None = None,
    standardize: bool = True,
    valid: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    task: Literal["regression", "classification"] | None = None,
) -> Data:
    """x: float32 of shape (N, columns); y: numbers as float32 of shape (N, 1), or classes as int64 of shape (N,).

    path: a .csv file whose first line names the columns, or a .parquet file; relative to the working directory.
    target: the column to predict.
    features: the columns to predict it from; None: all others. True/false becomes 1/0, and text becomes one column
        of 0 and 1 for each of its values.
    standardize: subtract the training rows' mean from each column of numbers and divide by their standard deviation.
    valid, test: fractions of the rows, from every class alike.
    seed: chooses which rows go where; it is not the run's seed.
    task: None: numbers mean regression, true/false and text mean classes, which are numbered from 0 in sorted order.
    notes: `columns` and `categories` say what was read, `features`, `mean` and `std` describe the columns of x, and
        `encode(frame, notes)` does the same to other rows.
    Raises ConfigError when the file or a column is missing or unreadable, when a value is missing or not finite, and
        when a fraction is not one.
    """
    frame = read(file(path, "data.path", "a .csv or .parquet file", "file.csv"))
    target, columns = _names(frame, target, features)
    y, kind_of_task, classes, guess = _target(frame, target, task)
    indices = parts(len(frame), valid, test, seed, strata=strata(y, kind_of_task))
    notes = _describe(frame, columns, indices[0], standardize) | {"target": target}
    examples = Tensors(encode(frame, notes), y)
    return Data(*divide(examples, indices), kind_of_task, classes, notes, guess=guess)


def encode(frame: Frame, notes: dict[str, Any]) -> Tensor:
    """The rows of a pandas frame as the model's input, in the way that `notes` of a table's Data describes."""
    need(frame, notes["columns"], "data.features")
    return scale(expand(frame, notes["columns"], notes["categories"]), notes)


def _names(frame: Frame, target: str | None, features: list[str] | None) -> tuple[str, list[str]]:
    if not target:
        raise ConfigError("data.target", f"missing; give the column to predict, e.g. data.target={frame.columns[-1]}")
    need(frame, [target], "data.target")
    if features is None:
        features = [name for name in frame.columns if name != target and not _is_row_number(frame, name)]
    if target in features:
        raise ConfigError("data.features", f"holds the target {target!r}; a model would only have to copy it")
    if not features:
        raise ConfigError("data.features", f"there is nothing to predict {target!r} from; expected at least one column")
    need(frame, features, "data.features")
    return target, list(features)


def _is_row_number(frame: Frame, name: str) -> bool:
    """pandas' to_csv writes the rows' numbers as a first column without a name: no feature, but the file's order."""
    return bool(name == "Unnamed: 0" and frame[name].tolist() == list(range(len(frame))))


def _target(
    frame: Frame, target: str, task: str | None
) -> tuple[Tensor, Any, tuple[str, ...], Literal["decimals", "whole", "words"] | None]:
    array = values(frame[target], "data.target")
    numbers = array.dtype.kind == "f"
    guess = None if task else "words" if not numbers else "whole" if (array == array.round()).all() else "decimals"
    if task is None:
        task = "regression" if numbers else "classification"
    (y,), kind_of_task, classes = targets([Values(array, f"column {target!r}", "data.target")], task)
    return y, kind_of_task, classes, guess


def _describe(frame: Frame, columns: list[str], train: Tensor, standardize: bool) -> dict[str, Any]:
    """What `encode` needs to know. Columns of 0 and 1 stay as they are: mean 0, standard deviation 1."""
    texts = categories(frame, columns)
    mean, std = moments(expand(frame, columns, texts)[train.numpy()])
    names: list[str] = []
    for column in columns:
        if not standardize or values(frame[column], "data.features").dtype.kind != "f":
            width = len(texts.get(column, [column]))
            mean[len(names) : len(names) + width] = [0.0] * width
            std[len(names) : len(names) + width] = [1.0] * width
        names += [f"{column}={text}" for text in texts[column]] if column in texts else [column]
    return {"columns": columns, "categories": texts, "features": names, "mean": mean, "std": std}
