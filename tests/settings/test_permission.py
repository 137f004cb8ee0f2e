"""What a file, a record and a study's database may not decide, each with its canary and its negative control."""

import json
import os
import pickle
import re
import shlex
import sqlite3
import threading
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra import compose
from omegaconf import OmegaConf

from runner.cli.task import Task
from runner.commands import _words
from runner.settings.errors import ConfigError
from runner.settings.trust import permission, secrets, typed_words
from runner.sweeps.run.outcome import Outcome
from runner.sweeps.search import cmaes
from runner.sweeps.search.space import Interval, Space
from runner.sweeps.search.study import Study
from tests.support import command, composing

STUDY = "experiments/x.yaml"
#: A sweeper of the working directory's own, whose class is installed and whose values are not what they seem.
SWEEPER = "_target_: hydra_plugins.runner_sweeper.CheckedSweeper\nmax_batch_size: null\n"
MINE = "defaults: [override /hydra/sweeper: mine]\n"

#: Files of the working directory, words, and the key of the answer. ELSEWHERE is a folder beside it.
REFUSED: dict[str, tuple[dict[str, str], str, str]] = {
    "a sweep's folder that Hydra fills in later": (
        {STUDY: "hydra: {sweep: {dir: 'ELSEWHERE/${hydra:job.name}'}}\n"},
        "experiments=x",
        "hydra.sweep.dir: ",
    ),
    "a run's folder that Hydra fills in later": (
        {STUDY: "hydra: {run: {dir: 'ELSEWHERE/${hydra:runtime.version}'}}\n"},
        "experiments=x",
        "hydra.run.dir: ",
    ),
    "a job's folder by its number": (
        {STUDY: "hydra: {sweep: {subdir: '../../${hydra.job.num}'}}\n"},
        "experiments=x",
        "hydra.sweep.subdir: ",
    ),
    "a job's folder by Hydra's own number": (
        {STUDY: "hydra: {sweep: {subdir: 'ELSEWHERE/${hydra:job.num}'}}\n"},
        "experiments=x",
        "hydra.sweep.subdir: ",
    ),
    "a job's folder by the time": (
        {STUDY: "hydra: {sweep: {subdir: '${oc.select:hydra.job.${now:%f},x}'}}\n"},
        "experiments=x",
        "hydra.sweep.subdir: ",
    ),
    "a folder by a name of Hydra's": (
        {STUDY: "hydra: {job: {name: ../../x}, sweep: {dir: 'outputs/${hydra:job.name}'}}\n"},
        "experiments=x",
        "hydra.job.name: ",
    ),
    "a folder by what Hydra writes between overrides": (
        {
            STUDY: "hydra: {job: {config: {override_dirname: {kv_sep: /../../}}},"
            " sweep: {dir: 'a/${hydra.job.override_dirname}'}}\n"
        },
        "experiments=x seed=1",
        "hydra.sweep.dir: ",
    ),
    "a folder by a value of the configuration": (
        {STUDY: "tracking: {run_name: ../../x}\nhydra: {sweep: {dir: '${tracking.run_name}'}}\n"},
        "experiments=x",
        "hydra.sweep.dir: ",
    ),
    "a folder that nobody can know": (
        {STUDY: "hydra: {sweep: {dir: '${hydra:nothing.there}/x${now:%Y}${.nothing}'}}\n"},
        "experiments=x",
        "hydra.sweep.dir: ",
    ),
    "a folder with a line break": (
        {STUDY: 'hydra: {sweep: {dir: "a\\ntouch x #"}}\n'},
        "experiments=x",
        "hydra.sweep.dir",
    ),
    "a job's name with a line break": (
        {STUDY: 'hydra: {job: {name: "a\\ntouch CANARY #"}}\n'},
        "experiments=x hydra/launcher=submitit_slurm",
        "hydra.job.name: ",
    ),
    "a folder of configurations": ({STUDY: "hydra: {output_subdir: conf}\n"}, "experiments=x", "hydra.output_subdir: "),
    "a folder of code": ({STUDY: "hydra: {sweep: {dir: experiments/a}}\n"}, "experiments=x", "hydra.sweep.dir: "),
    "a home": ({STUDY: "hydra: {sweep: {dir: ~/a}}\n"}, "experiments=x", "hydra.sweep.dir: "),
    "a link": ({STUDY: "hydra: {sweep: {dir: link/a}}\n"}, "experiments=x", "hydra.sweep.dir: "),
    "a folder that holds a link": ({STUDY: "hydra: {sweep: {dir: holds}}\n"}, "experiments=x", "hydra.sweep.dir: "),
    "a link behind a folder": (
        {STUDY: "hydra: {output_subdir: link}\n"},
        "experiments=x",
        "hydra.output_subdir: ",
    ),
    "a study that is a link": ({}, "experiments=linked", "experiments/linked.yaml: "),
    "a preset that is a link": ({}, "data=linked", "conf/data/linked.yaml: "),
    "a study that has no end": ({}, "experiments=endless", "experiments: there is no preset 'endless'"),
    "a sweep without -m": ({STUDY: "hydra: {mode: MULTIRUN}\n"}, "experiments=x", "hydra.mode: "),
    "a sweep by a preset": ({"conf/data/mine.yaml": "# @package hydra\nmode: MULTIRUN\n"}, "data=mine", "hydra.mode: "),
    "a part behind an interpolation": (
        {
            STUDY: MINE + "data: {_target_: logging.FileHandler, filename: CANARY}\n",
            "conf/hydra/sweeper/mine.yaml": SWEEPER + "params: ${data}\n",
        },
        "experiments=x",
        "hydra.sweeper.params._target_: ",
    ),
    "a callback behind an interpolation": (
        {STUDY: "data: {x: {_target_: logging.FileHandler, filename: CANARY}}\nhydra: {callbacks: '${data}'}\n"},
        "experiments=x",
        "hydra.callbacks: ",
    ),
    "words of Hydra's for every job": (
        {STUDY: "hydra: {sweeper: {params: {hydra.job.env_set.RUNNER_TRUST: os}}}\n"},
        "experiments=x",
        "hydra.sweeper.params.hydra.job.env_set.RUNNER_TRUST: ",
    ),
    "a store for every job": (
        {STUDY: "hydra: {sweeper: {params: {++tracking.uri: 'http://evil'}}}\n"},
        "experiments=x tracking.uri=sqlite:///mlflow.db",
        "hydra.sweeper.params.tracking.uri: ",
    ),
    "a variable for Hydra that is not there": (
        {STUDY: "hydra: {job: {env_copy: [NOT_SET_ANYWHERE]}}\n"},
        "experiments=x",
        "hydra.job.env_copy: ",
    ),
    "a launcher's folder": (
        {
            STUDY: "defaults: [override /hydra/launcher: submitit_local]\n"
            "hydra: {launcher: {submitit_folder: '${hydra.sweep.dir}/x'}}\n"
        },
        "experiments=x",
        "hydra.launcher.submitit_folder: ",
    ),
}
#: Stores that no file may name, and what of each a person allows for good; nothing where it could be read in two ways.
STORES = {
    "http://evil": "http://evil",
    "http://evil/what-a-variable-holds": "http://evil",
    "https://good.example:5000": "https://good.example:5000",
    "http://good.example": "http://good.example",
    "https://good.example@evil": "https://evil",
    "https://good.example.evil": "https://good.example.evil",
    "postgresql://evil/db": "postgresql://evil",
    "databricks": "databricks",
    "databricks://evil": "databricks://evil",
    "https://good.example#@evil": "",
    "https://good.example?@evil": "",
    "https://good.example/@evil": "",
    "https://evil\\@good.example": "",
    "postgresql://good.example/db?host=evil": "",
    "file:///ELSEWHERE": "",
    "sqlite:///file:ELSEWHERE/x.db?uri=true": "",
    "sqlite:///ELSEWHERE/x.db": "ELSEWHERE",
    "sqlite:///link/x.db": "ELSEWHERE",
    "sqlite:///linked.db": "ELSEWHERE",
    "sqlite:///holds/x.db": "ELSEWHERE",
    "sqlite:///../x.db": "ABOVE",
    "sqlite:///conf/x.db": "",
}


