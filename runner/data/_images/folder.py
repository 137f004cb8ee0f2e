"""The image files of folders, one folder for each class: which are read, which are left out, and why."""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten

import torch
from torch import Tensor

from runner.data import Batch, Tensors
from runner.data._images.image_file import Head, Unreadable, decode, head, reason_against, unreadable
from runner.settings.errors import ConfigError, did_you_mean

#: Folders that systems add to a person's.
SYSTEM = {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information"}


@dataclass(frozen=True, eq=False)
class Files(torch.utils.data.Dataset[Batch]):
    """A dataset that reads from image files: x float32 of (channels, height, width), 0 to 1; y the class, int64."""

    files: list[Path]
    labels: Tensor
    size: tuple[int, int]  # height, width
    channels: int

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Batch:
        return decode(self.files[index], self.size, self.channels), self.labels[index]

    def take(self, index: Tensor) -> "Files":
        """Return the files at these places."""
        return Files([self.files[i] for i in index.tolist()], self.labels[index], self.size, self.channels)

    def decoded(self) -> Tensors:
        """Return all examples, held in memory."""
        x = torch.empty(len(self), self.channels, *self.size)
        for i, file in enumerate(self.files):
            x[i] = decode(file, self.size, self.channels)
        return Tensors(x, self.labels)


@dataclass
class Listing:
    """Image files with their classes, and other files with the reasons to leave them out."""

    files: list[Path] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    left_out: list[tuple[Path, str]] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)  # a line for each

    def __iadd__(self, other: "Listing") -> "Listing":
        for name, items in vars(other).items():
            getattr(self, name).extend(items)
        return self


def subfolders(place: Path) -> list[Path]:
    """Return the folders in `place` that a person has made, sorted by name."""
    return sorted(child for child in place.iterdir() if child.is_dir() and not is_hidden(child))


def is_hidden(path: Path) -> bool:
    """Return whether a file or folder is hidden, or one that a system has added."""
    return path.name.startswith(".") or path.name in SYSTEM


def list_files(place: Path, classes: list[str]) -> Listing:
    """Return the image files below each class's folder, sorted, and the index of their class.

    place: a folder with one folder for each class, or for some of them. classes: names in the order of their indices.
    Raises ConfigError for a folder that is no class, and for one without images.
    """
    listing = loose(place)
    for folder in subfolders(place):
        if folder.name not in classes:
            hint = did_you_mean(folder.name, classes)
            raise ConfigError("data.path", f"{str(folder)!r} is none of the classes to train on, {classes}{hint}")
        files, left_out = pictures(folder)
        if not files:
            others = f"; left out: {summary(left_out)}" if left_out else ""
            raise ConfigError("data.path", f"{str(folder)!r} holds no image, such as .jpg, .png or .webp{others}")
        label = classes.index(folder.name)
        below = sum(file.parent != folder for file in files)
        deeper = f", {below:,} of them in folders below" if below else ""
        line = f"folder {folder.name!r}: {counted(len(files), 'image')}, class {label}{deeper}"
        listing += Listing(files, [label] * len(files), left_out, [line])
    if not listing.files:
        raise ConfigError(
            "data.path",
            f"{str(place)!r} holds none of the classes' folders, {classes}; move its images into such folders, or the"
            " folder to another place",
        )
    return listing


def loose(place: Path) -> Listing:
    """Return the files in `place` itself, outside of the classes' folders, all of which are left out."""
    left_out = []
    for child in sorted(place.iterdir()):
        if is_hidden(child):
            left_out.append((child, "hidden"))
        elif not child.is_dir():
            reason = _no_file(child) or reason_against(child)
            left_out.append((child, reason or "outside of the classes' folders: move it into one"))
    return Listing(left_out=left_out)


