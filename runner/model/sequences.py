"""Layers of sequences, (N, length, features): positions, means, columns, and steps up to each example's length.

Where a layer takes `lengths`, a configuration names the earlier layer or the input that has them: one whole number for
each example. Steps from there on are padding, and do not change what comes out for the others.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn


class _Along(nn.Module):
    """A layer that makes one number of those along dimensions."""

    BESIDE = ("lengths",)

    def __init__(self, dim: int | list[int] = 1, keepdim: bool = False) -> None:
        super().__init__()
        self.dim, self.keepdim = _dims(dim), keepdim


class Mean(_Along):
    """The mean along dimensions, which go away: `Mean: 1` makes (N, features) of (N, length, features).

    dim: one dimension or several; the batch is 0, and stays.
    keepdim: keep them, each of size 1.
    lengths, of `forward`: count only so many steps of each example: `Mean: {dim: 1, lengths: lengths}`.
    """

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the mean. Raises ValueError for lengths with several dimensions, and for a mean over examples."""
        _refuse_batch(self.dim, x)
        if lengths is None:
            return x.mean(self.dim, self.keepdim)
        total = _inside(x, lengths, self.dim, 0.0).sum(self.dim, self.keepdim)
        counts = lengths.clamp(1, x.shape[self.dim[0]]).view(-1, *[1] * (total.dim() - 1))
        return total / counts


class Sum(_Along):
    """The sum along dimensions, which go away: `Sum: 1` makes (N, features) of (N, members, features), as of a set.

    dim, keepdim, lengths: see Mean. After `Multiply: [user, item]`, `Sum: {dim: 1, keepdim: true}` is the dot product
    of two embeddings, (N, 1).
    """

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the sum. Raises ValueError for lengths with several dimensions, and for a sum over examples."""
        _refuse_batch(self.dim, x)
        return (x if lengths is None else _inside(x, lengths, self.dim, 0.0)).sum(self.dim, self.keepdim)


class Max(_Along):
    """The largest values along dimensions, which go away: `Max: 1` makes (N, features) of (N, members, features).

    dim, keepdim, lengths: see Mean. An example of length 0 gives 0.
    """

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the maximum. Raises ValueError for lengths with several dimensions, and for one over examples."""
        _refuse_batch(self.dim, x)
        if lengths is None:
            return x.amax(self.dim, self.keepdim)
        largest = _inside(x, lengths, self.dim, -math.inf).amax(self.dim, self.keepdim)
        return largest.masked_fill(largest == -math.inf, 0)


class RepeatVector(nn.Module):
    """An example's features at each of n steps, as Keras' layer of this name: (N, features) becomes (N, n, features).

    n: steps. It stands before a decoder that is given a whole sequence as one vector.
    """

    def __init__(self, n: int) -> None:
        super().__init__()
        if n < 1:
            raise ValueError(f"n={n} is no number of steps")
        self.n = n

    def forward(self, x: Tensor) -> Tensor:
        """Return the steps. Raises ValueError for an input that has steps already."""
        if x.dim() != 2:
            raise ValueError("expected (N, features), one vector for each example")
        return x.unsqueeze(1).repeat(1, self.n, 1)


class TimeDistributed(nn.Module):
    """Layers that take each step by itself, as Keras' of this name: (N, length, ...) becomes (N, length, ...).

    Batch norm in them counts the steps of all examples.

        - TimeDistributed: [{Conv2d: {out_channels: 8, kernel_size: 3}}, ReLU, Flatten, {Linear: 16}]
    """

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    @staticmethod
    def inside(x: Tensor) -> Tensor:
        """Return what the layers take: all examples' steps, (N * length, ...). Raises ValueError for no steps."""
        if not isinstance(x, Tensor) or x.dim() < 3:
            raise ValueError("expected (N, length, features) or (N, length, channels, H, W), such as frames of a video")
        return x.flatten(0, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the layers give for each step. Raises ValueError for an input without steps."""
        y: Tensor = self.layers(self.inside(x))
        return y.reshape(-1, x.shape[1], *y.shape[1:])


class CausalConv1d(nn.Conv1d):
    """A Conv1d that looks back only: (N, channels, length) keeps its length, and no step sees a later one.

    Its arguments are those of Conv1d without padding: (kernel_size - 1) * dilation zeros stand before the first step.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, 0, dilation, groups, bias)

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution."""
        before = (self.kernel_size[0] - 1) * self.dilation[0]
        return super().forward(nn.functional.pad(input, (before, 0)))


class First(nn.Module):
    """The first step of a sequence: (N, length, features) becomes (N, features). It is that of a class token."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the first step, of shape (N, features)."""
        return x[:, 0]


