"""Jobs handed to Hydra's launchers of other processes. One whose process is killed takes no other with it.

Left to themselves these launchers give up a whole sweep when one of its processes dies: joblib's pool breaks and ends
the running jobs, submitit and Ray stop waiting for results. Here each such job comes back as `Lost`.
"""

import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn

from runner.cli import hydra_private
from runner.settings.errors import labelled
from runner.settings.files import places

Words = list[str]


class Lost(Exception):
    """A job whose process has ended without a result; the message holds what is known of its end."""


def launch(name: str, launcher: Any, jobs: list[Words], first: int) -> Sequence[JobReturn]:
    """Run jobs by a launcher and return their results. first: the first job's number. name: hydra/launcher=NAME."""
    if name == "joblib":
        return _joblib(launcher, jobs, first)
    around = {"submitit": _submitit, "ray": _ray}.get(name.partition("_")[0])
    with around(launcher) if around else contextlib.nullcontext():
        results: Sequence[JobReturn] = launcher.launch(jobs, initial_job_idx=first)
    return results


def _joblib(launcher: Any, jobs: list[Words], first: int) -> Sequence[JobReturn]:
    """Run jobs as joblib's `Parallel` would, with a pool of one process for each, which breaks alone."""
    from hydra_plugins.hydra_joblib_launcher._core import execute_job
    from joblib import effective_n_jobs

    state, options = Singleton.get_state(), launcher.joblib
    context = (launcher.hydra_context, launcher.config, launcher.task_function, state)
    processes = Processes(options.get("timeout"), launcher.task_function.cores)
    numbers, results = iter(range(len(jobs))), dict[int, JobReturn]()

    def work() -> None:
        with processes.one() as call:
            while (index := next(numbers, None)) is not None:
                try:
                    results[index] = call(execute_job, first + index, jobs[index], *context)
                except Lost as error:
                    results[index] = _returned(error)

    count = min(len(jobs), effective_n_jobs(options.get("n_jobs", -1)))
    with ThreadPoolExecutor(count, "joblib") as threads:
        try:
            for future in [threads.submit(work) for _ in range(count)]:
                future.result()
        except BaseException:
            numbers = iter(())
            processes.kill()
            raise
    return [results[index] for index in range(len(jobs))]


class Processes:
    """Processes of joblib's that take one job after the other. `kill` ends the busy ones."""

    def __init__(self, timeout: float | None, cores: int | None) -> None:
        self._timeout, self._cores = timeout, cores
        self._pools: list[Any] = []
        self._lock = threading.Lock()
        self._over = False

    @contextlib.contextmanager
    def one(self) -> Iterator[Callable[..., JobReturn]]:
        """Yield a function that calls others in one process. If that is killed it raises Lost; a new one follows."""
        pools: list[Any] = []

        def call(*words: Any) -> JobReturn:
            future = self._begun(pools, words)
            try:
                answer: JobReturn = future.result(self._timeout)
                return answer
            except Exception as error:  # of a broken pool, or of an answer that cannot be sent
                self._end(pools.pop(), wait=False, kill_workers=True)
                raise Lost(_why(error, self._timeout)) from error

        try:
            yield call
        finally:
            for pool in pools:
                self._end(pool, wait=True, kill_workers=self._over)

    def kill(self) -> None:
        """End all processes; those that begin later too."""
        with self._lock:
            self._over = True
            for pool in self._pools:
                pool.shutdown(wait=True, kill_workers=True)  # the store is asked next, when none may be at work

    def _end(self, pool: Any, **how: bool) -> None:
        pool.shutdown(**how)
        with self._lock:
            self._pools.remove(pool)

    def _begun(self, pools: list[Any], words: tuple[Any, ...]) -> Any:
        if pools:
            with contextlib.suppress(Exception):  # killed while it had nothing to do: no job was in it
                return pools[0].submit(*words)
            self._end(pools.pop(), wait=False, kill_workers=True)
        pools.append(self._pool())
        return pools[0].submit(*words)

    def _pool(self) -> Any:
        from joblib.externals.loky import ProcessPoolExecutor

        with self._lock:
            if self._over:
                raise Lost("the sweep has ended")
            self._pools.append(ProcessPoolExecutor(1, env=_threads(self._cores)))
            return self._pools[-1]


@contextlib.contextmanager
def _submitit(launcher: Any) -> Iterator[None]:
    """Have a job of submitit's without a result waited for like the others, and raise nothing."""
    from submitit import AutoExecutor
    from submitit.core.core import Executor

    def map_array(executor: Any, *words: Any) -> list[Submitted]:
        return [Submitted(job) for job in Executor.map_array(executor, *words)]

    setattr(AutoExecutor, "map_array", map_array)  # noqa: B010
    try:
        yield
    finally:
        delattr(AutoExecutor, "map_array")


class Submitted:
    """A job of submitit's; the launcher uses nothing but `results`."""

    def __init__(self, job: Any) -> None:
        self._job = job
        if type(job).__module__ == "submitit.local.local":
            job._results_timeout_s = 0  # a file on this disk is there at once, and 15 s are for disks of a network

    def results(self) -> list[JobReturn]:
        """Return the job's result, or a failed one with `Lost`."""
        from submitit.core.utils import FailedJobError, UncompletedJobError

        try:
            answers: list[JobReturn] = self._job.results()
            return answers
        except (FailedJobError, UncompletedJobError):
            return [_returned(Lost(f"its process ended without a result; its log is {self._job.paths.stderr}"))]


@contextlib.contextmanager
def _ray(launcher: Any) -> Iterator[None]:
    """Have a job of Ray's without a result waited for like the others, and raise nothing."""
    import ray
    from hydra_plugins.hydra_ray_launcher import _core, _launcher_util

    def get(job: Any) -> JobReturn:
        try:
            answer: JobReturn = ray.get(job)
            return answer
        except ray.exceptions.RayError as error:
            return _returned(Lost(_why(error, None)))

    launcher.ray_cfg.remote.setdefault("max_retries", 0)  # a job whose process was killed is for the person to resume
    with _elsewhere():
        _launcher_util.start_ray(launcher.ray_cfg.init)
    _core.ray = SimpleNamespace(get=get)
    try:
        yield
    finally:
        _core.ray = ray


@contextlib.contextmanager
def _elsewhere() -> Iterator[None]:
    """Change into a folder without Python files: Ray lets its workers look for modules where it is started."""
    before = Path.cwd()
    os.chdir(places.conf())
    try:
        yield
    finally:
        os.chdir(before)


def _threads(cores: int | None) -> dict[str, str]:
    """Return joblib's variables that limit the threads of libraries, without those that a person has set."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {name: str(cores) for name in names if name not in os.environ} if cores else {}


def _why(error: Exception, timeout: float | None) -> str:
    """Return what is known of a process's end."""
    if isinstance(error, TimeoutError):
        return f"its process was ended after hydra.launcher.timeout={timeout:g} seconds"
    signals = re.findall(r"\bSIG[A-Z]+", str(error))
    if not signals:
        return f"its process gave no answer: {labelled(error)}"
    return ended_by(signals[0])


def ended_by(signal: str) -> str:
    """Return `its process was ended by SIGKILL, ...` for the name of a signal."""
    memory = ", as the system does when memory is short" if signal == "SIGKILL" else ""
    return f"its process was ended by {signal}{memory}"


def _returned(error: Lost) -> JobReturn:
    return hydra_private.failed(error)
