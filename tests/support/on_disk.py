"""A dataset that hands out examples one by one, as one on a disk does."""

from typing import Any

import torch


class OnDisk(torch.utils.data.Dataset[Any]):
    """A map-style dataset with the same examples as `inner`, which may be changed."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> Any:
        return self.inner[index]