@pytest.fixture
def place(workplace: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: Any) -> Path:
    """A working directory of a stranger's, with links that lead out of it."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "secrets.yaml").write_text("data: {name: line}\n")
    for folder in ("experiments", "conf/data", "conf/hydra/sweeper", "holds"):
        (workplace / folder).mkdir(parents=True)
    for link in ("link", "holds/mlruns"):
        (workplace / link).symlink_to(elsewhere)
    for link in ("experiments/linked.yaml", "conf/data/linked.yaml", "linked.db"):
        (workplace / link).symlink_to(elsewhere / "secrets.yaml")
    (workplace / "experiments/endless.yaml").symlink_to("/dev/zero")
    monkeypatch.setenv("ELSEWHERE", str(elsewhere))
    monkeypatch.chdir(workplace)
    return workplace


def written(place: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        text = text.replace("CANARY", str(place / "touched")).replace("ELSEWHERE", os.environ["ELSEWHERE"])
        (place / name).write_text(text)


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_file_may_say_is_refused_with_its_key(name: str, place: Path) -> None:
    files, words, key = REFUSED[name]
    written(place, files)
    with composing.hydra():
        found = composing.problem(*words.split())
    assert found.startswith(key), found
    assert "Traceback" not in found
    assert not (place / "touched").exists()


@pytest.mark.parametrize("uri", STORES)
def test_a_store_that_a_file_names_is_asked_about_in_words_that_permit_it(
    uri: str, place: Path, monkeypatch: Any
) -> None:
    allowed = STORES[uri].replace("ELSEWHERE", os.environ["ELSEWHERE"]).replace("ABOVE", str(place.parent))
    uri = uri.replace("ELSEWHERE", os.environ["ELSEWHERE"])
    for places in ("", "https://good.example, postgresql://good.example"):
        monkeypatch.setenv("RUNNER_PLACES", places)
        permission.begin(["tracking=x", f"tracking.run_name={uri}"])
        with pytest.raises(ConfigError, match=r"^tracking\.uri: ") as refused:
            permission.store(uri, "tracking.uri")
    typed = f"tracking.uri={typed_words.written(uri)}"
    if allowed:
        asked = f"type tracking.uri={shlex.quote(typed_words.written(secrets.masked_uri(uri)))}, or "
        assert asked in str(refused.value)
        assert str(refused.value).endswith(f"export RUNNER_PLACES=$RUNNER_PLACES,{allowed}")
        monkeypatch.setenv("RUNNER_PLACES", f"/nowhere,{allowed}")
        permission.begin([])
        permission.store(uri, "tracking.uri")
    permission.begin([typed])
    permission.store(uri, "tracking.uri")


def test_a_study_s_own_store_is_used_in_the_working_directory_only(place: Path, monkeypatch: Any) -> None:
    written(place, {STUDY: "tracking: {uri: 'http://evil/${oc.env:MLFLOW_TRACKING_URI,x}'}\n"})
    written(place, {"experiments/y.yaml": "tracking: {uri: 'sqlite:///mine.db'}\n"})
    with composing.hydra():
        assert "type tracking.uri=http://evil/x, or " in composing.problem("experiments=x")
        assert composing.settings("experiments=x", "tracking.uri=http://evil").tracking.uri == "http://evil"
        assert composing.settings("experiments=y").tracking.uri == "sqlite:///mine.db"


def test_the_store_of_the_environment_may_be_named_by_a_file(place: Path, monkeypatch: Any) -> None:
    written(place, {STUDY: "tracking: {uri: 'http://good.example:5000/x'}\n"})
    with composing.hydra():
        assert "tracking.uri: " in composing.problem("experiments=x")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://good.example:5000")
        assert composing.settings("experiments=x").tracking.uri == "http://good.example:5000/x"
        assert composing.settings().tracking.uri == "http://good.example:5000"


@pytest.mark.parametrize("name", ["mlflow.db", "mlruns", ".runner"])
def test_the_usual_store_may_be_no_link_to_another(name: str, place: Path, monkeypatch: Any) -> None:
    there = Path(os.environ["ELSEWHERE"])
    (place / name).unlink(missing_ok=True)
    (place / name).symlink_to(there)
    asked = (
        f"tracking.uri: the link '{name}' leads out of the working directory, to '{there}'; "
        "type tracking.uri=sqlite:///mlflow.db, or put this line into the profile of your shell: "
        f"export RUNNER_PLACES={there}"
    )
    with composing.hydra():
        assert composing.problem().startswith(asked)
        assert composing.settings("tracking.uri=sqlite:///mlflow.db")
    permission.begin(["last"])
    with pytest.raises(ConfigError, match=re.escape(asked)):
        _words.run_of("evaluate", ["last"])  # which composes nothing
    monkeypatch.setenv("RUNNER_PLACES", str(there.parent))
    permission.begin(["last"])
    assert _words.run_of("evaluate", ["last"]) == ("last", "sqlite:///mlflow.db")


TYPED = [
    ("hydra.sweep.dir", ["hydra.sweep.dir=/x"], True),
    ("hydra.sweep.dir", ["+hydra.sweep={dir: /x}"], True),
    ("hydra.sweep.dir", ["++hydra.sweep.dir=/x"], True),
    ("hydra.sweep.dir", ["hydra={sweep: {dir: /x}}"], True),
    ("hydra.sweep.dir", ["hydra={sweep: {subdir: x}}", "hydra.sweep={subdir: x}"], False),
    ("tracking.uri", ["tracking={uri: x}"], True),
    ("tracking.uri", ["tracking={run_name: x}", "tracking=uri"], False),
    ("hydra.sweep.dir", ["~hydra.sweep.dir"], False),
    ("hydra.sweep.dir", ["hydra.sweep.dirs=/x", "hydra.sweep.subdir=/x", "hydra/sweep=x"], False),
    ("tracking.uri", ["experiments=tracking.uri=x", "--cfg=job"], False),
]


@pytest.mark.parametrize(("key", "typed", "expected"), TYPED)
def test_only_a_typed_key_is_typed(key: str, typed: list[str], expected: bool) -> None:
    permission.begin(typed)
    assert permission.typed(key) is expected


def test_a_preset_that_a_person_chooses_is_still_a_file(place: Path) -> None:
    (place / "conf/tracking").mkdir()
    written(place, {"conf/tracking/mine.yaml": "uri: http://evil\n"})
    with composing.hydra():
        assert composing.problem("tracking=mine").startswith("tracking.uri: ")


def test_a_job_s_name_would_have_been_a_line_of_a_queue_s_script() -> None:
    """The control of `a job's name with a line break`: what submitit makes of it."""
    slurm = pytest.importorskip("submitit.slurm.slurm")
    script = slurm._make_sbatch_string(command="python", folder="here", job_name="a\ntouch CANARY #")
    assert "touch CANARY #'" in script.splitlines()


def test_nobody_knows_beforehand_where_a_launcher_leaves_and_looks_for_pickles(place: Path) -> None:
    written(place, {STUDY: "hydra: {sweep: {dir: runs}}\n"})
    words = ["experiments=x", "hydra/launcher=submitit_local"]
    with composing.hydra():
        folders = {str(whole(words).hydra.launcher.submitit_folder) for _ in range(2)}
        typed = [*words, "hydra.launcher.submitit_folder=here"]
        assert whole(typed).hydra.launcher.submitit_folder == "here"
    assert len(folders) == 2
    assert all(folder.startswith("runs/.submitit/") and folder.endswith("/%j") for folder in folders)


def whole(words: list[str]) -> Any:
    permission.begin(words)
    return compose("config", overrides=words, return_hydra_config=True)


def test_what_a_person_types_is_taken(place: Path) -> None:
    """The control: it is who says it that counts, not what is said."""
    folders = ("sweep.dir=ELSEWHERE/x", "run.dir=link", "sweep.subdir='${hydra:job.num}/${oc.select:x.${now:%f},y}'")
    typed = [f"hydra.{word.replace('ELSEWHERE', os.environ['ELSEWHERE'])}" for word in folders]
    with composing.hydra():
        assert composing.problem(*typed, "+hydra={output_subdir: conf}", "hydra.mode=MULTIRUN") == ""


def test_a_link_in_a_folder_of_outputs_would_have_had_a_file_elsewhere_written_over(place: Path) -> None:
    victim = Path(os.environ["ELSEWHERE"]) / "secrets.yaml"
    before = victim.read_text()
    (place / "runs").mkdir()
    (place / "runs/multirun.yaml").symlink_to(victim)
    written(place, {STUDY: "hydra: {sweep: {dir: runs}}\n"})
    done = command.runner("summary", "-m", "experiments=x", "seed=1", cwd=place, code=2)
    link = f"hydra.sweep.dir: the link 'runs/multirun.yaml' leads out of the working directory, to '{victim}'"
    assert link in done.err
    assert victim.read_text() == before
    command.runner("summary", "-m", "experiments=x", "seed=1", "hydra.sweep.dir=runs", cwd=place)
    assert victim.read_text() != before, "nothing would have happened: the guard guards nothing"


def test_a_process_of_a_launcher_s_knows_what_was_typed_for_it(place: Path) -> None:
    permission.begin(["hydra.sweep.dir=/x"])
    handed = pickle.dumps(Task("summary", {}))
    permission.begin([])
    task = pickle.loads(handed)
    assert (task.typed, task.place) == (["hydra.sweep.dir=/x"], str(place))


def test_a_folder_behind_a_link_is_allowed_by_what_the_link_leads_to(place: Path, monkeypatch: Any) -> None:
    there = os.environ["ELSEWHERE"]
    permission.begin([])
    with pytest.raises(ConfigError, match=f"type hydra.sweep.dir=link/now, or .* RUNNER_PLACES={there}$"):
        permission.folder("link/now", "hydra.sweep.dir")
    with pytest.raises(ConfigError, match=f"RUNNER_PLACES={there}/now$"):
        permission.folder(f"{there}/now", "hydra.sweep.dir")
    monkeypatch.setenv("RUNNER_PLACES", there)
    permission.begin([])
    for path in ("link/now", f"{there}/now"):
        permission.folder(path, "hydra.sweep.dir")
    (place / "turns").symlink_to("turns")
    with pytest.raises(ConfigError, match=r"hydra\.sweep\.dir: "):
        permission.folder("turns/x/../../..", "hydra.sweep.dir")


def test_what_was_looked_at_is_what_hydra_gets_whatever_time_it_is(place: Path) -> None:
    study = """
