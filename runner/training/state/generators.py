"""The random generators of this process: read their states, set them, and restore them after a block."""

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch


def random_state(device: torch.device) -> dict[str, Any]:
    """Return the states of the generators of Python, NumPy, torch and `device`, as tensors and plain values."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "python": _python(),
        "numpy": [str(kind), torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss],
        "torch": torch.get_rng_state(),
        **({} if device.type == "cpu" else {device.type: torch.get_device_module(device).get_rng_state(device)}),
    }


def _python() -> tuple[Any, ...]:
    """Return the state of Python's generator with its 625 numbers in a tensor, which is saved in one piece."""
    version, numbers, gauss = random.getstate()
    return version, torch.tensor(numbers), gauss


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Set all generators to states that `random_state` returned."""
    version, numbers, gauss = state["python"]
    plain = numbers.tolist() if isinstance(numbers, torch.Tensor) else numbers  # of a former version
    random.setstate((version, tuple(plain), gauss))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if device.type != "cpu" and (of_device := state.get(device.type)) is not None:
        torch.get_device_module(device).set_rng_state(of_device, device)


@contextlib.contextmanager
def undrawn(device: torch.device) -> Iterator[None]:
    """Restore the generators after a block that draws random numbers."""
    before = random_state(device)
    try:
        yield
    finally:
        set_random_state(before, device)
