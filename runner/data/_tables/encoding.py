"""From a table's columns to the model's input: numbers, standardized."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from runner.data._tables import Frame
from runner.data._tables.column import Column, as_texts
from runner.data._tables.filling import fill
from runner.data._tables.frame import read
from runner.data._tables.names import need
from runner.data._tables.understanding import recorded_column

#: The input of all columns that are not embedded, where some are.
NUMBERS = "numbers"


def encode(frame: Frame, notes: dict[str, Any], key: str = "data.features") -> Any:
    """Return the rows of a pandas frame as the model's input: float32 of shape (N, columns of x).

    Where texts are embedded (`words` in the notes), {"numbers": float32, "words": int64}; where columns are inputs of
    their own (`categorical`), these are int64 of (N,) by their names.

    notes: of the `Data` of the table that the model was trained on. key: of the configuration, for messages.
    Raises ConfigError where a column or a value is missing, or a column holds something else than it did there.
    """
    if is_coded(notes):
        return coded(recorded(frame, notes, key), len(frame), notes)
    return scale(numbers(frame, notes, key), notes)


def is_coded(notes: dict[str, Any]) -> bool:
    """Return whether x of a table with these notes has several inputs, of which some are whole numbers."""
    return "words" in notes or "categorical" in notes


def coded(columns: list[Column], total: int, notes: dict[str, Any]) -> dict[str, Tensor]:
    """Return numbers, float32 of (N, columns), and places of words among their categories, int64 of (N, columns).

    Columns that are inputs of their own have (N,), by their names.
    """
    if "categorical" in notes:
        codes = {c.name: torch.from_numpy(c.values.astype(np.int64)) for c in columns if c.name in notes["categorical"]}
        others = expand([column for column in columns if column.name not in codes], total)
        return {NUMBERS: scale(others, notes["scaled"]), **codes} if notes["scaled"] else codes
    texts = [column.values for column in columns if column.kind == "text"]
    words = torch.from_numpy(np.stack(texts, axis=1).astype(np.int64))
    if not notes["scaled"]:
        return {"words": words}
    return {NUMBERS: scale(plain(columns, total), notes["scaled"]), "words": words}


def plain(columns: list[Column], total: int) -> NDArray[np.float64]:
    """Return the columns that are no texts side by side, before they are standardized; total: the number of rows."""
    return expand([column for column in columns if column.kind != "text"], total)


def numbers(frame: Frame, notes: dict[str, Any], key: str = "data.features") -> NDArray[np.float64]:
    """Return the columns of x before they are standardized, of shape (N, columns of x).

    frame, notes: as in `encode`. key: of the configuration, for messages.
    """
    return expand(recorded(frame, notes, key), len(frame))


def recorded(frame: Frame, notes: dict[str, Any], key: str) -> list[Column]:
    """Return the columns of the features as they were read for the run that has noted `notes`."""
    names, texts = notes.get("columns", notes["features"]), notes.get("categories", {})
    kinds = notes.get("kinds", {})
    need(frame, names, key)
    frame = as_texts(frame, notes.get("categorical", []))
    frame = fill(frame, names, notes.get("missing", {}).get("values", {}), key)
    return [
        recorded_column(frame, n, key, kinds.get(n, "text" if n in texts else "numbers"), texts.get(n, []))
        for n in names
    ]


def read_recorded(path: Any, key: str, noted: dict[str, Any]) -> Frame:
    """Return the rows of a file, in which the columns that were text for a recorded run are text again.

    path, key: as in `frame.read`. noted: what the run has noted of its data.
    """
    kinds = noted["notes"].get("kinds", {})
    return read(path, key, [name for name, kind in kinds.items() if kind == "text"])


def expand(columns: list[Column], total: int) -> NDArray[np.float64]:
    """Return the columns side by side as numbers: true is 1, and a text has a column of 0 and 1 for each category.

    total: the number of rows.
    """
    x = np.zeros((total, sum(column.width for column in columns)))
    place = 0
    for column in columns:
        column.fill(x[:, place : place + column.width])
        place += column.width
    return x


def describe(
    columns: list[Column], targets: list[Column], train: NDArray[np.float64], standardize: bool
) -> dict[str, Any]:
    """Return the notes that `encode` needs. Columns of 0 and 1 stay as they are: mean 0, standard deviation 1.

    columns, targets: the features and the targets.
    train: the training rows of x, before they are standardized.
    standardize: False: columns of numbers stay as they are, too.
    """
    mean, std = moments(train)
    scaled = [standardize and column.kind == "numbers" for column in columns for _ in range(column.width)]
    return {
        "columns": [column.name for column in columns],
        "kinds": {column.name: column.kind for column in [*columns, *targets]},
        "categories": {column.name: column.categories for column in columns if column.kind == "text"},
        "features": [name for column in columns for name in column.features],
        "mean": [value if scales else 0.0 for value, scales in zip(mean, scaled, strict=True)],
        "std": [value if scales else 1.0 for value, scales in zip(std, scaled, strict=True)],
        "target": ", ".join(column.name for column in targets),
        "targets": [column.name for column in targets],
    }


def moments(rows: NDArray[np.float64]) -> tuple[list[float], list[float]]:
    """Return each column's mean and standard deviation; 1 for a constant column, whose deviation cannot divide.

    rows: of shape (N, columns). The deviation is that of the population: divided by N, not by N - 1.
    """
    # Constant is decided by comparing values: rounding gives 1,000 times 0.1 a deviation of 1e-17, not 0, and the mean
    # of numbers of 17 digits is 6 beside them.
    constant = rows.min(axis=0) == rows.max(axis=0)
    mean, std = np.where(constant, rows[0], rows.mean(axis=0)), np.where(constant, 1.0, rows.std(axis=0))
    return mean.tolist(), std.tolist()


def scale(rows: NDArray[np.float64], notes: dict[str, Any]) -> Tensor:
    """Return (rows - mean) / std as float32, with the `mean` and `std` of `notes`, computed in double precision."""
    return torch.from_numpy((rows - np.asarray(notes["mean"])) / np.asarray(notes["std"])).float()
