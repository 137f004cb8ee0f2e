"""Recurrent layers that pack their input where they are given `lengths`: torch's, by their own names."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from runner.model import host
from runner.model.sequences import check_lengths


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
