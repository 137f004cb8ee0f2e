"""Which results of recorded operations can lie in the same memory, one after the other.

A recording holds all of its tensors, many times the memory that a step needs at once; a processor that finds it in its
cache is twice as fast. So results share memory as they do under autograd, which frees what nobody needs any more.
"""

from collections.abc import Iterable, Sequence


def shared(
    calls: Sequence[tuple[Iterable[int], Iterable[int]]], sizes: dict[int, int], kept: set[int]
) -> list[list[int]]:
    """Return groups of storages that can be one: no two of a group are in use at the same time.

    calls: of each operation in order, the storages that it uses and those that it makes.
    sizes: bytes of each storage that may be shared. kept: storages that are to stay as they are.
    A storage is in use from the operation that makes it to the last one that uses it.
    """
    made: dict[int, int] = {}
    last: dict[int, int] = {}
    for number, (used, results) in enumerate(calls):
        for storage in (*used, *results):
            last[storage] = number
        for storage in results:
            made.setdefault(storage, number)
    ends: dict[int, list[int]] = {}
    groups: list[list[int]] = []
    free: list[int] = []  # groups of which nothing is in use
    of: dict[int, int] = {}
    for number, (_, results) in enumerate(calls):
        for storage in dict.fromkeys(results):
            if made[storage] != number or storage in kept or storage not in sizes:
                continue
            fitting = [group for group in free if _fits(sizes[groups[group][0]], sizes[storage])]
            if fitting:
                group = min(fitting, key=lambda g: sizes[groups[g][0]])
                free.remove(group)
                groups[group].append(storage)
            else:
                group = len(groups)
                groups.append([storage])
            of[storage] = group
            ends.setdefault(last[storage], []).append(group)
        free.extend(ends.pop(number, ()))
    return groups


def _fits(room: int, size: int) -> bool:
    """Return whether a storage fits into the room of another without most of it being left over."""
    return size <= room <= 2 * size
