"""The outputs of a recorded run's model for the inputs in an .npy file."""

import sys
from typing import TYPE_CHECKING, Any

from runner import outputs, words
from runner.lookup import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

#: Examples that go through the model at once.
BATCH = 1024


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

    raw: false for inputs that are standardized already. code: current or recorded; see runner.ready.load.
    """
    place = outputs.place(output, ".npy", words.truth("overwrite", overwrite))
    import numpy as np

    from runner import ready, recall
    from runner.checkpoint import CheckpointError
    from runner.data._files import file as existing
    from runner.data._numpy import read_npy

    given = read_npy(existing(inputs, "inputs", "an .npy file with one input per example", "x.npy"), "inputs")
    run_id = recall.find_run(uri, run)
    data = recall.data(uri, run_id)
    x = _fitting(given, inputs, ready.example(data))
    try:
        model = ready.load(run_id, uri, checkpoint, words.truth("raw", raw), code=code)
    except CheckpointError as error:
        print(error, file=sys.stderr)
        return 1
    found = _through(model, x)
    with outputs.whole(place) as beside, beside.open("wb") as file:
        np.save(file, found, allow_pickle=False)
    print(f"{output}: {found.shape}, the outputs of the {checkpoint} model of run {run_id} for {len(x):,} examples")
    if data["classes"]:
        print(f"classes: {', '.join(data['classes'])}")
    return 0


def _fitting(given: "NDArray[Any]", name: str, example: "Tensor") -> "Tensor":
    """The array as the model's input; ConfigError when its shape or its numbers are others."""
    import torch

    wanted, found = tuple(example.shape[1:]), given.shape
    if found[1:] != wanted or not found:
        shape = "(" + ", ".join(["N", *map(str, wanted)]) + ("," if not wanted else "") + ")"
        remedy = "; for a single example save x[None]" if found == wanted else ""
        raise ConfigError("inputs", f"{name!r} has the shape {found}; the run was trained on {shape}{remedy}")
    kinds = "fiub" if example.is_floating_point() else "iu"
    if given.dtype.kind not in kinds:
        words = "numbers" if example.is_floating_point() else "whole numbers"
        raise ConfigError("inputs", f"{name!r} holds {given.dtype}; the run was trained on {words}: x.astype(...)")
    if not len(given):
        raise ConfigError("inputs", f"{name!r} holds no examples; expected at least one")
    # Standardization is done in double precision, as in training.
    return torch.from_numpy(given.astype("float64" if example.is_floating_point() else "int64"))


def _through(model: "nn.Module", x: "Tensor") -> "NDArray[np.floating[Any]]":
    import torch

    from runner.ready import Standardize

    first = next(model.children(), None)
    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    with torch.no_grad():
        parts = []
        for part in torch.split(x, BATCH):
            if part.is_floating_point() and not isinstance(first, Standardize):
                part = part.to(dtype)
            parts.append(model(part))
    return torch.cat(parts).numpy()
