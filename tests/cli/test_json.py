"""`--json`: every line is one object of the schema that `runner schema results` prints."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from runner.cli.answers import problems
from runner.commands import _answers
from tests.cli.test_checks import WRONG
from tests.support.command import runner

SHORT = ("plots=[]", "device=cpu", "data.points=32", "trainer.epochs=2")
VALIDATOR = jsonschema.Draft202012Validator(_answers.schema())


def lines(*words: str, place: Path, code: int = 0) -> list[dict[str, Any]]:
    """What a command prints, each line checked against the schema."""
    done = runner(*words, "--json", cwd=place, code=code)
    found = [json.loads(line) for line in done.out.splitlines()]
    for one in found:
        VALIDATOR.validate(one)
    return found


def test_the_schema_is_one_and_refuses_other_lines() -> None:
    jsonschema.Draft202012Validator.check_schema(_answers.schema())
    for wrong in (
        {},
        {"event": "other"},
        {"event": "result", "code": 0, "command": "train"},
        {"event": "job", "job": 0},
    ):
        with pytest.raises(jsonschema.ValidationError):
            VALIDATOR.validate(wrong)


def test_a_program_that_knows_the_schema_alone_finds_sweeps_picks_and_exports(workplace: Path) -> None:
    [found] = lines("experiments", "linear", place=workplace)
    name = found["experiments"][0]["name"]
    [costs] = lines("check", f"experiments={name}", *SHORT, place=workplace)
    assert costs["jobs"][0]["parameters"] == 2
    *jobs, swept = lines(
        "-m", f"experiments={name}", "optimizer.lr=0.1,0.4", "sweep.plots=false", *SHORT, place=workplace
    )
    assert [job["overrides"] for job in jobs] == [{"optimizer.lr": "0.1"}, {"optimizer.lr": "0.4"}]
    values = {job["run"]: job["value"] for job in swept["jobs"]}
    assert swept["best"]["run"] == min(values, key=values.__getitem__)
    [apart] = lines("diff", *values, place=workplace)
    assert [(cause["kind"], cause["key"]) for cause in apart["causes"]] == [("configuration", "optimizer.lr")]
    words = (swept["best"]["run"], "format=pt2", "output=model.pt2")
    [exported] = lines("export", *words, place=workplace)
    assert (workplace / exported["output"]).stat().st_size > 0
    [listed] = lines("runs", place=workplace)
    assert {run["id"] for run in listed["runs"]} == {*values, swept["sweep"]}
    [shown] = lines("show", swept["best"]["run"], place=workplace)
    assert shown["metrics"]["valid/loss"] == swept["best"]["metrics"]["valid/loss"]


def test_a_training_is_told_line_by_line(workplace: Path) -> None:
    first, *validations, last = lines("experiments=linear_regression", *SHORT, place=workplace)
    assert first["event"] == "run"
    assert [one["step"] for one in validations] == [2]
    assert last["run"] == first["run"]
    assert last["metrics"]["valid/loss"] == validations[-1]["metrics"]["valid/loss"]
    [again] = lines("reproduce", last["run"], place=workplace)[-1:]
    assert again["verdict"] == "identical"
    [layers] = lines("summary", last["run"], place=workplace)
    assert layers["parameters"] == layers["layers"][0]["parameters"] == 2
    [worked] = lines("explain", last["run"], place=workplace)
    assert "Linear" in worked["layers"][0]["text"]
    [best] = lines("best", "linear_regression", place=workplace)
    assert best["run"] == last["run"]
    [same] = lines("diff", last["run"], last["run"], place=workplace)
    assert same["same"]
    [measured] = lines("evaluate", last["run"], "split=valid", place=workplace)
    assert measured["values"]["valid/loss"] == last["metrics"]["valid/loss"]


def test_what_is_wrong_is_an_object_each(workplace: Path) -> None:
    (workplace / "experiments").mkdir()
    (workplace / "experiments" / "x.yaml").write_text("optimizer:\n  lr: -1\ntrainer: {epoch: 2}\n")
    [found] = lines("experiments=x", place=workplace, code=2)
    by_key = {error["key"]: error for error in found["errors"]}
    assert by_key["optimizer.lr"]["found"] == "-1 is out of range"
    assert by_key["optimizer.lr"]["expected"] == "a number above 0"
    assert (by_key["optimizer.lr"]["file"], by_key["optimizer.lr"]["line"]) == ("experiments/x.yaml", 2)
    assert by_key["trainer.epoch"]["remedy"] == "did you mean 'epochs'?"
    [unknown] = lines("trian", place=workplace, code=2)
    assert "there is no command 'trian'" in unknown["errors"][0]["message"]


@pytest.mark.parametrize(
    "words", [("--cfg", "job"), ("--help",), ("seed=3", "--help"), ("--version",), (), ("resume", "--help")]
)
def test_what_is_looked_at_is_a_result_too(words: tuple[str, ...], workplace: Path) -> None:
    [found] = lines(*words, place=workplace)
    assert found["code"] == 0
    assert len(found) > 2


def test_no_word_of_a_message_is_lost() -> None:
    for message in WRONG.values():
        for one in problems.each(message):
            parts = [one[key] for key in ("key", "found", "expected", "remedy", "file")]
            told = " ".join(str(part) for part in parts if part)
            words = one["message"].replace("; expected ", " ").replace(";", " ").replace(":", " ").replace("\n", " ")
            missing = [
                word for word in words.split() if word.strip("():,") not in told and not word.strip("()").isdigit()
            ]
            assert [word for word in missing if word not in ("(in", "expected", "job", "line")] == [], message
            assert one["found"], message


def test_a_problem_of_a_table_names_its_key() -> None:
    keyed = [one for message in WRONG.values() for one in problems.each(message) if one["key"]]
    assert len(keyed) > 0.9 * len(WRONG)
