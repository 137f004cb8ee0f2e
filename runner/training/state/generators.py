"""The random generators that training draws from: read, set, and left as they were."""

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch


def random_state(device: torch.device) -> dict[str, Any]:
    """Return the state of every generator of this process, as tensors and plain values."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": [str(kind), torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss],
        "torch": torch.get_rng_state(),
        **({} if device.type == "cpu" else {device.type: torch.get_device_module(device).get_rng_state(device)}),
    }


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Let the generators go on from what `random_state` gave."""
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if device.type != "cpu" and (drawn := state.get(device.type)) is not None:
        torch.get_device_module(device).set_rng_state(drawn, device)


@contextlib.contextmanager
def undrawn(device: torch.device) -> Iterator[None]:
    """Let a block draw random numbers, and put the generators back where they were."""
    before = random_state(device)
    try:
        yield
    finally:
        set_random_state(before, device)
