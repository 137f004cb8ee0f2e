"""Layers that cannot take their input, with the sizes and the formula, checked before torch does."""

from collections.abc import Iterator
from math import prod
from typing import Any

from torch import nn

from runner.model.explain import arguments, rules
from runner.model.explain.kinds import conv, norm, pool, transposed
from runner.model.explain.parts import Index
from runner.model.explain.spans import LETTERS, Span, per_dimension

CHANNELS = ("in_channels", "num_features", "num_channels")
#: Layers that mix an input's channels, and would mix examples where they stand for channels.
MIXING = (*conv.KINDS, *transposed.KINDS, *norm.INSTANCE)


def impossible(layer: nn.Module, shape: Index) -> str | None:
    """Return why the layer cannot take an input of this shape (the batch included); None where it can."""
    name = type(layer).__name__
    return next((f"{name}: {problem}" for problem in _problems(layer, tuple(shape))), None)


def _problems(layer: Any, shape: Index) -> Iterator[str]:
    family = rules.family(layer)
    if family is None:
        return
    yield from arguments.unfit(rules.kind(layer), vars(layer))
    yield from _dimensions(layer, family.KINDS[rules.kind(layer)], shape)
    if rules.kind(layer) in pool.KINDS and len(shape) == family.KINDS[rules.kind(layer)][0] - 1:
        shape = (shape[0], 1, *shape[1:])  # torch takes the batch for channels, and pooling does not mind
    if not rules.takes(layer, len(shape)):
        return
    yield from _channels(layer, shape)
    if rules.kind(layer) in pool.KINDS:
        yield from _pool_padding(layer, len(shape) - 2)
        yield from _spans(pool.spans(layer, shape))
    if rules.kind(layer) is nn.AvgPool3d:
        yield from _average_3d(layer, shape)
    if rules.kind(layer) in conv.KINDS:
        yield from _wrapped_padding(layer, shape)
        yield from _spans(conv.spans(layer, shape))
    if rules.kind(layer) in (*norm.BATCH, *norm.INSTANCE, nn.GroupNorm):
        yield from _one_number(layer, shape)
    if rules.kind(layer) in transposed.KINDS:
        yield from _transposed(layer, shape)


def _dimensions(layer: Any, allowed: tuple[int, ...], shape: Index) -> Iterator[str]:
    without_batch = allowed and len(shape) == allowed[0] - 1
    if not allowed or len(shape) in allowed or (without_batch and rules.kind(layer) not in MIXING):
        return
    shapes = " or ".join(_letters(dims) for dims in allowed)
    remedy = ""
    if without_batch:  # which torch reads as a single example: the batch would be mixed
        sizes = ", ".join(map(str, (1, *shape[1:2])))
        remedy = f"; to have one channel, put Unflatten: {{dim: 1, unflattened_size: [{sizes}]}} before it"
    yield f"takes inputs of shape {shapes}, found {len(shape)} dimensions: {shape}{remedy}"


def _letters(dims: int) -> str:
    return f"({', '.join(['N', 'C', *LETTERS.get(dims - 2, '')])})"


def _channels(layer: Any, shape: Index) -> Iterator[str]:
    for name in CHANNELS:
        channels = getattr(layer, name, None)
        if channels is None or (layer.weight is None and getattr(layer, "running_mean", None) is None):
            continue
        if shape[1] != channels:
            rule = f"{name} = C of {_letters(len(shape))}"
            yield f"{name} = {channels}, and the input {shape} has {shape[1]} channels: {rule}"
    slopes = getattr(layer, "num_parameters", 1)
    if slopes > 1 and shape[1:2] != (slopes,):
        yield f"num_parameters = {slopes}, and the input {shape} has another size of dimension 1; it may be that, or 1"
    if hasattr(layer, "in_features") and shape[-1] != layer.in_features:
        yield f"in_features = {layer.in_features}, and the last dimension of the input {shape} is {shape[-1]}"
    if isinstance(layer, nn.GLU) and -len(shape) <= layer.dim < len(shape) and shape[layer.dim] % 2:
        yield f"dimension {layer.dim} of the input {shape} is halved, and {shape[layer.dim]} is not even"
    normalized = tuple(getattr(layer, "normalized_shape", ()))
    if normalized and shape[-len(normalized) :] != normalized:
        yield f"normalized_shape = {normalized}, and the input {shape} ends in {shape[-len(normalized) :]}"


def _pool_padding(layer: Any, dims: int) -> Iterator[str]:
    dilation = per_dimension(getattr(layer, "dilation", 1), dims)
    for letter, kernel, padding, d in zip(
        LETTERS[dims], per_dimension(layer.kernel_size, dims), per_dimension(layer.padding, dims), dilation, strict=True
    ):
        reach = d * (kernel - 1) + 1
        if padding > reach // 2:
            covers = f"{d}*({kernel} - 1) + 1 = {reach}" if d > 1 else str(kernel)
            yield (
                f"padding along {letter} is {padding}, more than half of the kernel:"
                f" it may be floor({covers}/2) = {reach // 2} at most"
            )


def _wrapped_padding(layer: Any, shape: Index) -> Iterator[str]:
    """Yield what is wrong with padding made from the input itself, which cannot be wider than the input."""
    spare = {"reflect": 1, "circular": 0}.get(layer.padding_mode)
    if spare is None:
        return
    for letter, size, around in zip(LETTERS[len(shape) - 2], shape[2:], conv.padding(layer), strict=True):
        if max(around) > size - spare:
            limit = f"with size {size} it may be {size - spare} at most"
            yield f"{layer.padding_mode} padding along {letter} is {max(around)}; {limit}"


def _spans(spans: list[Span]) -> Iterator[str]:
    for letter, span in zip(LETTERS[len(spans)], spans, strict=True):
        if span.out < 1:
            padded = span.size + sum(span.padding)
            covers = f"it covers {span.dilation}*({span.kernel} - 1) + 1 = {span.reach}, the padded input has {padded}"
            yield f"the kernel does not fit along {letter}: {covers}; size out = {span.text}"


def _average_3d(layer: Any, shape: Index) -> Iterator[str]:
    """Yield what torch refuses for this one pooling: a kernel larger than the input, whatever the padding."""
    for letter, kernel, size in zip(LETTERS[3], per_dimension(layer.kernel_size, 3), shape[2:], strict=True):
        if kernel > size:
            yield f"the kernel along {letter} is {kernel}, the input has {size}; torch does not count the padding here"


def _one_number(layer: Any, shape: Index) -> Iterator[str]:
    """Yield what is wrong with one number per channel: without running statistics it has no variance."""
    if getattr(layer, "running_mean", None) is not None:
        return
    if rules.kind(layer) is nn.GroupNorm:
        together: Index = (shape[0], shape[1] // layer.num_groups)
    else:
        together = () if rules.kind(layer) in norm.INSTANCE else shape[:1]
    if prod((*together, *shape[2:])) == 1:
        yield f"the input {shape} has one number per channel; mean and variance need at least two"


def _transposed(layer: Any, shape: Index) -> Iterator[str]:
    predicted = transposed.shape(layer, shape)
    names = LETTERS[len(shape) - 2]
    for letter, extra, stride, dilation in zip(names, layer.output_padding, layer.stride, layer.dilation, strict=True):
        if extra >= max(stride, dilation):
            yield f"output_padding along {letter} is {extra}; it must be below stride {stride} or dilation {dilation}"
    for size, line in zip(predicted.shape[2:], predicted.lines[2:], strict=True):
        if size < 1:
            yield f"nothing is left of the output along {line}"
