"""The outputs of a recorded run's model for a table, an array or a folder of images."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.commands import _outputs, _words
from runner.settings.errors import ConfigError, told
from runner.settings.files import filenames
from runner.settings.trust import terminal

if TYPE_CHECKING:
    from torch import Tensor, nn

    from runner.data._inputs import Inputs
    from runner.settings import Component


def with_run(
    uri: str,
    run: str,
    *,
    inputs: str,
    output: str,
    checkpoint: str = "best",
    raw: str = "true",
    overwrite: str = "false",
    code: str = "current",
) -> int:
    """Write the model's output for every example in `inputs` to `output`, which must not exist yet.

    inputs: what the run was trained on: a .csv or .parquet file with its columns (and any others), a folder of images,
        or an .npy or .npz file.
    output: an .npy file gets the model's outputs as they are; a .csv file a line for each example, with its row or
        file, the class and each class's probability, or the predicted numbers.
    raw: false for inputs that are standardized already. code: current or recorded; see `runner.load`.
    """
    place = _outputs.place(output, (".npy", ".csv"), _words.truth("overwrite", overwrite))
    from runner.data import _inputs
    from runner.tracking.read import load, recall
    from runner.training.state.checkpoint import CheckpointError

    run_id = recall.find_run(uri, run)
    noted = recall.data(uri, run_id)
    if place.exists() and filenames.exists(filenames.path(inputs)) and place.samefile(filenames.path(inputs)):
        raise ConfigError("output", f"{output!r} is what inputs names; name another file")
    given = _inputs.read(inputs, noted)
    try:
        model = load.load(run_id, uri, checkpoint, _words.truth("raw", raw), code=code)
    except CheckpointError as error:
        terminal.say(told(error))
        return 1
    found = _through(model, given.batches)
    with _outputs.whole(place) as beside:
        if place.suffix == ".npy":
            _write_array(beside, found)
        else:
            _write_table(beside, given, model, recall.settings(uri, run_id).loss, found, noted)
    _show(given, output, tuple(found.shape), f"the {checkpoint} model of run {run_id}", noted["classes"])
    return 0


def _through(model: "nn.Module", batches: Iterable["Tensor"]) -> "Tensor":
    import torch

    from runner.tracking.read.load import Standardize

    first = next(model.children(), None)
    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    with torch.no_grad():
        parts = []
        for part in batches:
            if part.is_floating_point() and not isinstance(first, Standardize):
                part = part.to(dtype)
            parts.append(model(part))
    return torch.cat(parts)


def _write_array(place: Path, found: "Tensor") -> None:
    import numpy as np

    with place.open("wb") as file:
        np.save(file, found.numpy(), allow_pickle=False)


def _write_table(
    place: Path, given: "Inputs", model: "nn.Module", loss: "Component", found: "Tensor", noted: dict[str, Any]
) -> None:
    from runner.model import predicted
    from runner.training.parts import losses

    said = predicted.columns(model, losses.build(loss), found, noted)
    columns = {given.heading: given.names, **said}
    with place.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(columns)
        lines.writerows(zip(*columns.values(), strict=True))


def _show(given: "Inputs", output: str, shape: tuple[int, ...], model: str, classes: list[str]) -> None:
    many = f"{len(given.names):,} example{'s' * (len(given.names) != 1)}"
    terminal.put(f"{output}: {shape}, the outputs of {model} for {many}")
    if given.remarks:
        terminal.put(given.remarks)
    if classes:
        terminal.put(f"classes: {', '.join(classes)}")
