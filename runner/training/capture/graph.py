"""Work of an accelerator, captured as one of the device's graphs, which one call launches."""

from collections.abc import Callable
from typing import Any

import torch

from runner.settings.errors import first_line
from runner.training.capture import Captured, Uncapturable


def there_are(device: torch.device) -> bool:
    """Return whether torch has graphs of this kind of device."""
    return hasattr(torch.get_device_module(device), "CUDAGraph")


def graph(work: Callable[[], Any], device: torch.device) -> Captured:
    """Capture `work` without doing it, see `runner.training.capture.capture`."""
    module = torch.get_device_module(device)
    if not there_are(device):
        raise Uncapturable(f"torch has no graphs of {device.type}")
    captured, before = module.CUDAGraph(), torch.is_grad_enabled()
    try:
        # Other threads may go on meanwhile, such as one that pins the memory of batches.
        with module.graph(captured, capture_error_mode="thread_local"):
            result = work()
    except Exception as error:
        torch.set_grad_enabled(before)
        raise Uncapturable(f"{device.type} refuses it: {first_line(error)}") from error
    return Captured(result, captured.replay)
