"""Rows of a table in the order of time, and windows of them."""

import numpy as np
import torch
from torch import Tensor

from runner.data._tables import Frame
from runner.data._tables.missing import refuse_missing
from runner.data._tables.names import has_name, listed, need
from runner.data._tables.selection import Name
from runner.data._tables.split import order
from runner.settings.errors import ConfigError


def sort_by_time(frame: Frame, time: Name | None, key: str = "data.time") -> Frame:
    """Return the rows sorted by a column of numbers or dates; None: as they are.

    Raises ConfigError for a column that is missing, or has no order, or the same time twice.
    """
    if time is None:
        return frame
    name = str(time)
    need(frame, [name], key)
    refuse_missing(frame, [name], key)
    ranks = order(frame[name], name, key)
    if len(np.unique(ranks)) < len(ranks):
        first = int(np.flatnonzero(np.bincount(ranks) > 1)[0])
        row = int(np.flatnonzero(ranks == first)[1])
        raise ConfigError(
            key,
            f"column {name!r} has the same time twice, in row {row} {frame[name].iloc[row]!r}; expected one row"
            " for each time: keep one of several series in the file",
        )
    attributes = frame.attrs
    frame = frame.iloc[np.argsort(ranks)].reset_index(drop=True)
    frame.attrs = attributes
    return frame


def series_columns(
    frame: Frame, targets: list[str], features: list[Name] | None, leave_out: list[Name] | None, time: Name | None
) -> list[str]:
    """Return the names of the columns to predict from, among them the targets, whose past is known.

    The arguments are those of `series`. Raises ConfigError for names that are no columns or contradict each other.
    """
    left_out = {str(name) for name in leave_out or []}
    need(frame, sorted(left_out), "data.leave_out")
    if features is not None and left_out:
        raise ConfigError(
            "data.leave_out", "stands beside data.features, which names all columns to use; give one of them"
        )
    if time is not None and str(time) in targets:
        raise ConfigError("data.time", f"names the target {str(time)!r}; expected another column")
    if features is not None:
        names = [str(name) for name in features]
        need(frame, names, "data.features")
        if len(set(names)) < len(names):
            raise ConfigError("data.features", f"names a column twice: {listed(names)}")
    else:
        empty = set(frame.columns[frame.isna().to_numpy().all(axis=0)])
        unused = {*left_out, *empty, *([str(time)] if time is not None else [])}
        names = [name for name in frame.columns if name not in unused and has_name(name)]
    if not names:
        raise ConfigError(
            "data.features", f"there is nothing to predict {listed(targets)} from; expected at least one column"
        )
    return names


def inputs(rows: Tensor, window: int, step: int = 1) -> Tensor:
    """Return windows of rows: of (rows, columns), (N, window, columns); the last ends with the last row or before."""
    count = (len(rows) - window) // step + 1
    return rows[torch.arange(count).unsqueeze(1) * step + torch.arange(window)]
