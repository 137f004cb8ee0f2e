"""Layers of sequences, (N, length, features): positions, means, columns, and steps up to each example's length.

Where a layer takes `lengths`, a configuration names the earlier layer or the input that has them: one whole number for
each example. Steps from there on are padding, and do not change what comes out for the others.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from runner.model import host


class Mean(nn.Module):
    """The mean along dimensions, which go away: `Mean: 1` makes (N, features) of (N, length, features).

    dim: one dimension or several; the batch is 0, and stays.
    keepdim: keep them, each of size 1.
    lengths, of `forward`: count only so many steps of each example: `Mean: {dim: 1, lengths: lengths}`.
    """

    BESIDE = ("lengths",)

    def __init__(self, dim: int | list[int] = 1, keepdim: bool = False) -> None:
        super().__init__()
        self.dim, self.keepdim = _dims(dim), keepdim

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the mean. Raises ValueError for lengths with several dimensions, and for a mean over examples."""
        _refuse_batch(self.dim, x)
        if lengths is None:
            return x.mean(self.dim, self.keepdim)
        total = _inside(x, lengths, self.dim, 0.0).sum(self.dim, self.keepdim)
        counts = lengths.clamp(1, x.shape[self.dim[0]]).view(-1, *[1] * (total.dim() - 1))
        return total / counts


class Sum(nn.Module):
    """The sum along dimensions, which go away: `Sum: 1` makes (N, features) of (N, members, features), as of a set.

    dim, keepdim, lengths: see Mean.
    """

    BESIDE = ("lengths",)

    def __init__(self, dim: int | list[int] = 1, keepdim: bool = False) -> None:
        super().__init__()
        self.dim, self.keepdim = _dims(dim), keepdim

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the sum. Raises ValueError for lengths with several dimensions, and for a sum over examples."""
        _refuse_batch(self.dim, x)
        return (x if lengths is None else _inside(x, lengths, self.dim, 0.0)).sum(self.dim, self.keepdim)


class Max(nn.Module):
    """The largest values along dimensions, which go away: `Max: 1` makes (N, features) of (N, members, features).

    dim, keepdim, lengths: see Mean. An example of length 0 gives 0.
    """

    BESIDE = ("lengths",)

    def __init__(self, dim: int | list[int] = 1, keepdim: bool = False) -> None:
        super().__init__()
        self.dim, self.keepdim = _dims(dim), keepdim

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the maximum. Raises ValueError for lengths with several dimensions, and for one over examples."""
        _refuse_batch(self.dim, x)
        if lengths is None:
            return x.amax(self.dim, self.keepdim)
        largest = _inside(x, lengths, self.dim, -math.inf).amax(self.dim, self.keepdim)
        return largest.masked_fill(largest == -math.inf, 0)


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


class _Packed(nn.RNNBase):
    """A recurrent layer of torch's that stops at the end of each example, and gives zeros from there on.

    The state that it returns is that of each example's last step. A bidirectional one begins there on its way back.
    """

    BESIDE = ("lengths",)

    def forward(self, input: Tensor, lengths: Tensor, hx: Any = None) -> Any:
        """Return (values, state), as torch's layer does of a packed sequence. input: (N, length, features)."""
        check_lengths(input, lengths)
        if input.is_meta:  # a shape has no lengths
            return super().forward(input, hx)
        if torch.compiler.is_exporting():  # a packed sequence has sizes that depend on values
            return _step_by_step(self, input, lengths, hx)
        packed = pack_padded_sequence(input, host.tensor(lengths.reshape(-1)), batch_first=True, enforce_sorted=False)
        values, state = super().forward(packed, hx)
        return pad_packed_sequence(values, batch_first=True, total_length=input.shape[1])[0], state


def _step_by_step(rnn: nn.RNNBase, x: Tensor, lengths: Tensor, hx: Any) -> Any:
    """Return what a recurrent layer gives of a packed sequence, in sizes that no value decides.

    A step behind an example's length leaves its state as it was. In evaluation: there is no dropout between layers.
    Raises ValueError for proj_size, which torch's cells have not.
    """
    if rnn.proj_size:
        raise ValueError("an LSTM with proj_size and lengths cannot be exported")
    cells = {"RNN_TANH": torch.rnn_tanh_cell, "RNN_RELU": torch.rnn_relu_cell, "GRU": torch.gru_cell}
    cell, directions = cells.get(rnn.mode), 1 + rnn.bidirectional
    inside = [lengths.reshape(-1, 1) > place for place in range(x.shape[1])]
    given = None if hx is None else torch.stack(hx) if rnn.mode == "LSTM" else hx.unsqueeze(0)
    ends = []
    for layer in range(rnn.num_layers):
        sides = []
        for direction in range(directions):
            index, order = layer * directions + direction, -1 if direction else 1
            weights = rnn.all_weights[index]
            state = x.new_zeros(1 + (cell is None), x.shape[0], rnn.hidden_size) if given is None else given[:, index]
            steps = []
            for place in range(x.shape[1])[::order]:
                if cell is None:
                    after = torch.stack(torch.lstm_cell(x[:, place], tuple(state), *weights))
                else:
                    after = cell(x[:, place], state[0], *weights).unsqueeze(0)
                state = torch.where(inside[place], after, state)
                steps.append(torch.where(inside[place], after[0], 0.0))
            sides.append(torch.stack(steps[::order], 1))
            ends.append(state)
        x = torch.cat(sides, 2)
    final = torch.stack(ends, 1)
    return x, (final[0], final[1]) if cell is None else final[0]


class RNN(_Packed, nn.RNN):  # type: ignore[misc]
    """torch's RNN with `lengths`."""


class GRU(_Packed, nn.GRU):  # type: ignore[misc]
    """torch's GRU with `lengths`."""


class LSTM(_Packed, nn.LSTM):  # type: ignore[misc]
    """torch's LSTM with `lengths`."""


#: Layers of torch's, and those that stand for them where `lengths` are given.
WITH_LENGTHS: dict[Any, Any] = {nn.RNN: RNN, nn.GRU: GRU, nn.LSTM: LSTM}


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
    return x.masked_fill(padding.view(len(x), *(x.shape[d] if d == place else 1 for d in range(1, x.dim()))), value)


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