hydra:
  job: {name: "x${now:%f}"}
  run: {dir: "runs/${now:%f}"}
  sweep: {dir: "runs/${hydra:job.name}", subdir: "${hydra.job.num}-${now:%f}"}
  output_subdir: "${now:%f}"
  hydra_logging: {version: 1, root: {level: "${oc.select:hydra.nothing.${now:%f},INFO}"}}
"""
    written(place, {STUDY: study})
    with composing.hydra():
        found: Any = OmegaConf.to_container(whole(["experiments=x"]).hydra, resolve=False)
    assert found["sweep"].pop("subdir") == "${hydra.job.num}-${now:%f}"
    for key in ("run", "sweep", "output_subdir", "hydra_logging", "callbacks"):
        assert "$" not in str(found[key])
    assert "$" not in found["job"]["name"]
    assert found["job"]["env_set"] == found["callbacks"] == {}
    assert found["sweep"]["dir"] == f"runs/{found['job']['name']}"


class Host:
    """A server that writes down what it is sent."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        host = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do(self) -> None:
                host.asked.append((self.path, self.headers.get("Authorization", "")))
                self.send_error(404)

            do_GET = do_POST = do

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def host() -> Iterator[Host]:
    found = Host()
    yield found
    found.close()


def test_a_server_that_a_file_names_gets_nothing_and_one_that_is_typed_the_credentials(place: Path, host: Host) -> None:
    written(place, {STUDY: f"tracking: {{uri: '{host.uri}/x'}}\nplots: []\n", "experiments/y.yaml": "seed: 1\n"})
    (place / "conf/tracking").mkdir()
    written(place, {"conf/tracking/evil.yaml": f"uri: {host.uri}\n"})
    env = {"MLFLOW_TRACKING_TOKEN": "canary-canary"}
    for line in ("sync tracking=evil", "-m experiments=x seed=1,2"):
        done = command.runner(*line.split(), cwd=place, env=env, code=2)
        assert f"type tracking.uri={host.uri}" in done.err
    written(place, {STUDY: f"tracking: {{uri: '{host.uri}/x'}}\nsweep: {{resume: '123'}}\n"})
    command.runner("-m", "experiments=x", "seed=1,2", cwd=place, env=env, code=2)
    assert host.asked == []
    command.runner("runs", f"tracking.uri={host.uri}", cwd=place, env=env, code=None)
    assert "canary-canary" in host.asked[0][1], "nothing would have been sent: the guard guards nothing"
    before = len(host.asked)
    command.runner("experiments=x", "sweep.resume=null", cwd=place, env={"RUNNER_PLACES": host.uri}, code=None)
    assert len(host.asked) > before


class Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


SPACE: Space = {"optimizer.lr": Interval(0.01, 0.5), "optimizer.momentum": Interval(0.0, 0.9)}
SEARCH = """
defaults: [override /hydra/sweeper: optuna, override /hydra/sweeper/sampler: cmaes]
trainer: {epochs: 1, threads: 1}
plots: []
hydra:
  sweeper:
    storage: STORAGE
    study_name: mine
    n_trials: 6
    params: {optimizer.lr: "interval(0.01, 0.5)", optimizer.momentum: "interval(0, 0.9)"}
"""


def study_of_a_stranger(file: Path, canary: Path, attributes: dict[str, Any] | None = None) -> None:
    """Trials whose CMA-ES state is a pickle that makes a file."""
    study = optuna.create_study(storage=f"sqlite:///{file}", study_name="mine", directions=["minimize"])
    floats = {key: optuna.distributions.FloatDistribution(part.low, part.high) for key, part in SPACE.items()}  # type: ignore[union-attr]
    held = {f"{kind}:optimizer:0": pickle.dumps(Touch(canary)).hex() for kind in ("cma", "sepcma", "cmawm")}
    for number in range(4):
        params = {"optimizer.lr": 0.1 + number / 100, "optimizer.momentum": 0.1}
        study.add_trial(
            optuna.trial.create_trial(
                params=params,
                distributions=floats,
                value=1.0,
                system_attrs={**held, "cma:generation": 0, **(attributes or {})},
            )
        )


