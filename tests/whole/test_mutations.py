"""Whatever is changed in a shipped configuration, the answer is `valid` or a key."""

from functools import cache
from typing import Any

import pytest

from tests import mutations

COUNT = 500
PARTS = 10


@cache
def shipped() -> list[dict[str, Any]]:
    return mutations.shipped()


def test_every_shipped_configuration_is_accepted() -> None:
    assert [mutations.outcome(config) for config in shipped()] == ["valid"] * len(shipped())


@pytest.mark.parametrize("part", range(PARTS))
def test_a_mutation_is_valid_or_refused_with_its_key(part: int) -> None:
    found = [mutations.outcome(mutations.mutated(shipped(), seed)) for seed in range(part, COUNT, PARTS)]
    assert all(found)
    assert 0 < found.count("valid") < len(found)
