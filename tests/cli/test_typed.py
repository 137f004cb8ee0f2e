"""What a person typed and what a file says: told apart value by value, as Hydra reads the words."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose

from runner.settings.errors import ConfigError
from runner.settings.trust import permission, typed_words
from tests.support import command, composing
from tests.support.stranger import Stranger

#: Words, a key (a tuple where one part holds a dot), a value, and whether a person has typed that for it.
LEAVES: dict[str, tuple[list[str], Any, Any, bool]] = {
    "a value": (["hydra.sweep.dir=/x"], "hydra.sweep.dir", "/x", True),
    "another value than the typed one": (["hydra.sweep.dir=/x"], "hydra.sweep.dir", "/y", False),
    "a value that is added": (["++hydra.sweep.dir=/x"], "hydra.sweep.dir", "/x", True),
    "a value in quotes": (["hydra.sweep.dir='/x, y'"], "hydra.sweep.dir", "/x, y", True),
    "a value in a mapping": (["+hydra={sweep: {dir: /x}}"], "hydra.sweep.dir", "/x", True),
    "its neighbour in the mapping": (["hydra={sweep: {dir: /x}}"], "hydra.sweep.subdir", "/x", False),
    "a name that is a value in the mapping": (["tracking={run_name: uri, x: 1}"], "tracking.uri", "http://e", False),
    "a mapping in a text": (["tracking.run_name='{uri: http://e}'"], "tracking.uri", "http://e", False),
    "a key with a dot": (["+p={a.b: 1}"], ("p", "a.b"), 1, True),
    "a key with a dot is not a key in a key": (["+p={a.b: 1}"], "p.a.b", 1, False),
    "a key in a key is not one with a dot": (["+p.a.b=1"], ("p", "a.b"), 1, False),
    "nothing": (["hydra.sweeper.storage=null"], "hydra.sweeper.storage", None, True),
    "nothing is not what a file says": (["hydra.sweeper.storage=null"], "hydra.sweeper.storage", "sqlite:///x", False),
    "nothing at all": (["tracking={}", "tracking=null", "tracking="], "tracking.uri", "", False),
    "an empty text": (["tracking.uri="], "tracking.uri", "", True),
    "a number": (["tracking.run_name=1"], "tracking.run_name", "1", True),
    "a list": (["hydra.launcher.setup=[a, 'b c']"], "hydra.launcher.setup", ["a", "b c"], True),
    "another list": (["hydra.launcher.setup=[a]"], "hydra.launcher.setup", ["a", "b"], False),
    "a list with a part that a file says": (["hydra.launcher.setup=['${data.x}']"], "hydra.launcher.setup", [1], False),
    "one item of a list": (["hydra.launcher.setup.0=a"], "hydra.launcher.setup", ["a", "b"], False),
    "the last word": (["tracking.uri=a", "tracking.uri=b"], "tracking.uri", "b", True),
    "two words for two values": (["hydra.sweep={dir: /x}", "hydra.sweep={subdir: y}"], "hydra.sweep.dir", "/x", True),
    "a word that takes it back": (["hydra.sweep.dir=/x", "~hydra.sweep.dir"], "hydra.sweep.dir", "/x", False),
    "a preset left out": (["tracking.uri=a", "~scheduler"], "tracking.uri", "a", True),
    "a preset": (["tracking=mine", "tracking@x=y", "+tracking/uri=a"], "tracking.uri", "a", False),
    "values for jobs": (["tracking.uri=a,b"], "tracking.uri", "b", True),
    "mappings for jobs": (["tracking={uri: a},{uri: b}"], "tracking.uri", "b", True),
    "mappings for jobs, of which one says it": (["tracking={uri: a},{run_name: b}"], "tracking.uri", "a", False),
    "a range": (["tracking.uri=range(1,3)"], "tracking.uri", "1", False),
    "what Hydra cannot read": (["tracking.uri=a#b", "tracking.uri={uri: a", "=a"], "tracking.uri", "a#b", False),
    "a flag": (["--cfg=job", "-tracking.uri=a"], "tracking.uri", "a", False),
    "a longer key": (["tracking.uris=a", "mytracking.uri=a", "x.tracking.uri=a"], "tracking.uri", "a", False),
    "the time": (["hydra.sweep.dir=out/${now:%Y-%m}"], "hydra.sweep.dir", "out/2026-11", True),
    "the time as it is typed": (["hydra.sweep.dir=o/${now:%Y}"], "hydra.sweep.dir", "o/${now:%Y}", True),
    "no time": (["hydra.sweep.dir=out/${now:%Y-%m}"], "hydra.sweep.dir", "out/../..", False),
    "the number of a job": (["hydra.sweep.subdir=x${hydra:job.num}"], "hydra.sweep.subdir", "x12", True),
    "a part that a file says": (["hydra.sweep.dir=o/${data.name}"], "hydra.sweep.dir", "o/line", False),
    "such a part as it is typed": (["hydra.sweep.dir=o/${data.name}"], "hydra.sweep.dir", "o/${data.name}", False),
    "a part that is typed too": (["x.y=o/${data.name}", "data.name=line,digits"], "x.y", "o/line", True),
    "what a file says of such a part": (["x.y=o/${data.name}", "data.name=line"], "x.y", "o/../e", False),
    "a part of a part": (["x.y=${a.b}", "a.b=${data.name}"], "x.y", "line", False),
    "parts without an end": (["x.y=${a.b}", "a.b=${x.y}"], "x.y", "line", False),
    "a part within a part": (["x.y=${a.${b.c}}", "b.c=d", "a.d=e"], "x.y", "e", False),
    "a variable": (["x.y=${oc.env:HOME}"], "x.y", "/root", False),
}


@pytest.mark.parametrize("name", LEAVES)
def test_for_each_value_it_is_known_whether_a_person_typed_it(name: str) -> None:
    words, key, value, expected = LEAVES[name]
    permission.begin(words)
    assert permission.wholly(key, value) is expected


TEXTS = ["sqlite:////a b/x.db", "a#b", "ü", "it's", 'a"b', "a\\", "a=b", "{a}", "1", "null", "a,b"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_word_to_be_pasted_is_read_as_it_was_meant(text: str) -> None:
    word = f"tracking.uri={typed_words.written(text)}"
    permission.begin([word])
    assert permission.wholly("tracking.uri", text)
    assert typed_words.text(word) == text


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    found = Stranger()
    yield found
    found.close()


@pytest.fixture
def place(workplace: Path, monkeypatch: Any) -> Path:
    (workplace / "experiments").mkdir()
    (workplace / "conf/data").mkdir(parents=True)
    monkeypatch.chdir(workplace)
    return workplace


SEARCH = """
defaults: [override /hydra/sweeper: optuna, override /hydra/sweeper/sampler: random]
trainer: {epochs: 1, threads: 1}
plots: []
hydra: {sweeper: {n_trials: 1, params: PARAMS}}
"""
#: A key of a sweeper's params that Hydra reads as another key than it seems to be.
HIDDEN = """{"++tracking={uri: 'HOST', run_name: 'a": "b'},{uri: 'HOST', run_name: 'c'}"}"""


def without(guard: str, *words: str, cwd: Path, until: Callable[[], Any] = lambda: False) -> None:
    """Run a command in a process where a guard is taken away by a line of Python, to its end or until something."""
    begin = f"import sys; sys.argv = {['runner', *words]!r}; {guard}; from runner.cli.command import main; main()"
    with (cwd / "without").open("w") as out:
        process = subprocess.Popen([sys.executable, "-P", "-c", begin], cwd=cwd, stdout=out, stderr=out)
        while process.poll() is None and not until():
            time.sleep(0.05)
        process.kill()
        process.wait()


def test_a_key_that_hydra_reads_as_another_lets_no_study_name_a_server(place: Path, stranger: Stranger) -> None:
    words = ["-m", "experiments=x", "tracking.uri=sqlite:///mlflow.db"]
    (place / "experiments/x.yaml").write_text(SEARCH.replace("PARAMS", HIDDEN.replace("HOST", stranger.uri)))
    done = command.runner(*words, cwd=place, code=2)
    assert done.err.startswith("hydra.sweeper.params.")
    assert "Traceback" not in done.err
    assert stranger.heard == []
    guards = "from runner.cli.guard import hydra_rules; from runner.settings.trust import permission as p"
    guards += "; hydra_rules._check_word = lambda *given: None"
    without(f"{guards}; p.wholly = lambda key, value: p.typed(key)", *words, cwd=place, until=lambda: stranger.heard)
    assert stranger.heard, "nothing would have been sent: the guards guard nothing"


def test_what_a_study_says_in_a_mapping_beside_a_typed_value_is_a_file_s(place: Path) -> None:
    study = "defaults: [override /hydra/sweeper: optuna]\nhydra: {sweeper: {params: {tracking.uri: 'http://evil'}}}\n"
    (place / "experiments/x.yaml").write_text(study)
    words = ["experiments=x", "tracking.uri=sqlite:///mlflow.db"]
    with composing.hydra():
        for typed in ("note: a", "note: 'tracking.uri: x'"):
            found = composing.problem(*words, f"++hydra.sweeper.params={{{typed}}}")
            assert found.startswith("hydra.sweeper.params.tracking.uri: no file may say it for every job")
        for typed in ("{tracking.uri: 'http://me'}", "null"):
            assert composing.problem(*words, f"++hydra.sweeper.params={typed}") == ""


LOGGED = """# @package hydra
job_logging: {version: 1, handlers: {x: {(): logging.FileHandler, filename: touched}}, root: {handlers: [x]}}
"""
IN_WORKERS = """
defaults: [override /hydra/launcher: joblib]
trainer: {epochs: 1, threads: 1}
tracking: {run_name: '${oc.env:CANARY_SECRET,x}'}
plots: []
hydra: {launcher: {n_jobs: 1}, sweeper: {params: {data: "line,mine"}}}
"""


def test_what_another_process_runs_was_composed_and_looked_at_in_the_first(place: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    (place / "conf/data/mine.yaml").write_text(LOGGED)
    (place / "experiments/x.yaml").write_text(IN_WORKERS)
    done = command.runner("summary", "-m", "experiments=x", cwd=place, code=2)
    assert done.err.startswith("hydra.job_logging.handlers.x.(): ")
    assert not (place / "touched").exists()
    variable = command.runner("summary", "-m", "experiments=x", "data=line", cwd=place, code=2)
    assert "is a variable that a configuration may not read" in variable.err
    guard = "from runner.cli.guard import hydra_rules; hydra_rules.check = lambda *given: None"
    without(guard, "summary", "-m", "experiments=x", cwd=place)
    assert (place / "touched").exists(), "nothing would have happened: the guard guards nothing"


def test_a_folder_may_have_a_value_of_its_job_in_its_name_and_leads_nowhere_else(place: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    study = "trainer: {epochs: 1, threads: 1}\nplots: []\ntracking: {run_name: ../../escaped}\n"
    (place / "experiments/x.yaml").write_text(study)
    words = ["-m", "experiments=x", "hydra/launcher=joblib", "hydra.launcher.n_jobs=1", "hydra.sweep.dir=out"]
    command.runner(*words, "optimizer.lr=0.1,0.2", "hydra.sweep.subdir=lr${optimizer.lr}", cwd=place)
    usual = "hydra.sweep.subdir=${hydra.job.override_dirname}"
    command.runner(
        *("-m", "experiments=x", "optimizer.lr=0.1,0.2", usual, "hydra.sweep.dir=b", "hydra/launcher=basic"), cwd=place
    )
    folders = {path.name for path in (place / "b").iterdir() if path.is_dir()}
    assert folders == {"experiments=x,optimizer.lr=0.1", "experiments=x,optimizer.lr=0.2"}
    assert {path.name for path in (place / "out").iterdir()} == {"lr0.1", "lr0.2", "multirun.yaml"}
    words = [*words, "seed=1,2", "hydra.sweep.subdir=a/${tracking.run_name}"]
    refused = command.runner(*words, cwd=place, code=2).err
    assert "hydra.sweep.subdir: 'a/../../escaped' is outside of 'out'" in refused
    assert "type it without ${tracking.run_name}, which a file sets: hydra.sweep.subdir=a/../../escaped" in refused
    assert not (place.parent / "escaped").exists()


def whole(*words: str) -> Any:
    permission.begin(list(words))
    return compose("config", overrides=list(words), return_hydra_config=True)


def test_a_file_s_part_of_a_typed_folder_stays_in_it(place: Path, tmp_path_factory: Any) -> None:
    there = tmp_path_factory.mktemp("there")
    (there / "mine").mkdir()
    (place / "runs/linked").mkdir(parents=True)
    (place / "runs/linked/multirun.yaml").symlink_to(there / "victim")
    unknown = "'${oc.select:hydra.nothing.${now:%f},x}/../..'"
    with composing.hydra():
        for name, typed in (
            ("../other", f"hydra.sweep.dir={there}/mine/${{tracking.run_name}}"),
            ("linked", "hydra.sweep.dir=runs/${tracking.run_name}"),
            (unknown, "hydra.sweep.subdir=${tracking.run_name}"),
            ("../../x", "hydra.output_subdir=a/${tracking.run_name}"),
            ("../../x", "hydra.job.name=a${tracking.run_name}"),
        ):
            (place / "experiments/x.yaml").write_text(f"tracking: {{run_name: {name}}}\n")
            key = typed.partition("=")[0]
            with pytest.raises(ConfigError, match=f"^{key}: ") as refused:
                whole("experiments=x", typed)
            assert "type hydra" not in str(refused.value)
        (place / "experiments/x.yaml").write_text("tracking: {run_name: fine}\n")
        assert whole("experiments=x", f"hydra.sweep.dir={there}/mine/${{tracking.run_name}}")
        # A part that is typed as well is not a file's.
        assert whole("hydra.sweep.dir=${tracking.run_name}", f"tracking.run_name={there}")


def test_links_to_a_big_disk_are_named_with_where_they_lead_and_allowed_by_the_line(
    place: Path, tmp_path_factory: Any, monkeypatch: Any
) -> None:
    disk = tmp_path_factory.mktemp("big, disk")
    (place / "mlruns").symlink_to(disk)
    (place / ".runner").symlink_to(disk / "gone")
    permission.begin([])
    with pytest.raises(ConfigError) as refused:
        permission.store("sqlite:///mlflow.db", "tracking.uri")
    message, line = str(refused.value).split(" or put this line into the profile of your shell: ")
    assert message == (
        f"tracking.uri: the link 'mlruns' leads out of the working directory, to '{disk}' and the link '.runner' leads"
        f" out of the working directory, to '{disk / 'gone'}', which is not there; type tracking.uri=sqlite:///mlflow.db,"
    )
    done = subprocess.run(
        ["bash", "-c", f'{line}; printf %s "$RUNNER_PLACES"'], capture_output=True, text=True, timeout=60
    )
    monkeypatch.setenv("RUNNER_PLACES", done.stdout)
    permission.begin([])
    permission.store("sqlite:///mlflow.db", "tracking.uri")


def test_a_mapping_for_a_launcher_is_recorded_value_by_value() -> None:
    from runner.cli import task
    from runner.sweeps.manifest import LAUNCHER

    words = task._parts("hydra.launcher={n_jobs: 2, x: {y: 'a b, c', z: null}}")
    assert words[0] == "++hydra.launcher.n_jobs=2"
    assert all(LAUNCHER.fullmatch(word) for word in words)
    assert {read.key_or_group: read.value() for word in words if (read := typed_words.read(word))} == {
        "hydra.launcher.n_jobs": 2,
        "hydra.launcher.x.y": "a b, c",
        "hydra.launcher.x.z": None,
    }
    assert task._parts("hydra.launcher.n_jobs=2") == ["hydra.launcher.n_jobs=2"]
