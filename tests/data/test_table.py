"""Tables as people have them: what is not what it looks like is reported before training, with what helps."""

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from sklearn.datasets import load_iris
from torch import nn

from runner.data import Data
from runner.data._tables.csv_file import read_csv
from runner.data.table import encode, table
from runner.settings.errors import ConfigError
from runner.training.checking import targets
from runner.training.parts import source
from tests.data.test_data import refused, same_data


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def iris() -> pandas.DataFrame:
    frame = load_iris(as_frame=True).frame
    names = dict(enumerate(["setosa", "versicolor", "virginica"]))
    return frame.assign(kind=frame.pop("target").map(names))


def people(n: int = 40, **more: Any) -> pandas.DataFrame:
    rng = np.random.default_rng(0)
    columns = {"age": rng.integers(20, 70, n), "height": rng.normal(1.7, 0.1, n).round(3)}
    return pandas.DataFrame(columns | more | {"price": rng.normal(50, 20, n).round(2)})


def read(frame: pandas.DataFrame, **arguments: Any) -> Data:
    frame.to_csv("t.csv", index=False)
    return table(**{"path": "t.csv", "target": "price", "valid": 0, "test": 0, **arguments})


def message(frame: pandas.DataFrame, **arguments: Any) -> str:
    with pytest.raises(ConfigError) as error:
        read(frame, **arguments)
    return str(error.value)


# ------------------------------------------------------------------------------------------------ columns left out


@pytest.mark.parametrize(
    "index",
    [
        lambda frame: frame.sort_values("kind"),
        lambda frame: frame[frame["sepal width (cm)"] > 3],
        lambda frame: frame.sample(frac=1, random_state=1),
        lambda frame: frame.set_index(pandas.Index([f"flower {i}" for i in range(150)])),
        lambda frame: frame.set_index(pandas.date_range("2024-01-01", periods=150)),
        lambda frame: frame.reset_index(drop=True),
    ],
    ids=["sorted", "filtered", "shuffled", "names", "dates", "rising"],
)
def test_the_index_that_pandas_writes_is_never_a_feature(here, index):
    frame = index(iris())
    frame.to_csv("with.csv")
    frame.to_csv("without.csv", index=False)
    frame.to_parquet("with.parquet")
    found = [table(name, "kind") for name in ("with.csv", "without.csv", "with.parquet")]
    assert found[0].notes["features"] == list(frame.columns[:4])
    assert all(same_data(found[1], other) for other in found)
    assert "1 left out: 'Unnamed: 0' (without a name)" in found[0].report[0]
    assert "left out" not in found[1].report[0]


def test_other_columns_without_a_name_are_left_out_and_named_too(here):
    iris().to_csv("once.csv")
    pandas.read_csv("once.csv").to_csv("twice.csv")
    Path("last.csv").write_text("a,b,\n" + "".join(f"{i},{i * i},{7 - i}\n" for i in range(9)))
    Path("two.csv").write_text("a,,b,\n" + "".join(f"{i},x,{i * i},{7 - i}\n" for i in range(9)))
    for name, target, features, told in (
        ("twice.csv", "kind", list(iris().columns[:4]), "2 left out: 'Unnamed: 0.1', 'Unnamed: 0' (without a name)"),
        ("last.csv", "b", ["a"], "1 left out: 'Unnamed: 2' (without a name)"),
        ("two.csv", "b", ["a"], "2 left out: 'Unnamed: 1', 'Unnamed: 3' (without a name)"),
    ):
        found = table(name, target)
        assert found.notes["features"] == features
        assert told in found.report[0]
    assert table("last.csv", "b", features=["a", "Unnamed: 2"]).notes["features"] == ["a", "Unnamed: 2"]


@pytest.mark.parametrize(
    "text",
    ["a,b,c,\n1,2,3,\n4,5,7,\n6,7,9,\n", "a,b,c\n1,2,3,\n4,5,7,\n6,7,9,\n", "a;b;c;\n1;2;3;\n4;5;7;\n6;7;9;\n"],
)
def test_a_comma_at_the_end_of_every_line_is_no_column(here, text):
    Path("t.csv").write_text(text)
    found = table("t.csv", "c", valid=0, test=0, standardize=False)
    assert found.train.x.tolist() == [[1, 2], [4, 5], [6, 7]]
    assert found.train.y.flatten().tolist() == [3, 7, 9]


