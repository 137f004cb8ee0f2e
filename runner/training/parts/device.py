"""The device that a name means on this machine."""

import torch

from runner.settings.errors import ConfigError


def device(name: str) -> torch.device:
    """Return the device that `auto`, `cpu`, `cuda`, `cuda:N`, `mps` or another accelerator of torch's means here."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if name == "auto":
        name = "cpu" if accelerator is None else accelerator.type
    here = {"cpu": 1} | ({} if accelerator is None else {accelerator.type: torch.accelerator.device_count()})
    try:
        found = torch.device(name)
    except RuntimeError:
        found = torch.device("meta")
    if found.type not in ("cpu", "cuda", "mps", *here):
        raise ConfigError("device", f"{name!r} is not one of auto, cpu, cuda, cuda:0, mps")
    if (found.index or 0) >= here.get(found.type, 0):
        raise ConfigError("device", f"{name!r} is not on this machine; device=auto takes what is there")
    if found.type != "cpu" and found.index is None:  # tensors say cuda:0: "cuda" would be another device than theirs
        return torch.device(found.type, torch.accelerator.current_device_index())
    return found
