"""`runner summary RUN`: the layers of a recorded run, as those of its configuration."""

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from torch.utils.flop_counter import FlopCounterMode

from runner.commands import summary, train
from runner.settings.context import Context
from runner.settings.errors import ConfigError
from runner.settings.trust import permission
from runner.tracking.store import stores
from runner.training.prepare import prepare
from tests.conftest import settings as made_settings
from tests.support import composing
from tests.tracking.test_moved import SHORT, URI, call

WORDS = ("experiments=linear_regression", *SHORT, "trainer.epochs=1", "+optimizer.groups.Linear.lr=0.01")


def test_the_summary_of_a_run_is_that_of_its_configuration(
    empty_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    with contextlib.chdir(tmp_path), composing.hydra():
        permission.begin([])
        settings = composing.settings(*WORDS)
        context = Context("mine", OmegaConf.to_yaml(OmegaConf.structured(settings)), [])
        assert train.with_settings(settings, context).code == 0
        capsys.readouterr()
        result = summary.with_settings(settings, context)
        result.text()
        expected = capsys.readouterr().out
        [run] = stores.rows(URI, "mine")
        for word in ("last", run.run_id, run.run_id[:8]):
            assert call(summary, word) == 0
            assert capsys.readouterr().out == expected
        assert call(summary, "last", "optimizer.groups.Linear.lr=0.02") == 0
        assert "lr=0.02" in capsys.readouterr().out
        with pytest.raises(ConfigError, match="epoch"):
            call(summary, "last", "epoch=3")
        assert len(stores.rows(URI, "mine")) == 1
    assert "Linear(" in expected


def test_the_summary_counts_what_torch_counts() -> None:
    cnn: list[Any] = [{"Conv2d": {"out_channels": 4, "kernel_size": 3}}, "ReLU", "Flatten", {"Linear": 10}]
    more = {"data": {"name": "digits"}, "loss": {"name": "CrossEntropyLoss"}, "optimizer": {"name": "Adam"}}
    run = prepare(made_settings(layers=cnn, batch_size=16, **more), "test")
    run.close()
    plain = json.loads(json.dumps(summary.costs(run)))
    with FlopCounterMode(display=False) as counter:
        run.model(run.data.train.x[:1])
    assert plain["multiply_adds"] == counter.get_total_flops() // 2
    parameters = sum(one.numel() for one in run.model.parameters())
    assert plain["parameters"] == parameters
    assert plain["memory"] == {
        "weights": 4 * parameters,
        "gradients": 4 * parameters,
        "optimizer": 8 * parameters,
        "outputs": 4 * 16 * (3 * 144 + 10),
    }
    assert [one["memory"] for one in plain["layers"]] == [4 * 16 * n for n in (144, 144, 144, 10)]