def test_empty_columns_are_left_out_by_name_unless_they_are_asked_for(here):
    frame = people(note=None, gone=np.nan)
    found = read(frame)
    assert found.notes["features"] == ["age", "height"]
    assert "2 left out: 'note', 'gone' (empty)" in found.report[0]
    with refused("data.features", "'note' in 40 of 40 rows", "leave out what is mostly empty, 'data.features=[age]'"):
        read(frame, features=["age", "note"])
    with refused("data.target", "'gone' in 40 of 40 rows"):
        read(frame, target="gone")


# ------------------------------------------------------------------------------------------------------- separators


@pytest.mark.parametrize(
    "text",
    [
        "name,size,cost\nbo,1.5,2\nal,2.5,3\nbo,3.5,5\n",
        "name;size;cost\nbo;1.5;2\nal;2.5;3\nbo;3.5;5\n",
        "name\tsize\tcost\nbo\t1.5\t2\nal\t2.5\t3\nbo\t3.5\t5\n",
        "\ufeffname;size;cost\r\nbo;1.5;2\r\nal;2.5;3\r\nbo;3.5;5\r\n",
        " name , size,cost \nbo , 1.5,2\n al, 2.5 ,3\nbo,3.5,5\n",
        '"name" , "size","cost"\n"bo", 1.5,2\n "al ",2.5,3\n bo,"3.5",5\n\n',
        '"name";"size";"cost"\n"bo";1.5;2\n"al";2.5;3\n\n"bo";3.5;5',
    ],
    ids=["commas", "semicolons", "tabs", "mark", "spaces", "quotes", "blank lines"],
)
def test_separators_marks_and_spaces_are_understood(here, text):
    Path("t.csv").write_bytes(text.encode())
    found = table("t.csv", "cost", valid=0, test=0, standardize=False)
    assert found.notes["features"] == ["name=al", "name=bo", "size"]
    assert found.train.x.tolist() == [[0, 1, 1.5], [1, 0, 2.5], [0, 1, 3.5]]
    assert found.train.y.flatten().tolist() == [2, 3, 5]


def test_a_separator_within_names_and_texts_separates_nothing(here):
    Path("t.csv").write_text('"length, cm";"cost; $";kind\n1;2;"a,b"\n2;3;c\n4;5;"a,b"\n')
    found = table("t.csv", "cost; $", valid=0, test=0, standardize=False)
    assert found.notes["features"] == ["length, cm", "kind=a,b", "kind=c"]
    Path("t.csv").write_text("a,b\n1,x;y\n2,x;z\n3,x;y\n4,x;z\n")
    assert table("t.csv", "a").notes["categories"] == {"b": ["x;y", "x;z"]}


def test_what_is_no_table_with_a_line_of_names_is_refused(here):
    Path("t.csv").write_text("5.1,3.5,1.4,setosa\n4.9,3.0,1.4,setosa\n")
    with refused("data.path", "the first line of 't.csv' holds values, '5.1', '3.5', '1.4'", "put a line"):
        table("t.csv", "setosa")
    Path("t.csv").write_bytes("größe,b\n1,2\n".encode("latin-1"))
    with refused("data.path", "it is no UTF-8 text (line 1 holds the byte 0xf6)", "decode('cp1252')"):
        table("t.csv", "b")
    Path("t.tsv").write_text("a\tb\n1\t2\n")
    with refused("data.path", "ends in '.tsv'; expected .csv or .parquet (commas, semicolons or tabs"):
        table("t.tsv", "b")
    Path("t.csv").write_text(" a,a \n1,2\n")
    with refused("data.path", "several columns called 'a'"):
        table("t.csv", "a")


# ------------------------------------------------------------------------------------------ numbers, dates and names

