"""A job of a sweep is what Hydra would compose, however it is come by."""

from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from runner.cli import invoke
from runner.cli.compose.composing import Composing
from runner.cli.compose.frozen import Frozen
from runner.cli.guard import composition
from runner.cli.task import Task
from tests.support import composing

JOBS = [
    ["optimizer.lr=0.1"],
    ["optimizer.lr=0.2", "seed=7"],
    ["experiments=digits_cnn", "model.knobs.width=32"],
    ["experiments=digits_cnn", "model.knobs.width=64", "trainer.epochs=3"],
    ["experiments=digits_cnn", "~model.layers.drop", "+model.layers.more.Linear.out_features=10"],
    ["optimizer=adam", "optimizer.lr=0.003"],
    ["optimizer=adamw", "optimizer.lr=0.003", "optimizer.betas=[0.8,0.9]"],
    ["scheduler=cosine", "scheduler.eta_min=0.1"],
    ["model.layers=[{Linear: 3},ReLU,{Linear: 1}]", "loss=mse"],
    ["+optimizer.momentum=0.9", "optimizer.lr=1e-3"],
    ["data.points=${seed}", "seed=40"],
    ["optimizer={AdamW:{lr:0.1}}", "loss={HuberLoss:{delta:2}}"],
    ["optimizer=adam", "optimizer={Adam:{lr:0.1}}", "optimizer.eps=1e-6", "scheduler={StepLR:{step_size:3}}"],
    ["tracking.run_name='a, b=c'", "plots=[]"],
]
WRONG = [["trainer.epoch=9"], ["optimizer=adm"], ["trainer.epochs=x"], ["~nothing"], ["+trainer.epochs=3", "lr"]]


def test_a_job_composed_from_a_copy_is_the_job_that_hydra_composes() -> None:
    with composing.hydra():
        loader, master = _loader()
        ours = Composing(loader, master)
        for number, job in enumerate([*JOBS, *JOBS]):
            found = ours.compose(number, job)
            wanted = loader.load_sweep_config(master, list(job))
            assert _plain(found) == {k: v for k, v in _plain(wanted).items() if k != "hydra"}, job


@pytest.mark.parametrize("job", WRONG, ids=" ".join)
def test_what_is_wrong_is_said_in_hydras_own_words(job: list[str]) -> None:
    with composing.hydra():
        loader, master = _loader()
        ours = Composing(loader, master)
        ours.compose(0, ["optimizer.lr=0.1"])
        with pytest.raises(Exception) as hydras:  # noqa: PT011
            loader.load_sweep_config(master, list(job))
        with pytest.raises(type(hydras.value)) as found:
            ours.compose(1, job)
        assert str(found.value) == str(hydras.value)


def test_every_job_is_told_of_itself_by_hydra() -> None:
    """As Hydra would have told it, also where jobs of different files take turns."""
    jobs = [["optimizer.lr=0.1"], ["optimizer=adam", "optimizer.lr=0.2"], ["optimizer.lr=0.3", "seed=2"]]
    with composing.hydra():
        loader, master = _loader()
        ours = Composing(loader, master)
        for number, job in enumerate([*jobs, *jobs]):
            found = OmegaConf.to_container(ours.compose(number, ["data.seed=${hydra:job.num}", *job]), resolve=True)
            wanted = loader.load_sweep_config(master, ["data.seed=${hydra:job.num}", *job]).hydra.job
            told = HydraConfig.get()
            assert found["data"]["seed"] == number  # type: ignore[index,call-overload]
            assert told.job.id == str(number)
            assert told.overrides.task[1:] == job
            raw = (OmegaConf.to_container(node)["override_dirname"] for node in (told.job, wanted))  # type: ignore[index,call-overload,arg-type]
            assert len(set(raw)) == 1


def test_a_job_does_not_change_the_next() -> None:
    with composing.hydra():
        ours = Composing(*_loader())
        ours.compose(0, ["optimizer.lr=9.0", "seed=5"])
        assert ours.compose(1, ["seed=6"]).optimizer.lr == 0.5


def _loader() -> tuple[ConfigLoaderImpl, Any]:
    loader: Any = GlobalHydra.instance().config_loader()
    return loader, loader.load_configuration("config", [], RunMode.MULTIRUN)


def _plain(config: Any) -> Any:
    return OmegaConf.to_container(config, resolve=False)


@pytest.mark.parametrize(("words", "times"), [([], 0), (["seed=1,2", "-m"], 1), (["hydra.mode=RUN"], 1)])
def test_a_command_is_composed_once_where_nobody_chooses_hydras_mode(
    words: list[str], times: int, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[RunMode] = []
    monkeypatch.chdir(workplace)
    monkeypatch.setattr(Task, "__call__", lambda self, config: None)
    composition.install()
    loaded = ConfigLoaderImpl.load_configuration

    def load_configuration(self: Any, config_name: Any, overrides: list[str], run_mode: RunMode, **named: Any) -> Any:
        modes.append(run_mode)
        return loaded(self, config_name, overrides, run_mode=run_mode, **named)

    load_configuration.checked = True  # type: ignore[attr-defined]
    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", load_configuration)
    assert invoke._composed("check", words).code == 0
    assert modes.count(RunMode.MULTIRUN) == times, "Hydra learns its mode as if for a sweep"


def test_jobs_of_the_same_words_have_folders_of_their_own() -> None:
    words = ["seed=1"]
    with composing.hydra():
        _, master = _loader()
        ours = Frozen({tuple(words): {3: "a/3", 4: "a/${4}"}})
        folders = []
        for number in (3, 4):
            config = ours.load_sweep_config(master, words)
            config.hydra.job.num = number
            folders.append(OmegaConf.select(config, "hydra.sweep.subdir"))
    assert folders == ["a/3", "a/${4}"]
