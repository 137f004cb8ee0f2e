"""Images of one's own: a folder with one folder of image files for each class."""

from pathlib import Path
from typing import Any

from runner.data import Data, Source
from runner.data._files import folder
from runner.data._folder import MODES, Files, list_files, same_size
from runner.data._parts import parts
from runner.lookup import ConfigError, did_you_mean

#: Decoded images up to this many bytes are kept in memory, 1 GiB: as float32, 87,000 of 3x32x32 or 1,700 of 3x224x224.
IN_MEMORY = 2**30

PARTS = {"train": ("train",), "valid": ("valid", "val"), "test": ("test",)}


def images(
    path: str | None = None,
    size: int | list[int] | None = None,
    channels: int = 3,
    valid: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    in_memory: bool | None = None,
) -> Data:
    """x: float32 of shape (N, channels, height, width), 0 to 1; y: the class's index, int64 of shape (N,).

    path: a folder with one folder of image files for each class, or with such folders in train/, valid/ (or val/) and
        test/; relative to the working directory. The classes are numbered in the sorted order of their names.
    size: every image is resized to this, [height, width] or one number for both, whatever its proportions; None: as
        they are, which must be the same for all.
    channels: 1 grey, 3 red, green and blue, 4 with transparency.
    valid, test: fractions of the images, from every class alike; unused for a part that has a folder.
    seed: chooses which images go where; it is not the run's seed.
    in_memory: decode all images before training, or each when a batch needs it; None: the former up to 1 GiB.
    Raises ConfigError when the folder, the classes or the images are not as described, and when a fraction is not one.
    """
    if channels not in MODES:
        raise ConfigError("data.channels", f"{channels} is not 1 (grey), 3 (colour) or 4 (with transparency)")
    root = folder(path, "data.path", "a folder with one folder of images for each class", "photos")
    folders = _folders(root)
    classes = _classes(folders["train"])
    listed = {part: list_files(place, classes) for part, place in folders.items()}
    height, width = _check_size(size) or same_size([file for files, _ in listed.values() for file in files])
    given = {part: Files(files, labels, (height, width), channels) for part, (files, labels) in listed.items()}
    if in_memory is None:
        in_memory = 4 * channels * height * width * sum(len(files) for files in given.values()) <= IN_MEMORY
    return Data(
        *_sources(given, valid, test, seed, in_memory),
        task="binary" if len(classes) == 2 else "multiclass",
        classes=tuple(classes),
        notes={"size": [height, width], "channels": channels, "divided_by": 255},
    )


def brief(**arguments: Any) -> Data:
    """The same without decoding an image."""
    return images(**{**arguments, "in_memory": False})


def _folders(root: Path) -> dict[str, Path]:
    """The folder of each part. A `train` that holds images is a class of vehicles; one that holds folders is a part."""
    if not (root / "train").is_dir() or not _subfolders(root / "train"):
        return {"train": root}
    known = [name for names in PARTS.values() for name in names]
    for name in _subfolders(root):
        if name not in known:
            hint = did_you_mean(name, known)
            raise ConfigError("data.path", f"{str(root / name)!r} is beside train; expected valid, val or test{hint}")
    if (root / "valid").is_dir() and (root / "val").is_dir():
        raise ConfigError("data.path", f"{str(root)!r} holds valid and val; expected one of them")
    return {part: root / name for part, names in PARTS.items() for name in names if (root / name).is_dir()}


def _subfolders(place: Path) -> list[str]:
    return sorted(child.name for child in place.iterdir() if child.is_dir() and not child.name.startswith("."))


def _classes(place: Path) -> list[str]:
    classes = _subfolders(place)
    if len(classes) < 2:
        found = f"only {classes[0]!r}" if classes else "none"
        raise ConfigError(
            "data.path",
            f"{str(place)!r} holds {found}; expected a folder of images for each of two or more classes, e.g."
            f" {str(place / 'cat')!r} and {str(place / 'dog')!r}",
        )
    return classes


def _check_size(size: int | list[int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    pair = [size, size] if isinstance(size, int) else list(size)
    if len(pair) != 2 or not all(isinstance(n, int) and n > 0 for n in pair):
        raise ConfigError("data.size", f"{size} is no size; expected pixels, e.g. 32, or [height, width]")
    return pair[0], pair[1]


def _sources(
    given: dict[str, Files], valid: float, test: float, seed: int, in_memory: bool
) -> tuple[Source, Source | None, Source | None]:
    whole = given["train"]
    valid, test = (0.0 if part in given else fraction for part, fraction in (("valid", valid), ("test", test)))
    train_index, *held = parts(len(whole), valid, test, seed, whole.labels)
    drawn = {part: whole.take(index) for part, index in zip(("valid", "test"), held, strict=True) if index is not None}
    further = drawn | given
    valid_set, test_set = (_source(further[part], in_memory) if part in further else None for part in ("valid", "test"))
    return _source(whole.take(train_index), in_memory), valid_set, test_set


def _source(files: Files, in_memory: bool) -> Source:
    return files.decoded() if in_memory else files