COSTS = np.arange(1, 41) * 1234.5
#: How a number may be written, and whether the message can only ask what it means.
WRITTEN = {
    "thousands": lambda v: f"{v:,.1f}",
    "thousands in whole numbers": lambda v: f"{int(v):,}",
    "percent": lambda v: f"{v}%",
    "percent with a space": lambda v: f"{v} %",
    "dollars": lambda v: f"${v}",
    "dollars and cents": lambda v: f"$ {v:,.2f}",
    "euros": lambda v: f"{v:,.2f} \u20ac".translate(str.maketrans(",.", ".,")),
    "spaces": lambda v: f"{v:,.1f}".replace(",", " "),
    "narrow spaces and a decimal comma": lambda v: f"{v:,.1f}".replace(",", "\u202f").replace(".", ","),
    "decimal comma": lambda v: f"{v:,.1f}".translate(str.maketrans(",.", ".,")),
    "short decimal comma": lambda v: str(v).replace(".", ","),
    "apostrophes": lambda v: f"{v:,.1f}".replace(",", "'"),
    "a unit": lambda v: f"{v} kg",
    "a minus of typesetters": lambda v: f"\u2212{v}",
}


@pytest.mark.parametrize("form", WRITTEN)
@pytest.mark.parametrize("place", ["feature", "target"])
def test_numbers_written_as_text_are_reported_and_what_is_advised_reads_them(here, form, place):
    frame = people().assign(cost=[WRITTEN[form](v) for v in COSTS])
    target = "cost" if place == "target" else "price"
    found = message(frame, target=target)
    assert found.startswith(
        f"data.{'target' if place == 'target' else 'features'}: column 'cost' holds numbers written"
    )
    assert f"{frame['cost'].iloc[0]!r} in row 0" in found or "in row" in found
    assert "of 40 rows" in found
    [*advice] = re.findall(r"frame\['cost'\] = .*?\.astype\(float\)", found)
    frame = pandas.read_csv("t.csv")
    exec(advice[0], {"frame": frame})
    wanted = COSTS.astype(int).astype(float) if "whole" in form else COSTS
    assert np.allclose(frame["cost"], -wanted if "minus" in form else wanted)
    assert read(frame, target=target).task == "regression"


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["1,234", "2,345"] * 20, ["'1,234' in row 0 has a comma, for thousands or for decimals", "40 of 40 rows"]),
        (["900.5"] * 37 + ["1,234.5"] * 3, ["'1,234.5' in row 37 has a comma for thousands", "3 of 40 rows"]),
        (["(5)", "(6)", "7"] * 13 + ["8"], ["'(5)' in row 0", "write all of them alike"]),
        (["5 kg", "6 lb"] * 20, ["'5 kg' in row 0", "write all of them alike"]),
        (["12 345,67", "1,234.5"] * 20, ["write all of them alike"]),
        (["1", "2", "n/k"] * 13 + ["1"], ["holds numbers, but 'n/k' in row 2 and 13 of 40 rows"]),
        (["?"] * 30 + ["1", "2"] * 5, ["holds numbers, but '?' in row 0 and 30 of 40 rows"]),
        (["none"] * 30 + ["1.5"] * 10, ["holds numbers, but 'none' in row 0 and 30 of 40"]),
        (["2024-01-31", "2024-02-01"] * 20, ["dates or times as text, '2024-01-31' in row 0", "data.leave_out=[cost]"]),
        (["31.01.2024", "1/2/24"] * 20, ["dates or times as text, '31.01.2024' in row 0"]),
        (["12:30", "9:05:01"] * 20, ["dates or times as text, '12:30' in row 0"]),
        (["Jan 3, 2024", "3 March 2024"] * 20, ["dates or times as text"]),
        ([f"{i:08x}-aa" for i in range(40)], ["40 different texts in 40 rows", "data.leave_out=[cost]"]),
        ([f"name {i // 2 * 2 if i < 8 else i}" for i in range(40)], ["36 different texts in 40 rows"]),
    ],
)
def test_texts_that_are_no_categories_are_reported(here, texts, words):
    found = message(people(cost=texts))
    for word in words:
        assert word in found, found


@pytest.mark.parametrize(
    "texts",
    [
        ["20-29", "30-39"] * 20,
        ["<5", "5+"] * 20,
        ["1st", "2nd", "3rd", "4th"] * 10,
        ["4WD", "2WD"] * 20,
        ["A1", "B2"] * 20,
        ["10.0.0.1", "10.0.0.2"] * 20,
        ["yes", "no", "don't know", "?"] * 10,
        ["none", "basic", "full", "-"] * 10,
    ],
)
def test_categories_with_digits_and_signs_are_categories(here, texts):
    found = read(people(level=texts))
    assert found.notes["categories"] == {"level": sorted(set(texts))}


