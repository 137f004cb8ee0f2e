"""Texts of a table as whole numbers, for layers that embed them: x is {"numbers": ..., "words": ...}."""

from typing import Any

from runner.data._tables.column import Column
from runner.data._tables.encoding import describe
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
