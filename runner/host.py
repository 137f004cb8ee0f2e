"""The one place where a run's tensors leave their device.

Everything else either computes with them where they are, or is given them from here. What a data source reads and
what a plot is shown are on the host.
"""

import copy
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from runner.data import Data, Source, Tensors

if TYPE_CHECKING:
    from runner.run import Predicted, Run


def tensor(value: Tensor) -> Tensor:
    """`value` on the host, without its graph; where it is there already, the same memory."""
    return value.detach().cpu()


def copied(value: Tensor) -> Tensor:
    """`value` on the host, without its graph, in memory of its own."""
    return value.detach().to("cpu", copy=True)


def array(value: Tensor) -> NDArray[Any]:
    """The numbers of `value` for NumPy; bfloat16, which it does not have, as float32."""
    found = tensor(value)
    return np.asarray((found.float() if found.dtype == torch.bfloat16 else found).numpy())


def content(value: Tensor) -> memoryview:
    """The bytes of `value`, the last dimension fastest; no copy of what is on the host in this order."""
    flat = tensor(value).contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if len(flat) else memoryview(b"")


def number(value: Tensor) -> float:
    """The number of a tensor without dimensions. Waits for its device."""
    return value.item()


def numbers(value: Tensor) -> list[Any]:
    """All numbers of `value`, the last dimension fastest, in one reading. Waits for its device."""
    return value.flatten().tolist()


def source(of: Source) -> Source:
    """The examples on the host; what is read from a disk is there already."""
    return Tensors(tensor(of.x), tensor(of.y)) if isinstance(of, Tensors) else of


def module(model: nn.Module) -> nn.Module:
    """A copy of `model` on the host. On the device it takes no memory."""
    memo: dict[int, Any] = {id(p): nn.Parameter(copied(p), p.requires_grad) for p in model.parameters()}
    return copy.deepcopy(model, memo | {id(b): copied(b) for b in model.buffers()})


def subject(run: "Run") -> Any:
    """What plots are shown of `run`, a `plots.Subject`: the run itself, or on another device what it is on the host."""
    return run if run.device.type == "cpu" else OnHost(run)


class OnHost:
    """A run on another device, whose data and whose model, a copy, are on the host. The rest is the run's own."""

    def __init__(self, run: "Run") -> None:
        self._run = run

    @cached_property
    def data(self) -> Data:
        parts: dict[str, Any] = {part: source(of) for part, of in _parts(self._run.data).items()}
        return replace(self._run.data, **parts)

    @cached_property
    def model(self) -> nn.Module:
        return module(self._run.model)

    @cached_property
    def loss(self) -> nn.Module:
        return module(self._run.loss)

    def predict(self, source: Source) -> "Predicted":
        """As `Run.predict`, on the run's device."""
        return self._run.predict(self._there(source))

    def outputs(self, source: Source) -> tuple[Tensor, Tensor]:
        """As `Run.outputs`, on the run's device."""
        return self._run.outputs(self._there(source))

    def _there(self, source: Source) -> Source:
        same = [part for part, of in _parts(self.data).items() if of is source]
        there: Source = getattr(self._run.data, same[0]) if same else source
        return there

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)


def _parts(data: Data) -> dict[str, Source]:
    found = {part: getattr(data, part) for part in ("train", "valid", "test")}
    return {part: of for part, of in found.items() if of is not None}
