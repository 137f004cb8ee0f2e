"""Memory that results of a recording share: never by two that are needed at the same time."""

import itertools
import random

from runner.training.capture.reuse import shared


def test_nothing_is_shared_by_two_that_are_in_use():
    draw = random.Random(0)
    for _ in range(300):
        count = draw.randrange(1, 30)
        sizes = {storage: draw.choice([0, 8, 12, 100, 128, 1000]) for storage in range(count)}
        calls, seen = [], [1000, 1001]  # of the work's own tensors
        for storage in range(count):
            calls.append((draw.sample(seen, min(len(seen), draw.randrange(1, 4))), [storage]))
            seen.append(storage)
        kept = set(draw.sample(range(count), draw.randrange(count)))
        groups = shared(calls, sizes, kept | {1000, 1001})
        placed = [storage for group in groups for storage in group]
        assert sorted(placed) == sorted(set(range(count)) - kept)
        for group in groups:
            assert sizes[group[0]] == max(sizes[storage] for storage in group)
            for one, other in itertools.pairwise(group):
                last = max([one, *(number for number, (used, _) in enumerate(calls) if one in used)])
                assert last < other, (one, other)  # storage n is made by operation n


def test_memory_is_shared_at_all():
    calls = [([100], [0]), ([0], [1]), ([1], [2]), ([2], [3])]
    assert shared(calls, dict.fromkeys(range(4), 64), {100, 3}) == [[0, 2], [1]]
