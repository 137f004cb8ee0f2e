"""Texts of a configuration that are no names of files, too long for one, or named after something without an end."""

import os
from pathlib import Path

import pytest
from hydra import compose
from omegaconf import OmegaConf

from runner import plots
from runner.data.table import table
from runner.settings.context import Context
from runner.settings.files import filenames
from runner.sweeps.digest import digest
from runner.tracking.store import stores
from runner.training.parts import data_cache
from tests.support import composing
from tests.support.command import runner
from tests.support.sweeping import families, furnish

LONG = "x" * 300
QUERY = "SELECT " + ", ".join(f"column_{number}" for number in range(700)) + " FROM samples"


def test_a_long_name_is_cut_and_two_stay_two() -> None:
    one, other = filenames.bounded(f"{QUERY}1"), filenames.bounded(f"{QUERY}2")
    assert one != other
    assert max(len(one), len(other)) <= filenames.MOST
    assert one.startswith("SELECT column_0")
    assert filenames.bounded("digits_mlp") == "digits_mlp"
    assert len(filenames.bounded("ß" * 200).encode()) <= filenames.MOST, "a file system counts bytes"


ODD = [QUERY, LONG, f"~{LONG}", "~nobody_has_this_name/x", "a\0b", "/", "..", "../..", "~", f"experiments.{LONG}", ""]


@pytest.mark.parametrize("text", ODD)
def test_any_text_has_a_digest(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("HOME", str(tmp_path))
    told = [digest({"data": {"name": "mine", "query": query}}, [tmp_path]) for query in (text, f"{text} ", text)]
    assert told[0] == told[2] != told[1]


def test_what_has_no_end_or_may_not_be_read_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "closed").write_text("x")
    (tmp_path / "closed").chmod(0)
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path / "closed"):
        assert digest({"data": {"x": str(path)}}, [])


def test_a_file_that_changes_still_changes_the_digest(tmp_path: Path) -> None:
    """The control."""
    told = []
    for content in ("1", "2"):
        (tmp_path / "x.csv").write_text(content)
        told.append(digest({"data": {"path": str(tmp_path / "x.csv")}}, []))
    assert told[0] != told[1]


def test_names_of_pictures_folders_and_runs_are_bounded(store: str, tmp_path: Path) -> None:
    assert len(plots.file(f"experiments.mine.{LONG}", tmp_path).name) <= 255
    stores.open_store(store)
    folder = stores._artifacts(store, LONG)
    assert folder is not None
    assert len(folder.rpartition("/")[2]) <= 255
    one, other = (Context("s", job=f"data.query={QUERY}{number}").title for number in (1, 2))
    assert one != other
    assert len(one) <= 250


def test_a_source_reads_no_file_that_a_text_cannot_name() -> None:
    assert data_cache.identity(table, {"path": QUERY}) is None


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (f"experiments={LONG}", "experiments: "),
        (f"data=table data.path={LONG} data.target=y", "data.path: "),
        ("data=table data.path='~nobody_has_this_name/x' data.target=y", "data.path: "),
        (f"data=table data.path=a/{LONG}/b data.target=y", "data.path: "),
        (f"tracking.uri=sqlite:///{LONG}.db", "tracking.uri: the file's name has 303 bytes; at most 200"),
        (f"tracking.uri=sqlite:///{LONG}/x.db", "tracking.uri: "),
    ],
)
def test_a_name_that_no_file_can_have_is_refused_with_its_key(word: str, message: str) -> None:
    with composing.hydra():
        assert message in composing.problem(*word.split())


def test_overrides_as_the_name_of_a_folder_are_bounded() -> None:
    with composing.hydra():
        for words, said in ((["seed=1"], "seed=1"), (["+data.a=${seed}"], "+data.a=${seed}")):
            found = compose("config", overrides=words, return_hydra_config=True)
            assert OmegaConf.to_container(found.hydra.job, resolve=False)["override_dirname"] == said
        long = compose("config", overrides=[f"+data.a=${{seed}}{LONG}", "seed=2"], return_hydra_config=True)
    assert len(str(long.hydra.job.override_dirname)) <= filenames.MOST


SOURCE = """
import torch
from runner.data import Data, Tensors


def load(query: str):
    return Data(Tensors(torch.ones(8, 1), torch.ones(8, 1)), task="regression")
"""


def test_a_query_below_data_trains_and_is_swept(workplace: Path) -> None:
    """With an experiment, a layer, and folders of Hydra's that are named by it."""
    furnish(workplace)
    (workplace / "experiments" / "query.py").write_text(SOURCE)
    study = workplace / "experiments" / "query.yaml"
    layer = f"model: {{layers: {{{LONG[:100]}: {{Linear: 1}}}}}}\n"
    study.write_text(
        f"data: {{name: experiments.query.load, query: x}}\n{layer}plots: [loss_curve]\ntrainer: {{epochs: 2}}\n"
    )
    folders = ["hydra.sweep.dir=outputs/${hydra.job.override_dirname}", "hydra/launcher=joblib"]
    queries = ",".join(f"'{QUERY} WHERE n = {number}'" for number in (1, 2))
    words = ["-m", "experiments=query", f"data.query={queries}", f"tracking.experiment={LONG}"]
    runner(*words, *folders, "hydra.launcher.n_jobs=1", cwd=workplace)
    [found] = families(workplace)
    assert (found.parent.info.status, found.statuses) == ("FINISHED", ["FINISHED"] * 2)
    names = [job.info.run_name for job in found.jobs]
    assert names[0] != names[1]
    assert max(map(len, names)) <= 250
    assert {job.data.params["data.query"][:15] for job in found.jobs} == {"SELECT column_0"}
