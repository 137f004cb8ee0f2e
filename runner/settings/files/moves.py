"""Folders of files that are moved to their places, each as a whole and lasting."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from runner.settings.files import durable


def move_all(folders: Iterable[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    """Give folders of files their places, each as a whole and on the disk when this returns. Returns those moved.

    folders: a folder, which nobody writes any more, and its place. One whose place is taken, or on another disk, stays.
    """
    folders = [(source, place) for source, place in folders if not os.path.lexists(place)]
    above = dict.fromkeys(place.parent for _, place in folders)
    entries = dict.fromkeys(folder for place in above for folder in (place, *durable.missing(place)))
    for parent in above:
        parent.mkdir(parents=True, exist_ok=True)
    durable.sync_all(path for source, _ in folders for path in (*files(source, folders=True), source))
    moved: list[tuple[Path, Path]] = []
    try:
        for source, place in folders:
            with contextlib.suppress(OSError):
                source.rename(place)
                moved.append((source, place))
        durable.sync_all(entries)
    except BaseException:
        move_back(moved)
        raise
    return moved


def files(folder: Path, folders: bool = False) -> Iterator[Path]:
    """Yield all files in a folder and in those below it. folders: and these folders."""
    for one in os.scandir(folder):
        path = folder / one.name
        if one.is_dir():
            yield from files(path, folders)
        if folders or one.is_file():
            yield path


def move_back(folders: Iterable[tuple[Path, Path]]) -> None:
    """Move folders back that `move_all` has moved, as far as the disk allows it."""
    for source, place in folders:
        with contextlib.suppress(OSError):
            place.rename(source)
