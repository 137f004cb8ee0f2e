"""Tests of the parts, and of the study as a whole: `python -m pytest`."""

from pathlib import Path

import pytest
import torch
from experiments.pendulum import PowerLaw, Within, measurements, relative

import runner

ROOT = Path(__file__).parents[1]


def test_the_layer_is_its_formula():
    law = PowerLaw()
    with torch.no_grad():
        law.log_factor.fill_(torch.log(torch.tensor(3.0)))
        law.exponent.fill_(2.0)
    assert law(torch.tensor([[2.0]])).item() == pytest.approx(12.0)


def test_the_loss_counts_short_and_long_alike():
    target = torch.tensor([[1.0], [10.0]])
    assert relative(1.1 * target, target).item() == pytest.approx(0.01, rel=1e-4)


def test_the_metric_is_a_share_over_all_batches():
    metric = Within(tolerance=0.05)
    metric.update(torch.tensor([1.04]), torch.tensor([1.0]))
    metric.update(torch.tensor([1.06, 1.2, 0.8]), torch.tensor([1.0, 1.0, 1.0]))
    assert metric.compute().item() == 0.25


def test_the_file_is_read_as_a_whole():
    data = measurements(str(ROOT / "data/pendulum.csv"))
    assert (len(data.train), len(data.valid)) == (45, 15)


def test_the_study_is_right(monkeypatch):
    """All of its names and values, the data and the shapes of the layers; nothing is trained or recorded."""
    monkeypatch.chdir(ROOT)
    runner.check("pendulum")  # raises runner.ConfigError with everything that is wrong
