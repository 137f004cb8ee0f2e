"""The image files of folders, one folder for each class: what is read, what is left out, and why."""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten

import torch
from torch import Tensor

from runner.data import Batch, Tensors
from runner.data._images.image_file import MODES as MODES
from runner.data._images.image_file import Head, Unreadable, decode, head, reason_against, unreadable
from runner.settings.errors import ConfigError, did_you_mean

#: Folders that systems make beside the files that they are asked to keep.
SYSTEM = {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information"}


@dataclass(frozen=True, eq=False)
class Files(torch.utils.data.Dataset[Batch]):
    """x: float32 of shape (channels, height, width), 0 to 1; y: the class's index, int64."""

    files: list[Path]
    labels: Tensor
    size: tuple[int, int]  # height, width
    channels: int

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Batch:
        return decode(self.files[index], self.size, self.channels), self.labels[index]

    def take(self, index: Tensor) -> "Files":
        return Files([self.files[i] for i in index.tolist()], self.labels[index], self.size, self.channels)

    def decoded(self) -> Tensors:
        x = torch.empty(len(self), self.channels, *self.size)
        for i, file in enumerate(self.files):
            x[i] = decode(file, self.size, self.channels)
        return Tensors(x, self.labels)


@dataclass
class Listing:
    """The image files found, and the other files with the reasons to leave them out."""

    files: list[Path] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    left_out: list[tuple[Path, str]] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)  # a line for each

    def __iadd__(self, other: "Listing") -> "Listing":
        for name, items in vars(other).items():
            getattr(self, name).extend(items)
        return self


def subfolders(place: Path) -> list[Path]:
    """The folders in `place` that a person has made, sorted by name."""
    return sorted(child for child in place.iterdir() if child.is_dir() and not is_hidden(child))


def is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name in SYSTEM


def list_files(place: Path, classes: list[str]) -> Listing:
    """The image files below each class's folder, sorted, and the index of their class."""
    found = loose(place)
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
        found += Listing(files, [label] * len(files), left_out, [line])
    if not found.files:
        raise ConfigError(
            "data.path",
            f"{str(place)!r} holds none of the classes' folders, {classes}; move its images into such folders, or the"
            " folder to another place",
        )
    return found


def loose(place: Path) -> Listing:
    """What lies in `place` itself, outside of the classes' folders."""
    left_out = []
    for child in sorted(place.iterdir()):
        if is_hidden(child):
            left_out.append((child, "hidden"))
        elif not child.is_dir():
            reason = _no_file(child) or reason_against(child)
            left_out.append((child, reason or "outside of the classes' folders: move it into one"))
    return Listing(left_out=left_out)


def pictures(folder: Path) -> tuple[list[Path], list[tuple[Path, str]]]:
    """The image files in `folder` and in the folders below it, sorted, and the others with the reasons against them."""
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
    """Why nothing can be read from it: a link to nothing, or what waits for another program, as a pipe does."""
    return "" if path.is_file() else "a link to nothing" if not path.exists() else "no file, but a pipe or a device"


def heads(files: Iterable[Path]) -> dict[Path, Head]:
    """What each file's head says. ConfigError that names those that are broken."""
    found, broken = {}, []
    for file in files:
        try:
            found[file] = head(file)
        except Unreadable as error:
            broken.append((file, str(error)))
    if broken:
        raise unreadable(broken)
    return found


def same_size(found: dict[Path, Head]) -> tuple[int, int]:
    """The height and width that all images have."""
    first = next(iter(found))
    size = found[first].size
    for file, other in found.items():
        if other.size != size:
            raise ConfigError(
                "data.size",
                f"{str(first)!r} is {size[1]} wide and {size[0]} high, and {str(file)!r} is {other.size[1]} wide and"
                f" {other.size[0]} high; give one size for all, e.g. data.size=32 or data.size=[24,32] (height, width)",
            )
    return size


def report(root: Path, listing: Listing, found: dict[Path, Head], size: tuple[int, int], channels: int) -> list[str]:
    """Lines that say how the folders were understood; the first counts what was left out."""
    left_out = listing.left_out
    others = f"; left out: {summary(left_out)}" if left_out else ""
    lines = [f"{root}: {counted(len(listing.files), 'image')} in {counted(len(listing.folders), 'folder')}{others}"]
    return [*lines, *listing.folders, *_remarks(found, size, channels), *_names(root, left_out)]


def summary(left_out: list[tuple[Path, str]]) -> str:
    """How many files were left out, by reason and ending: 2 files: 2 .txt (no image)."""
    groups = Counter((reason, "" if reason == "hidden" else path.suffix.lower()) for path, reason in left_out)
    parts = [
        f"{n:,} {ending or 'hidden' if reason == 'hidden' else ending or 'without an ending'}"
        for (reason, ending), n in groups.items()
    ]
    told = [
        part if reason == "hidden" else f"{part} ({reason})" for part, (reason, _) in zip(parts, groups, strict=True)
    ]
    return f"{counted(len(left_out), 'file')}: {', '.join(told)}"


def counted(n: int, word: str) -> str:
    return f"{n:,} {word}{'s' * (n != 1)}"


def _remarks(found: dict[Path, Head], size: tuple[int, int], channels: int) -> list[str]:
    heads, (high, wide) = list(found.values()), size
    sizes = sorted({head.size for head in heads}, key=lambda pair: (pair[0] * pair[1], pair))
    (low_high, low_wide), (top_high, top_wide) = sizes[0], sizes[-1]
    there = f"{low_wide}x{low_high}" + (
        f" to {top_wide}x{top_high}, {len(sizes):,} different" if len(sizes) > 1 else ""
    )
    resized = "" if sizes == [size] else f"; resized to {wide}x{high}"
    stretched = sum(
        abs(head.size[0] * wide - head.size[1] * high) > max(head.size[0] * wide, 1) * 0.02 for head in heads
    )
    lines = [f"sizes (wide x high): {there}{resized}" + (f", {stretched:,} to other proportions" if stretched else "")]
    for condition, words in (
        (lambda head: head.turned, "turned upright, as their Exif data say"),
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
