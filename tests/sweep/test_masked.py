"""What jobs have in common is masked and written once, and is what it would be for each alone."""

import dataclasses
import json
from typing import Any

import pytest

from runner.settings import Settings
from runner.settings.trust import recorded_settings, secrets
from runner.sweeps import manifest
from runner.sweeps.manifest import Job, Manifest
from runner.sweeps.masked import Masked

CONFIGS: list[dict[str, Any]] = [
    dataclasses.asdict(Settings()),
    dataclasses.asdict(Settings(seed=5, data={"name": "x", "password": "hunter 22"}, scheduler={"name": "s"})),
    {"seed": 1, "tracking": {"uri": "http://me:word@host", "tags": {}}, "plots": [], "text": "a\nb: ${c} 1e5"},
    {"name": "password", "value": "hunter 33"},
    {"optimizer": {"lr": 1}, "seed": 1},
    {"optimizer": {"lr": 1.0}, "seed": True},
    {},
]


@pytest.mark.parametrize("config", CONFIGS)
def test_a_configuration_is_written_as_by_itself(config: dict[str, Any]) -> None:
    masked = Masked()
    for other in CONFIGS:
        masked.yaml(other)
    assert masked.config(config) == secrets.without(config)
    assert masked.yaml(config) == recorded_settings.write(secrets.without(config))


def test_a_manifest_is_read_as_it_was_written() -> None:
    config = dataclasses.asdict(Settings(data={"name": "line"}))
    jobs = [
        Job(n, [f"seed={n}", "tracking.tags.pwd=hunter2"], {"seed": str(n)}, {**config, "seed": n}, "f" * 32)
        for n in range(5)
    ]
    text = Manifest("x", ["hydra/launcher=one_by_one"], "valid/loss", "min", jobs, 5).text()
    assert "hunter2" not in text
    assert len(text.splitlines()) == 7, "a line for each job"
    assert json.loads(text)["jobs"][3]["config"] == secrets.without({**config, "seed": 3})
    again = manifest.read(text)
    assert [job.config["seed"] for job in again.jobs] == list(range(5))
    assert [job.varied for job in again.jobs] == [job.varied for job in jobs]
    assert {job.run_id for job in again.jobs} == {""}
