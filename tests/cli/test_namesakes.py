"""A preset of the working directory with the name of one that comes with the package."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from runner.cli.guard import namesakes
from runner.settings.files import places
from tests.support import composing


@pytest.fixture
def conf(workplace: Path, monkeypatch: Any) -> Path:
    monkeypatch.chdir(workplace)
    monkeypatch.setattr(namesakes, "_mentioned", set())
    for folder in ("experiments", "conf/optimizer", "conf/trainer"):
        (workplace / folder).mkdir(parents=True)
    return workplace / "conf"


def test_a_chosen_preset_that_stands_in_both_folders_is_refused_with_its_place(conf: Path) -> None:
    (conf / "optimizer/adam.yaml").write_text("name: Adam\nlr: 0.5\n")
    (conf.parent / "experiments/x.yaml").write_text("defaults: [override /optimizer: adam]\n")
    told = (
        "optimizer=adam is a preset that comes with runner, and conf/optimizer/adam.yaml of the working"
        " directory would not be read; rename that file, as in conf/optimizer/my_adam.yaml, and type optimizer=my_adam"
    )
    with composing.hydra():
        for words in (["optimizer=adam"], ["experiments=x"]):
            assert composing.problem(*words) == told
        (conf / "optimizer/adam.yaml").rename(conf / "optimizer/my_adam.yaml")
        assert composing.settings("optimizer=my_adam").optimizer["lr"] == 0.5
        assert composing.settings("optimizer=adam").optimizer["lr"] != 0.5


def test_of_a_preset_that_nobody_has_chosen_a_line_says_that_it_is_not_read(conf: Path, capsys: Any) -> None:
    (conf / "trainer/default.yaml").write_text("max_epochs: 3\n")  # of another program
    (conf / "config.yaml").write_text("x: 1\n")
    shutil.copy(places.conf() / "optimizer/sgd.yaml", conf / "optimizer/sgd.yaml")  # says nothing else than ours
    with composing.hydra():
        for _ in range(2):
            assert composing.problem("optimizer=sgd") == ""
        line = "conf/trainer/default.yaml is not read: trainer=default comes with runner; give the file another name\n"
        assert capsys.readouterr().err == line
        assert composing.problem("trainer=default").startswith("trainer=default is a preset that comes with")
