"""Files that should be tables and are not whole, not text or of another format, and what is advised for them."""

import gzip
import re
from pathlib import Path

import numpy as np
import pandas
import pytest

from runner.data import _inputs
from runner.data.table import table
from runner.settings.errors import ConfigError
from tests.data.test_data import refused, same_data


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def message(**arguments) -> str:
    with pytest.raises(ConfigError) as error:
        table(**{"path": "t.csv", "target": "y", "valid": 0, "test": 0, **arguments})
    return str(error.value)


def advised(text: str) -> None:
    """Do what a message says behind `pandas:` or as pathlib's line, up to the file that it writes."""
    found = re.search(r"((?:pathlib|pandas)\.\w.*\))", text)
    assert found is not None, text
    exec(f"import pandas, pathlib; {found[1]}")


ROWS = [(f"grün {i % 3}", f"{i},{i % 7}", i * 2) for i in range(30)]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize(
    "encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "utf-8"]
)
def test_another_encoding_is_read_by_the_advice_whatever_separates_the_values(encoding, separator):
    frame = pandas.DataFrame(ROWS, columns=["preis", "größe", "y"]).drop(columns="größe").assign(b=range(30))
    if encoding == "cp1252":
        frame = frame.rename(columns={"preis": "preis €"})
    frame.to_csv("right.csv", index=False)
    text = frame.to_csv(index=False, sep=separator)
    Path("t.csv").write_bytes(text.encode(encoding))
    if not encoding.startswith("utf-8"):
        found = message()
        assert "it is no UTF-8 text" in found
        advised(found)
        Path("t.csv").write_bytes(Path("utf8.csv").read_bytes())
    assert same_data(table("t.csv", "y"), table("right.csv", "y"))


def test_the_advice_on_an_encoding_keeps_decimal_commas_as_they_are():
    Path("t.csv").write_bytes(("größe;y\n" + "".join(f"{i},5;{i}\n" for i in range(30))).encode("latin-1"))
    advised(message())
    assert Path("utf8.csv").read_text().splitlines()[:2] == ["größe;y", "0,5;0"]


@pytest.mark.parametrize("place", ["header", "number", "text", "line", "end"])
def test_bytes_of_0_are_found_with_their_line_and_the_advice_takes_them_out(place):
    good = b"name,a,y\n" + b"".join(b"x%d,%d,%d\n" % (i % 2, i % 5, i) for i in range(30))
    bad, line = {
        "header": (good.replace(b"name", b"na\0me"), 1),
        "number": (good.replace(b"x1,2,7", b"x1,\x002,7"), 9),
        "text": (good.replace(b"x0,0,10", b"x\x000,0,10"), 12),
        "line": (good.replace(b"x0,0,10\n", b"x0,0,10\n\0\0\0"), 13),
        "end": (good + bytes(3_000_000), 32),
    }[place]
    Path("right.csv").write_bytes(good)
    Path("t.csv").write_bytes(bad)
    found = message()
    assert f"line {line} holds a byte of 0" in found
    advised(found)
    assert same_data(table("clean.csv", "y"), table("right.csv", "y"))


def test_a_quotation_mark_that_is_not_closed_is_found_with_its_line():
    lines = ["name,a,y", '"two\nlines",1,1', *(f"n{i % 2},{i % 5},{i}" for i in range(30))]
    for row in (3, 31):
        Path("t.csv").write_text("\n".join([*lines[:row], '"' + lines[row], *lines[row + 1 :]]) + "\n")
        assert f"a quotation mark opens in the row of line {row + 2} and is not closed until the file ends" in message()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_rows_between_two_marks_that_are_not_closed_are_missed(place):
    """pandas reads 35 of 40 rows, and one text of six lines."""

    def row(i: int) -> str:
        cells = [str(i), str(i * i)]
        cells.insert(place, f'"n{i % 2}' if i in (7, 12) else f"n{i % 2}")
        return ",".join(cells)

    names = ["a", "y"]
    names.insert(place, "name")
    Path("t.csv").write_text(",".join(names) + "\n" + "\n".join(map(row, range(40))) + "\n")
    assert len(pandas.read_csv("t.csv")) < 40
    assert "column 'name' holds in row 7 a text of 6 lines that look like rows of the file" in message()
    found = table("t.csv", "y", leave_out=["name"])
    assert "is a quotation mark not closed there?" in found.report[0]
    noted = {"notes": found.notes, "task": found.task, "classes": []}
    assert "is a quotation mark not closed there?" in _inputs.read("t.csv", noted).remarks


