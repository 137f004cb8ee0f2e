"""Texts of a table as whole numbers, for layers that embed them: x is {"numbers": ..., "words": ...}."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from runner.data._tables.column import Column
from runner.data._tables.encoding import describe, expand, scale
from runner.settings.errors import ConfigError


def described(columns: list[Column], targets: list[Column], train: Any, standardize: bool) -> dict[str, Any]:
    """Return the notes of `describe`, with the places of texts in `words` and the scale of numbers in `scaled`.

    train: the numbers of the training rows. `mean` and `std` are of inputs that are one tensor, so that these have
    another name. Raises ConfigError where no feature is text.
    """
    texts = [column for column in columns if column.kind == "text"]
    others = [column for column in columns if column.kind != "text"]
    if not texts:
        raise ConfigError("data.words", "codes, and no feature is text; leave it out")
    notes = describe(others, targets, train, standardize)
    scaled = {name: notes.pop(name) for name in ("mean", "std")}
    return {
        **notes,
        "columns": [column.name for column in columns],
        "kinds": {column.name: column.kind for column in [*columns, *targets]},
        "categories": {column.name: column.categories for column in texts},
        "features": [column.name for column in [*others, *texts]],
        "words": [column.name for column in texts],
        "scaled": scaled if others else {},
    }


def plain(columns: list[Column], total: int) -> Any:
    """Return the columns that are no texts side by side, before they are standardized; total: the number of rows."""
    return expand([column for column in columns if column.kind != "text"], total)


def inputs(columns: list[Column], total: int, notes: dict[str, Any]) -> dict[str, Tensor]:
    """Return numbers, float32 of (N, columns), and places of words among their categories, int64 of (N, columns)."""
    texts = [column.values for column in columns if column.kind == "text"]
    words = torch.from_numpy(np.stack(texts, axis=1).astype(np.int64))
    if not notes["scaled"]:
        return {"words": words}
    return {"numbers": scale(plain(columns, total), notes["scaled"]), "words": words}
