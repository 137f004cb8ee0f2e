"""Datasets that somebody else's package reads: divided into parts, and held in memory where they are small."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from runner.data import Data, Source, Tensors, nests
from runner.data._datasets import Converted, class_names, shown_kind
from runner.data._folds import Fold, refuse
from runner.data._parts import check_fractions, parts
from runner.settings.errors import ConfigError, labelled

#: Bytes up to which the examples of a part are held in memory.
MOST = 2**30
#: Attributes that hold the classes of a dataset's examples, under one of which most have them.
TARGETS = ("targets", "labels", "_labels")


def divided(
    train: Any, valid_part: Any, test_part: Any, valid: float | Fold, test: float, seed: int, notes: dict[str, Any]
) -> Data:
    """Return data of map-style datasets of pairs of numbers, arrays or pictures.

    valid_part, test_part: the dataset's own; None: a fraction `valid` or `test` of `train`, every class alike.
    """
    if valid_part is not None:
        refuse(valid, "the dataset has a validation part of its own; leave data.folds out")
    check = valid.valid if isinstance(valid, Fold) else valid
    check_fractions(check, test)
    x, y = _first(train)
    whole = shown_kind(y) == "a whole number" or (isinstance(y, Tensor) and y.dim() == 0 and not y.is_floating_point())
    if hasattr(y, "getbands"):
        raise ConfigError(
            "data.name",
            "the targets are pictures, which would be read as brightness; write a function that returns Data, with a"
            " dataset whose targets are int64 of (height, width)",
        )
    indices = parts(
        len(train),
        0.0 if valid_part is not None else valid,
        0.0 if test_part is not None else test,
        seed,
        _classes_of(train) if whole else None,
    )
    sources: list[Source | None] = [None if index is None else held(train, index) for index in indices]
    for place, own in ((1, valid_part), (2, test_part)):
        if own is not None:
            sources[place] = held(own)
    report = f"{len(train):,} examples, pairs of {shown_kind(x)} and {shown_kind(y)}"
    if not all(isinstance(source, Tensors) for source in sources if source is not None):
        report += ", read as they are needed"
    names = class_names(train) if whole else ()
    one_train, one_valid, one_test = sources
    assert one_train is not None
    counted = isinstance(one_train, Tensors) or bool(names)
    task = "classification" if whole and counted else "regression"
    return Data(one_train, one_valid, one_test, task, names, notes, (report,))


def held(source: Any, index: Tensor | None = None) -> Source:
    """Return examples of a dataset in memory if they are alike and small together; else as a dataset.

    index: of those that are taken; None: all.
    """
    places = range(len(source)) if index is None else index.tolist()
    lazy: Dataset[Any] = Converted(source if index is None else Subset(source, places))
    first = lazy[0]
    if nests.nbytes(first) * len(places) > MOST:
        return lazy
    form = nests.key(first)
    whole = nests.mapped(lambda leaf: leaf.new_empty((len(places), *leaf.shape)), first)
    for place in range(len(places)):
        example = lazy[place]
        if nests.key(example) != form:  # pictures of several sizes
            return lazy
        for kept, leaf in zip(nests.leaves(whole), nests.leaves(example), strict=True):
            kept[place] = leaf
    return Tensors(*whole)


def _first(source: Any) -> tuple[Any, Any]:
    try:
        pair = source[0]
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError("data.name", f"the first example cannot be read: {labelled(error)}") from error
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise ConfigError(
            "data.name", f"an example is {nests.described(pair)}, no pair of an input and a target; write a function"
            " that returns Data"
        )  # fmt: skip
    return pair[0], pair[1]


def _classes_of(source: Any) -> Tensor | None:
    """Return the class of each example as the dataset lists them, int64; None where it does not."""
    for name in TARGETS:
        listed = getattr(source, name, None)
        if listed is not None and not callable(listed) and len(listed) == len(source):
            try:
                classes = torch.as_tensor(listed)
            except (TypeError, ValueError, RuntimeError):
                continue
            return classes.long() if classes.dim() == 1 and not classes.is_floating_point() else None
    return None