def test_ids_and_dates_are_no_classes(here):
    with refused(
        "data.target", "column 'who' holds 40 different texts in 40 rows", "a class", "predict another column"
    ):
        read(people(who=[f"p{i}" for i in range(40)]), target="who")
    with refused("data.target", "column 'day' holds dates or times as text"):
        read(people(day=["2024-01-01", "2024-01-02"] * 20), target="day")
    with refused("data.task", "column 'number' holds 40 different numbers in 40 rows", "data.task=regression"):
        read(people(number=range(40)), target="number", task="classification")


def test_numbers_that_parquet_holds_as_text_are_reported_and_both_remedies_help(here):
    frame = people(code=["1", "2"] * 20)
    frame.to_parquet("t.parquet")
    with refused("data.features", "column 'code' holds numbers as text, '1' in row 0"):
        table("t.parquet", "price")
    for kind, width in (("float", 3), ("category", 4)):
        frame.assign(code=frame["code"].astype(kind)).to_parquet("t.parquet")
        assert table("t.parquet", "price").train.x.shape[1] == width


# --------------------------------------------------------------------------------------------------- missing values


@pytest.mark.parametrize("word", ["na", "Nan", "N/a", "NULL", "NA", " nan ", ""])
def test_words_for_missing_values_count_whatever_their_case(here, word):
    frame = people(kind=["a", "b", word, "a"] * 10, size=["1.5", "2", word, "3"] * 10)
    with refused("data.features", "values are missing: 'kind' in 10", "of 40 rows, first 'kind' in row 2"):
        read(frame[["age", "kind", "price"]])
    with pytest.raises(ConfigError, match=r"'size' (in 10 of 40 rows|holds numbers, but)"):
        read(frame[["age", "size", "price"]])


def test_advice_on_missing_values_helps_and_never_drops_every_row(here):
    holes = people(gap=[np.nan, *range(39)], rare=[np.nan] * 39 + [1.0], text=["a"] * 38 + [None, "b"])
    found = message(holes)
    assert "'gap' in 1, 'rare' in 39, 'text' in 1 of 40 rows, first 'gap' in row 0" in found
    assert "'data.leave_out=[rare]'" in found
    [advice] = re.findall(r"frame = (frame\.dropna\(.*?\]\))", found)
    left = eval(advice, {"frame": holes})
    assert f"leaves {len(left)} of 40 rows" in found
    assert len(read(left, leave_out=["rare"]).train) == len(left) == 38
    [everything] = re.findall(r"leave the columns out, (\S+);?", found)
    assert shlex.split(everything.rstrip(";")) == ["data.leave_out=[gap,rare,text]"]
    assert len(read(holes, leave_out=["gap", "rare", "text"]).train) == 40
    stairs = people(4, a=[np.nan, 1, 2, 3], b=[1, np.nan, 2, 3], c=[1, 2, np.nan, 3], d=[1, 2, 3, np.nan])
    assert "drop" not in message(stairs)
    assert "fill them in" in message(stairs)
    with refused("data.target", "'price' in 1 of 40 rows", "frame.dropna(subset=['price']), which leaves 39"):
        read(people().assign(price=[np.nan, *range(39)]))


# ----------------------------------------------------------------------------------------------------------- report


def test_the_report_says_how_every_column_was_understood(here):
    frame = people(same=3, flag=[True, False] * 20, Kind=["Yes", "yes", "no", "no"] * 10, day=range(5, 45))
    frame.loc[len(frame)] = frame.loc[0]
    found = read(frame, split={"group": "Kind"}, leave_out=["height"])
    summary, *lines = found.report
    assert summary == "t.csv: 41 rows, 7 columns; 2 left out: 'height' (data.leave_out), 'Kind' (data.split.group)"
    assert lines[1:3] == ["column 'same': numbers, always 3", "column 'flag': true and false: 21 true, 20 false"]
    assert lines[0].startswith(f"column 'age': numbers, {frame['age'].min()} to {frame['age'].max()}")
    assert lines[-2].startswith("target 'price': numbers, ")
    assert lines[-1].startswith("1 row repeats an earlier one")
    text = next(line for line in read(frame).report if "'Kind'" in line)
    assert text == (
        "column 'Kind': text, 3 categories: 'Yes' 11, 'no' 20, 'yes' 10; some differ in upper and lower case only"
    )


