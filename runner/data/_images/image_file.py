"""One image file: whether it is one, its head, and its pixels as they are seen: upright."""

import contextlib
import functools
import importlib
import importlib.util
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from runner.settings.errors import ConfigError

Image = Any  # PIL.Image.Image: importing Pillow takes a tenth of a second, and most runs read no image

#: Pillow's name for each number of channels.
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
#: Formats that Pillow recognizes and cannot read, or only by starting another program.
SPARED = {"BUFR", "EPS", "FPX", "GRIB", "HDF5", "MIC", "MPEG", "WMF"}
#: Packages that teach Pillow further formats, by the ending of such files.
PLUGINS = {".heic": "pillow-heif", ".heif": "pillow-heif", ".hif": "pillow-heif", ".jxl": "pillow-jxl-plugin"}
#: A camera's raw data, in which Pillow would find a small preview and take it for the photo.
RAW = {".arw", ".cr2", ".cr3", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".srw"}
#: Exif orientations that lie on their side.
SIDEWAYS = (5, 6, 7, 8)
ORIENTATION = 0x0112


class Head(NamedTuple):
    """The beginning of an image file."""

    size: tuple[int, int]  # height, width, upright
    turned: bool
    frames: bool  # more than one
    transparent: bool
    mode: str  # Pillow's
    deep: bool  # 16 bits per channel, of which Pillow reads 8


class Unreadable(Exception):
    """The rest of a sentence that begins with an image file's name: what is wrong with it, and the remedy."""


def reason_against(file: Path) -> str:
    """Return why `file` is no image to train on, with the remedy; "" for one that is, or should be by its ending."""
    ending = file.suffix.lower()
    if ending in RAW:
        return "a camera's raw data: convert to .jpg or .png"
    if ending in _endings():
        return ""
    try:
        with _opened(file):
            return ""
    except Exception:  # decoders raise anything for a file that is not of their format
        package = PLUGINS.get(ending)
        if package:
            return f"Pillow cannot read it: pip install {package}, or convert to .jpg"
        return "no image" if ending != ".svg" else "a drawing: convert to .png"


def head(file: Path) -> Head:
    """Return the file's head. Raises Unreadable where it is broken or holds what cannot be trained on."""
    stat = file.stat()
    return _head(str(file), stat.st_size, stat.st_mtime_ns)


def decode(file: Path, size: tuple[int, int], channels: int) -> Tensor:
    """Return one image, upright, as float32 of shape (channels, height, width), 0 to 1.

    size: height and width, to which it is resized whatever its proportions.
    channels: 1 grey, 3 red, green and blue, 4 with transparency.
    Raises ConfigError where it cannot be read.
    """
    from PIL import Image

    try:
        with _opened(file) as opened:
            _refuse_mode(opened.mode)
            upright = _upright(opened)
            # Colours from a palette go through RGBA: Pillow warns about some transparent palettes otherwise.
            colours = upright.convert("RGBA") if upright.mode in ("P", "PA") else upright
            image = colours.convert(MODES[channels])
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error, ...
        raise unreadable([(file, _reason(error))]) from error
    if image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).reshape(*size, channels).permute(2, 0, 1).float() / 255


def unreadable(broken: list[tuple[Path, str]]) -> ConfigError:
    """Return one error for all files that cannot be read, given with the reasons."""
    (first, reason), others = broken[0], broken[1:]
    more = ", ".join(repr(str(file)) for file, _ in others[:5]) + (", ..." if len(others) > 5 else "")
    also = f"; {len(others):,} more cannot be used: {more}" if others else ""
    return ConfigError("data.path", f"{str(first)!r} {reason}{also}")


