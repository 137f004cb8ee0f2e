"""Tags that a configuration gives, and those that the program and MLflow go by."""

from pathlib import Path
from typing import Any

import pytest

from runner.settings.errors import ConfigError
from runner.settings.trust import recorded_settings
from runner.settings.values import tags
from runner.tracking.read import recall
from runner.tracking.store import stores
from runner.training.checking import checks
from tests.support import command, composing

RESERVED = [
    *("mlflow.runName", "mlflow.parentRunId", "mlflow.user", "mlflow.source.name", "mlflow.loggedArtifacts"),
    *("runner.process", "runner.heartbeat", "runner.digest", "runner.code", "runner.command", "runner.status_reason"),
    *("checkpoint.last.kept", "checkpoint.best", "checkpoint.best.sha256", "sweep.jobs", "sweep.best", "sweep.job"),
    *("drift.data.path", "best.value", "test.step", "threads", "device", "host", "git.state"),
    *("Runner.Process", "MLFLOW.PARENTRUNID", " runner.process", "host ", "mlflow.", "mlflow.note.Content"),
]
FREE = [
    "mlflow.note.content",
    "mlflow.source.git.branch",
    "note",
    "my.device",
    "runner",
    "mlflow",
    "best",
    "git.branch",
    "",
]


@pytest.mark.parametrize("name", RESERVED)
def test_a_tag_that_is_read_back_is_refused_with_what_to_do(name: str) -> None:
    with pytest.raises(
        ConfigError, match="own, found in a configuration; expected a name of yours, such as my"
    ) as told:
        tags.check([name, "note"])
    assert told.value.key == f"tracking.tags.{name}"


@pytest.mark.parametrize("name", FREE)
def test_other_tags_are_free(name: str) -> None:
    tags.check([name])


def test_a_study_a_person_and_a_record_are_refused_and_all_that_a_run_tells_of_itself_is_reserved(
    workplace: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(workplace)
    (workplace / "experiments").mkdir()
    study = workplace / "experiments/x.yaml"
    study.write_text("tracking: {tags: {mlflow.parentRunId: a, checkpoint.last.kept: b, note: c}}\n")
    words = ["trainer={epochs: 1, threads: 1}", "plots=[]"]
    with composing.hydra():
        found = composing.problem("experiments=x", *words).splitlines()
        assert [line.partition(":")[0] for line in found] == [
            "tracking.tags.mlflow.parentRunId",
            "tracking.tags.checkpoint.last.kept",
        ]
        assert composing.problem("+tracking.tags={runner.process: a}", *words).startswith(
            "tracking.tags.runner.process"
        )
    done = command.runner(*words, "+tracking.tags={mlflow.note.content: 'what it is', my.host: c}", cwd=workplace)
    told = stores.open_store("sqlite:///mlflow.db").get_run(done.run_id).data.tags
    assert (told.pop("mlflow.note.content"), told.pop("my.host")) == ("what it is", "c")
    for name in told:
        with pytest.raises(ConfigError):
            tags.check([name])
    [file] = (workplace / "mlruns").glob("*/*/artifacts/config.yaml")
    text = file.read_text().replace("my.host: c", "mlflow.parentRunId: '1'")
    with pytest.raises(ConfigError, match=r"tracking\.tags\.mlflow\.parentRunId: "):
        checks.check(recorded_settings.read(text, "config.yaml"))
    file.write_text(text)  # as a run of an earlier version may have it: it is looked at and continued without
    assert recall.settings("sqlite:///mlflow.db", done.run_id).tracking.tags == {"mlflow.note.content": "what it is"}
    # The control: what such a tag would have done.
    assert recall.find_run("sqlite:///mlflow.db", "last") == done.run_id
    monkeypatch.setattr(tags, "RESERVED", ())
    monkeypatch.setattr(tags, "RUNS", ())
    checks.check(recorded_settings.read(text, "config.yaml"))
    stores.open_store("sqlite:///mlflow.db").set_tag(done.run_id, "mlflow.parentRunId", "1")
    with pytest.raises(ConfigError):
        recall.find_run("sqlite:///mlflow.db", "last")
