"""Random numbers by key: the same on every device, in any batch, without a generator that has a state.

A key is a whole number of 64 bits for each example, made of (seed, epoch, example) and of the place of a transform.
"""

import torch
from torch import Tensor

from runner.model import host

#: Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014): SplitMix64, as signed numbers.
GAMMA, FIRST, SECOND = (n - 2**64 for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def keys(seed: int, epoch: int, examples: Tensor) -> Tensor:
    """Return a key for each example of an epoch. examples: their numbers, int64 of shape (n,)."""
    base = torch.tensor(seed, dtype=torch.int64, device=examples.device)
    return derived(derived(derived(base, epoch), 0) + examples, 1)


def derived(key: Tensor, number: int | Tensor) -> Tensor:
    """Return further keys: equal for equal keys and numbers, and unlike all others. number: one, or one for each."""
    steps = (number + 1) * GAMMA
    if isinstance(steps, int):
        steps = (steps + 2**63) % 2**64 - 2**63  # as a product of 64 bits, which a tensor's is
    z = key + steps
    z = (z ^ _right(z, 30)) * FIRST
    z = (z ^ _right(z, 27)) * SECOND
    return z ^ _right(z, 31)


def uniform(key: Tensor, draw: int | Tensor) -> Tensor:
    """Return a number from [0, 1) for each key, float32. draw: which of the numbers of a key."""
    return _right(derived(key, draw), 40).to(torch.float32) * 2.0**-24


def below(key: Tensor, draw: int | Tensor, end: int | Tensor) -> Tensor:
    """Return a whole number from [0, end) for each key, int64."""
    return _right(derived(key, draw), 33) % end


def starts(key: Tensor) -> list[int]:
    """Return numbers from which the generators of this process can start, one for each key."""
    return host.numbers(_right(key, 1))


def _right(z: Tensor, bits: int) -> Tensor:
    """Shift right, with zeros coming in."""
    shifted: Tensor = (z >> bits) & (2 ** (64 - bits) - 1)
    return shifted
