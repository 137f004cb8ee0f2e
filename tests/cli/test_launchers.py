"""Sweeps under the launchers of Hydra's that run jobs in other processes and on other machines."""

import importlib.util
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import HANGS, fresh, runner
from tests.support.sweeping import STEPS, family, furnish


def installed(launcher: str) -> bool:
    return importlib.util.find_spec(f"hydra_plugins.hydra_{launcher}_launcher") is not None


RAY = pytest.mark.skipif(not installed("ray"), reason="runner-torch[ray] has an environment of its own, see .ci/run")


LAUNCHERS = ["joblib", "submitit_local", pytest.param("ray", marks=RAY)]
#: Files of a working directory that Python would load in place of its own, or of a library's, in any new process.
CANARIES = ("difflib", "psutil", "secrets", "struct", "pickle", "cloudpickle", "numpy", "hydra_plugins/evil")
#: How a launcher's process is said to have ended.
ENDS = {
    "joblib": "its process was ended by SIGKILL, as the system does when memory is short",
    "submitit_local": "its process ended without a result; its log is ",
    "ray": "its process gave no answer: WorkerCrashedError",
}


def environment() -> dict[str, str]:
    """A Ray of its own, and its token, which Ray would write into the home folder."""
    return {"RAY_ADDRESS": "local", "RAY_AUTH_TOKEN": secrets.token_hex(16)}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_four_jobs_of_which_one_fails_and_one_is_killed(launcher: str, workplace: Path) -> None:
    """In a working directory whose modules no process loads, but for those of experiments/.

    The first job makes nonsense of the study's file, which changes nothing.
    """
    furnish(workplace)
    canaries(workplace)
    env = environment()
    chosen = [f"hydra/launcher={launcher}", *(["hydra.launcher.n_jobs=2"] if launcher == "joblib" else [])]
    words = ("-m", "experiments=bad", "seed=1,2,3,4", "model.knobs.plan='1:edit 2:once 3:kill'", "checkpoint.every=1")
    done = fresh(*words, *chosen, cwd=workplace, env=env, code=1)
    assert touched(workplace) == []
    assert "no study any more" in (workplace / "experiments" / "bad.yaml").read_text()
    before = family(workplace)
    assert before.statuses == ["FINISHED", "FAILED", "KILLED", "FINISHED"]
    assert before.table[1]["reason"] == "RuntimeError: broken for once"
    assert before.table[2]["reason"].startswith(ENDS[launcher])
    assert before.jobs[2].data.tags["runner.status_reason"] == before.table[2]["reason"]
    assert [line["status"] for line in before.table] == before.statuses
    assert done.last.startswith(f"sweep {before.parent.info.run_id} FAILED best=")
    # Another launcher than the recorded one, whose own values (n_jobs) it does not take.
    for name in CANARIES:
        (workplace / f"{name}.py").unlink()
    done = runner("resume", "last", "hydra/launcher=basic", cwd=workplace)
    after = family(workplace)
    assert (after.parent.info.status, after.statuses) == ("FINISHED", ["FINISHED"] * 4)
    assert after.steps() == [list(range(1, STEPS + 1))] * 4
    assert [job.info.run_id for job in after.jobs] == [job.info.run_id for job in before.jobs]
    ended = [[job.info.end_time for n, job in enumerate(found.jobs) if n in (0, 3)] for found in (before, after)]
    assert ended[0] == ended[1], "what is FINISHED is not run again"
    assert [line["status"] for line in after.table] == ["FINISHED"] * 4
    assert done.last.startswith(f"sweep {after.parent.info.run_id} FINISHED best=")


def canaries(place: Path) -> None:
    (place / "hydra_plugins").mkdir()
    for name in CANARIES:
        text = f"import os\nos.close(os.open({str(place / 'CANARY-')!r} + __name__, os.O_CREAT))\n"
        (place / f"{name}.py").write_text(text)


def touched(place: Path) -> list[str]:
    return sorted(path.name for path in place.glob("CANARY-*"))


