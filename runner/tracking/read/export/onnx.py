"""ONNX, for other runtimes: one input `input`, one output `output`, any batch size.

Of a model of several inputs or outputs the names are theirs: `image`, `digit`.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from runner.data import Nest, nests
from runner.tracking.read.export import Source, compare, dynamic

SUFFIX, NEEDS, RAW = ".onnx", ("onnx", "onnxscript", "onnxruntime"), True


def write(source: Source, path: Path) -> None:
    """Write the model as an ONNX program, with the configuration, the run and its data as metadata."""
    x = nests.picked(source.x, slice(2))
    with torch.no_grad():
        output = source.model(nests.mapped(Tensor.clone, x))
    program: Any = torch.onnx.export(
        source.model,
        kwargs={"input": x},  # a dict among the arguments in order would be taken for names of arguments
        input_names=_names(x, "input"),
        output_names=_names(output, "output"),
        dynamic_shapes={"input": dynamic(x)},
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

    def forward(x: Nest) -> Nest:
        with torch.no_grad():
            form = source.model(nests.mapped(Tensor.clone, x))
        tensors = dict(zip(_names(x, "input"), (one.numpy() for one in nests.leaves(x)), strict=True))
        outputs = iter(session.run(_names(form, "output"), tensors))
        return nests.mapped(lambda one: torch.from_numpy(next(outputs)), form)

    return "by onnxruntime " + compare(source, forward)


def _names(nest: Nest, single: str) -> list[str]:
    """Return the names of a program's inputs or outputs; `single` for one tensor."""
    names = [name for name, _ in nests.named(nest)]
    return [single] if names == [""] else [name if not name.isdigit() else f"{single}_{name}" for name in names]
