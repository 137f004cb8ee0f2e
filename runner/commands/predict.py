"""The command `predict`: outputs of a recorded run's model for a table, an array or a folder of images."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.commands import _outputs, _words
from runner.commands._result import Result
from runner.settings.errors import ConfigError, full_message
from runner.settings.files import filenames
from runner.settings.trust import terminal

if TYPE_CHECKING:
    from torch import Tensor, nn

    from runner.data import Nest
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
) -> Result | int:
    """Write the model's output for each example in `inputs` to `output`.

    inputs: of the kind that the run was trained on: a .csv or .parquet file with its columns (and any others), a folder
        of images, or an .npy or .npz file.
    output: an .npy file gets the model's outputs unchanged; a .csv file gets a line for each example with its row or
        file, and the class and each class's probability, or the predicted numbers.
    overwrite: true replaces an existing file.
    raw: false for inputs that are standardized already.
    code: current or recorded, for the user's own layers.
    """
    place = _outputs.place(output, (".npy", ".npz", ".csv"), _words.truth("overwrite", overwrite))
    import torch

    from runner.data import _inputs, nests
    from runner.tracking.read import load, recall
    from runner.training.state.checkpoint import CheckpointError

    run_id = recall.find_run(uri, run)
    data = recall.data(uri, run_id)
    if place.exists() and filenames.exists(filenames.path(inputs)) and place.samefile(filenames.path(inputs)):
        raise ConfigError("output", f"{output!r} is the file of inputs too; name another file")
    examples = _inputs.read(inputs, data)
    try:
        model = load.load(run_id, uri, checkpoint, _words.truth("raw", raw), code=code)
    except CheckpointError as error:
        terminal.say(full_message(error))
        return 1
    outputs = _outputs_of(model, examples.batches)
    with _outputs.whole(place) as beside:
        if place.suffix == ".npz":
            _write_arrays(beside, outputs)
        elif not isinstance(outputs, torch.Tensor):
            names = ", ".join(name for name, _ in nests.named(outputs))
            raise ConfigError("output", f"the model gives several outputs, {names}; write an .npz file, which has each")
        elif place.suffix == ".npy":
            _write_array(beside, outputs)
        else:
            _write_table(beside, examples, model, recall.settings(uri, run_id).loss, outputs, data)
    shapes = ", ".join(f"{name} {tuple(one.shape)}".strip() for name, one in nests.named(outputs))
    model_of = f"the {checkpoint} model of run {run_id}"
    plain = {"run": run_id, "checkpoint": checkpoint, "output": str(place), "examples": len(examples.names)}
    plain |= {"shapes": {name or "output": list(one.shape) for name, one in nests.named(outputs)}}
    return Result(plain, lambda: _show(examples, output, shapes, model_of, data))


def _outputs_of(model: "nn.Module", batches: Iterable["Nest"]) -> "Nest":
    import torch

    from runner.data import nests
    from runner.tracking.read.load import Standardize
    from runner.training.checking import rows

    first = next(model.children(), None)
    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    with torch.no_grad(), rows.checked(model, "inputs"):
        parts = []
        for part in batches:
            if not isinstance(first, Standardize):
                part = nests.mapped(lambda one: one.to(dtype) if one.is_floating_point() else one, part)
            parts.append(model(part))
    return nests.concatenated(parts)


def _write_array(place: Path, outputs: "Tensor") -> None:
    import numpy as np

    with place.open("wb") as file:
        np.save(file, outputs.numpy(), allow_pickle=False)


def _write_arrays(place: Path, outputs: "Nest") -> None:
    import numpy as np

    from runner.data import nests

    with place.open("wb") as file:
        arrays: dict[str, Any] = {name or "output": one.numpy() for name, one in nests.named(outputs)}
        np.savez(file, **arrays)


def _write_table(
    place: Path, examples: "Inputs", model: "nn.Module", loss: "Component", outputs: "Tensor", data: dict[str, Any]
) -> None:
    from runner.model import predicted
    from runner.training.parts import losses

    predictions = predicted.columns(model, losses.build(loss), outputs, data)
    columns = {examples.heading: examples.names, **predictions}
    with place.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(columns)
        lines.writerows(zip(*columns.values(), strict=True))


def _show(examples: "Inputs", output: str, shape: str, model: str, data: dict[str, Any]) -> None:
    count = f"{len(examples.names):,} example{'s' * (len(examples.names) != 1)}"
    terminal.put(f"{output}: {shape}, the outputs of {model} for {count}")
    if examples.remarks:
        terminal.put(examples.remarks)
    terminal.put(*_outputs.classes(data))
