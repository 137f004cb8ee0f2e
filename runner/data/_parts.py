"""The division into training, validation and test parts by `data.valid` and `data.test`."""

from typing import Any

from torch import Tensor

from runner.data import Tensors, split
from runner.data._folds import Fold, refuse
from runner.data._mapped import Mapped
from runner.settings.errors import ConfigError

Indices = tuple[Tensor, Tensor | None, Tensor | None]


def parts(total: int, valid: float | Fold, test: float, seed: int, strata: Tensor | None = None) -> Indices:
    """Return the examples' indices in the three parts; None for an empty validation or test part.

    valid, test: fractions of the `total` examples, or a fold that is the validation part. seed: of the draw.
    strata: a class per example, int64 of shape (total,), to be split alike; None: at random.
    Raises ConfigError when a fraction is outside [0, 1) or nothing is left to train on.
    """
    if isinstance(valid, Fold):
        check_fractions(valid.valid, test)
        return valid.parts(total, test, seed, strata)
    check_fractions(valid, test)
    if not total:
        raise ConfigError("data", "the data has no examples; expected at least one to train on")
    train, *held_out = split(total, valid, test, seed, strata)
    if not len(train):
        raise ConfigError(
            "data.valid",
            f"valid={valid:g} and test={test:g} of {total} example{'s' * (total > 1)} leave none to train on;"
            " give smaller fractions or more data",
        )
    valid_index, test_index = (index if len(index) else None for index in held_out)
    return train, valid_index, test_index


def divide(examples: Any, indices: Indices) -> tuple[Any, Any, Any]:
    """Return the examples of each part; None for a part without indices. Inputs on the meta device stay there."""
    train, *held_out = indices
    valid, test = (None if index is None else _take(examples, index) for index in held_out)
    return _take(examples, train), valid, test


def _take(examples: Any, index: Tensor) -> Any:
    if isinstance(examples, Mapped):
        return examples.at(index)
    if isinstance(examples.x, Tensor) and examples.x.is_meta:
        return Tensors(examples.x.new_empty((len(index), *examples.x.shape[1:])), examples.y[index])
    return Tensors(*examples[index])


def check_fractions(valid: Any, test: float) -> None:
    """Raise ConfigError for fractions outside of [0, 1), and for those that leave nothing to train on."""
    refuse(valid, "a fold would be trained on what comes after it; leave data.folds out")
    for key, fraction in (("data.valid", valid), ("data.test", test)):
        if not 0 <= fraction < 1:
            raise ConfigError(key, f"{fraction:g} is not a fraction; expected 0 (none) up to below 1, e.g. {key}=0.15")
    if valid + test >= 1:
        raise ConfigError(
            "data.valid",
            f"valid={valid:g} and test={test:g} leave nothing to train on; expected their sum below 1,"
            " e.g. data.valid=0.15 data.test=0.15",
        )
