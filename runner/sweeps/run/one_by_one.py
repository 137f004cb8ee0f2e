"""Jobs of a sweep in this process, one after the other; the record of one is closed while the next trains."""

from runner.sweeps.manifest import Job
from runner.sweeps.run.job import SweepInfo
from runner.sweeps.run.open_runs import Desk
from runner.sweeps.run.outcome import Outcome
from runner.training.machine.signals import Signals

#: Finished runs that may wait for plots drawn by other processes.
WAITING = 2


def run_one_by_one(jobs: list[Job], info: SweepInfo) -> list[Outcome]:
    """Run the jobs; one that fails does not stop the others.

    Raises Interrupted when a signal stops the process, after all records are closed.
    """
    from runner.sweeps.run.drawing import rendering

    with Signals() as signals, rendering(len(jobs)) as renderer:
        desk = Desk(info, renderer, WAITING)
        try:
            for job in jobs:
                signals.check()
                _train(desk, job, signals)
        finally:
            desk.close()
    return [desk.outcomes[job.number] for job in jobs]


def _train(desk: Desk, job: Job, signals: Signals) -> None:
    from runner.training.drive import drive
    from runner.training.machine.time_limit import TimeLimit
    from runner.training.state import generators

    member = desk.begin(job)
    if member is None:
        return
    limit = TimeLimit(member.settings.trainer.time_limit)
    try:
        [observers] = desk.open([member])
        generators.set_random_state(member.run.ready, member.run.device)  # opening the record may have drawn
        drive(member.run, *observers, desk, stop=lambda: signals.stop() or limit.stop(), draw=desk.renderer.draw)
    except BaseException as error:
        desk.end(member, error)
        if not isinstance(error, Exception):
            raise
    else:
        desk.end(member, None)