def test_texts_of_several_lines_that_are_no_rows_are_texts():
    frame = pandas.DataFrame({"a": range(20), "note": ["Dear A,\nthanks", "no, no\nno"] * 10, "y": range(20)})
    frame.to_csv("t.csv", index=False, lineterminator="\r\n")
    found = table("t.csv", "y", valid=0, test=0)
    assert found.notes["categories"]["note"] == sorted(set(frame["note"]))
    assert "mark" not in found.report[0]


def test_the_ending_says_what_is_to_be_done():
    frame = pandas.DataFrame({"a": range(20), "y": range(20)})
    Path("t.csv.gz").write_bytes(gzip.compress(b"a,y\n1,2\n"))
    assert "is packed, and no text; unpack it first, as with gunzip" in message(path="t.csv.gz")
    Path("t.tsv").write_text(frame.to_csv(index=False, sep="\t"))
    assert message(path="t.tsv").endswith("; rename it")
    Path("t.tsv").rename("tabs.csv")
    frame.to_parquet("t.pq")
    assert message(path="t.pq").endswith("; rename it")
    Path("t.pq").rename("p.parquet")
    frame.to_json("t.json", orient="records")
    advised(message(path="t.json"))
    frame.to_parquet("t.csv")
    assert "is a Parquet file, and no text; rename it" in message()
    same = [table(name, "y") for name in ("tabs.csv", "p.parquet", "t_table.csv")]
    assert all(same_data(same[0], other) for other in same)
    noted = {"notes": same[0].notes, "task": "regression", "classes": [], "example": {"shape": [1], "dtype": "float32"}}
    for name, words in (("t.csv.gz", "gunzip"), ("t.json", "read_json")):
        with refused("inputs", words):
            _inputs.read(name, noted)
    Path("book.csv").write_bytes(b"PK\x03\x04" + bytes(26) + b"[Content_Types].xml")
    assert "is an Excel workbook, and no text; pandas.read_excel" in message(path="book.csv")


def test_lines_above_the_names_are_shown():
    for first, shown in (("sep=;", "'sep='"), ("# made by X", "'# made by X'")):
        Path("t.csv").write_text(f"{first}\na;b;y\n" + "1;2;3\n" * 5)
        if first.startswith("#"):
            Path("t.csv").write_text(f"{first}\na,b,y\n" + "1,2,3\n" * 5)
        found = message()
        assert shown in found
        assert "take out the lines above those with the names" in found


def test_a_table_of_one_column_is_answered_with_the_separators():
    Path("t.csv").write_text("a|b|y\n1|2|3\n2|3|4\n")
    assert message(target=None) == (
        "data.path: there is only one column, 'a|b|y'; expected commas, semicolons or tabs between columns"
    )


def test_ids_of_many_digits_are_never_taken_for_one_another():
    base = 12345678901234567
    rows = "".join(f"{base + i % 3},{i},{i * 0.5}\n" for i in range(30))
    Path("t.csv").write_text(f"id,a,y\n{rows}")
    assert len({float(base + i) for i in range(3)}) < 3
    found = message()
    assert "column 'id' holds whole numbers such as 12345678901234567, of which several become one number" in found
    assert "'data.leave_out=[id]'" in found
    assert table("t.csv", "y", leave_out=["id"]).notes["features"] == ["a"]
    assert "leave it out" not in message(target="id", task="classification")
    frame = pandas.read_csv("t.csv")
    frame["id"] = "c" + frame["id"].astype(str)
    frame.to_csv("t.csv", index=False)
    assert table("t.csv", "id").classes == tuple(f"c{base + i}" for i in range(3))
    Path("t.csv").write_text("id,y\n" + "".join(f"{base + 16 * (i % 3)},{i}\n" for i in range(30)))
    assert table("t.csv", "id", task="classification").classes[0] == str(int(float(base)))


def test_a_constant_column_is_0_whatever_its_size():
    for value in (12345678901234567, 0.1, -1e30):
        Path("t.csv").write_text("a,b,y\n" + "".join(f"{value!r},{i},{i}\n" for i in range(40)))
        assert not table("t.csv", "y", valid=0, test=0).train.x[:, 0].any()


def test_too_large_a_number_is_refused_without_a_warning():
    Path("t.csv").write_text("a,y\n1e39,1\n2,2\n")
    assert "1e+39, more than float32 can hold" in message()


