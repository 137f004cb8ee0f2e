"""ONNX, for other runtimes: one input `input`, one output `output`, any batch size."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from runner.tracking.read.export import Source, compare

SUFFIX, NEEDS, RAW = ".onnx", ("onnx", "onnxscript", "onnxruntime"), True


def write(source: Source, path: Path) -> None:
    """Write the model as an ONNX program, with the configuration, the run and its data as metadata."""
    program: Any = torch.onnx.export(
        source.model,
        (source.x[:2],),
        input_names=["input"],
        output_names=["output"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        verbose=False,
    )
    program.model.metadata_props.update({**source.about, "config": source.config})
    program.save(str(path), external_data=False)


def check(source: Source, path: Path) -> str:
    """Check the file by ONNX's own rules, and compare outputs by onnxruntime. Returns what was compared, in words."""
    import onnx
    import onnxruntime

    onnx.checker.check_model(str(path), full_check=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def forward(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run(["output"], {"input": x.numpy()})[0])

    return "by onnxruntime " + compare(source, forward)