class Columns(nn.Module):
    """Columns of the last dimension: `Columns: [0, 3]` makes (N, 2) of (N, features), `Columns: 0` makes (N,).

    columns: their numbers, from 0; negative ones count from the end.
    indices: return whole numbers, as Embedding takes them.

        year: {Columns: {columns: 3, indices: true, from: input}}
        embedded: {Embedding: {num_embeddings: 12, embedding_dim: 4}}
    """

    def __init__(self, columns: int | list[int], indices: bool = False) -> None:
        super().__init__()
        self.columns, self.indices = columns, indices

    def forward(self, x: Tensor) -> Tensor:
        """Return the columns. Raises ValueError for one that the input has not."""
        size = x.shape[-1]
        for column in self.columns if isinstance(self.columns, Sequence) else [self.columns]:
            if not -size <= column < size:
                raise ValueError(f"there is no column {column}: they are 0 to {size - 1}")
        picked = x[..., self.columns]
        return picked.long() if self.indices else picked


class Positions(nn.Module):
    """The place of each step, added to its features: (N, length, features) keeps its shape.

    kind: "learned": a vector for each place, drawn as nn.Embedding draws its own; "sinusoidal": feature 2i at place p
        is sin(p / 10000^(2i / features)), and feature 2i + 1 the cosine of the same.
        Source: Vaswani et al. 2017, "Attention is all you need", section 3.5.
    length, d_model: the most steps, and the features; of the input where they are left out.
    dropout: share of the sums' numbers that are zero in training.
    """

    def __init__(
        self, kind: Literal["learned", "sinusoidal"] = "learned", *, length: int, d_model: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.length = length
        if kind == "learned":
            self.weight = nn.Parameter(torch.empty(length, d_model))
            nn.init.normal_(self.weight)
        else:
            self.register_buffer("weight", _sinusoidal(length, d_model), persistent=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sums. Raises ValueError for more steps than there are places, and without three dimensions."""
        if x.dim() != 3:
            raise ValueError("expected (N, length, features)")
        if x.shape[1] > self.length:
            raise ValueError(f"the input has {x.shape[1]} steps, and there are {self.length} places")
        y: Tensor = self.dropout(x + self.weight[: x.shape[1]])
        return y


class ClassToken(nn.Module):
    """A learned vector put before all steps: (N, length, features) becomes (N, length + 1, features).

    What attention has gathered there is read with `First`. The vector is drawn from N(0, 0.02^2).
    Source: Dosovitskiy et al. 2021, "An image is worth 16x16 words".
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(d_model))
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sequence behind the vector."""
        if x.dim() != 3:
            raise ValueError("expected (N, length, features)")
        return torch.cat([self.weight.expand(x.shape[0], 1, -1), x], 1)


class Lengths(nn.Module):
    """The length of each example of a batch of tokens, (N, length), that are padded at their end: shape (N,).

    padding: the token that fills up. A length is the place of the last other token, and at least 1.

        lengths: {Lengths: {padding: 0}}
        embedded: {Embedding: {num_embeddings: 50, embedding_dim: 16, from: input}}
        read: {GRU: {hidden_size: 32, lengths: lengths}}
    """

    def __init__(self, padding: int = 0) -> None:
        super().__init__()
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        """Return the lengths, int64. Raises ValueError for other inputs than tokens."""
        if x.dim() != 2 or x.is_floating_point():
            raise ValueError("expected tokens, whole numbers of shape (N, length)")
        places = torch.arange(1, x.shape[1] + 1, device=x.device)
        return ((x != self.padding) * places).amax(1).clamp(min=1)


def beyond(x: Tensor, lengths: Tensor, dim: int = 1) -> Tensor:
    """Return which steps along `dim` are padding, as torch's `key_padding_mask`: bool of shape (N, steps)."""
    check_lengths(x, lengths)
    return torch.arange(x.shape[dim], device=x.device) >= lengths.reshape(-1, 1)


def _dims(dim: int | list[int]) -> tuple[int, ...]:
    dims = tuple(dim) if isinstance(dim, Sequence) else (dim,)
    if not dims or 0 in dims:
        raise ValueError(f"dim={dim} must name dimensions after the batch, which is 0")
    return dims


def _refuse_batch(dims: tuple[int, ...], x: Tensor) -> None:
    if any(d + x.dim() == 0 for d in dims):
        raise ValueError(f"dim={list(dims)} counts the batch of an input with {x.dim()} dimensions")


def _inside(x: Tensor, lengths: Tensor, dims: tuple[int, ...], value: float) -> Tensor:
    """Return x with `value` in the steps that are padding."""
    if len(dims) > 1:
        raise ValueError(f"lengths are of one dimension, and dim has {len(dims)}")
    padding = beyond(x, lengths, dims[0])
    place = dims[0] % x.dim()
    return x.masked_fill(padding.view(x.shape[0], *(x.shape[d] if d == place else 1 for d in range(1, x.dim()))), value)


def check_lengths(x: Tensor, lengths: Tensor) -> None:
    """Raise ValueError if there is not one number for each example."""
    if lengths.numel() != x.shape[0]:
        shape = ", ".join(map(str, ("N", *lengths.shape[1:])))
        raise ValueError(f"lengths have the shape ({shape}); expected one whole number for each example, (N,)")


def _sinusoidal(length: int, features: int) -> Tensor:
    """Return the table of `Positions`, of shape (length, features)."""
    rates = torch.exp(torch.arange(0, features, 2) * (-math.log(10000.0) / features))
    angles = torch.arange(length).unsqueeze(1) * rates
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)[:, :features].contiguous()
