"""Small files of a stranger's that would take minutes, have a command pasted, or steer a terminal."""

import inspect
import subprocess
from pathlib import Path
from typing import Any

import pandas
import pyarrow
import pytest
from omegaconf import OmegaConf
from omegaconf.base import Container
from omegaconf.basecontainer import BaseContainer
from pyarrow import parquet

from runner.settings.errors import ConfigError
from runner.settings.trust import expansion, permission, secrets
from tests.support import command, composing

DOUBLED = "".join(f'    t{i}: "${{tracking.tags.t{i + 1}}}${{tracking.tags.t{i + 1}}}"\n' for i in range(40))
BRANCHED = "".join(f'  a{i}: {{x: "${{data.a{i + 1}}}", y: "${{data.a{i + 1}}}"}}\n' for i in range(30))
LONG = {
    "texts of texts": (f"tracking:\n  tags:\n{DOUBLED}    t40: x\n", "stand for more than 5,000"),
    "mappings of mappings": (f"data:\n{BRANCHED}  a30: {{x: 1}}\n", "stand for more than 5,000"),
    "references without end": ("tracking: {run_name: '" + "${seed}" * 30_000 + "'}\n", "more than 5,000 references"),
    "references within references": ("tracking: {run_name: '" + "${a:" * 400 + "}" * 400 + "'}\n", "x.yaml:1: more"),
    "a number without end": (f"seed: {'1' * 5000}\n", "x.yaml:1: a number of 5,000"),
    "minutes without end": ("seed: 1" + ":1" * 100_000 + "\n", "x.yaml:1: a number of 200,001"),
}


@pytest.mark.parametrize("name", LONG)
def test_a_small_file_does_not_take_minutes(name: str, workplace: Path, monkeypatch: Any) -> None:
    text, said = LONG[name]
    (workplace / "experiments").mkdir(exist_ok=True)
    (workplace / "experiments/x.yaml").write_text(text)
    monkeypatch.chdir(workplace)
    done = command.runner("check", "experiments=x", cwd=workplace, code=2)
    assert said in done.err
    assert "Traceback" not in done.err


def test_without_the_count_references_double(monkeypatch: pytest.MonkeyPatch) -> None:
    for holder, name in ((Container, "resolve_parse_tree"), (BaseContainer, "_to_content")):
        plain = inspect.unwrap(getattr(holder, name))  # other tests in this process may have had it counted
        monkeypatch.setattr(holder, name, plain if holder is Container else staticmethod(plain))
    words = {f"t{i}": f"${{t{i + 1}}}${{t{i + 1}}}" for i in range(13)} | {"t13": "x"}
    restore = expansion.install()
    try:
        with pytest.raises(ConfigError, match="stand for more"):
            _ = OmegaConf.create(words).t0
    finally:
        restore()
    assert OmegaConf.create(words).t0 == "x" * 2**13


@pytest.mark.parametrize(
    "text", ["${a." + "a." * 50_000, "a " * 50_000 + ";", "://a:b" * 20_000, "http://" + ":" * 50_000]
)
def test_a_long_text_is_masked_before_the_limit_of_a_test_that_hangs(text: str) -> None:
    assert secrets.without(text) == secrets.masked(text) == secrets.masked_uri(text) == text


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("tracking: {uri: 'http://evil/$({touch,pasted})'}", "type tracking.uri="),
        ("tracking: {uri: 'sqlite:////tmp/x;touch pasted;/a.db'}", "type tracking.uri="),
        ("hydra: {run: {dir: '/tmp/x;touch pasted;#'}}", "or type hydra.run.dir="),
    ],
)
def test_what_a_message_has_a_person_type_holds_no_command(file: str, said: str, workplace: Path) -> None:
    (workplace / "experiments").mkdir(exist_ok=True)
    (workplace / "experiments/x.yaml").write_text(file)
    err = command.runner("check", "experiments=x", cwd=workplace, code=2).err
    typed, _, more = err.partition(said)[2].partition(", or put this line into the profile of your shell: ")
    words = [said.split()[-1] + typed, more.partition("\n")[0].strip()]
    for word in words:
        subprocess.run(["bash", "-c", f"true {word}"], cwd=workplace, check=True, capture_output=True, timeout=60)
    assert not (workplace / "pasted").exists()
    bare = words[0].replace("'", "").replace('"', "")
    subprocess.run(["bash", "-c", f"true {bare}"], cwd=workplace, timeout=60)
    assert (workplace / "pasted").exists(), "nothing would have happened: the quotes guard nothing"