@pytest.mark.parametrize("given", [{}, {"use_separable_cma": True}, {"with_margin": True}, {"lr_adapt": True}])
def test_the_pickle_in_a_study_is_never_read(given: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    canary = tmp_path / "touched"
    study_of_a_stranger(tmp_path / "study.db", canary)

    def ask() -> None:
        sampler = {"name": "cmaes", "warn_independent_sampling": False, **given}
        Study(f"sqlite:///{tmp_path / 'study.db'}", "mine", SPACE, sampler, 0, ["minimize"]).ask("sweep")

    ask()
    assert not canary.exists()
    monkeypatch.setattr(cmaes, "sampler", lambda library: library.samplers.CmaEsSampler)
    ask()
    assert canary.exists(), "nothing would have happened: the guard guards nothing"


KINDS = [{}, {"use_separable_cma": True}, {"lr_adapt": True}, {"with_margin": True}]


@pytest.mark.parametrize("given", KINDS)
def test_the_state_that_is_made_anew_is_the_one_that_optuna_keeps(given: dict[str, Any]) -> None:
    floats: dict[str, Any] = {key: optuna.distributions.FloatDistribution(-1, 1) for key in ("a", "b")}
    floats["c"] = optuna.distributions.IntDistribution(0, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = optuna.samplers.CmaEsSampler(seed=0, popsize=5, **given)
        ours = cmaes.sampler(optuna)(seed=0, popsize=5, **given)
        study = optuna.create_study(sampler=theirs)
        for _ in range(32):  # the first is drawn at random
            trial = study.ask(floats)
            study.tell(trial, (trial.params["a"] - 0.3) ** 2 + trial.params["b"] ** 2 + trial.params["c"])
        trials = study.get_trials()
        study.sampler = ours
        study.ask(floats)
    there, here = theirs._restore_optimizer(trials), ours._restore_optimizer(trials)
    assert here.generation == there.generation == 6
    # The pickle holds half of a symmetric matrix, which has other last bits.
    assert here.mean == pytest.approx(there.mean, rel=1e-9)


def test_a_search_by_cmaes_is_the_same_whoever_goes_on_with_it_and_writes_no_pickle(tmp_path: Path) -> None:
    parts: Space = {"a": Interval(-1, 1), "b": Interval(-1, 1)}

    def study(name: str) -> Study:
        sampler = {"name": "cmaes", "popsize": 2}
        return Study(f"sqlite:///{tmp_path / name}.db", "x", parts, sampler, 0, ["minimize"])

    def search(name: str, anew: bool) -> list[float]:
        found, costs = study(name), []
        for _ in range(6):
            found = study(name) if anew else found
            number, values = found.ask("sweep")
            costs.append((values["a"] - 0.3) ** 2 + (values["b"] + 0.2) ** 2)
            found.tell(Outcome(number, "", "FINISHED", costs[-1]), [costs[-1]])
        return costs

    assert search("one", anew=False) == search("two", anew=True)
    with sqlite3.connect(tmp_path / "one.db") as held:
        keys = {key for (key,) in held.execute("SELECT key FROM trial_system_attributes")}
    held.close()
    assert keys == {"cma:generation"}


def test_a_release_of_optuna_that_is_not_known_is_refused(monkeypatch: Any) -> None:
    monkeypatch.delattr(optuna.samplers.CmaEsSampler, "_restore_optimizer")
    with pytest.raises(
        ConfigError, match="has no _restore_optimizer, so that it may run code that a study holds; use tpe"
    ):
        cmaes.sampler(optuna)


def test_trials_that_cmaes_did_not_make_are_told_in_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    study_of_a_stranger(file, tmp_path / "touched", {"cmawm:generation": 0, "x_for_tell": "x"})
    sampler = {"name": "cmaes", "with_margin": True, "popsize": 2}
    with pytest.raises(ConfigError, match="holds trials of another sampler than cmaes"):
        Study(f"sqlite:///{file}", "mine", SPACE, sampler, 0, ["minimize"]).ask("sweep")
    with sqlite3.connect(file) as held:
        held.execute("UPDATE trial_system_attributes SET value_json = '{'")
    held.close()
    with pytest.raises(ConfigError, match="'mine' cannot be read"):
        Study(f"sqlite:///{file}", "mine", SPACE, {"name": "tpe"}, 0, ["minimize"]).left_by("sweep")
    with sqlite3.connect(file) as held:
        held.execute("UPDATE study_directions SET direction = 'x'")
    held.close()
    with pytest.raises(ConfigError, match="'mine' cannot be read"):
        Study(f"sqlite:///{file}", "mine", SPACE, {"name": "tpe"}, 0, ["minimize"])


def test_a_search_of_a_strangers_goes_on_without_its_pickle_and_only_in_the_working_directory(place: Path) -> None:
    canary = place / "touched"
    study_of_a_stranger(place / "study.db", canary)
    written(place, {STUDY: SEARCH.replace("STORAGE", f"sqlite:///{os.environ['ELSEWHERE']}/study.db")})
    done = command.runner("-m", "experiments=x", cwd=place, code=2)
    assert "hydra.sweeper.storage: " in done.err
    assert f"RUNNER_PLACES={os.environ['ELSEWHERE']}" in done.err
    written(place, {STUDY: SEARCH.replace("STORAGE", "postgresql://evil/db")})
    assert "hydra.sweeper.storage: " in command.runner("-m", "experiments=x", cwd=place, code=2).err
    written(place, {STUDY: SEARCH.replace("STORAGE", "sqlite:///study.db") + "  mode: MULTIRUN\n"})
    assert "hydra.mode: " in command.runner("experiments=x", cwd=place, code=2).err
    written(place, {STUDY: SEARCH.replace("STORAGE", "sqlite:///study.db")})
    done = command.runner("-m", "experiments=x", cwd=place)
    assert not canary.exists()
    # The record of a sweep in a store that others can write into.
    [manifest] = place.glob("mlruns/*/*/artifacts/manifest.json")
    held = json.loads(manifest.read_text())
    outside = Path(os.environ["ELSEWHERE"]) / "study.db"
    study_of_a_stranger(outside, canary)
    held["search"] |= {"storage": f"sqlite:///{outside}", "n_trials": 9}
    manifest.write_text(json.dumps(held))
    with sqlite3.connect(place / "mlflow.db") as store:
        store.execute("UPDATE runs SET status = 'FAILED' WHERE run_uuid = ?", (manifest.parent.parent.name,))
    store.close()
    again = command.runner("resume", done.run_id, cwd=place, code=2)
    assert "hydra.sweeper.storage: " in again.err
    held["launcher"].append(f"hydra.sweeper.storage=sqlite:///{outside}")
    manifest.write_text(json.dumps(held))
    assert "sets up no launcher" in command.runner("resume", done.run_id, cwd=place, code=2).err
    assert not canary.exists()


def test_a_store_of_which_a_file_says_the_rest_stays_where_a_person_has_said(tmp_path: Path) -> None:
    """Typed is `out/${tracking.experiment}.db`; what the reference gives is a stranger's."""
    key = "tracking.uri"
    permission.begin([f"{key}=sqlite:///${{tracking.experiment}}.db"])
    permission.store("sqlite:///mine.db", key)
    with pytest.raises(ConfigError, match="outside of the working directory"):
        permission.store("sqlite:////tmp/../escaped.db", key)
    permission.begin([f"{key}=http://host:5000/${{tracking.experiment}}"])
    permission.store("http://host:5000/x", key)
    for other in ("http://evil:5000/x", "http://host:5001/x", "http://host:5000/@evil"):
        with pytest.raises(ConfigError):
            permission.store(other, key)
    permission.begin([f"{key}=http://${{tracking.experiment}}"])
    with pytest.raises(ConfigError):
        permission.store("http://evil/x", key)
    permission.begin([f"{key}=sqlite:////tmp/there.db"])  # all of it: anywhere
    permission.store("sqlite:////tmp/there.db", key)
