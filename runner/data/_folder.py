"""Image files and their classes, decoded when they are asked for."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from runner.data import Batch, Tensors
from runner.lookup import ConfigError, did_you_mean

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}

#: Pillow's name for each number of channels.
MODES = {1: "L", 3: "RGB", 4: "RGBA"}


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


def list_files(place: Path, classes: list[str]) -> tuple[list[Path], Tensor]:
    """The image files below each class's folder, sorted, and the index of their class."""
    files: list[Path] = []
    labels: list[int] = []
    for folder in sorted(child for child in place.iterdir() if child.is_dir() and not child.name.startswith(".")):
        if folder.name not in classes:
            hint = did_you_mean(folder.name, classes)
            raise ConfigError("data.path", f"{str(folder)!r} is none of the classes to train on, {classes}{hint}")
        found = sorted(file for file in folder.rglob("*") if _is_image(file))
        if not found:
            raise ConfigError("data.path", f"{str(folder)!r} holds no image; expected {', '.join(sorted(SUFFIXES))}")
        files += found
        labels += [classes.index(folder.name)] * len(found)
    return files, torch.tensor(labels, dtype=torch.int64)


def same_size(files: list[Path]) -> tuple[int, int]:
    """The height and width that all images have."""
    first = _size(files[0])
    for file in files:
        if (size := _size(file)) != first:
            raise ConfigError(
                "data.size",
                f"{str(files[0])!r} is {first[1]} wide and {first[0]} high, and {str(file)!r} is {size[1]} wide and"
                f" {size[0]} high; give one size for all, e.g. data.size=32 or data.size=[24,32] (height, width)",
            )
    return first


def decode(file: Path, size: tuple[int, int], channels: int) -> Tensor:
    """One image as float32 of shape (channels, height, width), 0 to 1."""
    from PIL import Image

    try:
        with Image.open(file) as opened:
            _refuse_deep(file, opened.mode)
            # Colours from a palette go through RGBA: Pillow warns about some transparent palettes otherwise.
            colours = opened.convert("RGBA") if opened.mode == "P" else opened
            image = colours.convert(MODES[channels])
    except (OSError, SyntaxError) as error:  # Pillow calls a broken PNG a SyntaxError
        raise _unreadable(file, error) from error
    if image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).reshape(*size, channels).permute(2, 0, 1).float() / 255


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()


def _size(file: Path) -> tuple[int, int]:
    from PIL import Image

    try:
        with Image.open(file) as image:
            return image.height, image.width
    except (OSError, SyntaxError) as error:
        raise _unreadable(file, error) from error


def _refuse_deep(file: Path, mode: str) -> None:
    if mode.startswith("I") or mode == "F":
        raise ConfigError(
            "data.path", f"{str(file)!r} has more than 8 bits per channel ({mode}); expected 8: convert it"
        )


def _unreadable(file: Path, error: Exception) -> ConfigError:
    return ConfigError("data.path", f"{str(file)!r} cannot be read as an image ({error}); replace or remove it")