def test_what_is_doubtful_is_in_the_first_line(here):
    frame = people(PassengerId=np.random.default_rng(1).permutation(40) + 892, code=["a", "b", "c", "c"] * 10)
    frame["label"] = frame["code"].map({"a": 3, "b": 1, "c": 2})
    frame["copy"] = frame["price"]
    assert "doubtful: 'PassengerId' only tells the rows apart; 'copy' alone tells the target" in read(frame).report[0]
    assert "'label' alone tells the target" in read(frame, target="code").report[0]
    assert "the target holds 3 different whole numbers" in read(frame, target="label").report[0]
    assert "doubtful" not in read(people()).report[0]


def test_a_target_of_probabilities_is_reported_like_any(here):
    frame = people(share=[0.2, 0.8, 0.9, 0.5] * 10)
    assert read(frame, target="share", task="classification").report[0].startswith("t.csv: 40 rows")


def test_a_table_of_many_columns_has_a_short_report(here):
    frame = pandas.DataFrame({f"c{i}": [i, 2 * i, 3.5] for i in range(300)})
    assert len(read(frame, target="c0").report) < 50


# ---------------------------------------------------------------------------------------------------------- targets


@pytest.mark.parametrize("values", [[0, 1] * 20, [0.0, 1.0] * 20, [-1, 1] * 20, [1, 2] * 20])
def test_two_whole_numbers_ask_for_the_task(here, values):
    frame = people(label=values)
    low, high = sorted({f"{value:g}" for value in values}, key=float)
    read(frame, target="label")
    with refused("data.task", f"column 'label' holds {low} and {high} only", "data.task=classification"):
        targets.read(source.resolve({"name": "table", "path": "t.csv", "target": "label"}), nn.MSELoss())
    assert read(frame, target="label", task="classification").classes == (low, high)
    assert read(frame, target="label", task="regression").task == "regression"


@pytest.mark.parametrize("loss", [nn.BCEWithLogitsLoss(), nn.CrossEntropyLoss()])
@pytest.mark.parametrize("task", ["classification", "regression", None])
def test_one_hot_targets_have_the_same_parts_when_they_are_read_by_the_record(here, loss, task):
    label = np.arange(40) % 3
    frame = people(**{name: (label == k).astype(int) for k, name in enumerate("pqr")})
    frame.to_csv("t.csv", index=False)
    spec = {"name": "table", "path": "t.csv", "target": ["p", "q", "r"], "task": task}
    first = targets.read(source.resolve(spec), loss)
    noted = {
        "task": first.task,
        "classes": list(first.classes),
        "notes": first.notes,
        "example": {"shape": [len(first.train.x[0])]},
    }
    assert same_data(targets.read(source.resolve(spec), loss, noted=noted), first)


def test_several_targets_are_a_regression_of_several_numbers(here):
    frame = people()
    found = read(frame, target=["price", "height"], valid=0.25, test=0.25)
    assert (found.task, found.notes["features"], found.notes["targets"]) == ("regression", ["age"], ["price", "height"])
    y = torch.cat([part.y for part in (found.train, found.valid, found.test)])
    assert y.shape == (40, 2)
    assert y.dtype == torch.float32
    wanted = frame[["price", "height"]].to_numpy(dtype=np.float32)
    assert np.array_equal(y.numpy()[np.lexsort(y.numpy().T)], wanted[np.lexsort(wanted.T)])
    with refused("data.target", "names several columns, 'price', 'kind'; expected numbers in each"):
        read(people(kind=["a", "b"] * 20), target=["price", "kind"])
    with refused("data.target", "names a column twice"):
        read(frame, target=["price", "price"])


