"""Small files that unfold to much, and large ones that are no table: each works, or ends in one short message."""

import contextlib
import gzip
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from runner.data import Data, _inputs
from runner.data._tables import column, frame, report, understanding
from runner.data.table import table
from runner.plots import confusion_matrix
from runner.settings.errors import ConfigError, did_you_mean
from tests.support import components

MB = 1_000_000


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(key: str, *words: str, **spec: Any) -> str:
    """The message, which is short, names the file and holds the words."""
    with pytest.raises(ConfigError) as error:
        components.data(spec)
    text = str(error.value)
    assert text.startswith(f"{key}: ")
    assert all(word in text for word in words), text
    assert len(text) < 600
    assert "\n" not in text
    return text


def read(path: str, target: str, **more: Any) -> Data:
    return table(path, target, valid=0, test=0, **more)


@contextlib.contextmanager
def at_most(size: float) -> Iterator[None]:
    """Python and NumPy may take so many bytes at once."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


# -------------------------------------------------------------------------------------------------------------- images


def png(path: Path, width: int, height: int, rows: int | None = None) -> None:
    """A black picture of one bit a pixel; rows: those that it holds, whatever its head says."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(9)
    line = bytes(1 + (width + 7) // 8)
    pixels = b"".join(packer.compress(line) for _ in range(height if rows is None else rows)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))


def bomb(path: Path) -> None:
    png(path, 30_000, 30_000)
    assert path.stat().st_size < 120_000


def gif(path: Path) -> None:
    frames = [Image.new("P", (16, 16), number) for number in range(200)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def tiff(path: Path) -> None:
    Image.new("1", (14_000, 13_000)).save(path, compression="group4")


def webp(path: Path) -> None:
    Image.new("RGB", (16, 16)).save(path, lossless=True)
    content = bytearray(path.read_bytes())
    content[21:25] = struct.pack("<I", 16382 | 16382 << 14)  # its width and height, of which nothing else tells
    path.write_bytes(content)


def jpeg(path: Path) -> None:
    Image.new("RGB", (64, 64)).save(path)
    content = bytearray(path.read_bytes())
    place = content.index(b"\xff\xc0")
    content[place + 5 : place + 9] = struct.pack(">HH", 60_000, 60_000)
    path.write_bytes(content)


def cut(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-6000])


def words(path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    about = PngInfo()
    about.add_text("comment", "b" * (50 * MB), zip=True)
    Image.new("RGB", (16, 16)).save(path, pnginfo=about)


@pytest.fixture
def photos(here: Path) -> dict[str, Any]:
    for kind in ("cat", "dog"):
        (here / "photos" / kind).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (16, 16), (number, 0, 0)).save(here / "photos" / kind / f"{number}.png")
    return {"name": "images", "path": "photos", "valid": 0.0, "test": 0.0}


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize(
    ("name", "write"),
    [("x.png", bomb), ("x.tif", tiff), ("x.webp", webp), ("x.jpg", jpeg), ("cut.png", cut), ("words.png", words)],
)
def test_a_bomb_among_good_images_is_named_before_anything_is_decoded(
    photos: dict[str, Any], name: str, write: Any, in_memory: bool
) -> None:
    write(Path("photos", "cat", name))
    with at_most(40 * MB):
        refused("data.path", f"'photos/cat/{name}' ", "; ", **photos, size=8, in_memory=in_memory)


