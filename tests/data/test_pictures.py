"""What is an image is read upright and right; what is left out is counted, named and given a remedy."""

import os
import struct
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from runner.data import Tensors, _inputs
from runner.data._images import image_file as pictures
from runner.data.images import brief, images
from runner.settings.errors import ConfigError
from tests.support.command import runner

RANDOM = np.random.default_rng(0)
#: Wider than high, every pixel another.
PHOTO = Image.fromarray(RANDOM.integers(0, 256, (16, 24, 3), dtype=np.uint8))


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: Any) -> Path:
    """Two classes with a picture each, to which a test adds."""
    monkeypatch.chdir(tmp_path)
    for kind in ("cat", "dog"):
        (tmp_path / "photos" / kind).mkdir(parents=True)
        PHOTO.save(tmp_path / "photos" / kind / "0.png")
    return tmp_path / "photos"


def report(**arguments: Any) -> list[str]:
    return list(brief(path="photos", **{"size": 8, **arguments}).report)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[pictures.ORIENTATION] = orientation
    return exif


def late_exif(file: Path, orientation: int) -> None:
    """Move a PNG's Exif data behind its pixels, where the format has them just as well."""
    PHOTO.save(file)
    data = turned(orientation).tobytes()[6:]
    chunk = b"eXIf" + data
    whole = file.read_bytes()
    file.write_bytes(
        whole[:-12] + struct.pack(">I", len(data)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + whole[-12:]
    )


# Upright


@pytest.mark.parametrize("ending", ["png", "late.png", "jpg", "tif", "webp", "avif"])
def test_a_photo_is_read_upright_as_its_exif_data_say(photos, ending):
    for orientation in range(1, 9):
        file = photos / "cat" / f"{orientation}.{ending}"
        if ending == "late.png":
            late_exif(file, orientation)
        else:
            PHOTO.save(file, exif=turned(orientation), **({"lossless": True} if ending == "webp" else {}))
        with Image.open(file) as image:
            expected = ImageOps.exif_transpose(image)
        size = expected.height, expected.width
        assert size == ((16, 24) if orientation < 5 else (24, 16))
        head = pictures.head(file)
        assert head.size == size
        assert head.turned == (orientation > 1)
        pixels = np.asarray(expected.convert("RGB"), dtype=np.float32) / 255
        assert np.array_equal(pictures.decode(file, size, 3).permute(1, 2, 0).numpy(), pixels)


def test_all_photos_are_of_one_size_when_they_are_so_upright(photos):
    for kind in ("cat", "dog"):
        (photos / kind / "0.png").unlink()
        PHOTO.resize((24, 16)).save(photos / kind / "a.jpg", quality=95)
        PHOTO.transpose(Image.Transpose.ROTATE_90).save(photos / kind / "b.jpg", exif=turned(6), quality=95)
    found = images("photos", valid=0, test=0)
    assert found.train.x.shape == (4, 3, 16, 24)
    assert (found.train.x[0] - found.train.x[1]).abs().mean() < 0.02
    assert any(line.startswith("2 of 4 images: turned upright") for line in found.report)
    PHOTO.save(photos / "cat" / "c.jpg", exif=turned(8))
    with pytest.raises(ConfigError, match=r"a\.jpg' is 24 wide and 16 high, and '.*c\.jpg' is 16 wide and 24 high"):
        images("photos")


def test_upright_photos_train_where_lying_ones_cannot(photos):
    """The class is where the light is: the top or the left. Half of the photos were taken with the camera turned."""
    for kind, light in (("cat", (0, slice(None))), ("dog", (slice(None), 0))):
        (photos / kind / "0.png").unlink()
        for i in range(20):
            pixels = np.zeros((8, 8), np.uint8)
            pixels[light] = 200 + i
            image = Image.fromarray(pixels)
            if i % 2:
                image.transpose(Image.Transpose.ROTATE_90).save(photos / kind / f"{i}.png", exif=turned(6))
            else:
                image.save(photos / kind / f"{i}.png")
    found = images("photos", channels=1, valid=0, test=0)
    top = found.train.x[:, 0, 0, :].mean(1)
    assert torch.equal(top > 0.5, found.train.y == 0)


def test_damaged_exif_data_leave_the_pixels_as_they_are(photos):
    file = photos / "cat" / "1.jpg"
    PHOTO.save(file, exif=b"Exif\0\0MM\0*\xff\xff\xff\xffnothing")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert pictures.head(file).size == (16, 24)
        assert pictures.decode(file, (16, 24), 3).shape == (3, 16, 24)


# What is an image


def test_every_file_that_pillow_can_read_is_an_image(photos):
    saved = ["a.jfif", "b.jpe", "c.JPEG", "d.tga", "e.tiff", "f.apng", "g.ico", "h.pcx", "i.webp", "j.avif", "k.jp2"]
    saved += ["l.dib", "m.sgi", "n.ppm", "o.qoi", "q.gif", "r.bmp"]
    formats = {".apng": "PNG", ".qoi": None, ".jfif": "JPEG", ".jpe": "JPEG"}
    written = 0
    for name in saved:
        try:
            PHOTO.save(photos / "cat" / name, format=formats.get(Path(name).suffix.lower()))
            written += 1
        except (OSError, ValueError, KeyError):  # this Pillow only reads it
            (photos / "cat" / name).unlink(missing_ok=True)
    for name, format in (("0a1b2c", "JPEG"), ("frame.0001", "PNG"), ("photo.jpg_large", "JPEG"), ("x.png", "JPEG")):
        PHOTO.save(photos / "dog" / name, format=format)
    found = images("photos", size=8, valid=0, test=0)
    assert written >= 16
    assert found.train.y.bincount().tolist() == [1 + written, 5]
    assert found.report[0] == f"photos: {written + 6} images in 2 folders"


def test_what_is_left_out_is_counted_and_named_with_the_remedy(photos):
    cat, dog = photos / "cat", photos / "dog"
    for i in range(10):
        (cat / f"IMG_{i}.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    (cat / "IMG_1.nef").write_bytes(b"MM\0*")
    PHOTO.save(cat / "IMG_2.dng", format="TIFF")  # a preview
    for name in ("Thumbs.db", "notes.txt", "labels.csv", "clip.mp4", "scan.pdf", "data.h5", "drawing.svg", "noending"):
        (dog / name).write_bytes(b"what is no image")
    (dog / "._0.png").write_bytes(b"")
    (dog / ".ipynb_checkpoints").mkdir()
    PHOTO.save(dog / ".ipynb_checkpoints" / "0-checkpoint.png")
    (dog / "gone.png").symlink_to("nowhere.png")
    (dog / "linked").symlink_to(cat, target_is_directory=True)
    (dog / "deeper").mkdir()
    PHOTO.save(dog / "deeper" / "1.png")
    PHOTO.save(photos / "beside.png")
    (photos / "readme.md").write_text("about")
    (photos / "__MACOSX").mkdir()
    lines = report()
    assert lines[0].startswith("photos: 3 images in 2 folders; left out: 27 files: ")
    for words in (
        "10 .heic (Pillow cannot read it: pip install pillow-heif, or convert to .jpg)",
        "1 .nef (a camera's raw data: convert to .jpg or .png)",
        "1 .dng (a camera's raw data",
        "1 .png (outside of the classes' folders: move it into one)",
        "1 .db (no image)",
        "1 .pdf (no image)",
        "1 .svg (a drawing: convert to .png)",
        "1 without an ending (no image)",
        "1 .png (a link to nothing)",
        "3 hidden",
        "(a link to a folder: put the folder itself there)",
    ):
        assert words in lines[0], words
    assert "folder 'cat': 1 image, class 0" in lines
    assert "folder 'dog': 2 images, class 1, 1 of them in folders below" in lines
    named = "\n".join(lines)
    for name in ("cat/IMG_0.HEIC", "dog/Thumbs.db", "dog/.ipynb_checkpoints", "__MACOSX", "beside.png", "dog/linked"):
        assert repr(name) in named, name


def test_a_format_that_a_package_brings_is_read_once_it_is_there(photos, monkeypatch):
    """A package like pillow-heif, here for a format that Pillow knows itself."""
    PHOTO.save(photos / "cat" / "1.heic", format="PCX")
    monkeypatch.setattr(pictures, "SPARED", {*pictures.SPARED, "PCX"})
    for cached in (pictures.readable_formats, pictures._endings):
        cached.cache_clear()
    assert "1 .heic (Pillow cannot read it" in report()[0]
    site = photos.parent / "site"
    site.mkdir()
    (site / "pillow_heif.py").write_text(
        "from PIL import Image, PcxImagePlugin\ndef register_heif_opener():\n"
        "    Image.register_open('HEIF', PcxImagePlugin.PcxImageFile)\n"
        "    Image.register_extension('HEIF', '.heic')\n"
    )
    monkeypatch.setattr(Image, "EXTENSION", dict(Image.EXTENSION))
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.syspath_prepend(site)
    for cached in (pictures.readable_formats, pictures._endings):
        cached.cache_clear()
    try:
        assert report()[0] == "photos: 3 images in 2 folders"
    finally:
        sys.modules.pop("pillow_heif", None)
        monkeypatch.undo()
        for cached in (pictures.readable_formats, pictures._endings):
            cached.cache_clear()


def test_a_class_whose_images_are_all_left_out_is_refused_with_the_reason(photos):
    (photos / "cat" / "0.png").unlink()
    (photos / "cat" / "0.heic").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(ConfigError, match=r"'photos/cat' holds no image, .*left out: 1 file: 1 \.heic \(.*pillow-heif"):
        images("photos")


# Right, or reported


def test_a_remark_says_what_becomes_of_unusual_pictures(photos):
    cat = photos / "cat"
    PHOTO.save(cat / "a.gif", save_all=True, append_images=[PHOTO.rotate(90)])
    PHOTO.save(cat / "b.png", save_all=True, append_images=[PHOTO.rotate(90)])
    PHOTO.save(cat / "c.tif", save_all=True, append_images=[PHOTO.rotate(90)])
    PHOTO.convert("CMYK").save(cat / "d.jpg")
    PHOTO.convert("RGBA").save(cat / "e.png")
    PHOTO.convert("LA").save(cat / "f.png")
    palette = PHOTO.convert("P", palette=Image.Palette.ADAPTIVE)
    palette.save(cat / "g.png", transparency=b"\x80" * 256)
    PHOTO.resize((48, 16)).save(cat / "h.png")
    raw = b"".join(b"\0" + RANDOM.integers(0, 256, 24 * 6, dtype=np.uint8).tobytes() for _ in range(16))
    (cat / "i.png").write_bytes(png(24, 16, 16, raw))
    lines = report()
    for words in (
        "sizes (wide x high): 24x16 to 48x16, 2 different; resized to 8x8, 11 to other proportions",
        "3 of 11 images: of several pictures (animations, pages), of which the first is read",
        "3 of 11 images: with transparency, which is dropped and shows the colours behind it; data.channels=4 keeps it",
        "1 of 11 images: in CMYK, turned into RGB without a colour profile",
        "1 of 11 images: of 16 bits per channel, of which the upper 8 are read",
    ):
        assert words in lines
    assert any("in colour, turned into grey; data.channels=3 keeps it" in line for line in report(channels=1))
    assert not any("transparency" in line for line in report(channels=4))


def png(wide: int, high: int, bits: int, rows: bytes) -> bytes:
    """A PNG in colour, which Pillow cannot write with 16 bits."""
    head = struct.pack(">IIBBBBB", wide, high, bits, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_the_values_are_those_of_pillow_in_every_mode(photos, mode, channels):
    image = PHOTO.convert("RGB").convert(mode)
    file = photos / "cat" / ("1.jpg" if mode == "YCbCr" else "1.tif")
    image.save(file)
    with Image.open(file) as opened:
        colours = opened.convert("RGBA") if mode == "P" else opened
        expected = np.asarray(colours.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels]), dtype=np.float32) / 255
    assert np.array_equal(pictures.decode(file, (16, 24), channels).permute(1, 2, 0).numpy().squeeze(), expected)


def refused(words: str) -> None:
    """By what the check reads and by what training does."""
    for source in (brief, images):
        with pytest.raises(ConfigError, match=words):
            source(path="photos", size=8)


def test_pictures_that_cannot_be_read_are_refused_before_training_all_at_once(photos):
    good = (photos / "cat" / "0.png").read_bytes()
    PHOTO.save(photos / "cat" / "1.jpg")
    whole = (photos / "cat" / "1.jpg").read_bytes()
    (photos / "cat" / "1.jpg").write_bytes(whole[: len(whole) // 2])
    refused(r"'photos/cat/1.jpg' cannot be read as an image \(.*(?i:truncated).*\); replace or remove it")
    (photos / "cat" / "2.png").write_bytes(good[: len(good) // 2])
    (photos / "cat" / "3.gif").write_bytes(b"")
    (photos / "dog" / "4.webp").write_bytes(b"RIFF")
    refused(r"3 more cannot be used: 'photos/cat/2.png', 'photos/cat/3.gif', 'photos/dog/4.webp'")


def test_a_jpeg_with_bytes_behind_its_end_is_whole(photos):
    PHOTO.save(photos / "cat" / "1.jpg")
    with (photos / "cat" / "1.jpg").open("ab") as file:
        file.write(b"\0" * 9000)
    assert report()[0] == "photos: 3 images in 2 folders"


def test_a_picture_too_large_for_memory_is_named(photos):
    rows = zlib.compress(b"")
    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", rows), (b"IEND", b"")]
    (photos / "dog" / "huge.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    )
    refused(r"'photos/dog/huge.png' is too large to be read \(.*900000000 pixels.*make it smaller")


@pytest.mark.parametrize(
    ("mode", "words"), [("I;16", "more than 8 bits"), ("F", "more than 8 bits"), ("LAB", "LAB colours")]
)
def test_a_picture_of_other_numbers_is_refused(photos, mode, words):
    Image.new(mode, (4, 4)).save(photos / "cat" / "1.tif")
    refused(f"'photos/cat/1.tif' has {words}")


def test_a_large_panorama_is_read_without_a_warning(photos, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)  # PHOTO has 384 pixels
    assert isinstance(images("photos", size=8).train, Tensors)


# Folders that mean something else


def test_folders_that_are_called_like_parts_are_no_classes(photos):
    for part in ("Training", "Testing"):
        for kind in ("cat", "dog"):
            (photos / "set" / part / kind).mkdir(parents=True)
            PHOTO.save(photos / "set" / part / kind / "0.png")
    with pytest.raises(ConfigError, match=r"'photos/set/Testing' holds folders and is called like a part .*rename it"):
        images("photos/set")
    for part, name in (("Training", "train"), ("Testing", "test")):
        (photos / "set" / part).rename(photos / "set" / name)
    assert len(images("photos/set", size=8).test) == 2


def test_one_folder_too_high_leads_one_down(photos, tmp_path):
    outer = tmp_path / "download"
    outer.mkdir()
    photos.rename(outer / "photos")
    with pytest.raises(ConfigError, match=r"holds only 'photos'; .* e\.g\. data\.path=download/photos"):
        images("download")
    assert len(images("download/photos", size=8, valid=0, test=0).train) == 2


def test_a_test_folder_without_classes_is_named(photos):
    for kind in ("cat", "dog"):
        (photos / "all" / "train" / kind).mkdir(parents=True)
        PHOTO.save(photos / "all" / "train" / kind / "0.png")
    (photos / "all" / "test").mkdir()
    PHOTO.save(photos / "all" / "test" / "1.png")
    with pytest.raises(
        ConfigError, match=r"'photos/all/test' holds none of the classes' folders, \['cat', 'dog'\]; move"
    ):
        images("photos/all")


def test_a_picture_that_has_changed_is_read_anew(photos):
    assert pictures.head(photos / "cat" / "0.png").size == (16, 24)
    PHOTO.resize((5, 7)).save(photos / "cat" / "0.png")
    os.utime(photos / "cat" / "0.png", (1, 1))
    assert pictures.head(photos / "cat" / "0.png").size == (7, 5)


def test_training_begins_with_a_line_about_what_is_left_out(photos, workplace):
    for i in range(3):
        (photos / "cat" / f"{i}.heic").write_bytes(b"\0\0\0\x18ftypheic")
        PHOTO.save(photos / "dog" / f"{i}.jfif", format="JPEG")
    words = "data=images data.path=photos data.size=4 data.valid=0 data.test=0 loss=bce_with_logits trainer.epochs=1"
    done = runner(*words.split(), "model.layers=[Flatten,{Linear:1}]", "plots=[]", cwd=workplace)
    assert "photos: 5 images in 2 folders; left out: 3 files: 3 .heic (Pillow cannot read it: pip install" in done.out


def test_a_pipe_is_not_waited_for(photos: Path) -> None:
    os.mkfifo(photos / "cat" / "pipe.jpg")
    os.mkfifo(photos / "pipe.jpg")
    assert "left out: 2 files: 2 .jpg (no file, but a pipe or a device)" in report()[0]
    for read in (lambda path: images(path), lambda path: _inputs.read(path, {})):
        with pytest.raises(ConfigError, match="is a pipe or a device; write what it gives to a file first"):
            read("photos/pipe.jpg")


def test_sixteen_bits_of_grey_are_scaled_by_the_advice(photos: Path) -> None:
    values = (np.arange(64 * 64, dtype="uint16") * 16).reshape(64, 64)
    Image.fromarray(values).save(photos / "cat" / "1.png")
    with pytest.raises(ConfigError, match=r"has more than 8 bits per channel \(I;16\)") as error:
        images("photos", size=64)
    line = str(error.value).partition("of 16 bits by ")[2].replace("FILE", "'photos/cat/1.png'")
    eval(line, {"Image": Image, "numpy": np}).save(photos / "cat" / "1.png")
    found = images("photos", size=64, channels=1, valid=0, test=0).train
    assert isinstance(found, Tensors)
    assert (found.x - torch.from_numpy(values / 65535).float()).abs().flatten(1).amax(1).min() < 1 / 255
