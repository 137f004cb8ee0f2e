"""The parts that `data.split` makes: by the order of a column, by groups, or by the words of a column."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from runner.data._folds import Fold, deal_groups, refuse
from runner.data._parts import Indices, check_fractions, parts
from runner.data._tables import Frame, Series
from runner.data._tables.missing import refuse_missing
from runner.data._tables.names import need, quoted
from runner.data._tables.texts import is_date
from runner.settings.errors import ConfigError, did_you_mean

#: Kinds of splits.
KINDS = ("by", "group", "column")
#: Why there are no folds of a kind of split; "" where there are.
_NO_FOLDS = {
    "by": "data.split.by has the rows in their order, and a fold would be trained on what comes after it",
    "column": "data.split.column names the parts; leave one of both out",
    "group": "",
}
#: The words that a column may hold, and the number of the part.
WORDS = {"train": 0, "valid": 1, "val": 1, "test": 2}


def column_of(split: dict[str, Any] | None) -> tuple[str, str] | None:
    """Return the one kind of split and the column that `data.split` names; None for a split at random."""
    if isinstance(split, dict):  # a null takes away what a record or a file has: {column: null, group: patient}
        split = {kind: name for kind, name in split.items() if name is not None}
    if not split:
        return None
    kind, name = next(iter(split.items())) if isinstance(split, dict) else (split, None)
    if not isinstance(split, dict) or len(split) > 1 or kind not in KINDS:
        wrong = next((key for key in split if key not in KINDS), None) if isinstance(split, dict) else None
        raise ConfigError(
            "data.split",
            f"{split!r} is not one of {{by: COLUMN}} (train on the earliest, test on the latest), {{group: COLUMN}} (no"
            f" group in two parts) and {{column: COLUMN}} (which holds train, valid or test)"
            f"{did_you_mean(wrong, KINDS) if wrong else ''}"
            + (f"; data.split.{kind}=null takes one away" if isinstance(split, dict) and len(split) > 1 else ""),
        )
    if isinstance(name, bool) or not isinstance(name, str | int):
        raise ConfigError(f"data.split.{kind}", f"{name!r} is not the name of a column")
    return kind, str(name)


def split_by(
    frame: Frame, kind: str, name: str, valid: float | Fold, test: float, seed: int, strata: Tensor | None = None
) -> Indices:
    """Return the rows' indices in the three parts, each in rising order; None for an empty validation or test part.

    kind: "by": sorted by the column, the earliest rows train, the next validate, the latest test; "group": whole
        groups, in an order drawn from `seed`; "column": by its words, and fractions of its training rows for a part
        that it does not name.
    valid, test: fractions of the rows, from 0 up to below 1.
    strata: a class per row, of which each part gets its share; for "column" alone.
    Raises ConfigError for a column that is missing, or that cannot split: too few different values, no order, other
    words.
    Rows with equal values of the column are never in two parts for "by" and "group": the parts end at the nearest
    place between different values to where `valid` and `test`, fractions of the rows, would have them end.
    """
    key = f"data.split.{kind}"
    need(frame, [name], key)
    refuse_missing(frame, [name], key)
    if isinstance(valid, Fold):
        refuse(valid if kind != "group" else None, _NO_FOLDS[kind])
        check_fractions(valid.valid, test)
        ranks = _shuffled(frame[name], seed)
        train, valid_index, test_index = _cut(ranks, name, key, valid.valid, test)
        pool = train if valid_index is None else torch.cat([train, valid_index]).sort().values
        return valid.take(pool, deal_groups(torch.from_numpy(ranks)[pool], valid.folds), test_index)
    check_fractions(valid, test)
    if kind == "column":
        return _by_words(frame[name], name, valid, test, seed, strata)
    ranks = order(frame[name], name, key) if kind == "by" else _shuffled(frame[name], seed)
    return _cut(ranks, name, key, valid, test)


def _cut(ranks: NDArray[np.int64], name: str, key: str, valid: float, test: float) -> Indices:
    """Return parts in the order of the ranks, 0, 1, 2, ..., none of which is in two of them."""
    total = len(ranks)
    sizes = [n for n in (round(total * valid), round(total * test)) if n]
    ends = np.bincount(ranks).cumsum()[:-1]  # where a part may end: rows with a smaller rank
    if len(ends) < len(sizes):
        raise ConfigError(
            key,
            f"column {name!r} has {len(ends) + 1} different value{'s' * (len(ends) > 0)}, too few for"
            f" {len(sizes) + 1} parts; use another column, or set data.valid=0 or data.test=0",
        )
    cuts: list[int] = []
    ideal, high = total, len(ends)
    for i, size in enumerate(reversed(sizes)):
        ideal -= size
        places = ends[len(sizes) - 1 - i : high]  # the parts before need an end of their own
        high = len(sizes) - 1 - i + int(np.abs(places - ideal).argmin())
        cuts.insert(0, int(ends[high]))
    order = torch.from_numpy(np.argsort(ranks, kind="stable"))
    train, *held_out = (part.sort().values for part in torch.tensor_split(order, cuts))
    valid_index = held_out.pop(0) if round(total * valid) else None
    return train, valid_index, held_out.pop(0) if round(total * test) else None


def order(series: Series, name: str, key: str) -> NDArray[np.int64]:
    """Return the rank of each row's value among the different ones.

    name: of the column. key: of the configuration, for messages. Raises ConfigError for values without an order.
    """
    import pandas
    from pandas.api import types

    if types.is_bool_dtype(series) or isinstance(series.dtype, types.CategoricalDtype):
        raise _unordered(name, series.iloc[0], 0, key)
    if not types.is_numeric_dtype(series) and not types.is_datetime64_any_dtype(series):
        times = pandas.to_datetime(series.astype(str).str.strip(), format="ISO8601", errors="coerce", utc=True)
        wrong = times.isna().to_numpy()
        if wrong.any():
            row = int(wrong.argmax())
            raise _unordered(name, series.iloc[row], row, key)
        series = times
    return np.unique(series.to_numpy(), return_inverse=True)[1].astype(np.int64)


def _unordered(name: str, value: Any, row: int, key: str) -> ConfigError:
    remedy = ""
    if is_date(str(value).strip()):
        remedy = (
            f"; pandas: frame[{name!r}] = pandas.to_datetime(frame[{name!r}], dayfirst=True), or dayfirst=False, writes"
            " them so"
        )
    return ConfigError(
        key,
        f"column {name!r} holds {quoted(value)} in row {row}, which has no certain place in time; expected numbers, or"
        f" dates such as 2024-01-31{remedy}",
    )


def _shuffled(series: Series, seed: int) -> NDArray[np.int64]:
    """Return the place of each row's group in an order drawn from `seed`, whatever the order of the rows."""
    import pandas
    from pandas.api import types

    names = series if types.is_numeric_dtype(series) else series.astype(str).str.strip()
    codes, groups = pandas.factorize(names, sort=True)
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed))
    return order.numpy()[codes]  # type: ignore[no-any-return]


def _by_words(series: Series, name: str, valid: float, test: float, seed: int, strata: Tensor | None) -> Indices:
    words = [str(word).strip() for word in series]
    for row, word in enumerate(words):
        if word.casefold() not in WORDS:
            raise ConfigError(
                "data.split.column",
                f"column {name!r} holds {quoted(word)} in row {row}; expected train, valid (or val) or test"
                f"{did_you_mean(word, WORDS)}",
            )
    numbers = torch.tensor([WORDS[word.casefold()] for word in words])
    train, *named = (torch.nonzero(numbers == part).flatten() for part in range(3))
    if not len(train):
        raise ConfigError("data.split.column", f"column {name!r} holds train in no row; expected some to train on")
    valid, test = (0.0 if len(part) else share for part, share in zip(named, (valid, test), strict=True))
    index, *drawn = parts(len(train), valid, test, seed, None if strata is None else strata[train])
    valid_index, test_index = (
        part if len(part) else None if other is None else train[other] for part, other in zip(named, drawn, strict=True)
    )
    return train[index], valid_index, test_index
