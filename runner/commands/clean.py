"""The command `clean`: remove for good what is deleted, and what belongs to no run."""

import sys
from typing import TYPE_CHECKING, Any

from runner.commands import _words
from runner.commands._result import Result
from runner.commands.show import size_in_words
from runner.settings.trust import terminal

if TYPE_CHECKING:
    from runner.tracking.store.cleaning import Leftover

#: Things of one kind that are listed one by one.
SHOWN = 10


def with_words(uri: str, *, yes: str = "false") -> Result:
    """Remove deleted runs for good with their files, folders of no run, half-written files and delivered spools.

    It lists them with their sizes, and asks at a terminal. Without one nothing is removed but with yes=true. Runs that
    are not deleted, and runs at work, are never touched.
    """
    from runner.tracking.store import cleaning

    found = cleaning.leftovers(uri)
    chosen = [one for one in found if not one.kept]
    agreed, size = _words.truth("yes", yes), sum(one.bytes for one in chosen)
    listed = lines(found)
    if chosen and not agreed and sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty():
        terminal.put(*listed)
        listed = []
        asked = f"remove {len(chosen):,} of these, {size_in_words(size)}, for good? [y/N] "
        agreed = input(asked).strip().lower() in ("y", "yes")
    failed = cleaning.remove(uri, chosen) if agreed else []
    plain: dict[str, Any] = {
        "found": [
            {"kind": one.kind, "name": one.name, "folders": list(map(str, one.folders)), "bytes": one.bytes}
            | {"kept": one.kept or None}
            for one in found
        ],
        "bytes": size,
        "removed": agreed,
        "failed": [{"name": one.name, "reason": reason} for one, reason in failed],
    }
    end = _end(chosen, agreed, size, failed)
    return Result(plain, lambda: terminal.put(*listed, *end), int(bool(failed)))


def lines(found: "list[Leftover]") -> list[str]:
    """Return what was found, by kinds, with sizes; of many things of one kind the first."""
    result = []
    for kind in dict.fromkeys(one.kind for one in found):
        things = [one for one in found if one.kind == kind]
        size = size_in_words(sum(one.bytes for one in things if not one.kept))
        result.append(f"{kind}: {len(things):,}, {size}")
        for one in things[:SHOWN]:
            result.append(f"  {one.name}  {f'stays: {one.kept}' if one.kept else size_in_words(one.bytes)}")
        if len(things) > SHOWN:
            result.append(f"  and {len(things) - SHOWN:,} more")
    return result


def _end(chosen: "list[Leftover]", agreed: bool, size: int, failed: "list[tuple[Leftover, str]]") -> list[str]:
    if not chosen:
        return ["nothing to remove"]
    if not agreed:
        return [f"nothing was removed; yes=true removes these {len(chosen):,}, {size_in_words(size)}, for good"]
    gone = size - sum(one.bytes for one, _ in failed)
    wrong = [f"not removed: {one.kind} {one.name}: {reason}" for one, reason in failed]
    return [*wrong, f"removed {len(chosen) - len(failed):,}, {size_in_words(gone)}"]