def test_without_its_limit_a_bomb_would_be_decoded(photos: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    bomb(Path("photos", "cat", "x.png"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    found = components.data({**photos, "size": 8, "in_memory": False})
    assert "16x16 to 30000x30000" in "\n".join(found.report)


def test_of_many_frames_the_first_is_read_and_a_head_that_promises_more_is_no_harm(photos: dict[str, Any]) -> None:
    gif(Path("photos", "cat", "x.gif"))
    png(Path("photos", "dog", "x.png"), 2000, 2000, rows=10)
    found = components.data({**photos, "size": 8})
    assert len(found.train) == 10  # type: ignore[arg-type]


def test_inputs_of_a_prediction_are_looked_at_before_the_first_is_predicted(photos: dict[str, Any]) -> None:
    bomb(Path("photos", "dog", "z.png"))
    noted = {"notes": {"size": [8, 8], "channels": 3}, "example": {"shape": [3, 8, 8], "dtype": "float32"}}
    with pytest.raises(ConfigError, match=r"^inputs: 'photos/dog/z.png' is too large to be read"):
        _inputs.read("photos", noted)


# -------------------------------------------------------------------------------------------------------------- tables


def test_one_line_of_many_values_is_no_table() -> None:
    Path("line.csv").write_text("a," * (25 * MB))
    refused("data.path", "the first line of 'line.csv' has 25,000,001 values between commas", name="table",
            path="line.csv", target="a")  # fmt: skip
    Path("line.csv").write_text("a" * (50 * MB))
    refused("data.path", "the first line of 'line.csv' holds a name of 50,000,000 characters", name="table",
            path="line.csv", target="a")  # fmt: skip


def test_a_huge_cell_is_named_where_it_is_used_and_spared_where_it_is_not() -> None:
    rows = [f"{i},{i % 3},{'xy'[i % 2]}" for i in range(50)]
    rows.insert(7, f"1,2,{'z' * (10 * MB)}")
    Path("cell.csv").write_text("\n".join(["a,b,t", *rows]) + "\n")
    for target, key in (("a", "data.features"), ("t", "data.target")):
        refused(key, "column 't' holds a text of 10,000,000 characters in row 7", "in 'cell.csv'", name="table",
                path="cell.csv", target=target)  # fmt: skip
    assert len(read("cell.csv", "a", leave_out=["t"]).train) == 51  # type: ignore[arg-type]
    for kind in ("column", "by"):
        refused(f"data.split.{kind}", "column 't' holds", "in 'cell.csv'", name="table", path="cell.csv", target="a",
                split={kind: "t"})  # fmt: skip


def test_without_its_limit_a_huge_cell_would_be_a_category(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(column, "LONGEST", 10**9)
    Path("cell.csv").write_text("a,t\n1.5,x\n2.5,x\n3.5," + "z" * MB + "\n4.5,x\n")
    assert len(read("cell.csv", "a").notes["features"][1]) == MB + 2


def test_a_long_text_takes_no_more_memory_in_every_row() -> None:
    """NumPy's arrays of texts give each the room of the longest."""
    frame = pandas.DataFrame({"a": np.arange(20_000) % 7 + 0.5, "t": ["x", "y" * 900] * 10_000})
    frame.to_parquet("long.parquet")
    with at_most(30 * MB):
        found = read("long.parquet", "t")
    assert found.classes == ("x", "y" * 900)
    with at_most(30 * MB):
        assert read("long.parquet", "a").notes["features"] == ["t=x", f"t={'y' * 900}"]


@pytest.mark.parametrize(("each", "said"), [(1, "in 20,000 rows, 'name0' and so on"), (2, "at most 100")])
def test_many_different_texts_are_no_feature(each: int, said: str) -> None:
    Path("many.csv").write_text("a,t\n" + "\n".join(f"{i % 7}.5,name{i // each}" for i in range(20_000)) + "\n")
    refused("data.features", "column 't' holds ", said, "in 'many.csv'", name="table", path="many.csv", target="a")


def test_many_classes_are_a_target_but_no_confusion_matrix() -> None:
    Path("many.csv").write_text("a,t\n" + "\n".join(f"{i % 7}.5,name{i // 2}" for i in range(20_000)) + "\n")
    found = read("many.csv", "t")
    assert len(found.classes) == 10_000
    assert len(found.report[-1]) < 300
    problem = confusion_matrix.problem(found, torch.nn.Identity())
    assert problem == "it shows at most 2,000 classes, and the data has 10,000"


def test_one_text_at_the_end_of_a_column_of_numbers_is_found_without_reading_the_numbers_as_texts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[str] = []
    monkeypatch.setattr(understanding, "parse_number", lambda text: tried.append(text))
    rows = 200_000
    Path("long.csv").write_text("a,b\n" + "\n".join(f"{i % 7}.5,{i}" for i in range(rows - 1)) + "\n1.5,oops\n")
    refused("data.features", f"column 'b' holds numbers, but 'oops' in row {rows - 1} and 1 of 200,000 rows hold text",
            "in 'long.csv'", name="table", path="long.csv", target="a")  # fmt: skip
    assert tried == ["oops"]


def wide(columns: int, name: str = "c") -> None:
    names = ",".join(f"{name}{i}" for i in range(columns))
    lines = (",".join(f"{(i * j) % 97 + 10}.5" for i in range(columns)) for j in range(1, 7))
    Path("wide.csv").write_text("\n".join([names, *lines]) + "\n")


class Counted:
    """Counts the calls of a function of pandas', which take their time for each column."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.calls = 0
        for name in names:
            original = getattr(pandas.DataFrame, name)
            monkeypatch.setattr(pandas.DataFrame, name, self._counting(original))

    def _counting(self, original: Any) -> Any:
        def called(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return original(*args, **kwargs)

        return called


def test_a_wide_table_is_read_in_steps_that_grow_with_its_width_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    for columns in (300, 600):
        wide(columns)
        with monkeypatch.context() as patch:
            counted = Counted(patch, "__getitem__", "duplicated")
            found = read("wide.csv", "c0")
        assert found.train[0][0].shape == (columns - 1,)
        calls.append(counted.calls)
    assert calls[1] - calls[0] <= 2 * 300
    wide(1000, name="x" * 150)  # a line that is more than Python's reader takes for one value
    assert read("wide.csv", "x" * 150 + "0").train[0][0].shape == (999,)


def test_what_is_doubtful_is_not_copied_with_every_column() -> None:
    Path("codes.csv").write_text("a,b\n01,1.5\n02,2.5\n")
    codes = frame.read(Path("codes.csv"))
    assert "a" in codes.attrs["doubts"]
    assert codes["b"].attrs["doubts"] is codes.attrs["doubts"]


def test_rows_that_repeat_are_counted_as_pandas_counts_them() -> None:
    rng = np.random.default_rng(0)
    for columns, values in ((1, 3), (3, 2), (6, 3), (40, 2)):
        rows = rng.integers(0, values, (60, columns)).astype(float)
        rows[rng.integers(0, 60, 9)] = rows[0]
        expected = int(pandas.DataFrame(rows).duplicated().sum())
        assert report._repeated(list(rows.T)) == expected


@pytest.mark.parametrize("pack", [gzip.compress, lambda content: b"PK\x03\x04" + content])
def test_a_packed_table_says_how_to_unpack_it(pack: Any) -> None:
    Path("t.csv").write_bytes(pack(b"a,b\n1,2\n"))
    refused("data.path", "'t.csv' is packed", "unpack it first", name="table", path="t.csv", target="a")
    Path("t.csv").rename("t.csv.gz")
    refused("data.path", "'t.csv.gz' is packed", "gunzip", name="table", path="t.csv.gz", target="a")


def test_a_small_parquet_file_of_many_rows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    held = pyarrow.table({name: pyarrow.array(np.zeros(1 * MB)) for name in "ab"})
    parquet.write_table(held, "t.parquet")
    assert Path("t.parquet").stat().st_size < 20_000
    assert read("t.parquet", "a")
    monkeypatch.setattr(frame, "memory", lambda device: 15 * MB)
    with at_most(10 * MB):
        refused("data.path", "'t.parquet' has 1,000,000 rows of 2 columns, which take at least 16 MB", name="table",
                path="t.parquet", target="a")  # fmt: skip


def test_an_array_that_says_it_holds_terabytes_is_refused() -> None:
    np.save("x.npy", np.zeros((4, 2)))
    np.save("y.npy", np.zeros(4))
    content = Path("x.npy").read_bytes()
    Path("x.npy").write_bytes(content.replace(b"(4, 2), }" + b" " * 13, b"(4000000000000, 2), } "))
    assert Path("x.npy").read_bytes() != content
    refused("data.x", "'x.npy' takes 64 TB", "; save less of it", name="arrays", x="x.npy", y="y.npy")


def test_the_nearest_name_is_not_looked_for_where_that_would_take_minutes() -> None:
    assert did_you_mean("z" * MB, ["z" * 999]) == ""
    assert did_you_mean("c1x", (f"c{i}" for i in range(10**12))) == "; did you mean 'c1'?"