def test_columns_may_be_named_by_numbers(here):
    frame = pandas.DataFrame(np.random.default_rng(0).normal(size=(20, 4)))
    found = read(frame, target=2)
    assert found.notes["features"] == ["0", "1", "3"]
    assert same_data(found, read(frame, target="2"))
    assert read(frame, target=[2, 3], leave_out=[0]).notes["features"] == ["1"]
    assert read(frame, target=2, features=[0, "1"]).notes["features"] == ["0", "1"]
    with refused("data.target", "True is not the name of a column"):
        read(frame, target=[True])


@pytest.mark.parametrize(
    ("arguments", "key", "words"),
    [
        ({"leave_out": ["hieght"]}, "data.leave_out", ["no column 'hieght'", "did you mean 'height'"]),
        ({"leave_out": ["price"]}, "data.leave_out", ["names the target 'price'"]),
        ({"leave_out": ["age"], "features": ["height"]}, "data.leave_out", ["stands beside data.features"]),
        ({"leave_out": ["age", "height"]}, "data.features", ["nothing to predict 'price' from"]),
        ({"features": ["age", "age"]}, "data.features", ["names a column twice"]),
        ({"target": []}, "data.target", ["missing", "data.target=price"]),
    ],
)
def test_names_that_cannot_be_used_are_refused(here, arguments, key, words):
    with refused(key, *words):
        read(people(), **arguments)


def test_other_rows_of_a_frame_are_encoded_as_the_file_was(here):
    frame = people(flag=[True, False] * 20, kind=["1", "2", "x", "x"] * 10)
    found = read(frame)
    assert torch.equal(encode(frame[::-1], found.notes).flip(0), found.train.x)
    with refused("data.features", "column 'flag' holds text, and the model was trained with true and false"):
        encode(frame.assign(flag="yes"), found.notes)
    with refused("data.features", "column 'age' holds true and false, and the model was trained with numbers"):
        encode(frame.assign(age=True), found.notes)


def test_codes_and_grouped_thousands_that_pandas_takes_for_other_numbers_are_doubtful(here):
    Path("zip.csv").write_text("zip,size,b\n01234,0,2\n99999,10,3\n02345,20,5\n")
    found = table("zip.csv", "b", valid=0, test=0).report[0]
    assert "doubtful: 'zip' holds '01234', whose leading zero is lost" in found
    assert "'size'" not in found
    Path("eu.csv").write_text("price;share;b\n950;0.125;2\n1.234;0.250;3\n2.500;0.375;5\n")
    found = table("eu.csv", "b", valid=0, test=0).report[0]
    assert "'price' holds '1.234', read as 1.234; if the point groups thousands, write 1234" in found
    assert "'share'" not in found


def test_every_number_of_a_csv_file_is_the_one_that_is_written(here):
    """Whatever release of pandas reads it: those before 3 read one in three off by its last bit."""
    numbers = np.random.default_rng(0).standard_normal(1000)
    (here / "t.csv").write_text("".join(["x\n", *(f"{number!r}\n" for number in numbers.tolist())]))
    assert read_csv(here / "t.csv", "data.path", set())["x"].tolist() == numbers.tolist()


# ------------------------------------------------------------------------------------------------ missing values


def lacking() -> pandas.DataFrame:
    frame = people(60, kind=np.random.default_rng(1).choice(["a", "b", "b"], 60))
    return frame.assign(age=frame["age"].where(frame.index % 9 > 0), kind=frame["kind"].where(frame.index != 7))


@pytest.mark.parametrize(("rule", "of"), [("median", np.nanmedian), ("mean", np.nanmean)])
def test_missing_values_are_filled_from_the_training_rows(here, rule, of):
    frame = lacking()
    data = read(frame, missing=rule, split={"by": "height"}, valid=0.2, test=0.2)
    train = frame.sort_values("height")["age"].to_numpy()[:36]
    assert data.notes["missing"] == {"rule": rule, "values": {"age": of(train), "kind": "b"}}
    assert "'age' in 7 rows" in data.report[1]
    rows = frame[frame["age"].isna()]
    age = data.notes["columns"].index("age")
    assert np.allclose(encode(rows, data.notes)[:, age], (of(train) - data.notes["mean"][age]) / data.notes["std"][age])


def test_rows_without_a_value_can_be_dropped(here):
    data = read(lacking(), missing="drop")
    assert len(data.train) == 52
    assert data.report[1] == "missing values: 8 of 60 rows are dropped"