def test_numbers_in_other_scripts_are_read_by_the_advice():
    wide = str.maketrans("0123456789", "".join(chr(0xFF10 + i) for i in range(10)))
    arabic = str.maketrans("0123456789", "".join(chr(0x660 + i) for i in range(10)))
    for script in (wide, arabic):
        texts = [f"{i * 7}.5".translate(script) for i in range(30)]
        pandas.DataFrame({"a": texts, "y": range(30)}).to_csv("t.csv", index=False)
        found = message()
        frame = pandas.read_csv("t.csv")
        exec(re.search(r"pandas: (.*\))(?=; in)", found)[1], {"frame": frame})
        assert frame["a"].tolist() == [i * 7 + 0.5 for i in range(30)]


def test_classes_may_be_numbers_and_words_where_the_person_says_that_they_are_classes():
    Path("t.csv").write_text("a,y\n" + "".join(f"{i},{['1', '2', 'S1'][i % 3]}\n" for i in range(30)))
    found = message()
    assert "or take all of them for classes, data.task=classification" in found
    assert table("t.csv", "y", task="classification").classes == ("1", "2", "S1")
    Path("t.csv").write_text("y,a\n" + "".join(f"{i},{['1', '2', 'S1'][i % 3]}\n" for i in range(30)))
    frame = pandas.read_csv("t.csv")
    exec(re.search(r"pandas: (.*\))(?=; in)", message())[1], {"frame": frame})
    frame.to_csv("t.csv", index=False)
    assert table("t.csv", "y").notes["categories"] == {"a": ["c1", "c2", "cS1"]}
    Path("t.csv").write_text("a,y\n" + "".join(f"{i},{'?' if i == 3 else i}\n" for i in range(30)))
    assert "classes" not in message()  # one for every row


def test_an_accent_of_its_own_makes_no_other_category():
    towns = ["S\u00e3o", "Sa\u0303o", "Rio"] * 10
    pandas.DataFrame({"a": towns, "y": range(30)}).to_csv("t.csv", index=False)
    found = table("t.csv", "y", valid=0, test=0)
    assert found.notes["categories"]["a"] == ["Rio", "S\u00e3o"]
    noted = {"notes": {**found.notes, "categories": {"a": ["Rio", "Sa\u0303o"]}}, "task": "regression", "classes": []}
    (batch,) = _inputs.read("t.csv", noted).batches
    assert np.array_equal(batch.numpy(), found.train.x.numpy())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("d,y\n" + "".join(f"202401{i % 28 + 1:02},{i}\n" for i in range(30)), "'d' may hold dates: 20240101 is read"),
        ("c,y\n" + "".join(f"{i % 9 + 1}E{i % 5},{i}\n" for i in range(30)), "'c' holds '1E0', read as 1: codes are"),
        ("5,3,y\n" + "".join(f"{i},{i % 7},{i}\n" for i in range(30)), "the first line, '5', '3', 'y', is read as"),
    ],
)
def test_what_may_be_something_else_is_doubtful(text, words):
    Path("t.csv").write_text(text)
    assert words in table("t.csv", "y").report[0]


def test_usual_numbers_and_names_are_not_doubtful():
    Path("t.csv").write_text("2019,2020,y\n" + "".join(f"{i}.5,{i % 7}e+01,{i * 1.5}\n" for i in range(30)))
    found = table("t.csv", "y").report[0]
    assert "first line" not in found
    assert "codes" not in found
    assert "dates" not in found


def test_a_split_that_is_no_mapping_is_one_message():
    Path("t.csv").write_text("a,y\n" + "".join(f"{i},{i}\n" for i in range(30)))
    for wrong in ("by", 0.2, ["by", "a"]):
        assert "is not one of {by: COLUMN}" in message(split=wrong)


def test_the_kind_of_a_split_can_be_exchanged():
    frame = pandas.DataFrame({"a": range(30), "part": ["train"] * 20 + ["test"] * 10, "who": [1, 2, 3] * 10})
    frame.assign(y=frame["a"] * 1.5).to_csv("t.csv", index=False)
    given = {"path": "t.csv", "target": "y", "valid": 0, "test": 0.3}
    both = {"column": "part", "group": "who"}
    assert message(split=both).endswith("data.split.column=null takes one away")
    found = table(**given, split={**both, "column": None}, leave_out=["part"])
    assert same_data(found, table(**given, split={"group": "who"}, leave_out=["part"]))
    assert not table(**given, split={"by": None}).report[0].count("data.split")
