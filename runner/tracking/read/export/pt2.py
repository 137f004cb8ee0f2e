"""torch's own format: the layers as one program of any batch size, which `torch.export.load` reads without our code."""

from pathlib import Path

import torch

from runner.tracking.read.export import Source, compare

SUFFIX, NEEDS, RAW = ".pt2", (), True


def write(source: Source, path: Path) -> None:
    """Write the model as a program of `torch.export`, with the configuration beside it in the file."""
    # Two examples: one alone would be taken for a size that never changes.
    program = torch.export.export(source.model, (source.x[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, path, extra_files={"config.yaml": source.config})


def check(source: Source, path: Path) -> str:
    """Compare the outputs of the program in the file. Returns what was compared, in words."""
    return compare(source, torch.export.load(path).module())
