"""The device that a name means on this machine."""

import torch

from runner.settings.errors import ConfigError


def device(name: str) -> torch.device:
    """Return the device of this machine that a name means. Raises ConfigError where there is none.

    name: auto (an accelerator if there is one), cpu, cuda, cuda:N, mps or another accelerator of torch's.
    """
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if name == "auto":
        name = "cpu" if accelerator is None else accelerator.type
    counts = {"cpu": 1} | ({} if accelerator is None else {accelerator.type: torch.accelerator.device_count()})
    try:
        resolved = torch.device(name)
    except RuntimeError:
        resolved = torch.device("meta")
    if resolved.type not in ("cpu", "cuda", "mps", *counts):
        raise ConfigError("device", f"{name!r} is not one of auto, cpu, cuda, cuda:0, mps")
    if (resolved.index or 0) >= counts.get(resolved.type, 0):
        raise ConfigError("device", f"{name!r} is not on this machine; device=auto takes what is there")
    if resolved.type != "cpu" and resolved.index is None:  # tensors have cuda:0, to which "cuda" is not equal
        return torch.device(resolved.type, torch.accelerator.current_device_index())
    return resolved
