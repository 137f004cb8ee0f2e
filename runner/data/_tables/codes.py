"""Columns of a table as whole numbers, for layers that embed them.

`data.words: codes` makes one input of all texts, "words"; `data.categorical` makes one of each column that it names.
"""

from typing import Any

from runner.data._tables.column import Column
from runner.data._tables.encoding import NUMBERS, describe
from runner.data._tables.names import listed
from runner.settings.errors import ConfigError, did_you_mean


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


def by_name(
    columns: list[Column], targets: list[Column], train: Any, standardize: bool, categorical: list[str]
) -> dict[str, Any]:
    """Return the notes of `describe`, with the names of the columns that are inputs of their own in `categorical`.

    train: the numbers of the training rows, of all other columns. Texts among these are columns of 0 and 1.
    """
    others = [column for column in columns if column.name not in categorical]
    notes = describe(others, targets, train, standardize)
    scaled = {name: notes.pop(name) for name in ("mean", "std")}
    return {
        **notes,
        "columns": [column.name for column in columns],
        "kinds": {column.name: column.kind for column in [*columns, *targets]},
        "categories": {column.name: column.categories for column in columns if column.kind == "text"},
        "features": [*notes["features"], *categorical],
        "categorical": categorical,
        "scaled": scaled if others else {},
    }


def check(categorical: list[str], names: list[str], words: str) -> None:
    """Raise ConfigError for `data.categorical` with columns that are no features, or beside another rule for texts.

    names: of the features.
    """
    key = "data.categorical"
    if categorical and words == "codes":
        raise ConfigError("data.words", f"codes stands beside {key}, whose columns are inputs by name; leave it out")
    for name in categorical:
        if name not in names:
            raise ConfigError(key, f"{name!r} is no feature{did_you_mean(name, names)} (these are {listed(names)})")
        if name == NUMBERS and len(names) > len(categorical):
            raise ConfigError(key, f"{name!r} is the input of all other columns; give the column another name")
        if "." in name:
            raise ConfigError(key, f"{name!r} has a dot, which no input's name may have; rename the column")
    if len(set(categorical)) < len(categorical):
        raise ConfigError(key, f"names a column twice: {listed(categorical)}")
