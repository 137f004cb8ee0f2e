"""`trainer.threads=auto`: by the size of a step, within the share of the cores, recorded and used again."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

from runner.model import planning
from runner.settings import Model, Settings, Trainer, made, random_state
from runner.training.checking import cost
from runner.training.machine import cores
from tests.support.command import newest, runner
from tests.support.sweeping import family

TWO = {"OMP_NUM_THREADS": "2"}
ONE = {"OMP_NUM_THREADS": "1"}


# What is chosen


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """64 cores, of which nobody has said anything."""
    for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    monkeypatch.setattr(cores, "quota", lambda: None)
    return monkeypatch


ATTENTION = {"TransformerEncoderLayer": {"d_model": 64, "nhead": 4, "dim_feedforward": 256}}
#: layers, shape of an example, examples in a batch, threads of 64 cores
SIZES: dict[str, tuple[list[Any], tuple[int, ...], int, int]] = {
    "a line": ([{"Linear": 1}], (1,), 64, 1),
    "a small perceptron": ([{"Linear": 256}, "ReLU", {"Linear": 10}], (64,), 1000, 1),
    "one thread's worth": ([{"Linear": 1000}], (1000,), 99, 1),
    "two threads' worth": ([{"Linear": 1000}], (1000,), 100, 2),
    "many threads' worth": ([{"Linear": 4000}], (4000,), 64, 20),
    "more than there are cores": ([{"Linear": 4000}], (4000,), 1000, 64),
    "a small convolution": ([{"Conv2d": {"out_channels": 16, "kernel_size": 3}}], (1, 8, 8), 64, 1),
    "a large convolution": ([{"Conv2d": {"out_channels": 64, "kernel_size": 3, "padding": 1}}], (64, 32, 32), 4, 3),
    "an embedding looks up": ([{"Embedding": {"num_embeddings": 100_000, "embedding_dim": 8}}], (100,), 64, 1),
    "a recurrent layer": ([{"LSTM": {"hidden_size": 128}}, {"Select": 0}], (50, 16), 64, 4),
    "attention": ([ATTENTION], (100, 64), 64, 6),
    "what is repeated counts every time": ([{"Repeat": {"layers": [ATTENTION], "times": 3}}], (100, 64), 64, 19),
    "numbers without weights": (["Tanh", "Tanh", "Tanh"], (100_000,), 64, 3),
}


@pytest.mark.parametrize("name", SIZES)
def test_a_thread_has_enough_to_do(name: str, alone: pytest.MonkeyPatch) -> None:
    layers, shape, batch, expected = SIZES[name]
    kind = torch.int64 if "Embedding" in layers[0] else torch.float32
    plan = planning.plan(layers, torch.empty(2, *shape, dtype=kind, device="meta"))
    settings = Settings(model=Model(layers=layers))
    assert settings.trainer.threads == "auto"
    assert cost.threads(settings, plan, batch, torch.device("cpu")) == expected
    assert cost.threads(settings, plan, batch, torch.device("cuda")) == 1
    settings.trainer.threads = 3
    assert cost.threads(settings, plan, batch, torch.device("cpu")) == 3


def test_never_more_than_this_process_is_given(alone: pytest.MonkeyPatch) -> None:
    assert cores.share() == 64
    alone.setenv("SLURM_CPUS_ON_NODE", "48")
    assert cores.share() == 48
    alone.setattr(cores, "quota", lambda: 12)
    assert cores.share() == 12
    alone.setattr(cores, "_most", 8)
    assert cores.share() == 8
    alone.setenv("SLURM_CPUS_PER_TASK", "6")
    assert cores.share() == 6
    alone.setenv("OMP_NUM_THREADS", "4,2")
    assert cores.share() == 4
    alone.setenv("OMP_NUM_THREADS", "many")
    assert cores.share() == 6
    alone.setattr(os, "sched_getaffinity", lambda pid: {7})
    assert cores.share() == 1


QUOTAS: list[tuple[dict[str, str], int | None]] = [
    ({}, None),
    ({"sys/fs/cgroup/cpu.max": "max 100000"}, None),
    ({"sys/fs/cgroup/cpu.max": "250000 100000"}, 2),
    ({"sys/fs/cgroup/cpu.max": "50000 100000"}, 1),
    ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000", "sys/fs/cgroup/a/cpu.max": "3 1"}, 3),
    ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "4 1", "sys/fs/cgroup/a/cpu.max": "9 1"}, 4),
    ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, None),
    ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "400000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, 4),
    ({"sys/fs/cgroup/cpu.max": "nonsense"}, None),
]


@pytest.mark.parametrize(("files", "expected"), QUOTAS)
def test_a_container_may_have_less_than_its_machine(
    files: dict[str, str], expected: int | None, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cores.quota(tmp_path) == expected


LAUNCHERS: list[tuple[str, dict[str, object], int, int | None]] = [
    ("one_by_one", {}, 9, None),
    ("vectorized", {"models": 64}, 9, None),
    ("basic", {}, 9, None),
    ("joblib", {"n_jobs": 4}, 100, 16),
    ("joblib", {"n_jobs": 4}, 2, 32),
    ("joblib", {"n_jobs": 100}, 1000, 1),
    ("joblib", {"n_jobs": -1}, 1000, 1),
    ("joblib", {"n_jobs": -33}, 1000, 2),
    ("submitit_local", {"cpus_per_task": None}, 4, 16),
    ("submitit_local", {"cpus_per_task": 2}, 4, 2),
    ("submitit_local", {"cpus_per_task": None}, 1000, 1),
    ("submitit_slurm", {"cpus_per_task": 4}, 100, 4),
    ("submitit_slurm", {"cpus_per_task": None}, 100, None),
    ("ray", {"ray": {"init": {}, "remote": {}}}, 4, 1),
    ("ray", {"ray": {"init": {}, "remote": {"num_cpus": 8}}}, 4, 8),
]


@pytest.mark.parametrize(("name", "values", "jobs", "expected"), LAUNCHERS)
def test_jobs_at_once_share_the_cores(
    name: str, values: dict[str, object], jobs: int, expected: int | None, alone: pytest.MonkeyPatch
) -> None:
    assert cores.each(name, values, jobs) == expected


# What is recorded

#: 1,257 examples through 64 x 1,200 weights and back: 97 million multiply-adds and 1.5 million numbers.
WORDS = ["data=digits", "loss=cross_entropy", "optimizer=adam", "plots=[]", "device=cpu", "trainer.batch_size=null"]


def layers(width: Any = 1200) -> str:
    return f"model.layers=[Flatten,{{Linear:{width}}},ReLU,{{Linear:10}}]"


def tag(place: Path, run_id: str, name: str = "threads") -> str:
    return str(MlflowClient(f"sqlite:///{place}/mlflow.db").get_run(run_id).data.tags[name])


def weights(place: Path, run_id: str) -> dict[str, torch.Tensor]:
    run = MlflowClient(f"sqlite:///{place}/mlflow.db").get_run(run_id)
    folder = Path(run.info.artifact_uri.removeprefix("file://"))
    return torch.load(newest(folder) / "state_dict.pt", weights_only=True)  # type: ignore[no-any-return]


def test_the_number_is_recorded_and_holds_where_another_would_be_chosen(workplace: Path) -> None:
    whole = runner(*WORDS, layers(), "trainer.epochs=6", cwd=workplace, env=TWO).run_id
    part = runner(*WORDS, layers(), "trainer.epochs=3", cwd=workplace, env=TWO).run_id
    runner("resume", part, "trainer.epochs=6", cwd=workplace, env=ONE)
    assert tag(workplace, whole) == tag(workplace, part) == "2"
    for (name, one), other in zip(weights(workplace, whole).items(), weights(workplace, part).values(), strict=True):
        assert torch.equal(one, other), name
    [again] = workplace.glob(f"mlruns/*/{part}/artifacts/environment-3.txt")
    assert "\nthreads: 2\n" in again.read_text()
    done = runner("reproduce", whole, cwd=workplace, env=ONE)
    assert "threads: set to 2 as recorded; here it would be 1" in done.out
    assert done.last.startswith(f"reproduce {whole} identical ")
    runner("resume", part, "trainer.epochs=7", "trainer.threads=1", cwd=workplace, env=TWO)
    assert tag(workplace, part) == "1", "a person may say another"


def test_a_record_of_before_is_read(workplace: Path) -> None:
    old = made({"trainer": {"threads": None}}).trainer
    assert random_state.recorded(old, {"threads": "7"}) == 7
    assert random_state.recorded(made({}).trainer, {"threads": "7"}) == 7
    assert random_state.recorded(made({}).trainer, {}) is None
    assert random_state.recorded(Trainer(threads=3), {"threads": "7"}) == 3


def tags(place: Path) -> list[str]:
    return [job.data.tags["threads"] for job in family(place).jobs]


SWEEP = ["-m", *WORDS, layers("${model.knobs.width}"), "+model.knobs.width=16,1200", "trainer.epochs=1"]


@pytest.mark.parametrize("launcher", ["one_by_one", "vectorized"])
def test_jobs_of_different_sizes_in_one_process_have_each_their_own(launcher: str, workplace: Path) -> None:
    runner(*SWEEP, "seed=1,2", f"hydra/launcher={launcher}", cwd=workplace, env=TWO)
    assert sorted(tags(workplace)) == ["1", "1", "2", "2"]


def test_jobs_in_processes_of_joblib_share_the_cores(workplace: Path) -> None:
    runner(*SWEEP, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", cwd=workplace, env=TWO)
    assert tags(workplace) == ["1", "1"]


def test_waiting_threads_sleep_unless_a_person_has_said_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in cores.BY_USER:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KMP_BLOCKTIME", "200")
    cores.let_waiting_threads_sleep()
    assert "OMP_WAIT_POLICY" not in os.environ
    monkeypatch.delenv("KMP_BLOCKTIME")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    cores.let_waiting_threads_sleep()
    assert os.environ["OMP_WAIT_POLICY"] == "active"
    assert "GOMP_SPINCOUNT" not in os.environ


def test_the_environment_is_set_before_torch_is_loaded(tmp_path: Path) -> None:
    code = """
