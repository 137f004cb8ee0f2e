"""Each text of Hydra and OmegaConf that is matched is provoked here, on the installed release."""

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from runner.settings.errors import first_line
from runner.settings.values.foreign_texts import PATTERNS, name_in
from tests.support import composing

#: Case -> (what the study x holds, the word beside experiments=x, the name in the message).
CASES: dict[str, tuple[str, str, str]] = {
    "unknown resolver": ("trainer: {monitor: '${nope:1}'}", "", "nope"),
    "unknown key in a reference": ("trainer: {monitor: '${nope.x}'}", "", "nope.x"),
    "reference to itself": ("trainer: {epochs: '${trainer.epochs}'}", "", "Recursive interpolation"),
    "file": ("trainer: {epochs: often}", "", "experiments/x"),
    "added twice": ("", "+seed=3", "seed"),
    "nothing to remove": ("", "~trainer.epoch", "trainer.epoch"),
    "chosen twice": ("", "+optimizer=adam", "optimizer"),
    "chosen twice in a file": ("", "optimizer=mine", "optimizer/kind"),
    "unknown group": ("defaults: [override /optimizerr: adam]", "", "optimizerr"),
    "group not chosen": ("", "optimizer@there=adam", "optimizer@there"),
    "_self_ twice": ("defaults: [_self_, _self_]", "", "experiments/x"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "conf/optimizer/kind").mkdir(parents=True)
    (tmp_path / "conf/optimizer/mine.yaml").write_text("defaults: [{kind: one}, {kind: one}]")
    (tmp_path / "conf/optimizer/kind/one.yaml").write_text("lr: 1")
    with composing.hydra():
        yield tmp_path


def test_every_text_is_provoked() -> None:
    assert set(CASES) == set(PATTERNS)


@pytest.mark.parametrize("case", CASES)
def test_the_installed_release_words_it_so(case: str, folder: Path) -> None:
    text, word, name = CASES[case]
    (folder / "experiments/x.yaml").write_text(text or "seed: 1")
    message = ""
    try:
        OmegaConf.to_container(composing.config(["experiments=x", *filter(None, [word])]), resolve=True)
    except Exception as error:
        message = first_line(error)
    releases = ", ".join(f"{package} {metadata.version(package)}" for package in ("hydra-core", "omegaconf"))
    assert name_in(message, case) == name, f"{releases} says {message!r}; see settings/values/foreign_texts.py"
