"""Jobs that are alike but for numbers have the settings that Hydra composes for each, or are left to Hydra."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf

from runner.cli import sweep_check
from runner.cli.compose import configuration
from runner.cli.compose.alike import Alike
from runner.cli.compose.composing import Composing
from runner.settings import Settings
from runner.settings.trust import permission
from tests.support import composing

Compose = Callable[[int, list[str]], Any]
#: Keys with numbers that jobs vary, and what stands for them in the first job and in others.
NUMBERS = {
    "seed": ["0", "7", "4095", "-0"],
    "optimizer.lr": ["0.1", "0.003", "1e-3", "1", "2.5e-05", "-0.0", "1e2"],
    "+optimizer.weight_decay": ["0.1", "0"],
    "trainer.epochs": ["1", "20"],
    "trainer.batch_size": ["8", "64"],
    "trainer.clip_norm": ["1.0", "1", "0.5"],
    "trainer.min_delta": ["0.25", "1e-4", "0"],
    "model.knobs.width": ["8", "32"],
    "model.knobs.dropout": ["0.1", "0.5"],
    "checkpoint.keep": ["1", "2"],
    "checkpoint.every": ["1", "2"],
    "data.valid": ["0.1", "0.2"],
    "+data.password": ["123456", "654321"],
    "sweep.resume": ["1", "2"],
    "tracking.run_name": ["5", "6.0"],
    "+tracking.tags.number": ["5", "6"],
    "trainer.threads": ["1", "2"],
    "trainer.deterministic": ["1", "0"],
    "+trainer.nothing": ["1", "2"],
}
#: Words that choose, remove, refer, or set what is no number.
OTHERS = [
    [],
    ["experiments=digits_mlp"],
    ["experiments=digits_cnn", "scheduler=null"],
    ["optimizer=adam"],
    ["optimizer={name: SGD, lr: 0.3}"],
    ["scheduler=cosine", "+scheduler.eta_min=${optimizer.lr}"],
    ["model=mlp", "model.layers=[{Linear: '${model.knobs.width}'},ReLU]"],
    ["+trainer.clip_value=${trainer.clip_norm}"],
    ["tracking.run_name='${optimizer}'"],
    ["tracking.run_name=run_${seed}"],
    ["tracking.run_name='${oc.select:seed}'"],
    ["tracking.run_name='${hydra:job.num}'"],
    ["tracking.experiment='${oc.env:USER,me}'"],
    ["~optimizer.lr"],
    ["~trainer.epochs"],
    ["sweep.pruner=asha"],
    ["++seed=3"],
    ["plots=[]"],
]


@pytest.fixture
def compose() -> Any:
    with composing.hydra():
        loader: Any = GlobalHydra.instance().config_loader()
        yield Composing(loader, loader.load_configuration("config", [], RunMode.MULTIRUN)).compose


def slowly(compose: Compose, number: int, job: list[str]) -> tuple[Any, Settings, Any]:
    """The configuration, settings and plain values of a job as Hydra composes it."""
    permission.begin(job)
    config = compose(number, job)
    settings = configuration.settings(config, job)
    return config, settings, OmegaConf.to_container(config, resolve=True)


def test_what_is_made_of_another_job_is_what_hydra_composes(compose: Compose) -> None:
    draw, taken = random.Random(0), 0
    for _ in range(100):
        others = draw.choice(OTHERS)
        keys = draw.sample(sorted(NUMBERS), draw.randint(1, 3))
        first, second = ([*others, *(f"{key}={draw.choice(NUMBERS[key])}" for key in keys)] for _ in range(2))
        if draw.random() < 0.3:  # where the order of words matters
            place = draw.randrange(len(first) + 1)
            first, second = ([*job[place:], *job[:place]] for job in (first, second))
        alike = Alike()
        try:
            alike.learn(first, *slowly(compose, 0, first))
        except configuration.ERRORS:
            continue
        if (made := alike.made(second)) is None:
            continue
        taken += 1
        _, settings, plain = slowly(compose, 1, second)
        assert repr(made) == repr((settings, plain)), second  # which tells 1 from 1.0 and from True
    assert taken > 20


@pytest.mark.parametrize("word", ["seed={}", "optimizer.lr=0.{}", "trainer.clip_norm=1.{}", "trainer.epochs={}"])
def test_plain_numbers_are_taken(compose: Compose, word: str) -> None:
    alike, first, second = Alike(), [word.format(1)], [word.format(2)]
    alike.learn(first, *slowly(compose, 0, first))
    assert alike.made(second) is not None


@pytest.mark.parametrize(
    ("word", "others"),
    [
        ("model.knobs.width={}", ["experiments=digits_mlp"]),
        ("seed={}", ["data.points=${seed}"]),
        ("optimizer.lr={}.5", ["+data.other='${optimizer}'"]),
        ("seed={}", ["tracking.run_name='${hydra:job.num}'"]),
        ("trainer.epochs={}7", ["sweep.pruner=median"]),
    ],
)
def test_a_number_on_which_something_else_depends_is_left_to_hydra(
    compose: Compose, word: str, others: list[str]
) -> None:
    alike, first, second = Alike(), [word.format(1), *others], [word.format(2), *others]
    alike.learn(first, *slowly(compose, 0, first))
    assert alike.made(second) is None
    assert (alike.made(first) is None) is ("hydra:" in others[0])  # where even equal words are another job


def test_a_job_does_not_change_the_others(compose: Compose) -> None:
    alike, job = Alike(), ["experiments=digits_mlp", "optimizer.lr=0.1"]
    alike.learn(job, *slowly(compose, 0, job))
    settings, plain = alike.made(["experiments=digits_mlp", "optimizer.lr=0.2"]) or pytest.fail("is not taken")
    settings.optimizer["lr"] = settings.model.layers["head"] = settings.trainer.epochs = 99
    other, plainly = alike.made(["experiments=digits_mlp", "optimizer.lr=0.3"]) or pytest.fail("is not taken")
    assert (plain["optimizer"]["lr"], plainly["optimizer"]["lr"], other.optimizer["lr"]) == (0.2, 0.3, 0.3)
    assert other.model.layers["head"] != 99
    assert other.trainer.epochs == 30


@pytest.mark.parametrize(
    "wrong",
    ["optimizer.lr=-1.5", "seed=-3", "optimizer.lr=0.0", "trainer.batch_size=0", "trainer.clip_norm=-2.5", "seed=x"],
)
def test_a_wrong_number_in_a_late_job_is_found_with_the_same_words(compose: Compose, wrong: str) -> None:
    key = wrong.partition("=")[0]
    right = {"optimizer.lr": "0.0{}1", "trainer.batch_size": "3{}", "trainer.clip_norm": "1.{}5"}.get(key, "{}")
    jobs = [["experiments=digits_mlp", f"{key}={right.format(i + 1)}"] for i in range(9)]
    jobs[7][1] = wrong
    messages = []
    for alike in (Alike(), None):
        with pytest.raises(sweep_check.SweepError) as error:
            sweep_check.check(jobs, compose, alike=alike)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert messages[0].startswith(f"job 7 (experiments=digits_mlp {wrong}): {key}")
    assert "1 of 9 jobs are wrong" in messages[0]


def test_all_jobs_are_what_they_are_one_by_one(compose: Compose) -> None:
    jobs = [
        ["experiments=digits_mlp", f"optimizer.lr={lr}", f"model.knobs.width={width}", f"seed={seed}"]
        for lr in ("0.01", "1", "1e-3")
        for width in ("8", "16")
        for seed in range(2)
    ]
    quick = sweep_check.check(jobs, compose, alike=Alike())
    assert quick == sweep_check.check(jobs, compose)
    assert len({id(job.config["model"]) for job in quick}) < len(jobs), "what is equal is held once"


def test_a_sweep_from_last_is_refused_before_a_run_is_looked_for(compose: Compose) -> None:
    words = ["+model.start.run=last", "tracking.uri=sqlite:///nowhere.db"]
    with pytest.raises(sweep_check.SweepError) as error:
        sweep_check.check([[*words, "trainer.batch_size=4"], [*words, "trainer.batch_size=0"]], compose, alike=Alike())
    assert str(error.value).count("): model.start.run: last is another run once the sweep has begun") == 2
    assert str(error.value).count("\ntrainer.batch_size: 0 is out of range") == 1
    assert "there are no runs" not in str(error.value)
