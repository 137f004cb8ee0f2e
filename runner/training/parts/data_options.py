"""The keys of `data` that hold for any source and are not arguments of it."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runner.settings.values import lookup


@dataclass(frozen=True)
class DataOptions:
    """Values of the keys of `data` that this package itself takes; a field's name is the key."""

    folds: Any = None  # so many parts of what is not for the test, each of which validates in one run; null: none
    fold: Any = None  # which of them validates in this run, from 0; a sweep: data.fold=range(5)
    augment: Any = None  # transforms of the training examples, drawn anew for each in every epoch; null: none
    mixup: Any = None  # alpha: two examples are mixed in a share drawn from Beta(alpha, alpha); null: not at all
    cutmix: Any = None  # alpha: a box of another example is put into each, of a size drawn likewise; null: not at all
    augment_target: Any = None  # mask | boxes | nothing, or by name: what moves along; null: classes of places do
    collate: Any = (
        None  # what makes a batch of examples of unequal length: pad, or a function of one's own; null: torch
    )
    sample: Any = None  # balanced: examples are drawn with replacement, every class as often; null: each once an epoch


#: The keys.
NAMES = tuple(field.name for field in dataclasses.fields(DataOptions))


def split(source: Callable[..., Any], arguments: dict[str, Any]) -> tuple[dict[str, Any], DataOptions]:
    """Return the arguments of a data source, and the options beside them.

    A source with a parameter of an option's own name keeps it; **kwargs gets none of them.
    """
    ours = names(source)
    rest = {name: value for name, value in arguments.items() if name not in ours}
    return rest, DataOptions(**{name: value for name, value in arguments.items() if name in ours})


def names(source: Callable[..., Any]) -> list[str]:
    """Return the options that can stand beside the arguments of a source."""
    return [name for name in NAMES if name not in lookup.parameters(source)]
