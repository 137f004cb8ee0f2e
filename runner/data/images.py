"""Images of one's own: a folder with one folder of image files for each class."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from runner.data import Data, Source, _files
from runner.data._folds import refuse
from runner.data._images.folder import Files, Listing, heads, list_files, loose, report, same_size, subfolders
from runner.data._images.image_file import MODES
from runner.data._parts import parts
from runner.settings.errors import ConfigError, did_you_mean

#: Decoded images up to this many bytes are kept in memory, 1 GiB: as float32, 87,000 of 3x32x32 or 1,700 of 3x224x224.
IN_MEMORY = 2**30

PARTS = {"train": ("train",), "valid": ("valid", "val"), "test": ("test",)}
LIKE_PARTS = {"train", "training", "valid", "val", "validation", "dev", "eval", "test", "testing"}


def images(
    path: str | None = None,
    size: int | list[int] | None = None,
    channels: int = 3,
    valid: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    in_memory: bool | None = None,
) -> Data:
    """Read images: x as float32 of shape (N, channels, height, width), 0 to 1, upright; y, the class, int64 of (N,).

    An image is what Pillow can read, by its ending or, where that is unknown, by its content; `report` of what is
    returned counts and names the other files. Of an animation the first picture is read.

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
    root = _files.folder(path, "data.path", "a folder with one folder of images for each class", "photos")
    folders = _folders(root)
    classes = _classes(folders["train"])
    return _data(root, folders, classes, _check_size(size), channels, valid, test, seed, in_memory)


def again(noted: dict[str, Any], **arguments: Any) -> Data:
    """Read another folder's images with the classes, the size and the channels of a recorded run.

    noted: what the run has noted of its data; the folder may hold some of its classes only.
    arguments: those of `images`.
    """
    options = {"valid": 0.15, "test": 0.15, "seed": 0, "in_memory": None, **arguments}
    notes = noted["notes"]
    if not {"size", "channels"} <= notes.keys():
        raise ConfigError("data.name", "the model was not trained on images; give a table or arrays")
    channels = notes["channels"]
    if options.get("channels", channels) != channels:
        raise ConfigError("data.channels", f"{options['channels']}, and the model was trained with {channels}")
    what = "a folder with one folder of images for each class"
    root = _files.folder(options.get("path"), "data.path", what, "photos")
    height, width = notes["size"]
    further = (options[name] for name in ("valid", "test", "seed", "in_memory"))
    return _data(root, _folders(root), list(noted["classes"]), (height, width), channels, *further)


def brief(**arguments: Any) -> Data:
    """Read images as `images` does, without decoding one before it is asked for."""
    return images(**{**arguments, "in_memory": False})


def _data(
    root: Path,
    folders: dict[str, Path],
    classes: list[str],
    pixels: tuple[int, int] | None,
    channels: int,
    valid: float,
    test: float,
    seed: int,
    in_memory: bool | None,
) -> Data:
    listings = {part: list_files(place, classes) for part, place in folders.items()}
    whole = loose(root) if folders["train"] != root else Listing()
    for part, listing in listings.items():
        prefix = "" if folders[part] == root else f"{folders[part].name}: "
        whole += replace(listing, folders=[prefix + line for line in listing.folders])
    by_file = heads(whole.files)
    height, width = pixels or same_size(by_file)
    in_folders = {
        part: Files(listing.files, torch.tensor(listing.labels), (height, width), channels)
        for part, listing in listings.items()
    }
    if in_memory is None:
        in_memory = 4 * channels * height * width * sum(len(files) for files in in_folders.values()) <= IN_MEMORY
    return Data(
        *_sources(in_folders, valid, test, seed, in_memory),
        task="binary" if len(classes) == 2 else "multiclass",
        classes=tuple(classes),
        notes={"size": [height, width], "channels": channels, "divided_by": 255},
        report=tuple(report(root, whole, by_file, (height, width), channels)),
    )


def _folders(root: Path) -> dict[str, Path]:
    """Return the folder of each part.

    A `train` that holds images is a class of vehicles; one that holds folders is a part.
    """
    if not (root / "train").is_dir() or not subfolders(root / "train"):
        _refuse_parts(root)
        return {"train": root}
    part_names = [name for names in PARTS.values() for name in names]
    for folder in subfolders(root):
        if folder.name not in part_names:
            hint = did_you_mean(folder.name, part_names)
            raise ConfigError("data.path", f"{str(folder)!r} is beside train; expected valid, val or test{hint}")
    if (root / "valid").is_dir() and (root / "val").is_dir():
        raise ConfigError("data.path", f"{str(root)!r} holds valid and val; expected one of them")
    return {part: root / name for part, names in PARTS.items() for name in names if (root / name).is_dir()}


def _refuse_parts(root: Path) -> None:
    """Raise ConfigError for folders Train and Test with folders in each, which would be taken for two classes."""
    for folder in subfolders(root):
        if folder.name.lower() in LIKE_PARTS and subfolders(folder):
            raise ConfigError(
                "data.path",
                f"{str(folder)!r} holds folders and is called like a part of the data, and there is no 'train' beside"
                " it; expected train, valid (or val) and test: rename it",
            )


def _classes(place: Path) -> list[str]:
    folders = subfolders(place)
    if len(folders) < 2:
        contents = f"only {folders[0].name!r}" if folders else "none"
        inner = folders and len(subfolders(folders[0])) > 1
        raise ConfigError(
            "data.path",
            f"{str(place)!r} holds {contents}; expected a folder of images for each of two or more classes, e.g."
            + (f" data.path={folders[0]}" if inner else f" {str(place / 'cat')!r} and {str(place / 'dog')!r}"),
        )
    return [folder.name for folder in folders]


def _check_size(size: int | list[int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    pair = [size, size] if isinstance(size, int) else list(size)
    if len(pair) != 2 or not all(isinstance(n, int) and n > 0 for n in pair):
        raise ConfigError("data.size", f"{size} is no size; expected pixels, e.g. 32, or [height, width]")
    return pair[0], pair[1]


def _sources(
    in_folders: dict[str, Files], valid: float, test: float, seed: int, in_memory: bool
) -> tuple[Source, Source | None, Source | None]:
    whole = in_folders["train"]
    if "valid" in in_folders:
        refuse(valid, "there is a folder for validation; leave data.folds out, or that folder")
    valid, test = (0.0 if part in in_folders else fraction for part, fraction in (("valid", valid), ("test", test)))
    train_index, *indices = parts(len(whole), valid, test, seed, whole.labels)
    drawn = {part: whole.take(i) for part, i in zip(("valid", "test"), indices, strict=True) if i is not None}
    files = {**drawn, **in_folders, "train": whole.take(train_index)}
    sources = {part: each.decoded() if in_memory else each for part, each in files.items()}
    return sources["train"], sources.get("valid"), sources.get("test")
