"""Arguments that no layer can have, whatever its input."""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from runner.model.explain import rules
from runner.model.explain.spans import LETTERS, per_dimension

#: One number for all dimensions of the window, or one for each: the smallest that makes sense.
PER_DIMENSION = {
    "kernel_size": 1,
    "stride": 1,
    "dilation": 1,
    "padding": 0,
    "output_padding": 0,
    "output_size": 1,
}
#: One number, which is at least 1.
COUNTS = ("in_channels", "out_channels", "groups", "num_channels", "num_groups", "num_features", "out_features")
PAIRS = (
    ("in_channels", "groups"),
    ("out_channels", "groups"),
    ("num_channels", "num_groups"),
    ("d_model", "nhead"),
    ("embed_dim", "num_heads"),
)


def impossible_arguments(target: Any, arguments: Mapping[str, Any]) -> str | None:
    """Return why a layer of this class cannot have these arguments; None where it can."""
    # To a person's own layer 0 may mean something.
    counts = _counts(arguments) if target.__module__.startswith("torch.nn.") else ()
    problems = chain(counts, unfit(target, arguments), _pairs(arguments), _same(arguments))
    return next((f"{target.__name__}: {problem}" for problem in problems), None)


def unfit(target: Any, arguments: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the sizes of a window: their number, and those that are too small."""
    dims = rules.window_dimensions(target)
    for name, least in PER_DIMENSION.items() if dims else ():
        value = arguments.get(name)
        if value is None or isinstance(value, str):
            continue
        numbers = per_dimension(value, dims)
        if len(numbers) != dims:
            expected = f"expected {dims} ({', '.join(LETTERS[dims])}), or a single number"
            yield f"{name} = {_words(value)} is of length {len(numbers)}; {expected}"
        for number in numbers:
            empty = number is None and name == "output_size"
            if not empty and (type(number) is not int or number < least):
                yield f"{name} = {_words(value)}: expected whole numbers of at least {least}"


def _counts(arguments: Mapping[str, Any]) -> Iterator[str]:
    for name in COUNTS:
        value = arguments.get(name, 1)
        if type(value) is int and value < 1:
            yield f"{name} = {value}; at least 1 is needed"


def _pairs(arguments: Mapping[str, Any]) -> Iterator[str]:
    for whole, part in PAIRS:
        size, parts = arguments.get(whole), arguments.get(part)
        if isinstance(size, int) and isinstance(parts, int) and parts and size % parts:
            rest = f"{size} = {size // parts}*{parts} + {size % parts}"
            yield f"{whole} = {size} is not divisible by {part} = {parts} ({rest})"


def _same(arguments: Mapping[str, Any]) -> Iterator[str]:
    strides = per_dimension(arguments.get("stride", 1), 1)
    if arguments.get("padding") == "same" and any(s != 1 for s in strides):
        yield f"padding 'same' keeps the size, which needs stride 1; found stride {', '.join(map(str, strides))}"


def _words(value: Any) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple | list) else str(value)