def pictures(folder: Path) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Return the image files in `folder` and below it, sorted, and the others with the reasons against them."""
    files, left_out = [], []
    for place, folders, names in os.walk(folder):
        for name in sorted(folders):
            path = Path(place, name)
            if is_hidden(path):
                left_out.append((path, "hidden"))
            elif path.is_symlink():
                left_out.append((path, "a link to a folder: put the folder itself there"))
        folders[:] = [name for name in folders if not is_hidden(Path(name))]
        for name in sorted(names):
            path = Path(place, name)
            reason = "hidden" if is_hidden(path) else _no_file(path) or reason_against(path)
            if reason:
                left_out.append((path, reason))
            else:
                files.append(path)
    return sorted(files), sorted(left_out)


def _no_file(path: Path) -> str:
    """Return why `path` is no file, as a link to nothing, or a pipe, which waits for another program; "" for a file."""
    return "" if path.is_file() else "a link to nothing" if not path.exists() else "no file, but a pipe or a device"


def heads(files: Iterable[Path]) -> dict[Path, Head]:
    """Return the head of each file. Raises ConfigError that names those that are broken."""
    by_file, broken = {}, []
    for file in files:
        try:
            by_file[file] = head(file)
        except Unreadable as error:
            broken.append((file, str(error)))
    if broken:
        raise unreadable(broken)
    return by_file


def same_size(by_file: dict[Path, Head]) -> tuple[int, int]:
    """Return the height and width that all images have. Raises ConfigError where they differ."""
    first = next(iter(by_file))
    size = by_file[first].size
    for file, other in by_file.items():
        if other.size != size:
            raise ConfigError(
                "data.size",
                f"{str(first)!r} is {size[1]} wide and {size[0]} high, and {str(file)!r} is {other.size[1]} wide and"
                f" {other.size[0]} high; give one size for all, e.g. data.size=32 or data.size=[24,32] (height, width)",
            )
    return size


def report(root: Path, listing: Listing, by_file: dict[Path, Head], size: tuple[int, int], channels: int) -> list[str]:
    """Return lines for people on how the folders were read; the first counts what was left out.

    by_file: the heads of the listing's files. size: height and width that all images get.
    """
    left_out = listing.left_out
    others = f"; left out: {summary(left_out)}" if left_out else ""
    lines = [f"{root}: {counted(len(listing.files), 'image')} in {counted(len(listing.folders), 'folder')}{others}"]
    return [*lines, *listing.folders, *_remarks(list(by_file.values()), size, channels), *_names(root, left_out)]


def summary(left_out: list[tuple[Path, str]]) -> str:
    """Return how many files were left out, by reason and ending: `2 files: 2 .txt (no image)`."""
    groups = Counter((reason, "" if reason == "hidden" else path.suffix.lower()) for path, reason in left_out)
    parts = [
        f"{n:,} hidden" if reason == "hidden" else f"{n:,} {ending or 'without an ending'} ({reason})"
        for (reason, ending), n in groups.items()
    ]
    return f"{counted(len(left_out), 'file')}: {', '.join(parts)}"


def counted(n: int, word: str) -> str:
    """Return `1 image`, `1,200 images`."""
    return f"{n:,} {word}{'s' * (n != 1)}"


def _remarks(heads: list[Head], size: tuple[int, int], channels: int) -> list[str]:
    high, wide = size
    sizes = sorted({head.size for head in heads}, key=lambda pair: (pair[0] * pair[1], pair))
    (low_high, low_wide), (top_high, top_wide) = sizes[0], sizes[-1]
    extent = f"{low_wide}x{low_high}" + (
        f" to {top_wide}x{top_high}, {len(sizes):,} different" if len(sizes) > 1 else ""
    )
    resized = "" if sizes == [size] else f"; resized to {wide}x{high}"
    stretched = sum(
        abs(head.size[0] * wide - head.size[1] * high) > max(head.size[0] * wide, 1) * 0.02 for head in heads
    )
    lines = [f"sizes (wide x high): {extent}{resized}" + (f", {stretched:,} to other proportions" if stretched else "")]
    for condition, words in (
        (lambda head: head.turned, "turned upright by their Exif data"),
        (lambda head: head.frames, "of several pictures (animations, pages), of which the first is read"),
        (
            lambda head: head.transparent and channels != 4,
            "with transparency, which is dropped and shows the colours behind it; data.channels=4 keeps it",
        ),
        (lambda head: head.mode == "CMYK", "in CMYK, turned into RGB without a colour profile"),
        (lambda head: head.deep, "of 16 bits per channel, of which the upper 8 are read"),
        (
            lambda head: channels == 1 and head.mode not in ("1", "L", "LA"),
            "in colour, turned into grey; data.channels=3 keeps it",
        ),
    ):
        if n := sum(map(condition, heads)):
            lines.append(f"{n:,} of {counted(len(heads), 'image')}: {words}")
    return lines


def _names(root: Path, left_out: list[tuple[Path, str]]) -> list[str]:
    by_reason: dict[str, list[str]] = {}
    for path, reason in left_out:
        by_reason.setdefault(reason, []).append(repr(str(path.relative_to(root))))
    return [f"left out, {reason}: {shorten(', '.join(names), 400)}" for reason, names in by_reason.items()]
