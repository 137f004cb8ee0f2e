"""`runner summary RUN`: the layers of a recorded run, as those of its configuration."""

import contextlib
import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from runner.commands import summary, train
from runner.settings.context import Context
from runner.settings.errors import ConfigError
from runner.settings.trust import permission
from runner.tracking.store import stores
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
        assert summary.with_settings(settings, context).code == 0
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