import os, sys
from runner.training.machine import cores
before = cores.let_waiting_threads_sleep
def look():
    print("torch" in sys.modules, file=sys.stderr)
    before()
    print(os.environ.get("OMP_WAIT_POLICY"), file=sys.stderr)
cores.let_waiting_threads_sleep = look
sys.argv = ["runner", "nonsense"]
from runner.cli import main
main()
"""
    env = {name: value for name, value in os.environ.items() if name not in cores.BY_USER}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.stderr.split()[:2] == ["False", "passive"], done.stderr


# Many processes with one command

WORLDS = [
    {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"},
    {"WORLD_SIZE": "16", "RANK": "0", "LOCAL_RANK": "0"},
    {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "0", "SLURM_NTASKS": "4"},
    {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"},
    {"PMI_SIZE": "2", "PMI_RANK": "1"},
]


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: next(iter(world)))
def test_one_of_several_with_the_same_command_is_refused(world: dict[str, str], workplace: Path) -> None:
    for words in (["trainer.epochs=1"], ["-m", "seed=1,2"]):
        done = runner(*words, cwd=workplace, env=world, code=2)
        assert done.err.startswith(
            f"{next(iter(world))}={next(iter(world.values()))}: runner trains a run in one process"
        )
        assert done.err.count("\n") == 1
        assert done.out == ""
    assert not (workplace / "mlruns").exists()


NO_WORLDS = [
    {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"},  # torchrun --nproc-per-node 1
    {"WORLD_SIZE": "2"},  # what is said of no process
    {"SLURM_NTASKS": "4", "SLURM_PROCID": "0"},  # a batch script, which runs once
    {"SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"},  # a job of submitit's
    {"PMI_SIZE": "1", "PMI_RANK": "0"},
]


@pytest.mark.parametrize("world", NO_WORLDS, ids=lambda world: " ".join(world))
def test_one_alone_is_not_refused(world: dict[str, str], workplace: Path) -> None:
    runner("check", cwd=workplace, env=world)


@pytest.mark.parametrize("key", ["tasks_per_node", "nodes"])
def test_a_launcher_may_not_call_a_job_several_times(key: str, workplace: Path) -> None:
    words = ("-m", "seed=1", "hydra/launcher=submitit_local", f"hydra.launcher.{key}=2")
    done = runner(*words, cwd=workplace, code=2)
    assert done.err.startswith(f"hydra.launcher.{key}: 2 would train each job 2 times over")


def test_torchrun_of_two_processes_is_refused(workplace: Path) -> None:
    """A run; that a sweep is refused by the same variables is above."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = ["-m", "runner", "trainer.epochs=1"]
    done = subprocess.run([*command, *words], cwd=workplace, capture_output=True, text=True)
    assert done.returncode != 0
    assert "WORLD_SIZE=2: runner trains a run in one process, and 2 would each train the same" in done.stderr
    assert not (workplace / "mlruns").exists()