@functools.lru_cache(100_000)
def _head(path: str, size: int, changed: int) -> Head:
    """Return the head of a file of this size, changed at this time: of another file of the name it is read anew."""
    try:
        with _opened(path) as image:
            _refuse_mode(image.mode)
            turn = _orientation(image, path)
            if _may_be_cut_off(image.format, path):
                image.load()
            several = image.n_frames > 1 if image.format == "TIFF" else getattr(image, "is_animated", False)
            deep = ";16" in str(image.tile[:1])
            transparent = image.has_transparency_data
            wide, high = image.size[::-1] if turn in SIDEWAYS and image.format != "TIFF" else image.size
            return Head((high, wide), turn != 1, several and image.format != "MPO", transparent, image.mode, deep)
    except Exception as error:
        raise Unreadable(_reason(error)) from error


def _reason(error: Exception) -> str:
    from PIL import Image

    if isinstance(error, Unreadable):
        return str(error)
    if isinstance(error, Image.DecompressionBombError):
        return f"is too large to be read ({str(error).partition(',')[0]}); make it smaller"
    return f"cannot be read as an image ({str(error) or type(error).__name__}); replace or remove it"


@contextlib.contextmanager
def _opened(file: Path | str) -> Iterator[Image]:
    from PIL import Image

    formats = readable_formats()
    with warnings.catch_warnings():
        # Pillow warns of 90 to 180 million pixels, and refuses more.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(file, formats=formats) as image:
            yield image


@functools.cache
def readable_formats() -> tuple[str, ...]:
    """Return Pillow's names of the formats that it can read on this machine."""
    from PIL import Image

    Image.init()
    if importlib.util.find_spec("pillow_heif"):
        importlib.import_module("pillow_heif").register_heif_opener()
    if importlib.util.find_spec("pillow_jxl"):
        importlib.import_module("pillow_jxl")
    return tuple(name for name in Image.OPEN if name not in SPARED)


@functools.cache
def _endings() -> frozenset[str]:
    from PIL import Image

    formats = readable_formats()
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in formats)


def _refuse_mode(mode: str) -> None:
    if mode.startswith("I") or mode == "F":
        raise Unreadable(
            f"has more than 8 bits per channel ({mode}); expected 8: convert it, of 16 bits by"
            " Image.fromarray((numpy.asarray(Image.open(FILE)) / 257).astype('uint8'))"
        )
    if mode == "LAB":
        raise Unreadable("has LAB colours; expected grey, RGB or CMYK: convert it")


def _upright(image: Image) -> Image:
    from PIL import Image

    image.load()  # a PNG may have its Exif data after the pixels; a TIFF is turned by this
    turn = _exif_orientation(image)
    turns = Image.Transpose
    methods = {
        2: turns.FLIP_LEFT_RIGHT,
        3: turns.ROTATE_180,
        4: turns.FLIP_TOP_BOTTOM,
        5: turns.TRANSPOSE,
        6: turns.ROTATE_270,
        7: turns.TRANSVERSE,
        8: turns.ROTATE_90,
    }
    return image.transpose(methods[turn]) if turn in methods else image


def _orientation(image: Image, path: str) -> int:
    """Return the Exif orientation, 1 to 8, from the head alone."""
    if image.format == "PNG" and "exif" not in image.info and _has_chunk(path, b"eXIf"):
        image.load()
    return _exif_orientation(image)


def _exif_orientation(image: Image) -> int:
    from PIL import Image

    try:
        turn = Image.Image.getexif(image).get(ORIENTATION, 1)  # that of PNG would decode the pixels
    except Exception:  # damaged Exif data leave the pixels as they are
        return 1
    return turn if turn in range(1, 9) else 1


def _may_be_cut_off(format: str, path: str) -> bool:
    if format == "PNG":
        return not _has_chunk(path, b"IEND")
    if format not in ("JPEG", "MPO"):
        return False
    with Path(path).open("rb") as file:
        file.seek(0, 2)
        file.seek(max(file.tell() - 4096, 0))
        return b"\xff\xd9" not in file.read()


def _has_chunk(path: str, name: bytes) -> bool:
    """Return whether a PNG has a chunk of this name, without reading the contents of chunks."""
    with Path(path).open("rb") as file:
        file.seek(8)
        while len(start := file.read(8)) == 8:
            if start[4:] == name:
                return True
            file.seek(int.from_bytes(start[:4], "big") + 4, 1)
    return False
