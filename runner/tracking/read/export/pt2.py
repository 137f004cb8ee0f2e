"""torch's own format: the layers as one program of any batch size, which `torch.export.load` reads without our code."""

from pathlib import Path

import torch

from runner.data import nests
from runner.tracking.read.export import Source, compare, dynamic

SUFFIX, NEEDS, RAW = ".pt2", (), True


def write(source: Source, path: Path) -> None:
    """Write the model as a program of `torch.export`, with the configuration beside it in the file."""
    # Two examples: one alone would be taken for a size that never changes.
    x = nests.picked(source.x, slice(2))
    program = torch.export.export(source.model, (x,), dynamic_shapes=(dynamic(x),))
    torch.export.save(program, path, extra_files={"config.yaml": source.config})


def check(source: Source, path: Path) -> str:
    """Compare the outputs of the program in the file. Returns what was compared, in words."""
    return compare(source, torch.export.load(path).module())