UNGUARDED = """
import contextlib, sys
from runner.cli import command, launching
command.isolate = lambda: None
launching._elsewhere = contextlib.nullcontext
sys.argv[1:] = {words}
command.main()
"""


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_without_their_guard_workers_would_load_modules_of_the_working_directory(
    launcher: str, workplace: Path
) -> None:
    furnish(workplace)
    canaries(workplace)
    script = UNGUARDED.format(
        words=["-m", "experiments=bad", "seed=1", "trainer.epochs=1", f"hydra/launcher={launcher}"]
    )
    env = {**os.environ, **environment()}
    subprocess.run([sys.executable, "-P", "-c", script], cwd=workplace, env=env, capture_output=True, timeout=HANGS)
    assert touched(workplace), "nothing would have happened: the guard guards nothing"


def test_python_m_runner_loads_no_module_of_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "difflib.py").write_text(f"open({str(tmp_path / 'CANARY-difflib')!r}, 'w').close()\n")
    command = [sys.executable, "-m", "runner", "--version"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=HANGS)
    assert (done.returncode, touched(tmp_path)) == (0, []), done.stderr
    subprocess.run(
        [sys.executable, "-c", "import runner.cli.command"], cwd=tmp_path, capture_output=True, timeout=HANGS
    )
    assert touched(tmp_path), "nothing would have happened: the guard guards nothing"


@pytest.mark.skipif(installed("ray"), reason="it is not missing")
def test_a_launcher_that_is_missing_is_told_with_its_remedy(workplace: Path) -> None:
    done = fresh("-m", "seed=1,2", "hydra/launcher=ray", cwd=workplace, code=2)
    assert done.err == "hydra/launcher: ray is not installed; pip install 'runner-torch[ray]'\n"


FILES = {
    "setup": ("submitit_slurm", "setup: ['touch CANARY']"),
    "additional_parameters.wrap": ("submitit_slurm", "additional_parameters: {wrap: 1}"),
    "comment": ("submitit_slurm", "comment: touch"),
    "partition": ("submitit_slurm", 'partition: "x\\ntouch CANARY"'),
    "submitit_folder": ("submitit_local", "submitit_folder: /tmp/x"),
    "temp_folder": ("joblib", "temp_folder: /tmp/x"),
}


@pytest.mark.parametrize("key", FILES)
def test_a_file_may_not_tell_a_launcher_a_command_or_a_place(key: str, workplace: Path) -> None:
    launcher, line = FILES[key]
    done = _checked(workplace, launcher, line, code=2)
    assert done.startswith(f"hydra.launcher.{key}: "), done
    assert "may become a command or a place" in done


@pytest.mark.parametrize("line", ["partition: gpu", "cpus_per_task: 4", "gres: 'gpu:a100:2'"])
def test_a_file_may_tell_a_queue_and_numbers(line: str, workplace: Path) -> None:
    """The control: a cluster's preset is of use."""
    _checked(workplace, "submitit_slurm", line, code=0)


def test_what_a_person_types_is_taken(workplace: Path) -> None:
    _checked(workplace, "submitit_slurm", "nodes: 1", "hydra.launcher.setup=[module]", code=0)


def test_what_is_recorded_is_typed_again(workplace: Path) -> None:
    furnish(workplace)
    place = f"hydra.launcher.submitit_folder={workplace / 'jobs'}"
    words = ("-m", "experiments=bad", "seed=1", "model.knobs.plan='1:raise'", "hydra/launcher=submitit_local")
    runner(*words, place, cwd=workplace, code=1)
    refused = runner("resume", "last", cwd=workplace, code=2)
    assert refused.err.splitlines()[1].startswith("hydra.launcher.submitit_folder: ")
    runner("resume", "last", place, cwd=workplace, code=1)  # it fails again, in its second run
    assert family(workplace).statuses == ["FAILED"]


def test_a_file_may_not_say_that_it_was_typed(workplace: Path) -> None:
    line = "nodes: 1\n  overrides: {hydra: ['hydra.launcher.setup=[touch]']}"
    assert _checked(workplace, "submitit_slurm", line, code=2).startswith("hydra.overrides: ")


def _checked(place: Path, launcher: str, line: str, *words: str, code: int) -> str:
    """What `runner check` says to a study that sets up a launcher."""
    (place / "experiments").mkdir()
    study = f"hydra:\n  launcher:\n    {line}\n"
    (place / "experiments" / "cluster.yaml").write_text(study)
    done = runner(
        "check", "-m", "experiments=cluster", "seed=1", f"hydra/launcher={launcher}", *words, cwd=place, code=code
    )
    assert not list(place.glob("CANARY*"))
    return done.err