def test_a_message_does_not_steer_the_terminal(workplace: Path) -> None:
    (workplace / "experiments").mkdir(exist_ok=True)
    (workplace / "experiments/x.yaml").write_text('"tra\\e[2Jcker": 1\n"\\e]0;owned\\a": 2\n')
    err = command.runner("check", "experiments=x", cwd=workplace, code=2).err
    assert "\x1b" not in err
    assert r"tra\x1b[2Jcker: there is no such key" in err


def test_a_reference_in_a_typed_folder_lets_no_file_lead_out_of_it(workplace: Path, tmp_path: Path) -> None:
    work = workplace / "work"
    (work / "experiments").mkdir(parents=True)
    (work / "experiments/x.yaml").write_text("tracking: {run_name: '../../escaped'}\n")
    words = ["experiments=x", "trainer.epochs=1", "-m", "seed=0"]
    err = command.runner(*words, "hydra.sweep.dir=out/${tracking.run_name}", cwd=work, code=2).err
    assert "hydra.sweep.dir: 'out/../../escaped' is outside of the working directory" in err
    assert not (workplace / "escaped").exists()
    command.runner(*words, "tracking.run_name=fine", "hydra.sweep.dir=../mine/${tracking.run_name}", cwd=work)
    assert (workplace / "mine/fine").is_dir()
    command.runner(*words, "hydra.sweep.dir=out/../../escaped", cwd=work)  # typed by the person
    assert (workplace / "escaped").is_dir()


@pytest.mark.parametrize(
    ("value", "whole"), [("out", True), ("out/${now:%Y}/${hydra.job.num}", True), ("out/${data.name}", False)]
)
def test_what_a_person_has_typed_wholly(value: str, whole: bool, monkeypatch: Any) -> None:
    monkeypatch.setattr(permission, "_words", [f"hydra.sweep.dir={value}"])
    assert permission.typed("hydra.sweep.dir")
    assert permission.wholly("hydra.sweep.dir", value) is whole
    assert not permission.wholly("hydra.run.dir", value)


@pytest.mark.parametrize("held", [[1, 2], {"u": 1, "v": [2]}])
@pytest.mark.parametrize("nested", ["a", "y"])
def test_nested_columns_of_a_parquet_file_are_named(held: Any, nested: str, workplace: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(workplace)
    columns = {"a": [1.0, 2.0] * 20, "b": [3.0, 4.0] * 20, "y": [1.0, 2.0] * 20, nested: [held] * 40}
    pandas.DataFrame(columns).to_parquet("x.parquet")
    with composing.hydra():
        found = composing.problem("data=table", "data.path=x.parquet", "data.target=y", "data.task=regression")
    assert f"column {nested!r} holds values of type" in found
    assert "expected numbers" in found


def test_damaged_notes_of_pandas_are_a_file_that_cannot_be_read(workplace: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(workplace)
    table = pyarrow.table({"b": [1.0] * 9, "y": [2.0] * 9}).replace_schema_metadata(
        {b"pandas": b'{"index_columns":["nope"],"columns":3}'}
    )
    parquet.write_table(table, "x.parquet")
    with composing.hydra():
        assert "'x.parquet' cannot be read as a table" in composing.problem("data=table", "data.path=x.parquet")
